"""The settings of a training. Knows nothing about models, data or the loop."""

import math
import re
from dataclasses import dataclass

from ftkit.errors import refusal, unknown

OPTIMIZERS = ("adamw", "lion")
SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("no", "bf16", "fp16")
MATMUL_PRECISIONS = ("auto", "highest", "high", "medium")
GROUPINGS = ("buckets", "shuffled", "sequential", "packed")
LOGITS = ("at_labels", "chunked", "all")
PACKED_ATTENTION = ("mask", "by_segment")
QUANTISED_PRODUCTS = ("as_built", "fewest", "kept")
EPOCH = "epoch"
EVERY = re.compile(r"every:([2-9]|[1-9]\d+)")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; every field decides the result, and all are in the run's card.

    Args:
        learning_rate: the highest of the schedule, above 0.
        max_steps: optimizer steps, 1 or more; or else give `epochs`.
        epochs: times each example is seen, 1 or more.
        batch_size: rows of a micro-batch.
        accumulation: micro-batches whose gradients make one step; as one batch of so many times the rows.
        warmup_steps: steps over which the rate rises to its highest; or else give `warmup_ratio`.
        warmup_ratio: the same as a share of all steps.
        schedule: "constant", "linear" (down to 0) or "cosine" (down to 0) after the warm-up.
        optimizer: "adamw", or "lion", which takes a learning rate 3 to 10 times lower.
        weight_decay: decoupled, on weights of two and more dimensions; none on biases and norms.
        max_grad_norm: gradients are scaled down to this norm; None leaves them be.
        precision: "no", or mixed precision in "bf16" or (on a GPU) "fp16".
        matmul_precision: of products of float32 matrices, in torch's terms: "highest", "high" or "medium"; "auto" is
            "medium" on CPUs that gain by it (`cpu.matmul_precision`), "highest" on others; on a GPU as torch is set.
        activation_checkpointing: compute activations again in the backward pass: less memory, about a third slower;
            "every:2" in every second layer alone: half as much of both.
        logits: where they are computed: "at_labels"; "chunked", the same with few of them at a time, which takes less
            memory where a vocabulary is wide; or "all", at every position, for comparison.
        packed_attention: of packed rows: "mask", over all pairs of a row; or "by_segment", over those of one example.
        quantised_products: of LoRA over 4-bit weights: "as_built", the layer's own product and LoRA's in float32;
            "fewest", both in the activations' type by hand, with the weight made once forward and once backward; or
            "kept", the same, and a layer that is computed again keeps its weights until its backward pass.
        compiled: norms, rotary positions, gated activations and 4-bit decoding fused by torch's compiler.
        grouping: "buckets" (rows of like length together), "shuffled", "sequential", or "packed" (several examples a
            row of `seq_len` tokens, none of which sees another).
        seq_len: the most tokens of a row; None takes the longest example.
        eval_every: steps between evaluations, or "epoch" for one after each epoch; None evaluates after the last step
            only, which is evaluated in any case.
        checkpoint_every: steps between checkpoints, with a run folder; None writes one at the start and one at the end.
        patience: stop after so many evaluations in a row without a better held-out loss, and go back to the weights of
            the best one; None never stops. Perplexity is exp(loss), so to stop on the one is to stop on the other.
        min_delta: by how much a loss must be lower to be better.
        seed: of order and dropout, 0 or more.

    Raises:
        Refusal: a value is out of range, or two exclude each other.

    Example:
        >>> TrainConfig(learning_rate=1e-3, max_steps=10).batch_size
        16
    """

    learning_rate: float
    max_steps: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    accumulation: int = 1
    warmup_steps: int | None = None
    warmup_ratio: float | None = None
    schedule: str = "linear"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    precision: str = "no"
    matmul_precision: str = "auto"
    activation_checkpointing: bool | str = False
    logits: str = "at_labels"
    packed_attention: str = "mask"
    quantised_products: str = "as_built"
    compiled: bool = False
    grouping: str = "buckets"
    seq_len: int | None = None
    eval_every: int | str | None = None
    checkpoint_every: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    seed: int = 0

    def __post_init__(self):
        self._check_numbers()
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS), ("precision", PRECISIONS),
                            ("matmul_precision", MATMUL_PRECISIONS), ("grouping", GROUPINGS), ("logits", LOGITS),
                            ("packed_attention", PACKED_ATTENTION), ("quantised_products", QUANTISED_PRODUCTS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        if (self.max_steps is None) == (self.epochs is None):
            raise refusal("max_steps or epochs", "given, one of the two", {"max_steps": self.max_steps,
                          "epochs": self.epochs}, "Take epochs=3 to begin with.")
        if self.warmup_steps is not None and self.warmup_ratio is not None:
            raise refusal("warmup_steps or warmup_ratio", "given, not both", {"warmup_steps": self.warmup_steps,
                          "warmup_ratio": self.warmup_ratio}, "Leave one out.")
        if self.max_steps and self.warmup_steps and self.warmup_steps > self.max_steps:
            raise refusal("warmup_steps", f"{self.max_steps} (max_steps) or less", self.warmup_steps,
                          "Take a tenth of max_steps.")
        if self.patience is not None and self.eval_every is None:
            raise refusal("eval_every", "given together with patience", None, "Take 'epoch', or a tenth of all steps.")
        if self.packed_attention != "mask" and self.grouping != "packed":
            raise refusal("packed_attention", "'mask' unless grouping='packed'", self.packed_attention,
                          "Take grouping='packed' and a seq_len with it.")
        if self.grouping == "packed" and self.seq_len is None:
            raise refusal("seq_len", "given with grouping='packed'", None, "Take twice the longest example.")

    def _check_numbers(self) -> None:
        if isinstance(self.eval_every, str) and self.eval_every != EPOCH:
            raise refusal("eval_every", f"a whole number, 1 or more, {EPOCH!r}, or None", self.eval_every)
        evaluated = () if self.eval_every == EPOCH else ("eval_every",)
        whole = ("max_steps", "epochs", "accumulation", *evaluated, "checkpoint_every", "patience", "seq_len")
        for name in ("batch_size", *whole):
            _whole(name, getattr(self, name), 1, optional=name not in ("batch_size", "accumulation"))
        _whole("warmup_steps", self.warmup_steps, 0, optional=True)
        _whole("seed", self.seed, 0, optional=False)
        if not _number(self.learning_rate) or not self.learning_rate > 0:
            raise refusal("learning_rate", "a number above 0", self.learning_rate, "LoRA often takes 1e-4 to 1e-3.")
        if self.max_grad_norm is not None and not (_number(self.max_grad_norm) and self.max_grad_norm > 0):
            raise refusal("max_grad_norm", "a number above 0, or None", self.max_grad_norm, "Take 1.0.")
        if self.warmup_ratio is not None and not (_number(self.warmup_ratio) and 0 <= self.warmup_ratio <= 1):
            raise refusal("warmup_ratio", "a share from 0 to 1", self.warmup_ratio, "Take 0.1.")
        for name in ("weight_decay", "min_delta"):
            if not _number(getattr(self, name)) or getattr(self, name) < 0:
                raise refusal(name, "a number, 0 or more", getattr(self, name), "Take 0.0.")
        every(self.activation_checkpointing)
        if not isinstance(self.compiled, bool):
            raise refusal("compiled", "True or False", self.compiled)


def every(recompute: bool | str) -> int:
    """Of how many layers one computes its activations again: 1 for True, 0 for False, 3 for "every:3".

    Raises:
        Refusal: something else.

    Example:
        >>> every("every:3"), every(True)
        (3, 1)
    """
    if isinstance(recompute, bool):
        return int(recompute)
    match = EVERY.fullmatch(recompute) if isinstance(recompute, str) else None
    if match is None:
        raise refusal("activation_checkpointing", "True, False or 'every:<2 or more>'", recompute,
                      "True does so in all layers, 'every:2' in every second one.")
    return int(match[1])


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(name: str, value: object, least: int, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        nothing = ", or None" if optional else ""
        raise refusal(name, f"a whole number, {least} or more{nothing}", value, f"Take {max(least, 1)} to try it.")
