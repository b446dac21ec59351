"""A value with the interval in which chance alone would move it. Knows nothing about models or texts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from ftkit.errors import refusal

RESAMPLES = 2000
_AT_ONCE = 100  # resamples drawn together, so that memory stays small


@dataclass(frozen=True)
class Estimate:
    """A value measured on n items, and the interval that would cover it in `level` of all repetitions.

    With one item there is no telling: low and high are nan then.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.value:.4g} (n={self.n}, no interval)"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"


def mean(values: Sequence[float], seed: int = 0, level: float = 0.95) -> Estimate:
    """The mean with an interval: Wilson's where all values are 0 or 1, else from the bootstrap.

    The bootstrap of ten right answers out of ten says "between 1 and 1"; Wilson's interval says 0.72 to 1.

    Example:
        >>> print(mean([1] * 10))
        1 [0.7225, 1] (n=10)
    """
    if set(values) <= {0, 1}:
        return _wilson(_checked(values, "values"), level)
    return bootstrap_interval(values, seed, level=level)


def bootstrap_interval(values: Sequence[float], seed: int = 0, weights: Sequence[float] | None = None,
                       level: float = 0.95) -> Estimate:
    """The weighted mean with the middle `level` of the means of 2,000 resamples of the items.

    Equation: Σ w·x / Σ w, on n items drawn with replacement.

    Args:
        values: one number an item.
        seed: decides the resamples.
        weights: of the items, such as how many tokens each has; equal if None.
        level: share of the resamples inside the interval, between 0 and 1.

    Raises:
        Refusal: no values, a value that is not finite, or weights that do not fit.

    Source: Efron 1979, the percentile bootstrap.
    """
    values = _checked(values, "values")
    weights = np.ones(len(values)) if weights is None else _checked(weights, "weights")
    if len(weights) != len(values) or weights.min() < 0 or not weights.sum():
        raise refusal("weights", f"{len(values)} numbers, 0 or more and not all 0", weights.tolist())
    value = float(values @ weights / weights.sum())
    if len(values) == 1:
        return Estimate(value, math.nan, math.nan, 1, level)
    generator, means = np.random.default_rng(seed), []
    for _ in range(RESAMPLES // _AT_ONCE):
        drawn = generator.integers(len(values), size=(_AT_ONCE, len(values)))
        totals = np.maximum(weights[drawn].sum(1), np.finfo(float).tiny)
        means.append((values * weights)[drawn].sum(1) / totals)
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), len(values), level)


def paired_difference(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of after − before on the same items, with its interval; one without 0 is a change beyond chance.

    Pairing takes out what makes some items harder than others, so it sees smaller changes than two intervals side by
    side do.

    Raises:
        Refusal: the two are not of equal length, or empty.

    Example:
        >>> print(paired_difference([1.0, 2.0, 4.0], [1.5, 2.5, 4.5]))
        0.5 [0.5, 0.5] (n=3)
    """
    if len(before) != len(after):
        raise refusal("after", f"as long as before ({len(before)} items)", len(after), "Score the same items twice.")
    return bootstrap_interval(_checked(after, "after") - _checked(before, "before"), seed)


def student_mean(values: Sequence[float], level: float = 0.95) -> Estimate:
    """The mean of a few measurements, such as one a seed, with Student's interval.

    The bootstrap draws from what was seen, and three values have seen too little: its intervals are too narrow there.

    Equation: mean ± t(n − 1, level) · s/√n, s the standard deviation of n values.

    Raises:
        Refusal: no values, one that is not finite, or a level that is no share.

    Example:
        >>> print(student_mean([0.1, 0.2, 0.3]))
        0.2 [-0.04841, 0.4484] (n=3)

    Source: Student 1908.
    """
    values = _checked(values, "values")
    n, middle = len(values), float(values.mean())
    half = student(n - 1, level) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(middle, middle - half, middle + half, n, level)


def student(freedom: int, level: float) -> float:
    """The t that Student's distribution leaves, to either side, with a chance of 1 − level.

    With t = √ν·tan θ its density is cos^(ν−1) θ, a smooth curve over a quarter circle: summed up and looked up.

    Args:
        freedom: ν, one less than the values that a spread was taken of.
        level: share between −t and t.

    Raises:
        Refusal: a level that is no share.

    Example:
        >>> round(student(2, 0.95), 3)
        4.303
    """
    if not 0 < level < 1:
        raise refusal("level", "a share between 0 and 1", level, "Take 0.95.")
    angles = np.linspace(0, math.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(float(np.interp(level, below / below[-1], angles)))


def _wilson(values: np.ndarray, level: float) -> Estimate:
    n, share = len(values), float(values.mean())
    if n == 1:
        return Estimate(share, math.nan, math.nan, 1, level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half), n, level)


def _checked(values: Sequence[float], name: str) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise refusal(name, "a list of at least one finite number", values)
    return numbers
