"""Labelling in a real JupyterLab in a real browser: three records by keyboard, a reload, and on from there."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

SOURCE = Path(__file__).parents[2] / "src"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
READY_S, SHOWN_MS, PRESSES = 60, 60_000, 10
CELL = """from ftkit.widgets.labelling import labelling
records = [{"question": "发烧怎么办？", "answer": "<b>多喝水</b>"}, "a cough", "a rash", "a headache"]
labelling(records, "votes.jsonl")"""


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install "
                                     "'ftkit[dev]')")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab that has a folder, and settings, of its own."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {name: str(tmp_path / "own" / name) for name in (
        "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")}
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    cells = [nbformat.v4.new_code_cell(CELL, id="label")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), notebooks / "label.ipynb")
    log = (tmp_path / "lab.log").open("wb")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
         "--IdentityProvider.token=", f"--ServerApp.root_dir={notebooks}"],
        env={**os.environ, **own, "PYTHONPATH": str(SOURCE)}, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, tmp_path / "lab.log")
        yield address, notebooks
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def _wait_for(address, server, log):
    until = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except (urllib.error.URLError, OSError) as error:
            assert server.poll() is None and time.monotonic() < until, log.read_text("utf-8", "replace")[-2000:]
            assert error is not None
            time.sleep(0.2)


def run_cell(page):
    """The cell run as a person at the keyboard does, who presses again if the page was not ready for it."""
    page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=SHOWN_MS)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").first
    before = prompt.inner_text()
    for _ in range(PRESSES):
        page.locator(".jp-CodeCell .cm-content").first.click(timeout=SHOWN_MS)
        page.keyboard.press("Control+Enter")
        for _ in range(20):
            if prompt.inner_text() not in (before, "[*]:", "[ ]:"):  # a number: it ran
                return
            page.wait_for_timeout(250)
    raise AssertionError(f"the cell did not run: {page.locator('.jp-Notebook').inner_text()}")


def votes_in(path):
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(line["record"], line["label"], line["note"]) for line in map(json.loads, lines[1:])]


def test_three_records_are_labelled_by_keyboard_and_a_reload_goes_on_from_there(browser, lab):
    address, folder = lab
    page = browser.new_page()
    page.goto(f"{address}/lab/tree/label.ipynb")
    run_cell(page)
    keys = page.get_by_label("Keys")
    keys.wait_for(timeout=SHOWN_MS)
    assert page.get_by_text("0 of 4 labelled.").count() == 1
    assert page.locator(".jp-OutputArea dd", has_text="<b>多喝水</b>").count() == 1  # shown as the text it is
    keys.focus()
    page.keyboard.press("1")
    page.get_by_text("1 of 4 labelled.").wait_for()
    page.keyboard.press("Tab")  # to the note
    page.keyboard.type("spelling")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("End")
    page.keyboard.type("31", delay=0)  # faster than answers come back
    page.get_by_text("3 of 4 labelled.").wait_for()
    assert votes_in(folder / "votes.jsonl") == [(0, "keep", ""), (1, "fix", "spelling"), (2, "keep", "")]

    page.reload()
    run_cell(page)
    page.get_by_text("3 of 4 labelled.").wait_for(timeout=SHOWN_MS)
    assert page.locator(".jp-OutputArea dd").all_inner_texts() == ["a headache"]
    page.get_by_role("button", name="2 drop").press("Enter")
    page.get_by_text("All records have a label.").wait_for()
    assert votes_in(folder / "votes.jsonl")[-1] == (3, "drop", "")
