"""The commands: `ftkit doctor · lab · course · run · sweep · compare · plan · show · convert · tidy · check`.

Knows nothing that the modules know.

Each command imports what it needs when it is called, so that `ftkit --help` answers at once.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import ftkit
from ftkit import checkpoint_commands, plan_commands, sweep_commands
from ftkit.errors import Refusal, refusal

_SIDE_BY_SIDE = 4  # so many runs are shown as columns, more as rows


def main(arguments: list[str] | None = None) -> int:
    """The exit status of one command: 0 done, 1 a notebook failed or a file is not tidy, 2 refused.

    Args:
        arguments: the words after `ftkit`; those of the command line by default.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a console that can't show a character shows a question mark
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except Refusal as error:
        print(f"ftkit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ftkit: stopped", file=sys.stderr)
        return 130


def doctor(options) -> int:
    """Print what this machine can do and what to do about what it can't."""
    from ftkit.doctor import MISSING, diagnose
    from ftkit.files import read_json
    from ftkit.notebooks.course import lessons_in, notebooks_folder
    from ftkit.tables import aligned

    try:
        lessons = lessons_in(notebooks_folder())
    except Refusal as error:
        lessons = []
        print(f"ftkit: {error}", file=sys.stderr)
    needs = {path.stem: read_json(path)["metadata"].get("ftkit", {}).get("needs_gib", {}) for path in lessons}
    findings = diagnose(needs)
    print(aligned(["what", "state", "found", "remedy"],
                  [[one.name, one.state, one.value, one.remedy] for one in findings]))
    return 1 if any(one.state == MISSING for one in findings) else 0


def lab(options) -> int:
    """Fill or reset the learner's own folder of lessons, and open it in JupyterLab."""
    from ftkit.course import workspace
    from ftkit.notebooks.course import find_lesson, notebooks_folder

    folder = Path(options.folder or Path.home() / workspace.DEFAULT_FOLDER)
    shipped = notebooks_folder()
    first = find_lesson(options.lesson, shipped).name
    if options.reset:
        print(workspace.reset(folder, options.reset, shipped))
    for sentence in workspace.fill(folder, shipped):
        print(sentence)
    print(f"Your lessons are in {folder}")
    if options.no_open:
        return 0
    from ftkit.notebooks.kernel import kernel_env

    env = kernel_env({"FTKIT_HOME": str((folder / ".ftkit").resolve()), "JUPYTER_PREFER_ENV_PATH": "1"})
    opened = subprocess.Popen([sys.executable, "-m", "jupyterlab", first, *options.lab_options], cwd=folder, env=env)
    while True:
        try:
            return opened.wait()
        except KeyboardInterrupt:  # JupyterLab got it as well, and asks whether to stop
            continue


def course(options) -> int:
    """Run every lesson; keep executed copies, HTML pages and results.json."""
    from ftkit.notebooks.course import RESULTS, TINY_LIMIT_S, chosen_lessons, notebooks_folder, run_course

    source = Path(options.notebooks) if options.notebooks else notebooks_folder()
    limit_s = options.limit or (TINY_LIMIT_S if options.scale == "tiny" else None)
    lessons = chosen_lessons(source, options.lessons, options.scale)
    print(f"{len(lessons)} notebooks at scale {options.scale}", flush=True)
    results = []
    for result in run_course(source, options.build, options.scale, only=options.lessons, limit_s=limit_s):
        results.append(result)
        print(f"[{len(results)}/{len(lessons)}] {_line(result)}", flush=True)
    wrong = [result for result in results if result.status != "ok"]
    print(f"{len(results) - len(wrong)} ok, {len(wrong)} failed; see {Path(options.build) / RESULTS}")
    return 1 if wrong else 0


