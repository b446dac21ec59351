"""A linear layer whose weight is held in blocks of codes, and a model whose linear layers are replaced by it.

Knows nothing about training or scores. The weight is frozen: gradients go through it to the input, and to nothing else.
"""

import json
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ftkit import targets
from ftkit.errors import refusal
from ftkit.frozen_codes import Codes, by_open_decoder
from ftkit.quant.blocks import (
    SCALES_IN_BLOCK,
    Quantised,
    dequantise,
    quantise,
    storage_bytes,
)
from ftkit.quant.codebooks import codebook_on, dynamic_codebook_on


class QuantisedLinear(nn.Linear):
    """A linear layer with a frozen weight in codes of 4 or 8 bits; made by `quantised_linear`.

    Equation: y = W̃x + b, W̃ the dequantised weight; ∂L/∂x = W̃ᵀ·∂L/∂y.
    Shapes: x (..., in) → y (..., out). `weight` holds the packed bytes, so code that asks for its type or device finds
    them, and LoRA's merge refuses it.

    W̃ is made when it is needed, forward and again backward, and is never kept. It is rounded to the type of the weight
    that was quantised and then to the type of x, as bitsandbytes does.

    Taught in: 07_quantization_from_scratch
    """

    def __init__(self, quantised: Quantised, bias: torch.Tensor | None = None):
        nn.Module.__init__(self)  # nn.Linear's own would make a weight in floating point first
        self.out_features, self.in_features = quantised.shape
        self.shape, self.dtype = quantised.shape, quantised.dtype
        self.data_type, self.block_size = quantised.data_type, quantised.block_size
        self.weight = nn.Parameter(quantised.packed, requires_grad=False)
        for name in ("scales", "offset", "scale_scales"):
            self.register_buffer(name, getattr(quantised, name))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
        self._tell_shape()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes: x (..., in) → (..., out)."""
        return _QuantisedProduct.apply(x, self.dequantised, self.bias)

    @property
    def quantised(self) -> Quantised:
        """The weight as `dequantise` takes it."""
        return Quantised(self.weight, self.scales, self.shape, self.dtype, self.data_type, self.block_size, self.offset,
                         self.scale_scales)

    def dequantised(self, dtype: torch.dtype) -> torch.Tensor:
        """W̃ in a type, rounded to the type of the weight that was quantised first."""
        codes = self.codes()
        made = None if codes is None else by_open_decoder(codes, dtype)
        return dequantise(self.quantised).to(dtype) if made is None else made

    def codes(self) -> Codes | None:
        """The weight as `frozen_codes` takes it; None where it is not in 4-bit codes."""
        if self.data_type == "int8":
            return None
        double, device = {}, self.weight.device
        if self.offset is not None:
            double = {"scale_table": dynamic_codebook_on(device), "scale_scales": self.scale_scales,
                      "scales_in_block": SCALES_IN_BLOCK, "offset": self.offset}
        return Codes(self.weight.flatten(), codebook_on(self.data_type, device), self.scales, self.block_size,
                     self.shape, self.dtype, **double)

    def extra_repr(self) -> str:
        double = ", double quantisation" if self.offset is not None else ""
        return (f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
                f"{self.data_type}, block_size={self.block_size}{double}")

    def get_extra_state(self) -> torch.Tensor:
        """What the codes mean, for a state dict: JSON in bytes, since files of tensors hold nothing else."""
        meaning = [self.data_type, self.block_size, self.offset is not None, str(self.dtype), list(self.shape)]
        return torch.tensor(list(json.dumps(meaning).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Refuses codes that mean something else than this layer's."""
        theirs, ours = (json.loads(bytes(each.tolist())) for each in (state, self.get_extra_state()))
        if theirs != ours:
            raise refusal("state_dict", f"of a layer in {ours}", theirs,
                          "Quantise this model with the same settings before loading.")

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._tell_shape()  # a copied parameter has lost what was attached to it

    def _apply(self, function, recurse: bool = True):
        """Moves codes and scales; `half()` and the like leave the scales what they are, as rounding would lose them."""
        kept = {name: getattr(self, name) for name in ("scales", "offset", "scale_scales")}
        super()._apply(function, recurse)
        for name, before in kept.items():
            if before is not None and getattr(self, name).dtype != before.dtype:
                setattr(self, name, before.to(getattr(self, name).device))
        self._tell_shape()
        return self

    def _tell_shape(self) -> None:
        """`targets.counts` asks a packed parameter for the shape of what it holds, as with bitsandbytes'."""
        self.weight.quant_state = SimpleNamespace(shape=self.shape)


