"""Which learning rate each row of a table takes, with as few runs as that needs: what is due next, and what came of it.

A row is tried at all its rates with the first seed. Where the best lies at an end of them, the next rate outside is
tried as well. The best two are tried with the second seed; the lower mean decides. Knows nothing about how points are
run, and keeps nothing: it looks at what is finished each time.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

MOST_OUTSIDE = 3  # rates beyond those of the plan


def due(rates: Sequence[float], seeds: Sequence[int], losses: Mapping[tuple[float, int], float]) -> list[tuple]:
    """The runs (rate, seed) of a row that are to be made next; none when its rate is decided.

    Args:
        rates: those of the plan, lowest first.
        seeds: the first for all rates, the second for the best two.
        losses: what is finished: the held-out loss by (rate, seed).

    Example:
        >>> due([1.0, 2.0, 4.0], [100, 101], {(1.0, 100): 0.5, (2.0, 100): 0.3, (4.0, 100): 0.4})
        [(2.0, 101), (4.0, 101)]
    """
    tried = sorted({*rates, *(rate for rate, _ in losses)})
    missing = [(rate, seeds[0]) for rate in tried if (rate, seeds[0]) not in losses]
    if missing:
        return missing
    order = sorted(tried, key=lambda rate: losses[rate, seeds[0]])
    outside = _outside(tried, order[0])
    if outside and len(tried) < len(rates) + MOST_OUTSIDE:
        return [(outside, seeds[0])]
    return [(rate, seeds[1]) for rate in sorted(order[:2]) if (rate, seeds[1]) not in losses]


def best(seeds: Sequence[int], losses: Mapping[tuple[float, int], float]) -> float:
    """The rate with the lowest mean loss, of those that were tried with every seed.

    Example:
        >>> best([100, 101], {(1.0, 100): 0.2, (2.0, 100): 0.3, (2.0, 101): 0.3, (4.0, 100): 0.4, (4.0, 101): 0.1})
        4.0
    """
    whole = {rate for rate, _ in losses if all((rate, seed) in losses for seed in seeds)}
    return min(sorted(whole), key=lambda rate: fmean(losses[rate, seed] for seed in seeds))


def _outside(tried: list[float], rate: float) -> float | None:
    """The next rate beyond an end of those that were tried; None for one in between."""
    if rate == tried[0]:
        return float(f"{rate * rate / tried[1]:.2g}")
    return float(f"{rate * rate / tried[-2]:.2g}") if rate == tried[-1] else None