def run(options) -> int:
    """Run one notebook with parameters into a folder of its own."""
    from ftkit.notebooks.course import find_lesson, notebooks_folder
    from ftkit.notebooks.parameters import declared_parameters, located, parse_parameters
    from ftkit.notebooks.run import result_text, run_notebook
    from ftkit.units import seconds_to_words

    is_file = options.notebook.endswith(".ipynb") and Path(options.notebook).is_file()
    path = Path(options.notebook) if is_file else find_lesson(options.notebook, notebooks_folder())
    declared = declared_parameters(path)
    given = parse_parameters(declared, options.parameters, path.stem)
    given = {name: located(name, value) for name, value in given.items()}
    folder = Path(options.out or Path("runs") / f"{path.stem}-{_short_hash(path.stem, given)}")
    if "out_dir" in declared:
        given.setdefault("out_dir", ".")
    executed = folder / path.name
    print(f"{path.stem}: running in {folder}", flush=True)
    began_s = time.monotonic()
    result = run_notebook(path, executed, given, cwd=folder, limit_s=options.limit, on_section=lambda heading: print(
        f"{path.stem}: {heading}, {seconds_to_words(time.monotonic() - began_s)} so far", flush=True))
    print(_line(result))
    if result.status == "ok" and (text := result_text(executed)):
        print(text)
    places = [executed, executed.with_suffix(".html"), *sorted(folder.rglob("card.json"))]
    print("\n".join(f"  {place}" for place in places if place.is_file()))
    return 0 if result.status == "ok" else 1


def show(options) -> int:
    """Print the result of a run or a course as a table."""
    from ftkit.notebooks.course import RESULTS, read_results
    from ftkit.notebooks.parameters import near_files
    from ftkit.notebooks.run import read_result, result_text
    from ftkit.runs import collect
    from ftkit.tables import aligned

    folder = Path(options.folder)
    if not folder.is_dir():
        raise refusal("folder", "an existing folder of a run or a course", str(folder), near_files(folder))
    if (folder / RESULTS).is_file():
        rows = [[one.name, one.status, f"{one.seconds:.1f}", f"{one.peak_gib:.2f}", one.score, one.error]
                for one in read_results(folder)]
        print(aligned(["notebook", "status", "seconds", "peak GiB", "score", "error"], rows))
        return 0
    executed = [path for path in sorted(folder.glob("*.ipynb")) if read_result(path)]
    cards = sorted(folder.rglob("card.json"))
    if not executed and not cards:
        raise refusal("folder", "the folder of a run or a course", str(folder), f"It holds no {RESULTS}, no executed "
                      "notebook and no card.json.")
    for path in executed:
        print("\n".join(filter(None, [_line(read_result(path)[0]), result_text(path)])))
    if cards:
        print(_runs_as_text(collect(folder)))
    return 0


def tidy(options) -> int:
    """Put notebooks into their canonical form, or only say which are not."""
    from ftkit.notebooks.course import notebooks_folder
    from ftkit.notebooks.tidy import tidy_

    paths = [Path(path) for path in options.paths] or [notebooks_folder()]
    files = [file for path in paths for file in (sorted(path.glob("*.ipynb")) if path.is_dir() else [path])]
    changed = [path for path in files if tidy_(path, check=options.check)]
    for path in changed:
        print(f"{path}: {'not tidy' if options.check else 'tidied'}")
    return 1 if options.check and changed else 0


