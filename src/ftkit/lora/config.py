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

    def __post_init__(self):
        for name in ("target_modules", "layers", "modules_to_save"):
            if not isinstance(getattr(self, name), str):
                object.__setattr__(self, name, tuple(getattr(self, name)))  # from JSON: a list
        if isinstance(self.modules_to_save, str):
            object.__setattr__(self, "modules_to_save", (self.modules_to_save,))
        check_rank("rank", self.rank)
        check_alpha("alpha", self.alpha)
        if not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise refusal("dropout", "a share, 0 or more and below 1", self.dropout, "Take 0.0 to begin with.")
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


def check_rank(name: str, value: object) -> None:
    """Refuses what is no rank."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise refusal(name, "a whole number, 1 or more", value, "Take 8 to begin with.")


def check_alpha(name: str, value: object) -> None:
    """Refuses what is no alpha."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise refusal(name, "a number above 0", value, "Take twice the rank to begin with.")


def _at(pattern: Mapping, path: str, default):
    return next((value for name, value in pattern.items() if targets.ends_with(path, name)), default)
