"""What to try, in order, for each diagnosis of a training, and what each would cost. Knows nothing about curves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Remedy:
    """One thing to try, and its price.

    Args:
        what: what to change.
        cost: what that takes: time, memory, capacity, work, or nothing.
    """

    what: str
    cost: str

    def __str__(self) -> str:
        return f"{self.what} (costs: {self.cost})"


def remedies_for(kind: str, numbers: dict) -> tuple[Remedy, ...]:
    """What to try for one kind of trouble, the cheapest and likeliest first.

    Args:
        kind: as `diagnosis.KINDS` names it.
        numbers: what was measured: `learning_rate`, `steps`, `best_step`, `no_gradient`, where known.

    Example:
        >>> remedies_for("fine", {})
        ()
    """
    makers = {"not learning": _not_learning, "diverging": _diverging, "unstable": _unstable,
              "overfitting": _overfitting, "underfitting": _underfitting, "too few records": _too_few}
    return tuple(Remedy(what, cost) for what, cost in makers.get(kind, lambda _: [])(numbers))


def _rate(numbers: dict, factor: float, word: str) -> str:
    now = numbers.get("learning_rate")
    return f"a {word} learning rate" + (f": {now * factor:.2g} instead of {now:.2g}" if now else "")


def _not_learning(numbers: dict) -> list[tuple[str, str]]:
    labels = ("look at which tokens carry loss (masks.inspector): answers there, shifted by nothing, the end token too",
              "a look, no training")
    if numbers.get("no_gradient"):
        return [("let the loss reach what is trained: prepare the model anew with methods.prepare; in LoRA one of A "
                 "and B must not be zero", "a look, no training"),
                labels]
    return [(_rate(numbers, 10, "ten times higher"), "one short run to see whether it stays calm"),
            labels,
            ("a shorter warm-up, if most steps were part of it", "nothing"),
            ("train more weights: more target modules, or a larger rank", "memory, and a larger adapter file")]


def _diverging(numbers: dict) -> list[tuple[str, str]]:
    return [(_rate(numbers, 0.1, "ten times lower"), "nothing but a slower start"),
            ("warm-up over the first tenth of the steps", "these steps learn less"),
            ("max_grad_norm=1.0, if gradients were not clipped", "nothing"),
            ("precision='no' or 'bf16' in place of 'fp16'", "up to twice the memory and time of activations"),
            ("look at the examples of the step where it rose", "a look, no training")]


def _unstable(numbers: dict) -> list[tuple[str, str]]:
    return [(_rate(numbers, 1 / 3, "three times lower"), "somewhat slower learning"),
            ("warm-up over the first tenth of the steps", "these steps learn less"),
            ("twice the accumulation", "twice the time for as many steps"),
            ("look at the examples of the steps where it rose", "a look, no training")]


def _overfitting(numbers: dict) -> list[tuple[str, str]]:
    best, steps = numbers.get("best_step"), numbers.get("steps")
    saved = f"saves {1 - best / steps:.0%} of the time" if best and steps else "saves time"
    return [(f"stop at step {best} (patience does it, and goes back to those weights)", f"nothing: it {saved}"),
            ("more dropout", "nothing but a slower fall of the training loss"),
            ("weight decay", "nothing; with LoRA it pulls only on the adapter"),
            ("a smaller rank, or fewer target modules", "less capacity"),
            ("more, and more different, examples", "the work of making them, and time to train on them")]


def _underfitting(numbers: dict) -> list[tuple[str, str]]:
    return [(_rate(numbers, 3, "three times higher"), "nothing, if it stays calm"),
            ("twice the steps", "twice the time"),
            ("a larger rank with alpha raised alike", "memory, a larger file, and overfitting comes sooner"),
            ("more target modules or layers", "memory and time, about in proportion to the weights trained")]


def _too_few(numbers: dict) -> list[tuple[str, str]]:
    return [("train on, and ask again", "the time of those steps")]