class _QuantisedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, make, bias):
        ctx.make, ctx.has_bias = make, bias is not None  # not the weight: 4 bits are kept instead of 32
        return F.linear(x, make(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_y @ ctx.make(grad_y.dtype)
        if ctx.has_bias and ctx.needs_input_grad[2]:
            grad_bias = grad_y.reshape(-1, grad_y.shape[-1]).sum(0)
        return grad_x, None, grad_bias


def quantised_linear(linear: nn.Linear, data_type: str = "nf4", block_size: int = 64,
                     double: bool = False) -> QuantisedLinear:
    """A layer that computes what `linear` does, from a weight in codes; `linear` is not changed.

    Args:
        linear: a plain `nn.Linear`.
        data_type: as for `quantise`.
        block_size: as for `quantise`.
        double: as for `quantise`.

    Raises:
        Refusal: no plain linear layer, or as `quantise` does.

    Example:
        >>> quantised_linear(nn.Linear(4, 2, bias=False))(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """
    if type(linear) is not nn.Linear:
        raise refusal("linear", "a plain nn.Linear", type(linear).__name__,
                      "It is quantised already." if isinstance(linear, QuantisedLinear) else "")
    made = QuantisedLinear(quantise(linear.weight, data_type, block_size, double), linear.bias)
    return made.train(linear.training)


def quantise_(model: nn.Module, data_type: str = "nf4", block_size: int = 64, double: bool = False,
              target_modules: str | tuple[str, ...] = targets.ALL_LINEAR) -> nn.Module:
    """The model with its linear layers, all or those named, replaced by quantised ones.

    Embeddings, norms and the output head stay what they are, as with bitsandbytes.

    Args:
        data_type: as for `quantise`.
        block_size: as for `quantise`.
        double: as for `quantise`.
        target_modules: endings of module paths, or "all-linear", as in `targets.find`.

    Raises:
        Refusal: a name that does not fit, a layer that is no plain `nn.Linear` or that shares its weight with another
            module, or as `quantise` does; nothing has been replaced then.
    """
    paths = targets.find(model, target_modules)
    made = {}
    for path in paths:
        linear = model.get_submodule(path)
        if sharers := targets.sharers_of(model, linear):
            raise refusal(path, "a layer with a weight of its own", f"one shared with {sharers[0]}",
                          "Leave it out of target_modules, or untie the weights first.")
        try:
            made[path] = quantised_linear(linear, data_type, block_size, double)
        except ValueError as error:
            raise type(error)(f"{path}: {error}") from error
    for path, layer in made.items():
        targets.replace_(model, path, layer)
    return model


def quantised_layers(model: nn.Module) -> dict[str, QuantisedLinear]:
    """The quantised layers by module path; empty without one."""
    return {path: module for path, module in model.named_modules() if isinstance(module, QuantisedLinear)}


def model_bytes(model: nn.Module) -> int:
    """The bytes of a model's weights: codes and scales where a layer is quantised, and every other parameter, tied ones
    once."""
    layers = quantised_layers(model).values()
    packed = {id(layer.weight) for layer in layers}
    plain = [each for each in model.parameters() if id(each) not in packed]
    return (sum(storage_bytes(layer.quantised) for layer in layers)
            + sum(each.numel() * each.element_size() for each in plain))
