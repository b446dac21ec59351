"""How much of a difference luck alone explains: the best of many equal settings, and the seeds that tell two apart.

Knows nothing about runs: numbers in, numbers out.
"""

import math
from collections.abc import Callable

import numpy as np

from ftkit.errors import refusal

POWER, ALPHA = 0.8, 0.05
MOST_SEEDS = 10_000


def best_of_chance(k: int) -> float:
    """How far the largest of k draws from a normal distribution lies above its mean, in standard deviations.

    Equation: E[max] = ∫ x·k·φ(x)·Φ(x)^(k−1) dx.

    Args:
        k: settings that are in truth equal, 1 or more.

    Raises:
        Refusal: less than one setting.

    Example:
        >>> round(best_of_chance(10), 3)
        1.539

    Source: Tippett 1925, for the table of these means.
    """
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise refusal("k", "a whole number, 1 or more", k)
    x = np.linspace(-10, 10, 20_001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2) * (x[1] - x[0])])
    return float(np.trapezoid(x * k * density * below ** (k - 1), x))


def seeds_needed(difference: float, spread: float, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """How many paired seeds show a difference with this chance, by a two-sided t test; None if over 10,000.

    Args:
        difference: the mean of the paired differences, in truth.
        spread: their standard deviation.
        power: the chance to see it, between 0 and 1.
        alpha: the chance to see one where there is none.

    Raises:
        Refusal: a negative spread, or a chance that is none.

    Example:
        >>> seeds_needed(1.0, 1.0)
        10

    Source: Cohen 1988, chapter 2, by the noncentral t distribution.
    """
    from scipy.stats import nct, t

    _check(spread, power=power, alpha=alpha)
    if not spread:
        return 2 if difference else None

    def enough(n: int) -> bool:
        edge, shift = t.ppf(1 - alpha / 2, n - 1), abs(difference) / spread * math.sqrt(n)
        return shift > 2 * edge or nct.sf(edge, n - 1, shift) + nct.cdf(-edge, n - 1, shift) >= power

    return _first(enough)


def seeds_to_leave_zero(difference: float, spread: float, alpha: float = ALPHA) -> int | None:
    """From how many paired seeds on Student's interval leaves 0 out, if both stay as they are; None if over 10,000.

    Args:
        difference: the mean of the paired differences, as seen.
        spread: their standard deviation.
        alpha: one minus the interval's level.

    Example:
        >>> seeds_to_leave_zero(1.0, 1.0)
        7
    """
    from scipy.stats import t

    _check(spread, alpha=alpha)
    if not spread:
        return 2 if difference else None
    return _first(lambda n: t.ppf(1 - alpha / 2, n - 1) * spread / math.sqrt(n) < abs(difference))


def _first(enough: Callable[[int], bool]) -> int | None:
    """The least n from 2 on that is enough, where all greater ones are, too; None if over 10,000."""
    if not enough(MOST_SEEDS):
        return None
    low, high = 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(spread: float, **shares: float) -> None:
    if not spread >= 0:
        raise refusal("spread", "a number, 0 or more", spread)
    for name, value in shares.items():
        if not 0 < value < 1:
            raise refusal(name, "a share between 0 and 1", value)
