"""One JupyterLab and one browser for all tests of this folder; skipped with a reason where there is no browser."""

import importlib.util
import json
import urllib.request
from pathlib import Path

import nbformat
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "jupyter_pages.py"
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture(scope="session")
def jupyter():
    """The module that starts JupyterLab and uses its pages."""
    spec = importlib.util.spec_from_file_location("jupyter_pages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def browser(jupyter):
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install 'ftkit[dev]')")
    found = jupyter.find_browser()
    if not found:
        pytest.skip("no Chromium is installed")
    with jupyter.opened_browser(found) as opened:
        yield opened


@pytest.fixture(scope="session")
def lab(jupyter, browser, tmp_path_factory):
    """The address of a JupyterLab, and its folder of notebooks."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    folder = tmp_path_factory.mktemp("lab")
    with jupyter.lab(folder) as address:
        yield address, folder / "notebooks"


@pytest.fixture
def opened(jupyter, browser, lab, request):
    """Opens a notebook of these cells: `page = opened(cell, cell)`; `page.errors` holds what went wrong on it."""
    address, folder = lab
    name = f"{request.node.name.partition('[')[0]}.ipynb"
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)

    def open_(*cells, width=1280):
        page.set_viewport_size({"width": width, "height": 900})
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell, id=f"cell-{number}")
                                               for number, cell in enumerate(cells)], metadata=KERNEL)
        nbformat.write(made, folder / name)
        jupyter.open_notebook(page, address, name)
        page.errors.clear()  # JupyterLab's own, of starting
        return page

    yield open_
    page.close()
    with urllib.request.urlopen(f"{address}/api/sessions") as answer:
        for session in json.load(answer):
            urllib.request.urlopen(urllib.request.Request(f"{address}/api/sessions/{session['id']}", method="DELETE"))
