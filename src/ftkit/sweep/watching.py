"""What the traces of running points say, told to a pruner; hopeless points are asked to end.

Knows nothing about executors: it reads and writes files of the sweep's folder, wherever the points run.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from ftkit.errors import Refusal
from ftkit.sweep.points import POINTS, Point, write_point
from ftkit.sweep.pruning import Pruner, curve
from ftkit.sweep.supervising import WORDS, end_point

PRUNED = "pruned"


class Watch:
    """A pruner with the eyes and hands it needs.

    Args:
        out: the sweep's folder.
        kind: of the pruner.
        points: of the sweep, as they stand; what is finished counts.
    """

    def __init__(self, out: Path, kind: str, points: Iterable[Point]):
        points = list(points)
        self._out, self._pruner = out, Pruner([asdict(one) for one in points], kind)
        for point in points:
            if point.status in ("done", PRUNED):
                self._pruner.recall(point.id, self._curve(point), point.status == PRUNED)

    def add(self, point: Point) -> None:
        """Takes note of a point that was not known at the beginning."""
        self._pruner.add(asdict(point))

    def look(self, points: Iterable[Point]) -> None:
        """Reads the traces of running points, and asks those that are hopeless to end."""
        for point in points:
            self._read(point)
            if self._pruner.hopeless(point.id):
                end_point(self._out, point.id, PRUNED)

    def ended(self, point: Point) -> None:
        """Takes note of a point that came to an end."""
        if point.status in ("done", PRUNED):
            self._read(point)
        if point.status == "done":
            self._pruner.finish(point.id)

    def spared(self, point: Point) -> Point | None:
        """The point, noted as pruned, where another seed showed that it is hopeless; else None."""
        if not self._pruner.hopeless(point.id):
            return None
        return write_point(self._out, replace(point, status=PRUNED, error=WORDS[PRUNED]))

    def _read(self, point: Point) -> None:
        for step, value in self._curve(point):
            self._pruner.report(point.id, step, value)

    def _curve(self, point: Point) -> list[tuple[int, float]]:
        with suppress(Refusal):  # a trace that cannot be read is the point's own trouble
            return curve(self._out / POINTS / point.id)
        return []
