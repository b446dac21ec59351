"""What is asked for, as a list of points: a product, a star, a list, with constraints and seeds. Nothing is run.

Knows nothing about processes or folders. Seeds are part of a point's parameters: repeats are points of their own.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from ftkit.decoding import decode
from ftkit.errors import refusal, unknown
from ftkit.files import read_json
from ftkit.sweep.expressions import Constraint, read_constraint
from ftkit.sweep.targets import NUMBER, SEED, Target, literal

Seeds = int | Sequence[int] | None


@dataclass(frozen=True)
class Grid:
    """What is asked for; `points_of` makes the points.

    Args:
        grid: values by parameter; every combination is a point.
        fixed: the same for all points, unless a point says otherwise.
        points: points written out.
        star: a "centre" and "values" by parameter: the centre, and one change at a time.
        constraints: see `expressions`; "a = …" sets a parameter, a comparison keeps or drops a point.
        seeds: so many from 0, or which; None leaves the seed alone.
        groups: by name, a part with `grid`, `fixed`, `points`, `star`, `constraints`, `seeds` of its own; what it does
            not say is taken from here.
        target: what it is for, as on the command line; empty says nothing.
    """

    grid: Mapping[str, Sequence] = field(default_factory=dict)
    fixed: Mapping = field(default_factory=dict)
    points: Sequence[Mapping] = ()
    star: Mapping = field(default_factory=dict)
    constraints: Sequence[str] = ()
    seeds: Seeds = None
    groups: Mapping[str, Mapping] = field(default_factory=dict)
    target: str = ""

    def __post_init__(self):
        for name, kind, words in (("grid", Mapping, "an object"), ("fixed", Mapping, "an object"),
                                  ("star", Mapping, "an object"), ("groups", Mapping, "an object"),
                                  ("points", Sequence, "a list"), ("constraints", Sequence, "a list")):
            if not isinstance(getattr(self, name), kind) or isinstance(getattr(self, name), str):
                raise refusal(f"{name} of a grid", words, getattr(self, name))
        for name, values in (*self.grid.items(), *self.star.get("values", {}).items()):
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise refusal(f"values of {name}", "a list with one value or more", values)
        for word in self.star.keys() - {"centre", "values"}:
            raise unknown("part of a star", word, ["centre", "values"])
        if any(not isinstance(point, Mapping) for point in self.points):
            raise refusal("points of a grid", "objects with parameters", list(self.points))


def points_of(asked: Grid, target: Target, may_be_empty: bool = False) -> list[dict]:
    """The parameters of every point, checked, none twice; the first seed of all settings comes first.

    Args:
        may_be_empty: whether constraints may drop them all.

    Raises:
        Refusal: an unknown parameter or a wrong value, a constraint that cannot be, seeds for a target that takes
            none, or no point at all.
    """
    by_seed: dict[int, list] = {}
    for part in _parts(asked):
        for parameters in _settings(part, target):
            for place, seed in enumerate(seed_list(part.seeds, target, parameters)):
                seeded = parameters if seed is None else {**parameters, SEED: seed}
                by_seed.setdefault(place, []).append(target.check(seeded))
    unique = {json.dumps(one, sort_keys=True, default=str): one for many in by_seed.values() for one in many}
    if not unique and not may_be_empty:
        raise refusal("grid", "one with points in it", "none", "Give --grid NAME=VALUE,VALUE, or loosen a constraint.")
    return list(unique.values())


def seed_list(seeds: Seeds, target: Target, parameters: Mapping = ()) -> list:
    """The seeds of a point; `[None]` where none was asked for.

    Raises:
        Refusal: a count below 1, repeated or negative seeds, or a target without a parameter `seed`.
    """
    if seeds is None:
        return [None]
    many = list(range(seeds)) if isinstance(seeds, int) and not isinstance(seeds, bool) else seeds
    if not isinstance(many, Sequence) or isinstance(many, str) or not many or len(set(many)) < len(many) \
            or any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in many):
        raise refusal("seeds", "1 or more, or a list of different whole numbers from 0", seeds)
    if SEED in parameters:
        raise refusal("seeds", "given once", f"seeds, and {SEED} as a parameter", "Keep one of the two.")
    if not target.takes_seed:
        if seeds in (1, [0]):
            return [None]
        raise refusal("seeds", f"left out: {target.name} has no parameter seed", seeds,
                      "Without one, repeats would be the same run.")
    return list(many)


def read_grid(path: str | Path, target: Target) -> Grid:
    """A grid from a file: JSON with the parts of `Grid`, a JSON list of points, JSON lines, or CSV with a header.

    Raises:
        Refusal: the file is missing or is none of these; the sentence names file and line.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return Grid(points=_csv_points(path, target))
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        return Grid(points=_line_points(path))
    content = read_json(path)
    if isinstance(content, list):
        return Grid(points=content)
    if not isinstance(content, dict):
        raise refusal(path.name, "an object with a grid, or a list of points", content)
    return _grid_of(content, path.name)


