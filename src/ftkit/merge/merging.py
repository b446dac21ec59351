"""An adapter put into the weights it stands beside: quantised ones, dequantised ones, or those of the original model.

Knows nothing about files, scores or how a model was trained.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ftkit import quantization, targets
from ftkit.errors import refusal, unknown
from ftkit.lora import adapter
from ftkit.lora.saving import load_adapter_, save_adapter
from ftkit.quant.blocks import dequantise, quantise
from ftkit.quant.linear import QuantisedLinear

WAYS = ("quantised", "dequantised", "original")


def merged(model: nn.Module, way: str, original: nn.Module | None = None) -> nn.Module:
    """A model without an adapter whose weights hold what the adapter added; the models given are changed.

    Args:
        model: a base with a LoRA adapter.
        way: "quantised" leaves the weights in the codes they are in, "dequantised" makes a plain model of the numbers
            that the codes stand for, "original" puts the adapter into another, unquantised model.
        original: that model, for "original": as it was before it was quantised, without an adapter.

    Raises:
        Refusal: an unknown way, no original where one is needed or one that is quantised, no adapter, or a module that
            cannot be merged (see `lora.adapter.merge_`).

    Taught in: 08_qlora
    """
    if way not in WAYS:
        raise unknown("way", way, WAYS)
    if (way == "original") != (original is not None):
        raise refusal("original", "a model for way='original', and None for the others", type(original).__name__)
    if way == "quantised":
        return merge_quantised_(model)
    return merge_dequantised_(model) if way == "dequantised" else merge_into_(original, model)


def merge_dequantised_(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """The model as a plain one: every layer in codes dequantised, the adapter added, in floating point.

    Equation: W′ = W̃ + scaling·BA, W̃ the numbers that the codes stand for. What the adapter saw in training.

    Args:
        dtype: of the dequantised weights; None takes the type that the codes were made from, from int8 that of the
            embeddings.

    Raises:
        Refusal: no adapter, or a module that cannot be merged.
    """
    dequantise_(model, dtype)
    return adapter.remove_lora_(adapter.merge_(model))


@torch.no_grad()
def merge_quantised_(model: nn.Module) -> nn.Module:
    """The model with its layers in codes again, of the numbers with the adapter added; plain layers stay plain.

    Equation: W′ = quantise(W̃ + scaling·BA). What BA moved by less than the way to the next code is lost.

    Raises:
        Refusal: no adapter, or a module that cannot be merged.
    """
    adapter.config_of(model)  # refuses a model without one
    for path, layer in adapter.lora_layers(model).items():
        if quantization.bits_of(layer.base):
            numbers = _numbers(layer.base)
            targets.replace_(model, path, _stored_like(layer.base, (numbers + layer.addition()).to(numbers.dtype)))
    if adapter.lora_layers(model):
        return adapter.remove_lora_(adapter.merge_(model))
    for path, copied in adapter.trained_copies(model).items():
        targets.replace_(model, path, copied.trained)
    return model.requires_grad_(False)


def merge_into_(original: nn.Module, model: nn.Module) -> nn.Module:
    """The original, unquantised model with the adapter of another added to its weights.

    Equation: W′ = W + scaling·BA. The adapter was trained beside W̃, and learned to make up for some of W̃ − W: that
    part is now too much. LoftQ's begins as nothing else: it belongs to its codes alone.

    Raises:
        Refusal: the original is quantised or adapted, `model` has no adapter, or the two do not fit.
    """
    quantised = [path for path, module in original.named_modules() if quantization.bits_of(module)]
    if quantised:
        raise refusal("original", "unquantised", f"{quantised[0]} in codes", "Load it without quantization.")
    with TemporaryDirectory() as folder:
        load_adapter_(original, save_adapter(model, Path(folder), "unknown"))
    return adapter.remove_lora_(adapter.merge_(original))


def dequantise_(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """The model with every linear layer in codes, those under an adapter too, replaced by a plain one.

    Args:
        dtype: of their weights; None takes the type that the codes were made from, from int8 that of the embeddings.
    """
    for path, module in list(model.named_modules()):
        if quantization.bits_of(module):
            known = dtype or (_dtype_of(model) if quantization.kind_of(module) == "int8" else None)
            targets.replace_(model, path, _plain(module, known))
    quantizer = vars(model).get("hf_quantizer")
    if quantizer is not None:  # transformers would store and load a plain model as a quantised one
        quantizer.remove_quantization_config(model)
        model.is_loaded_in_4bit = model.is_loaded_in_8bit = False
    return model


def _dtype_of(model: nn.Module) -> torch.dtype | None:
    """The type of a language model's embeddings; None for another model."""
    return model.get_input_embeddings().weight.dtype if hasattr(model, "get_input_embeddings") else None


def _numbers(layer: nn.Module) -> torch.Tensor:
    return dequantise(layer.quantised) if isinstance(layer, QuantisedLinear) else quantization.numbers_of(layer)


@torch.no_grad()
def _plain(layer: nn.Module, dtype: torch.dtype | None) -> nn.Linear:
    numbers = _numbers(layer)
    made = nn.Linear(1, 1, bias=False, device="meta")  # nn.Linear's own start would be thrown away
    made.in_features, made.out_features = layer.in_features, layer.out_features
    made.weight = nn.Parameter(numbers.to(dtype or numbers.dtype), requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().to(made.weight.dtype), requires_grad=False)
    return made.train(layer.training)


def _stored_like(layer: nn.Module, numbers: torch.Tensor) -> nn.Module:
    if isinstance(layer, QuantisedLinear):
        codes = quantise(numbers, layer.data_type, layer.block_size, layer.offset is not None)
        return QuantisedLinear(codes, layer.bias).train(layer.training)
    return quantization.like_(layer, numbers)
