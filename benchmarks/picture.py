"""Makes the README's picture of what a learner sees, from a real run of lesson 00.

    ftkit course 00                   runs the lesson: build/course/00_start_here.html
    python benchmarks/picture.py      takes the before/after part of that page: lessons/figures/what_a_learner_sees.png

The page is shown in Chromium without a network; every cell but the chosen ones is hidden, and what is left is taken at
twice the size of the screen, so that it is sharp on fine displays. Nothing on the page is changed or drawn by hand.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

PAGE = ROOT / "build" / "course" / "00_start_here.html"
PICTURE = ROOT / "lessons" / "figures" / "what_a_learner_sees.png"
CELLS = ("after", "score-figure")  # of lesson 00: the same five questions before and after, and the scores
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
WIDTH_PX, SCALE = 860, 2
ALONE = """
chosen => {
    const cells = [...document.querySelectorAll('.jp-Cell')]
    for (const cell of cells) {
        const named = chosen.some(name => cell.id === 'cell-id=' + name || cell.classList.contains('celltag_' + name))
        if (!named || !cell.querySelector('.jp-OutputArea-output')) { cell.remove(); continue }
        cell.querySelectorAll('.jp-Cell-inputWrapper, .jp-OutputPrompt').forEach(part => part.remove())
    }
    return document.querySelectorAll('.jp-Cell').length
}
"""


def take(page: Path, picture: Path, chosen: list[str], browser: str) -> int:
    """How many cells of the page are on the picture.

    Args:
        page: an executed lesson as HTML, as `ftkit course` leaves it.
        picture: the PNG file to write.
        chosen: cell ids or tags; the outputs of these cells are taken.
        browser: path of a Chromium.

    Raises:
        Refusal: the page is missing or of a failed run, none of the cells is on it, or playwright is not installed.
    """
    from ftkit.errors import refusal

    _refuse_unfinished(page)
    with _tab(browser) as tab:
        tab.goto(page.resolve().as_uri(), wait_until="domcontentloaded")
        cells = tab.evaluate(ALONE, chosen)
        if not cells:
            raise refusal("--cell", f"the id or tag of a cell with an output on {page.name}", ", ".join(chosen))
        picture.parent.mkdir(parents=True, exist_ok=True)
        tab.locator("main").screenshot(path=picture)
    return cells


def find_browser(named: str | None = None) -> str:
    """The path of an installed Chromium: the named one, or the first that is found.

    Raises:
        Refusal: there is none.
    """
    from ftkit.errors import refusal

    found = next(filter(None, map(shutil.which, [named] if named else BROWSERS)), None)
    if found is None:
        raise refusal("--browser", "an installed Chromium", named or f"none of {', '.join(BROWSERS)}",
                      "Debian: apt install chromium. Elsewhere: give the path of Chrome, Chromium or Edge.")
    return found


@contextmanager
def _tab(browser: str) -> Iterator:
    """A page of a browser that reads files and nothing else; closed again whatever happens."""
    from ftkit.errors import missing_package

    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise missing_package("playwright", "dev") from error
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = running.new_page(viewport={"width": WIDTH_PX, "height": 600}, device_scale_factor=SCALE)
        tab.route("**/*", lambda route: route.continue_() if route.request.url.startswith(("file:", "data:"))
                  else route.abort())
        yield tab
        running.close()


def _refuse_unfinished(page: Path) -> None:
    from ftkit.errors import refusal
    from ftkit.notebooks.run import read_result

    if not page.is_file():
        raise refusal("page", "an executed lesson", page.name, "Make it with: ftkit course 00")
    kept = read_result(page.with_suffix(".ipynb"))
    if kept is None or kept[0].status != "ok":
        raise refusal(page.name, "of a lesson that ran to its end", kept[0].error if kept else "no result beside it",
                      "Run it again with: ftkit course 00")


def main(arguments: list[str] | None = None) -> int:
    from ftkit.errors import Refusal

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="an executed lesson as HTML")
    parser.add_argument("--out", type=Path, default=PICTURE, help="the PNG file")
    parser.add_argument("--cell", action="append",
                        help=f"cell id or tag; may be given several times (default: {' and '.join(CELLS)})")
    parser.add_argument("--browser", help="path of a Chromium (default: the one that is found)")
    options = parser.parse_args(arguments)
    try:
        cells = take(options.page, options.out, options.cell or list(CELLS), find_browser(options.browser))
    except Refusal as error:
        print(f"picture: {error}", file=sys.stderr)
        return 2
    print(f"{options.out.name}: {cells} cell(s) of {options.page.name}, {options.out.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
