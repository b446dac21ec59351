"""A JupyterLab with a folder and settings of its own, and a browser to use it: for benchmarks and browser tests."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
SOURCE = Path(__file__).resolve().parents[1] / "src"
READY_S, SHOWN_MS, PRESSES = 120, 120_000, 20
_OWN = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR")


def find_browser() -> str | None:
    """The path of an installed Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def opened_browser(path: str) -> Iterator:
    """A running browser, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def lab(folder: Path) -> Iterator[str]:
    """The address of a JupyterLab whose notebooks are in `<folder>/notebooks`; all its settings are in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "notebooks").mkdir()
    own = {name: str(folder / "own" / name) for name in _OWN}
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
             "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True",
             f"--ServerApp.root_dir={folder / 'notebooks'}"],
            env={**os.environ, **own, "PYTHONPATH": str(SOURCE)}, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}", server, folder / "lab.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(log.read_text("utf-8", "replace")[-2000:]) from error
            time.sleep(0.2)


def open_notebook(page, address: str, name: str) -> None:
    """Opens a notebook in a workspace of its own, and waits until its kernel can be used.

    Where a kernel takes long to start, the page gives it up and asks for one: the one it proposes is taken.
    """
    page.goto(f"{address}/lab/workspaces/{Path(name).stem}/tree/{name}")
    idle = page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]')
    proposed = page.locator(".jp-Dialog button", has_text="Select")
    idle.or_(proposed).first.wait_for(timeout=SHOWN_MS)
    if proposed.count():
        proposed.last.click()
        idle.wait_for(timeout=SHOWN_MS)


def start_cell(page, number: int = 0) -> None:
    """Starts a code cell as a person at the keyboard does, who presses again if the page was not ready for it."""
    cell = page.locator(".jp-CodeCell").nth(number)
    prompt = cell.locator(".jp-InputPrompt").first
    before = prompt.inner_text()
    for _ in range(PRESSES):
        if page.locator(".jp-Dialog").count():
            raise AssertionError(f"a dialog is in the way: {page.locator('.jp-Dialog').first.inner_text()}")
        cell.locator(".cm-content").first.click(timeout=SHOWN_MS)
        page.keyboard.press("Control+Enter")
        for _ in range(20):
            if prompt.inner_text() not in (before, "[ ]:"):  # running, or a number: it ran
                return
            page.wait_for_timeout(100)
    raise AssertionError(f"the cell did not start: {page.locator('.jp-Notebook').inner_text()}")


def run_cell(page, number: int = 0) -> None:
    """Runs a code cell to its end."""
    start_cell(page, number)
    prompt = page.locator(".jp-CodeCell").nth(number).locator(".jp-InputPrompt").first
    until = time.monotonic() + SHOWN_MS / 1000
    while prompt.inner_text() == "[*]:":
        if time.monotonic() > until:
            raise AssertionError(f"the cell did not end: {page.locator('.jp-Notebook').inner_text()}")
        page.wait_for_timeout(50)
