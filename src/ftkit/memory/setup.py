"""The settings of a training that decide its memory. Knows nothing about models, bytes or cards."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from ftkit.errors import refusal, unknown

TYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Types of numbers, and bytes of one."""
QUANTIZATIONS = ("nf4", "fp4", "int8")
ATTENTIONS = ("flash", "efficient", "math", "eager")
LOGITS = ("labels", "chunked", "all")
OPTIMIZERS = ("adamw", "lion", "sgd", "adamw8bit", "paged_adamw", "paged_adamw8bit")
SHARDINGS = ("none", "zero1", "zero2", "zero3")
LORA = {"rank": 8, "alpha": 16, "dropout": 0.0, "target_modules": "all-linear", "layers": "all", "use_rslora": False,
        "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": (), "allow_partial": False, "train_biases": False,
        "seed": 0}
METHODS: dict[str, dict] = {
    "full": {},
    "freeze": {"part": "bottom", "freeze_ratio": None, "modules": (), "embeddings_and_head": False, "layers": None},
    "bitfit": {},
    "adapter": {"bottleneck": 16, "place": "houlsby", "activation": "gelu", "init_std": 0.01, "seed": 0},
    "prefix": {"virtual_tokens": 16, "start": "vocab", "start_text": "", "projection": 0, "seed": 0},
    "prompt": {"virtual_tokens": 16, "start": "vocab", "start_text": "", "seed": 0},
    "lora": LORA, "qlora": LORA, "lora8bit": LORA,
}
"""What each method's settings are called, and what stands for those left out: those of `methods.prepare`."""
EVERY = re.compile(r"every:([2-9]|[1-9]\d+)")
BASES = {"qlora": "nf4", "lora8bit": "int8"}


