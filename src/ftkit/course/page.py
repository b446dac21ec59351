"""The figures on a lesson's page: tables made from its shipped run cards, so that prose and cards cannot drift apart.

A page holds a comment that names an experiment and its metrics, then the table, then a closing comment:

    <!-- cards first_finetune
    clinic_after: clinic after, share right
    -->
    (the table, made here)
    <!-- end of cards -->

Knows nothing about how the cards were measured.
"""

import re
from pathlib import Path
from statistics import fmean

from ftkit.course import recorded
from ftkit.errors import refusal
from ftkit.files import write_atomic

_BLOCK = re.compile(r"(<!-- cards (\w+)\n(.*?)\n-->\n).*?(<!-- end of cards -->)", re.DOTALL)


def refresh(path: str | Path, folder: str | Path = recorded.CARDS, check: bool = False) -> bool:
    """Whether the page's tables were not those of its cards; they are now, unless `check`.

    Args:
        path: the page, lessons/<stem>.md.
        folder: where the cards of all lessons stand.
        check: only look.

    Raises:
        Refusal: no such page, a line that names no metric, or cards that cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal("page", "an existing file", path.name, "Check the lesson's name.")
    before = path.read_text("utf-8")
    after = _BLOCK.sub(lambda found: f"{found[1]}{_table(path.stem, found[2], found[3], folder)}\n{found[4]}", before)
    if after != before and not check:
        write_atomic(path, after)
    return after != before


def _table(stem: str, experiment: str, lines: str, folder: str | Path) -> str:
    cards = recorded.shipped(stem, experiment, folder)
    rows = ["| measured | mean | lowest | highest | seeds |", "|---|---|---|---|---|"]
    for line in lines.splitlines():
        metric, colon, words = line.partition(": ")
        if not colon:
            raise refusal(f"{stem}.md: cards {experiment}", "lines of the form `metric: words`", line)
        measured = recorded.values(cards, metric)
        figures = (f"{value:.3g}" for value in (fmean(measured), min(measured), max(measured)))
        rows.append(f"| {words} | {' | '.join(figures)} | {len(measured)} |")
    return "\n".join(rows)
