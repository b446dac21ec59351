"""What a trace's curves say in numbers: smoothed, with their noise, and the gap to held-out examples.

Knows nothing about what is good or bad about a training.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from ftkit.errors import refusal

SMOOTHED_SHARE = 0.1
"""Share of a curve that one smoothed value looks at."""
ALARM_SHARE = 0.30
TINY_LOSS = 0.1
"""Below so many nats a ratio of losses says more about the small one than about the gap."""
_LEAST_STEPS, _MOST_STEPS = 5, 20  # whose mean is the training loss beside a held-out one


@dataclass(frozen=True)
class Curves:
    """The series of a trace that were measured.

    Args:
        steps: of each record.
        losses: of each record; nan where a record has none that is a number.
        held_out: pairs (step, loss).
        grad_norms: those that are there.
        rates: learning rates, one a record; 1.0 where the trace has none.
    """

    steps: list[int]
    losses: list[float]
    held_out: list[tuple[int, float]]
    grad_norms: list[float]
    rates: list[float]

    def place_of(self, step: int) -> int:
        """The place of the last record up to a step."""
        return max(0, bisect_right(self.steps, step) - 1)


@dataclass(frozen=True)
class GapAlarm:
    """Whether the held-out loss stood far above the training loss, and since when; true if it ever did.

    Args:
        share: by which share above it rings.
        first_step: where it rang first; None if it never did.
        rings_now: whether it rings at the last evaluation.
        training_loss: mean over the steps before the last evaluation; None without an evaluation.
        held_out_loss: of the last evaluation.
    """

    share: float
    first_step: int | None = None
    rings_now: bool = False
    training_loss: float | None = None
    held_out_loss: float | None = None

    def __bool__(self) -> bool:
        return self.first_step is not None

    @property
    def gap(self) -> float | None:
        """The held-out loss above the training loss as a share of it; None without an evaluation."""
        if self.held_out_loss is None:
            return None
        return self.held_out_loss / self.training_loss - 1 if self.training_loss > 0 else math.inf

    def __str__(self) -> str:
        if self.held_out_loss is None:
            return "No held-out loss was measured: nothing can be said about a gap."
        numbers = f"held-out loss {self.held_out_loss:.3g}, smoothed training loss {self.training_loss:.3g}"
        if not self:
            return f"The gap alarm ({self.share:.0%}) did not ring: {numbers}."
        now = "still rings at the last evaluation" if self.rings_now else "was silent again at the last evaluation"
        words = f"The gap alarm ({self.share:.0%}) rang first at step {self.first_step} and {now}: {numbers}."
        if self.training_loss >= TINY_LOSS:
            return words
        return (f"{words} The training loss is so small that a ratio exaggerates; as perplexity it is "
                f"{math.exp(self.training_loss):.3f} and {math.exp(min(self.held_out_loss, 700)):.3f}.")


def gap_alarm(trace: Mapping | Iterable[Mapping], share: float = ALARM_SHARE) -> GapAlarm:
    """Whether held-out loss is a share above training loss, and where that began.

    The training loss beside an evaluation is the mean over the last fifth of the steps so far (5 at least, 20 at most):
    one batch alone rings by chance, and one record alone is one batch. A gap says that examples are learned by heart,
    not yet that it does harm: that shows where the held-out loss itself turns.

    Args:
        trace: records with `loss` and `held_out_loss`, or one such record.
        share: 0.30 rings where the held-out loss is 30 % above the training loss; above 0.

    Raises:
        Refusal: a share that is no number above 0, or what is no trace.

    Example:
        >>> gap_alarm([{"step": 1, "loss": 1.0, "held_out_loss": 1.1}, {"step": 2, "loss": 0.5, "held_out_loss": 1.0}]
        ...           ).first_step
        2
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not share > 0:
        raise refusal("share", "a number above 0", share, "Take 0.30.")
    return gap_alarm_of(curves_of([trace] if isinstance(trace, Mapping) else trace), share)


