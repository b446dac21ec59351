"""The parts of a model's layers: which modules attend, and which work on each token by itself.

Knows nothing about what is done with them, nor about any family of models: it looks at the model it is given.
"""

from dataclasses import dataclass

from torch import nn

from ftkit import targets
from ftkit.errors import refusal

ATTENTION, MLP = "attention", "mlp"


@dataclass(frozen=True)
class LayerParts:
    """One layer, taken apart.

    Args:
        path: of the layer.
        attention: paths of the modules that attend, cross-attention included.
        mlp: paths of the other modules with matrices of weights, in the layer's order.
    """

    path: str
    attention: tuple[str, ...]
    mlp: tuple[str, ...]


def parts_of(model: nn.Module) -> list[LayerParts]:
    """The parts of each layer of the longest stack, bottom first.

    A part is a child of the layer that holds a matrix; norms hold none. It attends if its name says so.

    Raises:
        Refusal: the model has no list of layers, or a layer has no part of one of the two kinds.

    Example:
        >>> layer = nn.ModuleDict({"self_attn": nn.Linear(2, 2), "norm": nn.LayerNorm(2), "mlp": nn.Linear(2, 2)})
        >>> parts_of(nn.ModuleDict({"layers": nn.ModuleList([layer])}))
        [LayerParts(path='layers.0', attention=('layers.0.self_attn',), mlp=('layers.0.mlp',))]
    """
    found = []
    for path in targets.layers_of(model):
        children = [(name, child) for name, child in model.get_submodule(path).named_children()
                    if any(parameter.dim() > 1 for parameter in child.parameters())]
        attention = tuple(f"{path}.{name}" for name, _ in children if _attends(name))
        mlp = tuple(f"{path}.{name}" for name, _ in children if not _attends(name))
        if not attention or not mlp:
            names = ", ".join(name for name, _ in children) or "none"
            raise refusal(path, "a layer with attention and an MLP", names,
                          "Name modules of it, or take a method that needs no such parts.")
        found.append(LayerParts(path, attention, mlp))
    return found


def _attends(name: str) -> bool:
    return "attn" in name.lower() or "attention" in name.lower()
