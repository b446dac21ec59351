"""The figures on a lesson's page and in the claims, made from run cards, so that prose and cards cannot drift apart.

A page holds a comment that names an experiment and its metrics, then the table, then a closing comment:

    <!-- cards first_finetune
    clinic_after: clinic after, share right
    -->
    (the table, made here)
    <!-- end of cards -->

With `cards main_job by method, learning_rate` the table has a row for each setting of these parameters.

Knows nothing about how the cards were measured.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from ftkit.cards import Card
from ftkit.course import recorded
from ftkit.errors import refusal
from ftkit.files import write_atomic

_BLOCK = re.compile(r"(<!-- cards (\w+)(?: by (\w+(?:, \w+)*))?\n(.*?)\n-->\n).*?(<!-- end of cards -->)", re.DOTALL)


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
    after = _BLOCK.sub(lambda found: f"{found[1]}{_table(path.stem, found, folder)}\n{found[5]}", before)
    return _write(path, before, after, check)


def refresh_claims(path: str | Path, evidence: Mapping[str, str], check: bool = False) -> bool:
    """Whether the evidence in rows of claims.md was not the given one; it is now, unless `check`.

    Args:
        path: the file, lessons/claims.md.
        evidence: by the claim's id, what stands in the row's column of evidence.
        check: only look.

    Raises:
        Refusal: a claim has no row.
    """
    before = after = Path(path).read_text("utf-8")
    for claim, words in evidence.items():
        row = next((line for line in before.splitlines() if line.startswith(f"| {claim} |")), None)
        if row is None:
            raise refusal(f"claim {claim}", f"a row of {Path(path).name}", "none")
        cells = row.split(" | ")
        after = after.replace(row, " | ".join([*cells[:3], words, *cells[4:]]))
    return _write(Path(path), before, after, check)


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The text of a page with tables in their places.

    Args:
        tables: by the name that stands in the comments around each: `<!-- name -->` and `<!-- end of name -->`.

    Raises:
        Refusal: a table has no place.

    Example:
        >>> filled("<!-- sizes -->\\nold\\n<!-- end of sizes -->", {"sizes": "| 1 |"}).splitlines()[1]
        '| 1 |'
    """
    for name, table in tables.items():
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if first not in text or last not in text:
            raise refusal(f"table {name}", "between its two comments on the page", "none")
        text = f"{text[:text.index(first) + len(first)]}{table}\n{text[text.index(last):]}"
    return text


def _write(path: Path, before: str, after: str, check: bool) -> bool:
    if after != before and not check:
        write_atomic(path, after)
    return after != before


def _table(stem: str, found: re.Match, folder: str | Path) -> str:
    experiment, parameters, metrics = found[2], found[3], {}
    for line in found[4].splitlines():
        metric, colon, words = line.partition(": ")
        if not colon:
            raise refusal(f"{stem}.md: cards {experiment}", "lines of the form `metric: words`", line)
        metrics[metric] = words
    cards = recorded.shipped(stem, experiment, folder)
    return _by_setting(cards, parameters.split(", "), metrics) if parameters else _by_metric(cards, metrics)


def _by_metric(cards: Sequence[Card], metrics: Mapping[str, str]) -> str:
    rows = ["| measured | mean | lowest | highest | seeds |", "|---|---|---|---|---|"]
    for metric, words in metrics.items():
        measured = recorded.values(cards, metric)
        figures = (f"{value:.3g}" for value in (fmean(measured), min(measured), max(measured)))
        rows.append(f"| {words} | {' | '.join(figures)} | {len(measured)} |")
    return "\n".join(rows)


def _by_setting(cards: Sequence[Card], parameters: Sequence[str], metrics: Mapping[str, str]) -> str:
    settings: dict[tuple, list[Card]] = {}
    for card in cards:
        settings.setdefault(tuple(card.parameters[name] for name in parameters), []).append(card)
    headers = [*(name.replace("_", " ") for name in parameters), *metrics.values(), "seeds"]
    rows = [f"| {' | '.join(headers)} |", "|---" * len(headers) + "|"]
    for setting, chosen in sorted(settings.items()):
        measured = [recorded.values(chosen, metric) for metric in metrics]
        figures = [f"{fmean(one):.3g} ({min(one):.3g} to {max(one):.3g})" for one in measured]
        rows.append(f"| {' | '.join([*map(_word, setting), *figures, str(len(chosen))])} |")
    return "\n".join(rows)


def _word(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
