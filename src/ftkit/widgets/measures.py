"""What a trial cost and what it reached: its metrics, in words. Knows nothing about settings or pictures."""

import math
from dataclasses import dataclass

from ftkit.cards import Card
from ftkit.units import bytes_to_words


@dataclass(frozen=True)
class Measure:
    """A metric of a trial, in words.

    Args:
        words: above its column or beside its axis, with the unit.
        form: how a value is written; "bytes" in units that fit.
    """

    words: str
    form: str

    def written(self, value: float) -> str:
        """A value in words."""
        return bytes_to_words(value) if self.form == "bytes" else f"{value:{self.form}}"


MEASURES = {
    "held_out_loss": Measure("held-out loss (nats per token)", ".4f"),
    "clinic": Measure("clinic, share of questions right", ".3f"),
    "trainable": Measure("trainable parameters", ",.0f"),
    "saved_bytes": Measure("adapter file", "bytes"),
    "state_bytes": Measure("gradients and optimizer's memory", "bytes"),
    "step_cpu_s": Measure("processor seconds a step", ".3f"),
    "train_s": Measure("seconds of training", ".1f"),
}
SCORES, COSTS = ("held_out_loss", "clinic"), ("trainable", "saved_bytes", "state_bytes", "step_cpu_s", "train_s")


def metric(card: Card, name: str) -> float | None:
    """A metric of a card as a finite number; None where it has none."""
    values = card.metrics
    if name == "state_bytes" and {"trainable", "optimizer_bytes"} <= values.keys():
        return 4 * values["trainable"] + values["optimizer_bytes"]  # gradients are float32
    value = values.get(name)
    return value if isinstance(value, int | float) and math.isfinite(value) else None
