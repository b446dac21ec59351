"""Which part of a model stays as it is: one end of its stack of layers, or modules in them.

Knows nothing about training, files or what else a method may add to a model.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from ftkit import targets
from ftkit.errors import refusal
from ftkit.layer_parts import ATTENTION, MLP, parts_of
from ftkit.layer_places import frozen_count

PARTS = ("bottom", "top")
USUAL_RATIO = 0.75


@dataclass(frozen=True)
class FreezeConfig:
    """What is frozen.

    Args:
        part: which end of the stack is frozen: "bottom" (next to the embeddings) or "top".
        freeze_ratio: the share of the layers that is frozen, 0 to 1; None takes three quarters, or all of them where
            `modules` says what in them is frozen.
        modules: "mlp", "attention" or endings of module paths: what is frozen in those layers, all else in them being
            trained; empty freezes them whole.
        embeddings_and_head: whether all that stands outside the layers is trained, too: embeddings, last norm, head.
        layers: how many layers at the other end are trained, in place of `freeze_ratio`.

    Raises:
        Refusal: a value is out of range, or `layers` stands beside `freeze_ratio` or `modules`.
    """

    part: str = "bottom"
    freeze_ratio: float | None = None
    modules: str | tuple[str, ...] = ()
    embeddings_and_head: bool = False
    layers: int | None = None

    def __post_init__(self):
        names = (self.modules,) if isinstance(self.modules, str) else tuple(self.modules or ())
        object.__setattr__(self, "modules", tuple(name for name in names if name))
        if self.part not in PARTS:
            raise refusal("part", "'bottom' or 'top', the end that is frozen", self.part)
        ratio = self.freeze_ratio
        if ratio is not None and (isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 <= ratio <= 1):
            raise refusal("freeze_ratio", "a share, 0 to 1", ratio, "Take 0.5 to freeze half of the layers.")
        if not isinstance(self.embeddings_and_head, bool):
            raise refusal("embeddings_and_head", "True or False", self.embeddings_and_head)
        if self.layers is not None and (ratio is not None or self.modules):
            raise refusal("layers", "left out beside freeze_ratio or modules", self.layers, "Take one of them.")
        if self.layers is None and ratio is None:
            object.__setattr__(self, "freeze_ratio", 1.0 if self.modules else USUAL_RATIO)


def freeze_(model: nn.Module, config: FreezeConfig) -> nn.Module:
    """The model with its layers frozen as `config` says; embeddings, last norm and head are, too, unless it says else.

    A head that is tied to the embeddings is trained and frozen with them.

    Raises:
        Refusal: the model has no list of layers or no such module, or nothing would be left to train.

    Taught in: 06_methods_compared
    """
    paths = targets.layers_of(model)
    frozen = _frozen_layers(paths, config)
    kept = set(_kept_inside(model, frozen, config.modules)) | set(paths) - set(frozen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_under(name, kept) if _is_under(name, paths) else config.embeddings_and_head)
    if not targets.trainable(model):
        raise refusal("freeze_ratio", f"small enough for one of {len(paths)} layers to be trained", config.freeze_ratio,
                      "Or set embeddings_and_head=True.")
    return model


def _frozen_layers(paths: list[str], config: FreezeConfig) -> list[str]:
    count, trained = len(paths), config.layers
    if trained is not None and (type(trained) is not int or not 1 <= trained <= count):
        raise refusal("layers", f"a whole number from 1 to {count}, the layers of this model", trained)
    many = count - trained if trained is not None else frozen_count(config.freeze_ratio, count)
    return paths[:many] if config.part == "bottom" else paths[count - many:]


def _kept_inside(model: nn.Module, frozen: list[str], modules: tuple[str, ...]) -> list[str]:
    """The paths of parameters in frozen layers that are trained all the same: those outside the named modules."""
    if not modules:
        return []
    named = _named_modules(model, modules)
    return [name for name, _ in model.named_parameters() if _is_under(name, frozen) and not _is_under(name, named)]


def _named_modules(model: nn.Module, modules: tuple[str, ...]) -> list[str]:
    found = []
    layers = targets.layers_of(model)
    for wanted in modules:
        if wanted in (ATTENTION, MLP):
            paths = [path for parts in parts_of(model) for path in getattr(parts, wanted)]
        else:
            paths = [path for path, _ in model.named_modules()
                     if targets.ends_with(path, wanted) and _is_under(path, layers)]
        if not paths:
            inside = {path.removeprefix(f"{layers[0]}.") for path, _ in model.named_modules()
                      if path.startswith(f"{layers[0]}.")}
            raise refusal("modules", f"'{ATTENTION}', '{MLP}' or names of modules in the layers", wanted,
                          f"A layer of this model has {', '.join(sorted(inside))}.")
        found += paths
    return found


def _is_under(name: str, paths: Iterable[str]) -> bool:
    return any(name == path or name.startswith(f"{path}.") for path in paths)