def gap_alarm_of(curves: Curves, share: float = ALARM_SHARE) -> GapAlarm:
    """The same of curves that were read from a trace before."""
    found = GapAlarm(share)
    for step, other in curves.held_out:
        place = curves.place_of(step)
        width = min(_MOST_STEPS, max(_LEAST_STEPS, (place + 1) // 5))
        lately = [one for one in curves.losses[max(0, place + 1 - width) : place + 1] if math.isfinite(one)]
        if not lately:
            continue
        training = fmean(lately)
        rings = other > training * (1 + share)
        first = step if rings and found.first_step is None else found.first_step
        found = GapAlarm(share, first, rings, training, other)
    return found


def curves_of(trace: Iterable[Mapping]) -> Curves:
    """The series of a trace.

    Records without a loss, such as notes, are passed over. The log history of transformers' Trainer is a trace too: its
    `eval_loss` is a held-out loss, in a record of its own.

    Raises:
        Refusal: not a list of records.
    """
    if isinstance(trace, str | bytes | Mapping) or not isinstance(trace, Iterable):
        raise refusal("trace", "a list of records", trace, "Pass list(train(...)), or runs.read_trace(folder).")
    records = list(trace)
    for place, record in enumerate(records):
        if not isinstance(record, Mapping):
            raise refusal(f"trace[{place}]", "a record: a mapping with step and loss", record)
    both = [(int(_number(record.get("step"), place)), record.get("held_out_loss", record.get("eval_loss")))
            for place, record in enumerate(records, start=1)]
    held_out = [(step, _number(loss)) for step, loss in both if loss is not None]
    steps = [step for (step, _), record in zip(both, records, strict=True) if "loss" in record]
    records = [record for record in records if "loss" in record]
    norms = [_number(record["grad_norm"]) for record in records if record.get("grad_norm") is not None]
    return Curves(steps, [_number(record["loss"]) for record in records], held_out, norms,
                  [_number(record.get("learning_rate"), 1.0) for record in records])


def smoothed(values: Sequence[float], width: int | None = None) -> list[float]:
    """The mean around each value: as many as `width`, fewer at the ends, so that the ends are not pulled inwards.

    Args:
        values: finite numbers.
        width: how many; None takes a tenth of them, 3 or more.

    Example:
        >>> smoothed([1.0, 4.0, 1.0, 4.0], width=3)
        [1.0, 2.0, 3.0, 4.0]
    """
    width = width or max(3, round(SMOOTHED_SHARE * len(values)))
    reach = width // 2
    found = []
    for place in range(len(values)):
        around = min(reach, place, len(values) - 1 - place)
        found.append(fmean(values[place - around : place + around + 1]))
    return found


def noise_of(values: Sequence[float]) -> float:
    """The standard deviation of a curve around its course, from second differences; outliers count for little.

    Example:
        >>> noise_of([5.0, 4.0, 3.0, 2.0])
        0.0
    """
    seconds = [abs(one - 2 * two + three) for one, two, three in zip(values, values[1:], values[2:], strict=False)]
    return 1.4826 * median(seconds) / math.sqrt(6) if seconds else 0.0


@dataclass(frozen=True)
class Rise:
    """A rise of the smoothed loss: from where to where, and how often it rose like that."""

    low: float
    low_step: int
    high: float
    high_step: int
    times: int


def rise_of(curves: Curves, start: float, least: float, noise_at: Callable[[float], float]) -> Rise | None:
    """The largest rise of the training loss that is more than noise; None without one.

    Looked for in the mean of three losses, for a quick one, then in a wider mean, for a slow one that noise hides; from
    the lowest place before it, or from the start, whose single loss may be lower than any mean.

    Args:
        start: the loss before all learning.
        least: a smaller rise does not count.
        noise_at: the noise of a single loss where the loss is so high.
    """
    lightly = without_outliers(curves.losses)
    for width in (3, max(5, len(lightly) // 20)):
        means = [fmean(lightly[place : place + width]) for place in range(len(lightly) - width + 1)]
        steps = curves.steps[width // 2 :]
        # of n means by chance alone: the largest lies about sqrt(2 ln n) of their noise above their course
        chance = (math.sqrt(2 * math.log(len(lightly) / width)) + 0.7) / math.sqrt(width)
        bottom, top = largest_rise(means)
        peak = max(range(len(means)), key=means.__getitem__)
        low_noise = chance * (noise_at(means[top]) + noise_at(means[bottom]))
        start_noise = math.hypot(chance * noise_at(means[peak]), 2.5 * noise_at(start))
        for low, low_step, place, noise in ((means[bottom], steps[bottom], top, low_noise),
                                            (start, curves.steps[0], peak, start_noise)):
            if means[place] - low >= max(least, noise):
                times = times_risen(means, max(least, noise))
                return Rise(low, low_step, means[place], steps[place], times)
    return None


def without_outliers(values: Sequence[float]) -> list[float]:
    """The values, each at most twice the median of itself and its neighbours: one hard batch is no course of a curve.

    Example:
        >>> without_outliers([1.0, 9.0, 1.0, 1.0])
        [1.0, 2.0, 1.0, 1.0]
    """
    return [min(value, 2 * median(values[max(0, place - 1) : place + 2])) if 0 < place < len(values) - 1 else value
            for place, value in enumerate(values)]


def largest_rise(values: Sequence[float]) -> tuple[int, int]:
    """The places of bottom and top of the largest rise; the same place twice where nothing rises.

    Example:
        >>> largest_rise([3.0, 1.0, 2.0, 0.5, 0.6])
        (1, 2)
    """
    low = bottom = top = 0
    for place, value in enumerate(values):
        low = place if value < values[low] else low
        if value - values[low] > values[top] - values[bottom]:
            bottom, top = low, place
    return bottom, top


def times_risen(values: Sequence[float], least: float) -> int:
    """How often a curve rose by `least`, having come down by as much in between.

    Example:
        >>> times_risen([0.0, 2.0, 0.0, 2.0, 1.5, 2.0], least=1.0)
        2
    """
    times, rising, turn = 0, False, values[0]
    for value in values:
        turn = max(turn, value) if rising else min(turn, value)
        if rising and value <= turn - least:
            rising, turn = False, value
        elif not rising and value >= turn + least:
            rising, turn, times = True, value, times + 1
    return times


def _number(value: object, otherwise: float = math.nan) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return otherwise