@dataclass(frozen=True)
class Setup:
    """How a model is trained, as far as its memory goes.

    Args:
        method: "full", "freeze", "bitfit", "adapter", "prefix", "prompt", "lora", "qlora" or "lora8bit".
        settings: of the method, by the names that `methods.prepare` has for them.
        batch_size: rows of a micro-batch, 1 or more.
        seq_len: tokens of a row, 2 or more.
        label_share: the share of the tokens that carry loss, above 0 and up to 1.
        accumulation: micro-batches that make one step, 1 or more.
        precision: the type in which unquantised weights are held.
        mixed: the type of mixed precision ("bfloat16" or "float16"), None without.
        quantization: of the linear layers: "nf4", "fp4", "int8" or None; qlora means "nf4", lora8bit "int8".
        double_quant: whether the scales of 4-bit blocks are quantised, too.
        unquantised: names of linear layers, or of parts of a layer, that stay as they are; the head always does.
        checkpointing: compute a layer's activations again in the backward pass; "every:2" those of every second layer.
        attention: "flash", "efficient" (both keep no scores), "math" (torch's own without a kernel) or "eager".
        logits: at "labels" alone, as ftkit trains; at labels in chunks ("chunked"); or at "all" positions.
        optimizer: "adamw", "lion", "sgd", "adamw8bit", "paged_adamw" or "paged_adamw8bit".
        float32_cast: embeddings, norms and head in float32, as peft's `prepare_model_for_kbit_training` leaves them.
        ranks: data-parallel processes, 1 or more.
        sharding: what they share out: "none" (DistributedDataParallel), "zero1" (the optimizer's state, by whole
            parameters: ZeroRedundancyOptimizer), "zero2" or "zero3" (gradients and weights, too: `fully_shard`; layers
            stay together from the forward pass to the backward pass, or are put together for each).

    Raises:
        Refusal: a value is out of range, or two of them exclude each other.

    Example:
        >>> Setup("qlora", {"rank": 16}, seq_len=1024).quantization
        'nf4'

    Taught in: 09_memory_and_cost
    """

    method: str = "lora"
    settings: Mapping = field(default_factory=dict)
    batch_size: int = 1
    seq_len: int = 512
    label_share: float = 1.0
    accumulation: int = 1
    precision: str = "bfloat16"
    mixed: str | None = None
    quantization: str | None = None
    double_quant: bool = True
    unquantised: tuple[str, ...] = ()
    checkpointing: bool | str = False
    attention: str = "flash"
    logits: str = "labels"
    optimizer: str = "adamw"
    float32_cast: bool = False
    ranks: int = 1
    sharding: str = "none"

    def __post_init__(self):
        if self.method not in METHODS:
            raise unknown("method", self.method, METHODS)
        self._check_sets()
        self._check_numbers()
        base = BASES.get(self.method)
        if self.quantization is None and base:
            object.__setattr__(self, "quantization", base)
        names = (self.unquantised,) if isinstance(self.unquantised, str) else tuple(self.unquantised)
        object.__setattr__(self, "unquantised", names)
        settings = {name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.items()}
        for name in settings:
            if name not in METHODS[self.method]:
                raise unknown(f"a setting of {self.method}", name, METHODS[self.method])
        object.__setattr__(self, "settings", settings)
        self._check_together()

    def _check_sets(self) -> None:
        for name, known in (("precision", TYPES), ("attention", ATTENTIONS), ("logits", LOGITS),
                            ("optimizer", OPTIMIZERS), ("sharding", SHARDINGS)):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        for name, known in (("mixed", ("bfloat16", "float16")), ("quantization", QUANTIZATIONS)):
            if getattr(self, name) is not None and getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), (*known, "None"))

    def _check_numbers(self) -> None:
        for name, least in (("batch_size", 1), ("seq_len", 2), ("accumulation", 1), ("ranks", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise refusal(name, f"a whole number, {least} or more", value)
        share = self.label_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise refusal("label_share", "a share above 0 and up to 1", share, "Take 0.5 where half are answers.")
        if not isinstance(self.checkpointing, bool) and not EVERY.fullmatch(str(self.checkpointing)):
            raise refusal("checkpointing", "True, False or 'every:<2 or more>'", self.checkpointing)
        for name in ("double_quant", "float32_cast"):
            if not isinstance(getattr(self, name), bool):
                raise refusal(name, "True or False", getattr(self, name))

    def _check_together(self) -> None:
        base = BASES.get(self.method)
        if base == "int8" and self.quantization != "int8" or base == "nf4" and self.quantization == "int8":
            raise refusal("quantization", f"{'int8' if base == 'int8' else 'nf4 or fp4'} with {self.method}",
                          self.quantization)
        if self.quantization and self.method in ("full", "freeze"):
            raise refusal("quantization", f"None with {self.method}", self.quantization,
                          "Quantised weights have no gradient: take qlora.")
        if self.checkpointing and self.method == "prefix":
            raise refusal("checkpointing", "False with a trained prefix", True,
                          "transformers would leave the prefix out.")
        if self.sharding != "none" and self.ranks == 1:
            raise refusal("ranks", f"2 or more with {self.sharding}", 1, "Sharing out takes somebody to share with.")

    @property
    def shares_weights(self) -> bool:
        """Whether each process holds a share of every weight at rest."""
        return self.sharding in ("zero2", "zero3")

    @property
    def label_tokens(self) -> int:
        """How many tokens of a micro-batch carry loss; the first of a row never does."""
        return max(1, round(self.label_share * self.batch_size * (self.seq_len - 1)))

    def recomputes(self, place: int) -> bool:
        """Whether the layer at a place, counted from 0, computes its activations again."""
        every = int(self.checkpointing.partition(":")[2]) if isinstance(self.checkpointing, str) else 1
        return bool(self.checkpointing) and place % every == 0

    def setting(self, name: str) -> object:
        """A setting of the method: the one given, or the one that stands for it."""
        return self.settings.get(name, METHODS[self.method][name])

    def with_(self, **changes) -> "Setup":
        """The same with other values; another method keeps the settings that it knows."""
        method = changes.get("method", self.method)
        if method != self.method and method in METHODS:
            kept = {name: value for name, value in self.settings.items() if name in METHODS[method]}
            changes = {"settings": kept, "quantization": BASES.get(method)} | changes
        return replace(self, **changes)

    def record(self) -> dict:
        """The same as a dict that JSON can hold; `Setup(**record)` takes it back."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in self.settings.items()}
        return asdict(replace(self, settings={})) | {"settings": plain, "unquantised": list(self.unquantised)}
