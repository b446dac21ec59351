"""Every lesson's notebook, one after the other, with one table of results. Knows nothing about what they teach."""

import os
import re
import shutil
import site
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import ftkit
from ftkit.errors import Refusal, refusal, unknown
from ftkit.files import read_json, write_json
from ftkit.notebooks.parameters import SCALES, near_files
from ftkit.notebooks.run import Result, failed, run_notebook, unchanged_result

TINY_LIMIT_S = 900.0  # ten times what a lesson is held to, for machines far slower than two cores
_LESSON = re.compile(r"\d\d_\w+\.ipynb")
RESULTS = "results.json"


def notebooks_folder() -> Path:
    """The folder with the lessons as they shipped: of the checkout, or of the installed package.

    The variable FTKIT_NOTEBOOKS names another one.

    Raises:
        Refusal: there is none.
    """
    if named := os.environ.get("FTKIT_NOTEBOOKS"):
        if not lessons_in(named):
            raise refusal("FTKIT_NOTEBOOKS", "a folder with lessons (NN_stem.ipynb)", Path(named).name)
        return Path(named)
    shared = Path("share", "ftkit", "notebooks")
    places = [Path(ftkit.__file__).resolve().parents[2] / "notebooks", Path(sysconfig.get_path("data")) / shared,
              Path(site.getuserbase()) / shared]
    for place in places:
        if lessons_in(place):
            return place
    raise refusal("lessons", "in the checkout or installed with the package", "none found",
                  "Clone the repository and run pip install -e . in it, or set FTKIT_NOTEBOOKS.")


def lessons_in(folder: str | Path) -> list[Path]:
    """The lessons' notebooks in a folder, in order."""
    folder = Path(folder)
    return sorted(path for path in folder.glob("*.ipynb") if _LESSON.fullmatch(path.name)) if folder.is_dir() else []


def find_lesson(name: str, folder: str | Path) -> Path:
    """The notebook of one lesson, named by its stem, by its number, or by a path.

    Raises:
        Refusal: no such lesson, or no such file.
    """
    lessons = {path.stem: path for path in lessons_in(folder)}
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    stem = Path(name).stem if name.endswith(".ipynb") else name
    if name.endswith(".ipynb") and (stem not in lessons or Path(name).name != name):
        raise refusal("notebook", "an existing file, or the name of a lesson", name, near_files(Path(name)))
    numbered = [path for path in lessons.values() if path.stem.split("_")[0] == stem.zfill(2)]
    if stem in lessons or len(numbered) == 1:
        return lessons.get(stem) or numbered[0]
    raise unknown("lesson", name, lessons, "Its number is enough.")


def run_course(notebooks_dir: str | Path, build_dir: str | Path, scale: str = "tiny", *, only: Iterable[str] = (),
               limit_s: float | None = TINY_LIMIT_S) -> Iterator[Result]:
    """One result a notebook, as each is done; the table so far is kept in `results.json` under the build folder.

    One notebook's failure does not stop the others. Each works in an empty folder of its own, so that every lesson
    is seen to start alone.

    Args:
        notebooks_dir: the folder with the lessons; never written to.
        build_dir: where executed copies, HTML pages and results go.
        scale: the dial, given to every notebook.
        only: stems or numbers of lessons; all of them when empty.
        limit_s: seconds for each notebook; None for no limit.

    Raises:
        Refusal: an unknown scale or lesson, or no lesson at all.
    """
    build_dir, results = Path(build_dir), []
    for path in chosen_lessons(notebooks_dir, only, scale):
        try:
            result = _run_lesson(path, build_dir, scale, limit_s)
        except Refusal as error:
            result = failed(path.stem, error)
        results.append(result)
        write_json(build_dir / RESULTS, [asdict(row) for row in results])
        yield result


def chosen_lessons(notebooks_dir: str | Path, only: Iterable[str] = (), scale: str = "tiny") -> list[Path]:
    """The notebooks that `run_course` runs, in order.

    Raises:
        Refusal: an unknown scale or lesson, or no lesson at all.
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    lessons = [find_lesson(name, notebooks_dir) for name in only] or lessons_in(notebooks_dir)
    if not lessons:
        raise refusal("notebooks", "a folder with lessons (NN_stem.ipynb)", Path(notebooks_dir).name)
    return lessons


def read_results(build_dir: str | Path) -> list[Result]:
    """The results that `run_course` left in a folder.

    Raises:
        Refusal: the file is missing or is no table of results.
    """
    rows = read_json(Path(build_dir) / RESULTS)
    try:
        return [Result(**row) for row in rows]
    except TypeError as error:
        raise refusal(RESULTS, "a list of results of this version", str(error), "Run the course again.") from error


def _run_lesson(path: Path, build_dir: Path, scale: str, limit_s: float | None) -> Result:
    executed, cwd = build_dir / path.name, build_dir / path.stem
    parameters = {"scale": scale, "out_dir": "."}
    earlier = unchanged_result(path, executed, parameters)
    if earlier:
        return earlier
    shutil.rmtree(cwd, ignore_errors=True)
    return run_notebook(path, executed, parameters, cwd=cwd, limit_s=limit_s)
