"""A trace to a diagnosis in plain language: what is wrong, the numbers it rests on, and what to try.

Rules on smoothed curves, with the thresholds below. They know the curves alone: whether a loss is low enough for a task
is known by whoever set the task (`target_loss`), and by an evaluation.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from ftkit.errors import refusal
from ftkit.train import curves as measured
from ftkit.train.curves import TINY_LOSS, Curves, curves_of, noise_of, smoothed
from ftkit.train.remedies import Remedy, remedies_for

KINDS = ("not learning", "diverging", "unstable", "overfitting", "underfitting", "fine", "too few records")

FEWEST = 10
"""Records below which a curve is not judged."""
SURE = 4.0
"""How many standard errors a change must have to be more than noise."""
NO_FALL = 0.03
"""A loss that fell by a smaller share than this has not learned."""
SMALL_FALL = 0.15
"""A loss that fell by a smaller share than this, with much of it left, has learned little."""
RISE = 0.25
"""A rise of the smoothed loss by this share of the loss at the start is trouble."""
LOST = 0.5
"""If more than this share of a rise is still there at the end, the training is diverging and not just unstable."""
JUMPS = 0.3
"""Step-to-step noise above this share of the loss at the start is trouble in itself."""
SPIKES = 3
"""So many steps far above their neighbours are trouble."""
TURNED = 0.05
"""A held-out loss this share above its best has turned."""
TURNED_FEW = 0.10
"""The same with four evaluations or fewer."""
WIDE_GAP = 1.0
"""A held-out loss this share above the training loss, and no longer falling, shows learning by heart."""
STILL_FALLING = 0.25
"""A loss that made this share of its fall in the second half of all learning is not done. Half of all learning is where
the learning rates summed reach half, so a schedule that goes down to 0 does not hide it."""
WORTH = 0.05
"""A late fall below this share of the loss is not worth going on for."""


@dataclass(frozen=True)
class Diagnosis:
    """What is the matter with a training; as text: all of it.

    Args:
        kind: one of `KINDS`.
        evidence: sentences with the numbers that it rests on.
        remedies: what to try, in order.
        numbers: the numbers themselves, by name.
    """

    kind: str
    evidence: tuple[str, ...]
    remedies: tuple[Remedy, ...]
    numbers: dict

    def __str__(self) -> str:
        lines = [f"Diagnosis: {self.kind}", *(f"  {words}" for words in self.evidence)]
        if self.remedies:
            lines += ["Try, in this order:", *(f"  {place}. {one}" for place, one in enumerate(self.remedies, start=1))]
        return "\n".join(lines)


def diagnose(trace: Iterable[Mapping], *, error: str | None = None, target_loss: float | None = None) -> Diagnosis:
    """What a training's curves say about it: one of `KINDS`, with evidence and remedies.

    The gravest comes first: a loss that is not finite or rises for good, no gradient, a loss that rises and comes back,
    no fall, a held-out loss that turned, a fall that was cut off. Without held-out losses overfitting cannot be seen,
    and the evidence says so.

    Args:
        trace: the records of a training, from `train` or `runs.read_trace`, or the log history of a Trainer.
        error: why it stopped, as its card says; the step whose loss was not finite is in no trace.
        target_loss: a training loss that is low enough; above it a training is underfitting.

    Raises:
        Refusal: what is no list of records, or a target that is no number above 0.

    Example:
        >>> diagnose([{"step": step, "loss": 2.0, "grad_norm": 0.0} for step in range(1, 21)]).kind
        'not learning'

    Taught in: 04_train_and_watch
    """
    if target_loss is not None and not (isinstance(target_loss, int | float) and target_loss > 0):
        raise refusal("target_loss", "a number above 0, or None", target_loss)
    curves = curves_of(trace)
    numbers = {"steps": curves.steps[-1]} if curves.steps else {}
    numbers |= {"learning_rate": max(curves.rates)} if set(curves.rates) - {1.0} else {}
    rules = (_not_finite, _without_gradient, _too_few, _rises, _jumps, _falls_not, _turns, _falls_still)
    kind, evidence = "fine", ()
    for rule in rules:
        if found := rule(curves, numbers, error, target_loss):
            kind, *evidence = found
            break
    notes = _notes(curves, numbers, kind)
    return Diagnosis(kind, tuple([*evidence, *notes]), remedies_for(kind, numbers), numbers)


def _not_finite(curves: Curves, numbers: dict, error, target):
    for name, points in (("", zip(curves.steps, curves.losses, strict=True)), ("held-out ", curves.held_out)):
        for step, loss in points:
            if not math.isfinite(loss):
                return "diverging", f"The {name}loss at step {step} is no finite number."
    if error and "must be finite" in error:
        return "diverging", f"The training stopped: {error.partition('. ')[0]}."
    return None


def _without_gradient(curves: Curves, numbers: dict, error, target):
    zero = sum(norm == 0 for norm in curves.grad_norms)
    if len(curves.grad_norms) < 3 or zero < 0.9 * len(curves.grad_norms):
        return None
    numbers["no_gradient"] = True
    return "not learning", (f"The gradient norm was zero in {zero} of {len(curves.grad_norms)} steps: the loss does "
                            "not depend on what is trained.")


def _too_few(curves: Curves, numbers: dict, error, target):
    if len(curves.losses) < FEWEST:
        return "too few records", f"{len(curves.losses)} records: nothing can be told before there are {FEWEST}."
    losses, noise = curves.losses, noise_of(curves.losses)
    start = max(losses[0] if noise < 0.1 * losses[0] else median(losses[:3]), 1e-9)  # the first: before all learning
    relative = noise_of([math.log(max(loss, TINY_LOSS)) for loss in losses])  # below that: of no account
    numbers |= {"start": start, "end": fmean(losses[-_window(curves) :]), "noise": noise,
                "relative_noise": min(relative, JUMPS)}
    return None


def _rises(curves: Curves, numbers: dict, error, target):
    start, end = numbers["start"], numbers["end"]
    rise = measured.rise_of(curves, start, RISE * start, lambda loss: _noise_at(loss, numbers))
    if rise is None:
        return None
    words = (f"The smoothed loss rose from {rise.low:.3g} at step {rise.low_step} to {rise.high:.3g} at step "
             f"{rise.high_step}; it began at {start:.3g} and ended at {end:.3g}.")
    stays = end > rise.low + LOST * (rise.high - rise.low) and end > 0.9 * start or end > start * (1 + RISE)
    return "diverging" if stays and rise.times <= 2 else "unstable", words


def _jumps(curves: Curves, numbers: dict, error, target):
    start, noise = numbers["start"], numbers["noise"]
    if noise > JUMPS * start:
        return "unstable", (f"From step to step the loss jumps by about {noise:.3g}, {noise / start:.0%} of the "
                            f"{start:.3g} that it began with.")
    spikes, losses = [], curves.losses
    for place in range(2, len(losses) - 2):
        around = median(losses[place - 2 : place + 3])
        if losses[place] - around > max(RISE * start, 1.5 * SURE * _noise_at(around, numbers)):
            spikes.append(curves.steps[place])
    if len(spikes) < SPIKES:
        return None
    return "unstable", f"At {len(spikes)} steps the loss stood far above its neighbours, first at step {spikes[0]}."


def _falls_not(curves: Curves, numbers: dict, error, target):
    numbers["fall"] = _fall(curves.losses, numbers)
    if numbers["end"] <= TINY_LOSS and numbers["start"] <= TINY_LOSS:
        return None  # it could do it before
    held_out = [loss for _, loss in curves.held_out]
    quiet = {"noise": noise_of(held_out), "relative_noise": 0.0}
    other = _fall(held_out, quiet) if len(held_out) > 3 else 0.0
    if max(numbers["fall"], other) >= NO_FALL:
        return None
    words = (f"The loss was {numbers['start']:.4g} at the start and {numbers['end']:.4g} at the end; from step to step "
             f"it varies by about {numbers['noise']:.2g}.")
    return "not learning", words + (f" The held-out loss went from {held_out[0]:.4g} to {held_out[-1]:.4g}."
                                    if held_out else "")


def _turns(curves: Curves, numbers: dict, error, target):
    """Whether the held-out loss is back above its best, or stands still far above a training loss that falls on."""
    if len(curves.held_out) < 2:
        return None
    steps, values = zip(*curves.held_out, strict=True)
    many = len(values) >= 6
    smooth = smoothed(values, width=3) if many else list(values)
    best = min(range(len(values)), key=lambda place: smooth[place])
    last = fmean(values[-3:]) if many else values[-1]
    noise = noise_of(values) if len(values) > 4 else 0.0
    limit = max((TURNED if len(values) > 4 else TURNED_FEW) * smooth[best], 0.75 * SURE * noise)
    numbers |= {"best_step": steps[best], "best_held_out": smooth[best], "last_held_out": last, "held_out_noise": noise}
    at_best = _training_at(curves, steps[best])
    if last - smooth[best] > limit and steps[best] < steps[-1] and numbers["end"] < at_best + numbers["noise"]:
        return "overfitting", (f"The held-out loss was lowest at step {steps[best]} ({smooth[best]:.3g}) and rose to "
                               f"{last:.3g}, while the training loss went from {at_best:.3g} to {numbers['end']:.3g}.")
    return _by_heart(curves, numbers, steps, smooth, last)


def _by_heart(curves: Curves, numbers: dict, steps, smooth, last):
    middle, end = len(smooth) // 2, numbers["end"]
    if len(smooth) < 4 or last < end * (1 + WIDE_GAP) or last - end < TINY_LOSS:
        return None
    flat = smooth[middle] - last < max(NO_FALL * smooth[middle], SURE / 2 * numbers["held_out_noise"])
    then = _training_at(curves, steps[middle])
    if not flat or end > then * (1 - SMALL_FALL):
        return None
    return "overfitting", (f"Since step {steps[middle]} the held-out loss stands at about {last:.3g}, while the "
                           f"training loss went on from {then:.3g} to {end:.3g}: it learns by heart.")


def _falls_still(curves: Curves, numbers: dict, error, target):
    start, end = numbers["start"], numbers["end"]
    if target is not None:
        words = f"The training loss ended at {end:.3g}, above the {target:.3g} that is low enough."
        return ("underfitting", words) if end > target else None
    if end <= TINY_LOSS:
        return None
    training = list(zip(curves.steps, curves.losses, strict=True))
    for name, points in (("training", training), ("held-out", curves.held_out)):
        if late := _late_fall(curves, points, start):
            step, then, last, share = late
            return "underfitting", (f"The {name} loss was still falling when the training ended: {then:.3g} at step "
                                    f"{step}, half-way by the learning rates, {last:.3g} at the end; {share:.0%} of "
                                    "its fall was made in that half.")
    if numbers["fall"] < SMALL_FALL and start > TINY_LOSS:
        return "underfitting", (f"The loss fell by only {numbers['fall']:.0%}, from {start:.3g} to {end:.3g}, and "
                                "levelled off. If that is all there is to learn, name it as target_loss.")
    return None


def _late_fall(curves: Curves, points: list, start: float) -> tuple[int, float, float, float] | None:
    """Step and loss half-way by the learning rates, the last loss, and the share of the fall that came between."""
    if len(points) < 4:
        return None
    total, summed, half = sum(curves.rates), 0.0, curves.steps[-1]
    for step, rate in zip(curves.steps, curves.rates, strict=True):
        summed += rate
        if summed >= total / 2:
            half = step
            break
    steps, values = zip(*points, strict=True)
    place = next((place for place, step in enumerate(steps) if step >= half), len(steps) - 1)
    window = max(1, len(values) // 8)
    around = values[max(0, place - window) : place + window + 1]
    first = max(start, fmean(values[: max(1, window // 2)]))  # the first held-out loss comes after much of the fall
    then, last = fmean(around), fmean(values[-window:])
    error = noise_of(values) * math.sqrt(1 / window + 1 / len(around))
    late, whole = then - last, first - last
    if late < SURE * error or late < WORTH * last or late < STILL_FALLING * whole or place >= len(steps) - 1:
        return None
    return steps[place], then, last, min(1.0, late / whole) if whole > 0 else 1.0


def _notes(curves: Curves, numbers: dict, kind: str) -> list[str]:
    notes = []
    if kind == "fine":
        notes.append(f"The loss fell from {numbers['start']:.3g} to {numbers['end']:.3g} without trouble; "
                     "whether that is low enough for the task, an evaluation tells.")
    if not curves.held_out and kind != "too few records":
        notes.append("No held-out loss was measured, so overfitting could not be seen.")
    alarm = measured.gap_alarm_of(curves)
    if alarm and kind in ("fine", "overfitting", "underfitting"):
        notes.append(str(alarm))
    norms = [norm for norm in curves.grad_norms if math.isfinite(norm)]
    if kind in ("diverging", "unstable") and norms and median(norms) > 0:
        notes.append(f"The gradient norm was {median(norms):.3g} in the middle and {max(norms):.3g} at most.")
    return notes


def _fall(values: list[float], numbers: dict) -> float:
    """The share by which a loss fell, from its first value, tenth or third to its last third; 0.0 if that is noise."""
    third, window = max(1, len(values) // 3), max(3, len(values) // 10)
    last, falls = fmean(values[-third:]), [0.0]
    for many in (1, window, third):
        first = fmean(values[:many])
        if first - last > SURE * _noise_at(first, numbers) * math.sqrt(1 / many + 1 / third):
            falls.append(1 - last / first)
    return max(falls)


def _noise_at(loss: float, numbers: dict) -> float:
    """The noise where the loss is so high: it often is a share of the loss, so greater at the start."""
    return max(numbers["noise"], numbers["relative_noise"] * loss)


def _training_at(curves: Curves, step: int) -> float:
    place, window = curves.place_of(step), _window(curves)
    return fmean(curves.losses[max(0, place + 1 - window) : place + 1])


def _window(curves: Curves) -> int:
    return max(3, len(curves.losses) // 10)
