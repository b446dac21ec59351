"""Makes the run cards that ship with a lesson: its own notebook once for each seed and setting, or a sweep.

    python benchmarks/lesson_cards.py 00_start_here [--seeds 5] [--build build/cards]
    python benchmarks/lesson_cards.py 05_rank_alpha_dropout [--jobs 2]

Each notebook is run up to its first cell tagged `experiment`, in a folder of its own. A lesson with a grid of trainings
in src/ftkit/course/assets/grids/<lesson>.json is swept instead. A run that is done is not repeated (of a notebook:
done and unchanged), so the command can be stopped and started again. Prints one line a run, writes
src/ftkit/course/assets/cards/<lesson>/<experiment>.json, and puts the figures into the page of the lesson.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import tuning  # noqa: E402

from ftkit.cards import CARD, Card, read_card  # noqa: E402
from ftkit.course import recorded  # noqa: E402
from ftkit.course.page import refresh  # noqa: E402
from ftkit.errors import refusal  # noqa: E402
from ftkit.files import read_json  # noqa: E402
from ftkit.notebooks.run import run_notebook, unchanged_result  # noqa: E402
from ftkit.sweep.executors import opened  # noqa: E402
from ftkit.sweep.planning import plan  # noqa: E402
from ftkit.sweep.points import POINTS  # noqa: E402
from ftkit.sweep.running import run  # noqa: E402
from ftkit.sweep.targets import find_target  # noqa: E402

SEEDS, JOBS = 5, 2
TRAINING = "ftkit.trials:run_trial"  # what a grid's points are parameters of
# lesson -> experiment (the name of its run cards) -> the settings that are run, each with every seed
EXPERIMENTS = {
    "00_start_here": {"first_finetune": [{}]},
    "01_why_finetune": {"main_job": [
        {"main_job_only": True, "method": "full", "learning_rate": 1e-5},
        {"main_job_only": True, "method": "full", "learning_rate": 5e-5},
        {"main_job_only": True, "method": "full", "learning_rate": 1e-3},
        {"main_job_only": True, "method": "lora", "learning_rate": 4e-3},
    ]},
    "02_lora_from_scratch": {
        "update": [{"part": "update"}],
        "start": [{"part": "start", "start_from": how} for how in ("B zero", "A zero", "both zero", "both random")],
    },
    "03_data": {"points": [{"every_point": True}]},
    "04_train_and_watch": {group: [{"points": group}] for group in (
        "recipe", "rates", "epochs", "remedies", "fixed")},
    "07_quantization_from_scratch": {"points": [{"every_point": True}]},
    "09_memory_and_cost": {"points": [{"every_point": True}]},
}


def measured_part(stem: str, folder: Path) -> Path:
    """A copy of the lesson's notebook without its first cell tagged `experiment` and all that follow it."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{stem}.ipynb", as_version=4)
    tagged = [place for place, cell in enumerate(notebook.cells) if "experiment" in cell.metadata.get("tags", [])]
    if not tagged:
        raise refusal(f"{stem}.ipynb", "a notebook with a cell tagged 'experiment'", "none")
    notebook.cells = notebook.cells[:tagged[0]]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{stem}.ipynb")
    return folder / f"{stem}.ipynb"


def measure(notebook: Path, experiment: str, setting: dict, seed: int, folder: Path) -> Card:
    """The card of one run of the notebook; of an earlier one where nothing has changed since."""
    parameters, executed = {**setting, "seed": seed, "out_dir": "."}, folder / notebook.name
    if not unchanged_result(notebook, executed, parameters):
        shutil.rmtree(folder, ignore_errors=True)  # what an older version of the kit recorded there would be taken up
    result = run_notebook(notebook, executed, parameters, cwd=folder)
    if result.status != "ok":
        raise refusal(f"{notebook.stem} with seed {seed}", "run through", f"{result.cell}: {result.error}")
    found = [card for path in sorted(folder.rglob(CARD)) if (card := read_card(path)).name == experiment]
    if len(found) != 1:
        raise refusal(f"{notebook.stem} with seed {seed}", f"one finished card named {experiment}", len(found))
    kept = "done before" if result.skipped else f"{result.seconds:.0f} s"
    print(f"{experiment} {setting or ''} seed {seed}: {kept}  "
          + "  ".join(f"{name} {value:.4g}" for name, value in found[0].metrics.items() if isinstance(value, float)),
          flush=True)
    return found[0]


def cards_of(points: Sequence[Mapping], folder: Path, jobs: int = JOBS) -> list[Card]:
    """The cards of trainings with these parameters, seeds included, in their order; what is done is not run again."""
    target = find_target(TRAINING)
    asked = plan(target, points, out=folder)
    with opened("forked", jobs) as (executor, at_once), closing(run(asked, executor, at_once)) as steps:
        for step in steps:
            left = f", about {step.left_s / 60:.0f} min left" if step.left_s else ""
            print(f"{step.point.id}: {step.point.error or step.point.status} ({step.done} of {step.total}{left})",
                  flush=True)
    names = [plan(target, [point], out=folder).points[0].id for point in points]
    return [read_card(folder / POINTS / name / "run") for name in names]


def swept(grid: Mapping, folder: Path, jobs: int = JOBS) -> dict[str, list[Card]]:
    """The cards of each group of a grid of trainings; a training that stands in several groups is run once."""
    groups = {name: [{**point, "seed": seed} for point in group["points"]
                     for seed in range(group.get("seeds", grid["seeds"]))]
              for name, group in grid["groups"].items()}
    cards_of([point for points in groups.values() for point in points], folder, jobs)
    return {name: cards_of(points, folder, jobs) for name, points in groups.items()}


def trained(grid: Mapping, folder: Path, jobs: int = JOBS) -> dict[str, list[Card]]:
    """The cards of each group of a grid, or of a plan in which what is run depends on what came before."""
    if "methods" not in grid:
        return swept(grid, folder, jobs)
    return tuning.measured(grid, lambda points: cards_of(points, folder, jobs))


def run_again(lesson: str, build: Path, seeds: int) -> dict[str, list[Card]]:
    """The cards of each experiment of a lesson's notebook."""
    notebook = measured_part(lesson, build)
    return {experiment: [measure(notebook, experiment, setting, seed, build / f"{experiment}-{place}-{seed}")
                         for place, setting in enumerate(settings) for seed in range(seeds)]
            for experiment, settings in EXPERIMENTS[lesson].items()}


def main() -> None:
    """Runs what is missing and writes the cards of one lesson."""
    shipped = ROOT / "src" / "ftkit" / "course" / "assets" / "cards"
    grids = {path.stem: path for path in (shipped.parent / "grids").glob("*.json")}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lesson", choices=sorted({*EXPERIMENTS, *grids}))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each setting; a grid says its own")
    parser.add_argument("--jobs", type=int, default=JOBS, help="trainings of a grid at once")
    parser.add_argument("--build", default=str(ROOT / "build" / "cards"))
    options = parser.parse_args()
    build = Path(options.build) / options.lesson
    found = (trained(read_json(grids[options.lesson]), build, options.jobs) if options.lesson in grids
             else run_again(options.lesson, build, options.seeds))
    for experiment, cards in found.items():
        fewest = 1 if experiment == tuning.GROUP else recorded.FEWEST_SEEDS  # it chose a rate, and is not reported
        print(recorded.ship(options.lesson, experiment, cards, shipped, fewest).relative_to(ROOT))
    if refresh(ROOT / "lessons" / f"{options.lesson}.md", shipped):
        print(f"lessons/{options.lesson}.md: figures renewed")


if __name__ == "__main__":
    main()
