"""A sweep's folder: what was asked for, and a folder with a record for each point. Knows nothing about running them.

    sweep.json               the target, and every point ever asked for here
    points/ID/point.json     a point's parameters, how it stands, what came out
    points/ID/               what the point itself wrote; log.txt holds what it printed

A point's record is written whole or not at all: a kill at any moment leaves the folder readable.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ftkit.errors import Refusal, refusal
from ftkit.files import read_json, write_json

SWEEP, POINTS, POINT, LOG = "sweep.json", "points", "point.json", "log.txt"
STATUSES = ("waiting", "running", "done", "failed", "pruned", "stopped")
SCHEMA = 1
_WORDS_LENGTH = 60  # of a folder's name, before the hash


@dataclass(frozen=True)
class Point:
    """One point: what it is given, how it stands, what came out.

    Args:
        id: readable words and a hash of the parameters.
        status: "done", "failed", "pruned" and "stopped" are what they say; "running" may be one that was killed.
        metrics: what the function returned, or what the run cards of a notebook hold.
        error: why it is not done, in one sentence.
        elapsed_s: of the last attempt.
        peak_gib: resident peak of its process, where the system tells it.
        attempts: how often it was started.
        source: a hash of the code that ran, see `Target.source`; empty where it is not known.
    """

    id: str
    parameters: Mapping
    status: str = "waiting"
    metrics: Mapping = field(default_factory=dict)
    error: str | None = None
    elapsed_s: float | None = None
    peak_gib: float | None = None
    attempts: int = 0
    source: str = ""

    def __post_init__(self):
        if self.status not in STATUSES:
            raise refusal(f"status of {self.id}", f"one of {', '.join(STATUSES)}", self.status)


def point_hash(parameters: Mapping) -> str:
    """Eight characters that are the same for the same parameters, whatever their order.

    Example:
        >>> point_hash({"rank": 4, "seed": 1}) == point_hash({"seed": 1, "rank": 4})
        True
    """
    return hashlib.sha256(json.dumps(parameters, sort_keys=True, default=str).encode()).hexdigest()[:8]


def named(settings: Sequence[Mapping], folder: Path | None = None, words: Sequence[str] = ()) -> list[Point]:
    """A point for each of the parameters; those that the folder holds already keep the names they have there.

    Args:
        words: the parameters that are told in the name; empty takes those that tell the points apart.
    """
    there = {name[-8:]: name for name in _names_in(folder)} if folder else {}
    differ = words or _differing(settings)
    usual = {name: Counter(repr(one.get(name)) for one in settings).most_common(1)[0][0] for name in differ}
    points = []
    for parameters in settings:
        key = point_hash(parameters)
        points.append(Point(there.get(key) or _words(parameters, differ, usual) + key, dict(parameters)))
    return points


def _names_in(folder: Path) -> list[str]:
    """Of all points of a folder, those among them that were noted and never begun."""
    return [*(entry["id"] for entry in read_sweep(folder).get("points", ())),
            *(path.name for path in sorted((folder / POINTS).glob("*")))]


def read_point(folder: Path, point: Point) -> Point:
    """The point as its folder has it; as given where there is no record, or one that cannot be read.

    Raises:
        Refusal: the record is of other parameters.
    """
    path = folder / POINTS / point.id / POINT
    try:
        stored = Point(**read_json(path))
    except (Refusal, TypeError):
        return point
    if point_hash(stored.parameters) != point_hash(point.parameters):
        raise refusal(f"{point.id}/{POINT}", "of the parameters that its name stands for", stored.parameters,
                      "Delete that folder.")
    return stored


def write_point(folder: Path, point: Point) -> Point:
    """The point, written to its folder."""
    write_json(folder / POINTS / point.id / POINT, asdict(point))
    return point


def stored_points(folder: Path) -> Iterator[Point]:
    """Every point that the folder's sweep.json knows, as it stands."""
    for entry in read_sweep(folder).get("points", ()):
        yield read_point(folder, Point(entry["id"], entry["parameters"]))


def read_sweep(folder: Path) -> dict:
    """What was asked for here so far; empty for a new folder.

    Raises:
        Refusal: sweep.json is damaged or of a newer ftkit.
    """
    if not (folder / SWEEP).is_file():
        return {}
    content = read_json(folder / SWEEP)
    if not isinstance(content, dict) or not isinstance(content.get("points"), list):
        raise refusal(f"{folder.name}/{SWEEP}", "what a sweep wrote", content, "Choose another folder.")
    if content.get("schema", 0) > SCHEMA:
        raise refusal(f"{folder.name}/{SWEEP}", f"of schema {SCHEMA} or less", content["schema"], "Upgrade ftkit.")
    return content


def begin(folder: Path, target: str, points: Sequence[Point], asked: Mapping | None = None) -> None:
    """Notes the points in sweep.json, beside those of earlier times.

    Args:
        target: the name of what is swept.
        asked: what to note besides; None keeps what is noted.

    Raises:
        Refusal: the folder belongs to a sweep of something else, or to no sweep at all.
    """
    earlier = read_sweep(folder)
    strangers = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if not earlier else []
    if strangers:
        raise refusal("sweep folder", "a new, an empty or a sweep's folder", f"{folder.name} with {strangers[0]}",
                      "Choose another folder with --out.")
    if earlier and earlier.get("target") != target:
        raise refusal(f"sweep folder {folder.name}", f"one of {target}", f"one of {earlier.get('target')}",
                      "Choose another folder with --out.")
    known = {entry["id"]: entry for entry in earlier.get("points", [])}
    known |= {one.id: {"id": one.id, "parameters": dict(one.parameters)} for one in points}
    write_json(folder / SWEEP, {**earlier, "schema": SCHEMA, "target": target, **(asked or {}),
                                "points": list(known.values())})


def _differing(settings: Sequence[Mapping]) -> list[str]:
    """The parameters that tell the points apart, in the order they come in."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    return [name for name in names
            if len({json.dumps(one.get(name), default=str) for one in settings}) > 1] or names[:1]


def _words(parameters: Mapping, differ: Sequence[str], usual: Mapping[str, str]) -> str:
    """What tells a point apart; where all of it is too long, what is not as in most points."""
    told = [name for name in differ if name in parameters]
    words = {name: f"{name}={_slug(parameters[name])}-" for name in told}
    if sum(map(len, words.values())) > _WORDS_LENGTH:
        words = {name: word for name, word in words.items() if repr(parameters[name]) != usual[name]}
    kept = ""
    for word in words.values():
        kept += word if len(kept) + len(word) <= _WORDS_LENGTH else ""
    return kept


def _slug(value: object) -> str:
    text = str(value).replace("\\", "/").rstrip("/").rpartition("/")[2] if isinstance(value, str) else str(value)
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_")[:24] or "_"
