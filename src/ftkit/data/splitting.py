"""Records into a training part and a held-out part. Knows nothing about what the records say."""

import json
import random

from ftkit.chat import messages_of
from ftkit.errors import refusal


def split(records: list[dict], held_out_share: float = 0.1, seed: int = 0) -> tuple[list[dict], list[dict]]:
    """Two parts of the records, in their old order; records that ask exactly the same stay on one side.

    Args:
        records: as `reading.read` gives them.
        held_out_share: the part to hold out, between 0 and 1.
        seed: another seed holds out others; the same seed the same.

    Raises:
        Refusal: the share is not between 0 and 1, or there are fewer than two different prompts.

    Example:
        >>> train, held_out = split([{"instruction": str(i), "input": "", "output": "x"} for i in range(10)])
        >>> len(train), len(held_out)
        (9, 1)

    Taught in: 03_data
    """
    if not 0 < held_out_share < 1:
        raise refusal("held_out_share", "between 0 and 1", held_out_share, "Take 0.1 to begin with.")
    groups = _groups(records)
    if len(groups) < 2:
        raise refusal("records", "at least two different prompts, to split them", len(groups), "Give more records.")
    order = list(groups)
    random.Random(seed).shuffle(order)
    target = max(1, round(held_out_share * len(records)))
    held: set[int] = set()
    for group in order:
        if len(held) + len(group) <= target:
            held.update(group)
    held = held or set(min(order, key=len))  # every group is larger than the share
    if len(held) == len(records):
        held -= set(order[0])
    return ([record for place, record in enumerate(records) if place not in held],
            [record for place, record in enumerate(records) if place in held])


def duplicate_prompts(records: list[dict]) -> int:
    """How many records ask exactly what an earlier one asks.

    Example:
        >>> duplicate_prompts([{"instruction": "a"}, {"instruction": "b"}, {"instruction": "a"}])
        1
    """
    return len(records) - len(_groups(records))


def _groups(records: list[dict]) -> list[list[int]]:
    """The places of the records, those with the same prompt together."""
    groups: dict[str, list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(_prompt(record), []).append(place)
    return list(groups.values())


def _prompt(record: dict) -> str:
    """All that comes before the last answer, compared without white space around each turn."""
    messages = messages_of(record)
    asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return json.dumps([[turn["role"], turn["content"].strip()] for turn in asked], ensure_ascii=False)
