"""LoftQ: a quantised base, and an adapter that begins with what quantising lost.

Knows nothing about training, files or bitsandbytes: the codes are those of `quant`, on any device.
"""

from dataclasses import dataclass

import torch
from torch import nn

from ftkit import targets
from ftkit.errors import refusal
from ftkit.lora.adapter import add_lora_, lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.quant.blocks import Quantised, dequantise, quantise
from ftkit.quant.linear import QuantisedLinear, quantise_


@dataclass(frozen=True)
class LoftqConfig:
    """How the base is quantised for LoftQ.

    Args:
        data_type: as for `quant.blocks.quantise`.
        block_size: as there.
        double: as there.
        iterations: how often codes and factors are worked out in turn, 1 or more; with 1 the codes are those of
            plain quantisation.

    Raises:
        Refusal: iterations is out of range.
    """

    data_type: str = "nf4"
    block_size: int = 64
    double: bool = True
    iterations: int = 1

    def __post_init__(self):
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int) or self.iterations < 1:
            raise refusal("iterations", "a whole number, 1 or more", self.iterations)


@torch.no_grad()
def loftq(weight: torch.Tensor, rank: int, config: LoftqConfig | None = None
          ) -> tuple[Quantised, torch.Tensor, torch.Tensor]:
    """Codes of a weight, and factors A and B that make up for what they lose.

    Equation: from BA = 0, in turn: Q = quantise(W − BA); BA = the matrix of the rank that is nearest to W − Q, by
    singular values: W − Q = USVᵀ, B = U√S, A = √SVᵀ, cut off after the rank.
    Shapes: W (out, in) → A (rank, in), B (out, rank).

    Raises:
        Refusal: the rank is more than the weight's smaller width, or as `quantise` does.

    Example:
        >>> weight = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
        >>> codes, A, B = loftq(weight, rank=8)
        >>> torch.allclose(dequantise(codes) + B @ A, weight, atol=1e-5)
        True

    Source: Li et al. 2023, LoftQ, algorithm 1.
    Taught in: 08_qlora
    """
    config = config or LoftqConfig()
    if rank > min(weight.shape):
        raise refusal("rank", f"at most {min(weight.shape)}, the weight's smaller width", rank)
    exact = weight.detach().float()
    low = torch.zeros_like(exact)
    for _ in range(config.iterations):
        codes = quantise((exact - low).to(weight.dtype), config.data_type, config.block_size, config.double)
        left, sizes, right = torch.linalg.svd(exact - dequantise(codes, torch.float32), full_matrices=False)
        root = sizes[:rank].sqrt()
        lora_A, lora_B = root[:, None] * right[:rank], left[:, :rank] * root
        low = lora_B @ lora_A
    return codes, lora_A, lora_B


def add_loftq_(model: nn.Module, lora: LoraConfig, config: LoftqConfig) -> nn.Module:
    """The model with all its linear layers but the head in codes, and an adapter that begins with what they lost.

    Layers without an adapter are quantised plainly. B is divided by alpha/rank, so that the addition is BA.

    Raises:
        Refusal: the model is quantised already, or as `quantise_` and `add_lora_` do; the model may be changed then.
    """
    factors = quantise_for_loftq_(model, lora, config)
    add_lora_(model, lora)
    with torch.no_grad():
        for path, layer in lora_layers(model).items():
            lora_A, lora_B = factors[path]
            layer.lora_A.copy_(lora_A)
            layer.lora_B.copy_(lora_B / layer.scaling)
    return model


def quantise_for_loftq_(model: nn.Module, lora: LoraConfig, config: LoftqConfig
                        ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B by path; the model has its linear layers in codes afterwards, and no adapter yet.

    Raises:
        Refusal: as for `add_loftq_`.
    """
    exact = {path: model.get_submodule(path).weight
             for path in targets.find(model, lora.target_modules, lora.layers, lora.allow_partial)}
    quantise_(model, config.data_type, config.block_size, config.double)
    factors = {}
    for path, weight in exact.items():
        layer = model.get_submodule(path)
        if not isinstance(layer, QuantisedLinear):
            raise refusal("target_modules", "names of linear layers that are quantised", path,
                          "LoftQ begins an adapter with what quantising its layer lost.")
        codes, *factors[path] = loftq(weight, lora.rank_at(path), config)
        targets.replace_(model, path, QuantisedLinear(codes, layer.bias).train(layer.training))
    return factors
