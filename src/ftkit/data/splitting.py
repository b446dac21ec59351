"""Records into a training part and a held-out part. Knows nothing about what the records say."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ftkit.chat import messages_of
from ftkit.data.duplicates import clusters
from ftkit.data.records import check_records, compared
from ftkit.data.workers import Workers
from ftkit.errors import nearest, refusal

_LONG_QUESTION = 12  # characters without spaces, from which the same input is the same question


def split(records: list[dict], held_out_share: float = 0.1, seed: int = 0, *,
          stratify_by: str | Callable[[dict], object] | None = None, near: float | None = None,
          workers: Workers | None = None) -> tuple[list[dict], list[dict]]:
    """Two parts of the records, in their old order; records that ask the same stay on one side.

    Args:
        records: as `reading.read` gives them.
        held_out_share: the part to hold out, between 0 and 1.
        seed: another seed holds out others; the same seed the same.
        stratify_by: a field, or a function of a record: each of its values is held out in the same share, as far as
            whole groups of records that ask the same allow it.
        near: also keep together what asks nearly the same: questions linked by a Jaccard similarity of at least this,
            above 0 and at most 1 (see `duplicates.clusters`), whatever their system turn; the same question in the
            instruction of one and the input of another; and a dialogue with those that go on from it. None keeps
            together only those that ask exactly the same. Short questions that differ in a word are not seen as near.
        workers: the pool to compare questions in; None does it in this process.

    Raises:
        Refusal: the share is not between 0 and 1, there are fewer than two different prompts, or a record has no such
            field to stratify by.

    Example:
        >>> train, held_out = split([{"instruction": str(i), "input": "", "output": "x"} for i in range(10)])
        >>> len(train), len(held_out)
        (9, 1)

    Taught in: 03_data
    """
    if isinstance(held_out_share, str) or not 0 < held_out_share < 1:
        raise refusal("held_out_share", "between 0 and 1", held_out_share, "Take 0.1 to begin with.")
    check_records(records)
    groups = _groups(records, near, workers)
    if len(groups) < 2:
        what = "different prompts" if near is None else f"prompts less alike than {near}"
        looser = "" if near is None else " Or take near=None, which keeps together only what asks the same."
        raise refusal("records", f"at least two {what}, to split them", len(groups), f"Give more records.{looser}")
    order = list(groups)
    random.Random(seed).shuffle(order)
    target = max(1, round(held_out_share * len(records)))
    held: set[int] = set()
    for stratum, most in _targets(order, records, stratify_by, target):
        taken = 0
        for group in stratum:
            if taken + len(group) <= most:
                held.update(group)
                taken += len(group)
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


def _targets(order: list[list[int]], records: list[dict], stratify_by: str | Callable | None,
             target: int) -> list[tuple[list[list[int]], int]]:
    """The groups of each stratum, and how many of its records to hold out; largest remainders share out the rest."""
    if stratify_by is None:
        return [(order, target)]
    value = [_value(record, stratify_by, place) for place, record in enumerate(records)]
    strata: dict[str, list[list[int]]] = {}
    for group in order:  # a group of several values goes by the most frequent of them
        strata.setdefault(Counter(value[place] for place in group).most_common(1)[0][0], []).append(group)
    names = sorted(strata)
    exact = [target * sum(map(len, strata[name])) / len(records) for name in names]
    quotas = [int(share) for share in exact]
    left = sorted(range(len(names)), key=lambda at: (quotas[at] - exact[at], names[at]))
    for at in left[:target - sum(quotas)]:
        quotas[at] += 1
    return [(strata[name], quota) for name, quota in zip(names, quotas, strict=True)]


def _value(record: dict, stratify_by: str | Callable[[dict], object], place: int) -> str:
    if callable(stratify_by):
        return repr(stratify_by(record))
    if stratify_by not in record:
        near = nearest(stratify_by, record)
        raise refusal("stratify_by", "a field of every record, or a function of a record", stratify_by,
                      f"records[{place}] has {', '.join(record)}." + (f" Is {near[0]} meant?" if near else ""))
    return repr(record[stratify_by])


def _groups(records: list[dict], near: float | None = None, workers: Workers | None = None) -> list[list[int]]:
    """The places of the records, those with the same prompt together, and those with nearly the same if asked for."""
    groups: dict[object, list[int]] = {}
    for place, record in enumerate(records):
        groups.setdefault(_prompt(record), []).append(place)
    if near is None:
        return list(groups.values())
    leaders = clusters([_asked(records[group[0]]) for group in groups.values()], near, workers=workers)
    linked: dict[int, list[int]] = {}
    for leader, group in zip(leaders, groups.values(), strict=True):
        linked.setdefault(leader, []).extend(group)
    return _joined([sorted(group) for group in linked.values()], [*_beginnings(records), *_same_questions(records)])


def _beginnings(records: list[dict]) -> Iterator[tuple[int, int]]:
    """Pairs of places where one dialogue goes on from the whole of another: its answers would leak."""
    talks = {place: [f"{turn['role']}: {turn['content'].strip()}" for turn in record["messages"]
                     if turn["role"] != "system"] for place, record in enumerate(records) if record.get("messages")}
    ends = {tuple(turns): place for place, turns in reversed(talks.items())}
    for place, turns in talks.items():
        for count in range(2, len(turns), 2):
            if tuple(turns[:count]) in ends:
                yield place, ends[tuple(turns[:count])]


def _same_questions(records: list[dict]) -> Iterator[tuple[int, int]]:
    """Pairs of places where the instruction of one, or its input, is that of another, and no mere "none"."""
    first: dict[str, int] = {}
    for place, record in enumerate(records):
        if not record.get("messages"):
            question = "".join(compared(record)[0].split()).casefold()
            if len(question) >= _LONG_QUESTION:
                yield place, first.setdefault(question, place)


def _joined(groups: list[list[int]], pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The groups, those with a pair between them made one."""
    leader = {place: number for number, group in enumerate(groups) for place in group}
    joined = list(groups)
    for pair in pairs:
        one, two = sorted(leader[place] for place in pair)
        if one != two:
            leader |= dict.fromkeys(joined[two], one)
            joined[one], joined[two] = joined[one] + joined[two], []
    return [sorted(group) for group in joined if group]


def _prompt(record: dict) -> str:
    """All that comes before the last answer, compared without white space around each turn; a text alone is itself."""
    if isinstance(record.get("text"), str) and record.get("instruction") is None and not record.get("messages"):
        return record["text"].strip()
    messages = messages_of(record)
    asked = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return json.dumps([[turn["role"], turn["content"].strip()] for turn in asked], ensure_ascii=False)


def _asked(record: dict) -> tuple[str, ...]:
    asked, before, answer = compared(record)
    return (asked, before) if asked or before else (answer,)
