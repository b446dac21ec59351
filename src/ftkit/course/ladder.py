"""What each change to a QLoRA step was worth on a GPU, as `benchmarks/gpu_7b.py` measured it, or that nobody has.

Knows nothing about how it is measured, nor about trainings.
"""

from pathlib import Path

from ftkit.course.table import Table
from ftkit.files import read_json

MEASURED = Path(__file__).parent / "assets" / "gpu_7b.json"
"""A copy of the benchmark's results; missing as long as no GPU has been at hand."""

NOT_MEASURED = "not measured: no GPU was at hand; `make bench-gpu` measures it in under ten minutes"


def ladder_table(path: str | Path = MEASURED) -> Table:
    """The changes one after the other, each with what it adds to those above it, and what it is worth alone.

    Args:
        path: the results; where the file is missing, the table says so.

    Example:
        >>> ladder_table("nowhere.json").headers
        ('training', 'tokens/s', 'times the row above', 'alone, times', 'of the matmul rate', 'peak GiB')
    """
    rows = read_json(path)["rows"] if Path(path).is_file() else []
    start = next((_speed(row) for row in rows if row["group"] == "together" and "label positions" in row["arm"]), None)
    alone = {row["arm"]: _speed(row) for row in rows if row["group"] == "alone"}
    lines, before = [], None
    for row in (row for row in rows if row["group"] == "together"):
        speed = _speed(row)
        lines.append([row["arm"], _shown(speed, ",.0f") if speed else row["status"], _times(speed, before),
                      _times(alone.get(row["arm"]), start), _shown(row.get("matmul_share"), ".2f"),
                      _shown(row.get("peak_allocated_gib"), ".1f")])
        before = speed
    return Table(("training", "tokens/s", "times the row above", "alone, times", "of the matmul rate", "peak GiB"),
                 lines or [[NOT_MEASURED, *[None] * 5]])


def goals_table(path: str | Path = MEASURED) -> Table:
    """What was aimed at for 7 B models on one H200, and what was measured.

    Args:
        path: as for `ladder_table`.
    """
    found = read_json(path)["goals"] if Path(path).is_file() else []
    return Table(("aim", "at least or at most", "measured"), [
        [one["goal"], f"{one['rule']} {one['limit']:,}", _shown(one["measured"], ",.2f") or "not measured"]
        for one in found] or [[NOT_MEASURED, None, None]])


def _speed(row: dict) -> float | None:
    return row.get("tokens_per_s") if row["status"] == "measured" else None


def _times(speed: float | None, before: float | None) -> str | None:
    return f"{speed / before:.2f}" if speed and before else None


def _shown(number: float | None, form: str) -> str | None:
    return None if number is None else format(number, form)
