"""Bottleneck adapters: a small trained network after a part of each layer. Knows nothing about training or files."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ftkit import targets
from ftkit.errors import refusal
from ftkit.layer_parts import parts_of

PLACES = ("houlsby", "pfeiffer")
ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu, "tanh": torch.tanh}


@dataclass(frozen=True)
class BottleneckConfig:
    """The settings of bottleneck adapters.

    Args:
        bottleneck: numbers in the middle, 1 or more.
        place: "houlsby" (after attention and after the MLP of each layer) or "pfeiffer" (after the MLP alone).
        activation: "gelu", "relu", "silu" or "tanh".
        init_std: the spread of the weights at the start, above 0; near 0 the model starts as it was.

    Raises:
        Refusal: a value is out of range.

    Source: Houlsby et al. 2019, Parameter-Efficient Transfer Learning for NLP, sections 2.1 and 3.6 for the start;
    Pfeiffer et al. 2021, AdapterFusion, for the one place.
    """

    bottleneck: int = 16
    place: str = "houlsby"
    activation: str = "gelu"
    init_std: float = 0.01

    def __post_init__(self):
        if isinstance(self.bottleneck, bool) or not isinstance(self.bottleneck, int) or self.bottleneck < 1:
            raise refusal("bottleneck", "a whole number, 1 or more", self.bottleneck, "Take 16 to begin with.")
        if self.place not in PLACES:
            raise refusal("place", " or ".join(PLACES), self.place)
        if self.activation not in ACTIVATIONS:
            raise refusal("activation", f"one of {', '.join(ACTIVATIONS)}", self.activation)
        std = self.init_std
        if isinstance(std, bool) or not isinstance(std, int | float) or not 0 < std < float("inf"):
            raise refusal("init_std", "a number above 0", std, "Take 0.01: with zeros no gradient would get through.")


class Bottleneck(nn.Module):
    """A network with a narrow middle, added to its own input.

    Equation: h + up(activation(down(h))).
    Shapes: down (bottleneck, width), up (width, bottleneck), each with a bias; float32 whatever type h has.

    The weights start normal with a small spread and cut off at twice of it, the biases at zero: the model computes
    nearly what it did.

    Args:
        width: of h.
        config: its settings.
        generator: draws the weights; torch's global one if None.

    Taught in: 06_methods_compared
    """

    def __init__(self, width: int, config: BottleneckConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.down, self.up = nn.Linear(width, config.bottleneck), nn.Linear(config.bottleneck, width)
        self.activation = config.activation
        for linear in (self.down, self.up):
            std = config.init_std
            nn.init.trunc_normal_(linear.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            nn.init.zeros_(linear.bias)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Shapes: (..., width) → (..., width)."""
        added = self.up(ACTIVATIONS[self.activation](self.down(h.to(self.down.weight.dtype))))
        return h + added.to(h.dtype)


def add_bottlenecks_(model: nn.Module, config: BottleneckConfig, seed: int = 0) -> nn.Module:
    """The model with an adapter after attention and MLP, or after the MLP alone, of each layer, and all else frozen.

    It works on what such a part adds to the layer's residual stream, before it is added. Norms stay frozen; Houlsby et
    al. train theirs as well.

    Args:
        seed: decides the weights; the same on every device.

    Raises:
        Refusal: the model has no list of layers with attention and an MLP, no width in its config, or adapters already.

    Taught in: 06_methods_compared
    """
    width = getattr(getattr(model, "config", None), "hidden_size", None)
    if width is None:
        raise refusal("model", "a language model of transformers, with hidden_size in its config",
                      type(model).__name__)
    if bottlenecks(model):
        raise refusal("model", "one without adapters", f"one with {len(bottlenecks(model))}", "Load it anew.")
    places = [path for parts in parts_of(model) for path in _places(parts, config.place)]
    generator = torch.Generator().manual_seed(seed)
    targets.freeze_(model)
    for path in places:
        module = model.get_submodule(path)
        device = next(module.parameters()).device
        module.adapter = Bottleneck(width, config, generator).to(device)
        module.register_forward_hook(_adapted)
    return model


def bottlenecks(model: nn.Module) -> dict[str, Bottleneck]:
    """The adapters by path; empty without one."""
    return {path: module for path, module in model.named_modules() if isinstance(module, Bottleneck)}


def _places(parts, place: str) -> tuple[str, ...]:
    after_mlp = parts.mlp[-1:]  # of an MLP that is no module of its own, the matrix it ends with
    return after_mlp if place == "pfeiffer" else (parts.attention[-1], *after_mlp)


def _adapted(module: nn.Module, _: tuple, out):
    """What the part yields, adapted; attention yields its weights beside it."""
    return (module.adapter(out[0]), *out[1:]) if isinstance(out, tuple) else module.adapter(out)
