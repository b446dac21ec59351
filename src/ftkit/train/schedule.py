"""The learning rate of each step. Knows nothing about optimizers: a number in, a number out."""

import math


def warmup_steps(steps: int, given: int | None, ratio: float | None) -> int:
    """How many of all steps are warm-up, from a count or from a share (rounded up); 0 if neither is given."""
    return given if given is not None else math.ceil(steps * (ratio or 0.0))


def rate(step: int, steps: int, highest: float, warmup: int = 0, schedule: str = "linear") -> float:
    """The learning rate of one step.

    Equation: with k = step − 1, w = warmup, T = steps: during warm-up, highest·(k+1)/w; afterwards, with the share
    p = (k−w)/(T−w) of the rest: highest (constant), highest·(1−p) (linear), highest·(1+cos πp)/2 (cosine).

    Args:
        step: 1 for the first, up to `steps`.
        steps: of the whole training.
        highest: the rate that the warm-up reaches.
        warmup: steps of the warm-up; no step has a rate of 0, since it would do nothing.
        schedule: "constant", "linear" or "cosine".

    Example:
        >>> [rate(step, 4, highest=1.0, schedule="linear") for step in (1, 2, 3, 4)]
        [1.0, 0.75, 0.5, 0.25]
    """
    done = step - 1
    if done < warmup:
        return highest * (done + 1) / warmup
    share = (done - warmup) / (steps - warmup)
    if schedule == "linear":
        return highest * (1 - share)
    return highest * (0.5 * (1 + math.cos(math.pi * share)) if schedule == "cosine" else 1.0)
