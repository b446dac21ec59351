"""The settings of an adapter, and what they mean for one module. Knows nothing about models."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ftkit import targets
from ftkit.errors import refusal


@dataclass(frozen=True)
class LoraConfig:
    """The settings of an adapter.

    Args:
        rank: columns of B and rows of A, 1 or more.
        alpha: the addition is scaled by alpha/rank, or alpha/√rank with `use_rslora`; above 0.
        dropout: share of the addition's inputs set to zero in training, 0 up to but not including 1.
        target_modules: endings of module paths, or "all-linear", as in `targets.find`.
        use_rslora: scale by alpha/√rank.
        layers: which layers of each stack: "all", "first 2", "last 6", or places counted from 0.
        rank_pattern: another rank for the modules whose path ends with a name; the first name that fits counts.
        alpha_pattern: another alpha, in the same way.
        modules_to_save: endings of the paths of modules that are trained whole, in a copy, and saved with the adapter.
        allow_partial: pass over names that are missing in some layers, or in the model as long as one is there.
        train_biases: train every bias that the model has, too, as peft's bias="all".

    Raises:
        Refusal: a value is out of range.

    Source: Hu et al. 2021, LoRA, section 4; Kalajdzievski 2023 for √rank.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = targets.ALL_LINEAR
    use_rslora: bool = False
    layers: str | tuple[int, ...] = targets.ALL_LAYERS
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    modules_to_save: tuple[str, ...] = ()
    allow_partial: bool = False
    train_biases: bool = False

    def __post_init__(self):
        saved = () if self.modules_to_save is None else self.modules_to_save  # peft's word for none
        object.__setattr__(self, "modules_to_save", _names(saved, "modules_to_save"))
        if not isinstance(self.target_modules, str):
            object.__setattr__(self, "target_modules", _names(self.target_modules, "target_modules"))
        if isinstance(self.layers, list):  # from JSON
            object.__setattr__(self, "layers", tuple(self.layers))
        check_rank("rank", self.rank)
        check_alpha("alpha", self.alpha)
        check_dropout(self.dropout)
        for name in ("use_rslora", "train_biases"):
            if not isinstance(getattr(self, name), bool):
                raise refusal(name, "True or False", getattr(self, name))
        if not self.target_modules:
            raise refusal("target_modules", "at least one name", self.target_modules, "Take 'all-linear'.")
        for name, check in (("rank_pattern", check_rank), ("alpha_pattern", check_alpha)):
            if not isinstance(getattr(self, name), Mapping):
                raise refusal(name, "a mapping from names to values", getattr(self, name), "Take {'down_proj': 16}.")
            for key, value in getattr(self, name).items():
                check(f"{name}[{key!r}]", value)

    def rank_at(self, path: str) -> int:
        """The rank of the module at a path.

        Example:
            >>> LoraConfig(rank_pattern={"down_proj": 16}).rank_at("layers.0.mlp.down_proj")
            16
        """
        return _at(self.rank_pattern, path, self.rank)

    def alpha_at(self, path: str) -> float:
        """The alpha of the module at a path."""
        return _at(self.alpha_pattern, path, self.alpha)


def check_dropout(value: object) -> None:
    """Refuses what is no share below 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise refusal("dropout", "a share, 0 or more and below 1", value, "Take 0.0 to begin with.")


def check_rank(name: str, value: object) -> None:
    """Refuses what is no rank."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refusal(name, "a whole number, 1 or more", value, "Take 8 to begin with.")


def check_alpha(name: str, value: object) -> None:
    """Refuses what is no alpha."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise refusal(name, "a number above 0", value, "Take twice the rank to begin with.")


def _names(names: object, what: str) -> tuple[str, ...]:
    found = tuple(names) if isinstance(names, list | tuple | set | frozenset) else (names,)
    if not all(isinstance(name, str) for name in found):
        raise refusal(what, "names of modules", names, "Take 'all-linear'." if what == "target_modules" else "")
    return tuple(sorted(found)) if isinstance(names, set | frozenset) else found


def _at(pattern: Mapping, path: str, default):
    return next((value for name, value in pattern.items() if targets.ends_with(path, name)), default)