def check(options) -> int:
    """Print how far you are, or grade saved notebooks without opening them."""
    from ftkit.course import catalogue, progress, standing
    from ftkit.course.workspace import DEFAULT_FOLDER

    folder = Path(options.folder or Path.home() / DEFAULT_FOLDER) / ".ftkit"
    folder = folder if folder.is_dir() else None
    if standing.are_notebooks(options.what):
        return standing.grade_all(standing.notebooks_in(options.what), options.limit, options.memory,
                                  json_file=options.json, record_in=(folder or progress.home())
                                  if options.record else None)
    stems = [catalogue.find_lesson(name) for name in options.what] or (catalogue.lessons() if options.all else [])
    print(standing.exercises_table(stems, folder) if stems else standing.lessons_table(folder))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("ftkit", description="Learn and run fine-tuning, notebook by notebook.")
    parser.add_argument("--version", action="version", version=f"ftkit {ftkit.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(function, **words):
        added = commands.add_parser(function.__name__, help=function.__doc__.splitlines()[0],
                                    description=function.__doc__, **words)
        added.set_defaults(command=function)
        return added

    command(doctor)
    it = command(lab)
    it.add_argument("--folder", help="your folder of lessons (default: ftkit-lessons in your home folder)")
    it.add_argument("--lesson", default="00", help="the lesson to open (default: 00)")
    it.add_argument("--reset", metavar="LESSON", help="put one lesson back to its shipped form; yours is kept")
    it.add_argument("--no-open", action="store_true", help="only fill the folder")
    it.add_argument("lab_options", nargs="*", metavar="-- OPTION", help="options for JupyterLab, after --")
    it = command(course)
    it.add_argument("lessons", nargs="*", metavar="LESSON", help="stems or numbers (default: all)")
    it.add_argument("--scale", default="tiny", help="tiny (default), small or full")
    it.add_argument("--build", default=str(Path("build") / "course"), help="folder for the results")
    it.add_argument("--notebooks", help="folder with the lessons (default: those of the kit)")
    it.add_argument("--limit", type=float, metavar="SECONDS", help="for each notebook (default at tiny: 900)")
    it = command(run)
    it.add_argument("notebook", help="a lesson's stem or number, or a notebook file")
    it.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    it.add_argument("--out", help="folder for the results (default: runs/NOTEBOOK-HASH)")
    it.add_argument("--limit", type=float, metavar="SECONDS", help="for the notebook (default: none)")
    command(show).add_argument("folder", help="folder of a run or a course")
    sweep_commands.add_(command)
    plan_commands.add_(command)
    checkpoint_commands.add_(command)
    it = command(tidy)
    it.add_argument("paths", nargs="*", help="notebooks or folders (default: the lessons)")
    it.add_argument("--check", action="store_true", help="change nothing; exit 1 if a notebook is not tidy")
    _check_options(command(check))
    return parser


def _check_options(it: argparse.ArgumentParser):
    it.add_argument("what", nargs="*", metavar="LESSON|NOTEBOOK|FOLDER", help="lessons to tell about in full, or "
                    "notebooks to grade: 0 all passed, 1 some not, 2 refused")
    it.add_argument("--all", action="store_true", help="every exercise of every lesson")
    it.add_argument("--folder", help="your folder of lessons")
    it.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="for each answer (default: 60)")
    it.add_argument("--memory", type=float, default=2.0, metavar="GIB", help="for each answer (default: 2)")
    it.add_argument("--json", metavar="FILE", help="write the reports as data, too")
    it.add_argument("--record", action="store_true", help="note the answers in your progress")


def _line(result) -> str:
    parts = [result.name, result.status, f"{result.seconds:.1f} s", f"{result.peak_gib:.2f} GiB"]
    parts += [result.score] if result.score else []
    parts += ["done before, unchanged"] if result.skipped else []
    parts += [f"at cell {result.cell}"] if result.cell else []
    return "  ".join([*parts, result.error] if result.error else parts)


def _runs_as_text(table) -> str:
    """Runs side by side: status, time, metrics, and the parameters in which they differ; then what can't be read."""
    from ftkit.tables import aligned

    differ = {column for column in table.columns if table[column].astype(str).nunique() > 1}
    fields = [column for column in table.columns if column in ("run", "status", "seed", "elapsed_s")
              or column.startswith("metric.") or (column.startswith("param.") and column in differ)]
    cells = [[_cell(value) for value in row] for row in table[fields].values.tolist()]
    text = aligned(fields, cells)
    if 0 < len(cells) <= _SIDE_BY_SIDE:
        first, *rest = zip(fields, *cells, strict=True)
        text = aligned(first, rest)
    return "\n".join([*([text] if cells else []),
                      *(f"{one['run']}: {one['why']}" for one in table.attrs["unreadable"])])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.4g}"
    return "" if value is None else str(value)


def _short_hash(stem: str, given: dict) -> str:
    from ftkit.notebooks.run import parameters_hash

    return parameters_hash(stem, given)[:8]


if __name__ == "__main__":
    sys.exit(main())
