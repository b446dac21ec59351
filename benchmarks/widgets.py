"""How long the explorer of a sweep takes, in a real browser: from a key on a slider to the changed picture, and so on.

    python benchmarks/widgets.py              20 changes of one slider, over the shipped grid of lesson 05
    python benchmarks/widgets.py --train      and a training: from the button to its first point, and to its end by Stop

Times are taken inside the page: from the key's event until the new picture is decoded and the next frame is due. The
training is started twice: what is measured is the second, when the training process has imported torch and trained
before. Prints a table and writes benchmarks/results/widgets.json.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

CHANGES = 20
SLIDER = 4  # the learning rate's: its values were all measured by themselves, so each step shows another picture
LESSON = "05_rank_alpha_dropout"
CELL = """from ftkit.cards import Card
from ftkit.files import read_json
from ftkit.widgets.sweep_explorer import SweepExplorer
SweepExplorer([Card(**card) for card in read_json("cards.json")])"""
WATCH = """() => {
    window.shown = []
    let began = 0, last = document.querySelector('.jp-OutputArea img').src
    document.addEventListener('keydown', () => { began = performance.now() }, true)
    new MutationObserver(() => {
        const picture = document.querySelector('.jp-OutputArea img')
        if (!began || !picture || picture.src === last) return
        const since = began
        began = 0
        last = picture.src
        picture.decode().then(() => requestAnimationFrame(() => shown.push(performance.now() - since)))
    }).observe(document.querySelector('.jp-OutputArea'), {childList: true, subtree: true})
}"""


def slide(page, changes: int) -> list[float]:
    """Milliseconds from each key on the slider to the changed picture."""
    page.evaluate(WATCH)
    slider = page.get_by_role("slider").nth(SLIDER)
    slider.focus()
    for done in range(changes):
        page.keyboard.press("ArrowLeft" if done % 2 else "ArrowRight")
        page.wait_for_function("count => window.shown.length > count", arg=done)
        page.wait_for_timeout(200)  # a person's pause: each change is measured by itself
    return page.evaluate("window.shown")


def train_and_stop(page, wait_ms: int) -> tuple[float, float]:
    """Seconds from the button to the first point, and from Stop until it has stopped, of the second training."""
    stop = page.locator("button.jupyter-button", has_text="Stop")
    for is_second in (False, True):
        began_s = time.perf_counter()
        page.get_by_role("button", name="Train this point").press("Enter")
        page.get_by_text("Training: step 1 of").wait_for(timeout=wait_ms)
        first_s = time.perf_counter() - began_s
        if not is_second:
            page.get_by_text("Trained and added to the grid").wait_for(timeout=wait_ms)
    began_s = time.perf_counter()
    stop.press("Enter")
    page.get_by_text("Stopped after step").wait_for(timeout=wait_ms)
    return first_s, time.perf_counter() - began_s


def measure(cards: list, changes: int, training: bool) -> dict:
    """All times, from a notebook of its own in a JupyterLab of its own."""
    import jupyter_pages as jupyter
    import nbformat

    from ftkit.errors import refusal
    from ftkit.files import write_json

    path = jupyter.find_browser()
    if path is None:
        raise refusal("browser", "an installed Chromium", "none", "Debian: apt install chromium.")
    with tempfile.TemporaryDirectory() as folder, jupyter.opened_browser(path) as browser, \
            jupyter.lab(Path(folder)) as address:
        notebooks = Path(folder) / "notebooks"
        write_json(notebooks / "cards.json", [asdict(card) for card in cards])
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)], metadata=kernel),
                       notebooks / "explorer.ipynb")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        jupyter.open_notebook(page, address, "explorer.ipynb")
        jupyter.run_cell(page)
        page.locator(".jp-OutputArea img").wait_for(timeout=jupyter.SHOWN_MS)
        page.wait_for_timeout(15_000)  # the training process imports torch meanwhile
        times_ms = slide(page, changes)
        found = {"changes": changes, "cards": len(cards), "picture_ms": times_ms, "median_picture_ms": median(times_ms)}
        if training:
            found["first_point_s"], found["stop_s"] = train_and_stop(page, 5 * jupyter.SHOWN_MS)
        return found


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table and writes the results."""
    from results import write

    from ftkit.course import recorded
    from ftkit.errors import Refusal
    from ftkit.tables import aligned

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=CHANGES, help=f"how often the slider is moved ({CHANGES})")
    parser.add_argument("--train", action="store_true", help="train a point, too")
    options = parser.parse_args(arguments)
    try:
        cards = [card for group in recorded.experiments(LESSON) for card in recorded.shipped(LESSON, group)]
        found = measure(cards, options.changes, options.train)
    except Refusal as error:
        print(f"widgets: {error}", file=sys.stderr)
        return 2
    rows = [["from key to picture, median", f"{found['median_picture_ms']:.0f} ms"],
            ["from key to picture, slowest", f"{max(found['picture_ms']):.0f} ms"]]
    if options.train:
        rows += [["from Train to the first point", f"{found['first_point_s']:.2f} s"],
                 ["from Stop to stopped", f"{found['stop_s']:.2f} s"]]
    print(aligned(["what", "time"], rows))
    print(write("widgets", found).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