def grid_of_texts(texts: Sequence[str], target: Target) -> dict[str, list]:
    """Values by parameter from `name=value,value` texts, read as the target's declared types.

    A value that holds a comma is written as JSON: `target_modules='["q_proj,v_proj","all-linear"]'`.

    Raises:
        Refusal: a text without `=`, a name twice or unknown, a value of another type or twice.
    """
    values = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or not listed:
            raise refusal("--grid", "name=value,value", text, "Write for example --grid rank=2,4,8.")
        if name in values:
            raise refusal(f"--grid {name}", "given once", "twice", "Join the values with commas.")
        target.check_name(name)
        many = literal(listed) if listed.startswith("[") else None
        values[name] = many if isinstance(many, list) else [target.parse(name, one) for one in listed.split(",")]
        if len({json.dumps(one, default=str) for one in values[name]}) < len(values[name]):
            raise refusal(f"--grid {name}", "different values", listed, "A repeat needs another seed: use --seeds.")
    return values


def _grid_of(content: Mapping, where: str) -> Grid:
    known = [one.name for one in fields(Grid)]
    for word in content:
        if word not in known:
            raise unknown(f"part of {where}", word, known)
    return Grid(**content)


def _parts(asked: Grid) -> Iterator[Grid]:
    if asked.grid or asked.points or asked.star or not asked.groups:
        yield asked
    for name, group in asked.groups.items():
        if not isinstance(group, Mapping):
            raise refusal(f"group {name}", "an object with points or a grid", group)
        own = _grid_of(group, f"group {name}")
        yield Grid(own.grid, {**asked.fixed, **own.fixed}, own.points, own.star,
                   [*asked.constraints, *own.constraints], asked.seeds if own.seeds is None else own.seeds)


def _settings(part: Grid, target: Target) -> Iterator[dict]:
    constraints = [read_constraint(text) for text in part.constraints]
    for parameters in _written(part):
        if (kept := _constrained({**part.fixed, **parameters}, parameters, constraints, target)) is not None:
            yield kept


def _written(part: Grid) -> Iterator[dict]:
    """The points before constraints: the product, the star, the list; a lone `fixed` is a point, too."""
    if part.grid:
        for combination in itertools.product(*part.grid.values()):
            yield dict(zip(part.grid, combination, strict=True))
    if part.star:
        centre = part.star.get("centre", {})
        yield dict(centre)
        for name, values in part.star.get("values", {}).items():
            yield from ({**centre, name: value} for value in values)
    yield from (dict(point) for point in part.points)
    if part.fixed and not (part.grid or part.star or part.points):
        yield {}


def _constrained(parameters: dict, own: Mapping, constraints: Sequence[Constraint], target: Target) -> dict | None:
    """The point with what is derived set, in the order written; None where a comparison drops it."""
    known = {name: one.default for name, one in target.declared.items() if one.default is not None}
    for constraint in constraints:
        value = constraint.value({**known, **parameters})
        if not constraint.derives:
            if not value:
                return None
            continue
        if constraint.derives in own:
            raise refusal(f"{constraint.derives} of a point", "either given or derived",
                          f"both, by {constraint.text!r}", "Take it out of the grid, or drop the constraint.")
        parameters = {**parameters, constraint.derives: _whole(value, constraint.derives, target)}
    return parameters


def _whole(value: object, name: str, target: Target) -> object:
    """The value as a whole number where one is declared and it is one: 8 / 2 is 4."""
    declared = target.declared.get(name)
    takes_whole = declared is not None and declared.type in ("int", NUMBER)
    return int(value) if takes_whole and isinstance(value, float) and value.is_integer() else value


def _text_of(path: Path) -> str:
    """The text, in whatever encoding a spreadsheet left it."""
    return decode(path.read_bytes(), path.name)[0]


def _csv_points(path: Path, target: Target) -> list[dict]:
    if not path.is_file():
        raise refusal("grid file", "an existing file", str(path), "Check the path.")
    rows = list(csv.DictReader(io.StringIO(_text_of(path), newline="")))
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise refusal(f"{path.name}, line {number}", "as many cells as the header", list(row.values()))
    return [{name: target.parse(name, text) for name, text in row.items() if text != ""} for row in rows]


def _line_points(path: Path) -> list[dict]:
    if not path.is_file():
        raise refusal("grid file", "an existing file", str(path), "Check the path.")
    points = []
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        if not line.strip():
            continue
        point = literal(line)
        if not isinstance(point, dict):
            raise refusal(f"{path.name}, line {number}", "a JSON object", line)
        points.append(point)
    return points
