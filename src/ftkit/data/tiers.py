"""Records in tiers from easy to hard. Knows nothing about what makes a record hard: a number for each says so."""

import math
from collections.abc import Callable, Sequence

from ftkit.data.records import question_and_answer
from ftkit.errors import refusal


def length(record: dict) -> int:
    """The characters of question and answer: the plainest guess at what is hard.

    Example:
        >>> length({"instruction": "2+3", "output": "5"})
        4
    """
    return sum(map(len, question_and_answer(record)))


def tiers(records: list[dict], difficulty: Callable[[dict], float] | Sequence[float] = length,
          count: int = 3) -> list[list[dict]]:
    """The records in so many tiers of equal size, give or take one, the easiest tier first.

    Within a tier the records stay in their old order; of records that are equally hard the earlier count as easier.

    Args:
        records: any.
        difficulty: a function of a record, or a number for each record: a score, or a model's loss on it.
        count: of tiers, at most as many as there are records.

    Raises:
        Refusal: too few records for so many tiers, as many numbers as records are not there, or one is not finite.

    Example:
        >>> [[record["text"] for record in tier] for tier in tiers([{"text": t} for t in ("ccc", "a", "bb")])]
        [['a'], ['bb'], ['ccc']]

    Taught in: 16_stages_and_tasks
    """
    if not 1 <= count <= len(records):
        raise refusal("count", f"between 1 and the number of records, {len(records)}", count)
    values = [difficulty(record) for record in records] if callable(difficulty) else list(difficulty)
    if len(values) != len(records):
        raise refusal("difficulty", f"one number for each of {len(records)} records", f"{len(values)} numbers")
    for place, value in enumerate(values):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise refusal(f"difficulty[{place}]", "a finite number", value, "Leave that record out.")
    order = sorted(range(len(records)), key=lambda place: (values[place], place))
    bounds = [len(records) * tier // count for tier in range(count + 1)]
    return [[records[place] for place in sorted(order[low:high])]
            for low, high in zip(bounds, bounds[1:], strict=False)]
