"""Modules that stand where a model's own stood: a frozen layer with a trained low-rank addition, or a trained copy.

Knows nothing about models: one layer at a time.
"""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from ftkit import frozen_codes, low_rank, targets
from ftkit.errors import refusal
from ftkit.lora.config import check_alpha, check_dropout, check_rank


class LoRALayer(nn.Module):
    """A frozen linear layer with a trained low-rank addition; right after it is made it computes what the base does.

    Equation: h = Wx + scaling·B(A(dropout(x))), scaling = alpha/rank.
    Shapes: A (rank, in), B (out, rank), as in the paper and in peft.

    A starts uniform in ±1/√in (Kaiming with a = √5, as `nn.Linear` does), B at zero: the addition is zero, its
    gradient is not. Both are float32 (float64 on a float64 base), whatever type the base is stored in.

    The steps are peft's, in peft's order, so the results are the same bits. While `low_rank.fewest_steps` is open, as
    it is in `ftkit.train`, the same is computed in fewer steps and rounded in other places; over 4-bit codes while
    `low_rank.over_codes` is open.

    Dropout draws from torch's global generator: activation checkpointing runs a layer twice and replays that generator
    alone, so a generator of our own would draw another mask the second time and make the gradients wrong.

    Args:
        base: an `nn.Linear`, or a `Conv1D` of transformers, which keeps its weight as (in, out); it is frozen.
        rank: 1 or more.
        alpha: above 0.
        dropout: 0 up to but not including 1.
        generator: draws A; torch's global one if None.
        use_rslora: scale by alpha/√rank.

    Raises:
        Refusal: a base of another kind, or a value out of range.

    Taught in: 02_lora_from_scratch.
    """

    def __init__(self, base: nn.Module, rank: int, alpha: float, dropout: float = 0.0,
                 generator: torch.Generator | None = None, use_rslora: bool = False):
        super().__init__()
        check_rank("rank", rank)
        check_alpha("alpha", alpha)
        check_dropout(dropout)
        self.in_features, self.out_features = self.widths(base)
        self.base, self.rank, self.alpha, self.dropout, self.use_rslora = base, rank, alpha, dropout, use_rslora
        self.scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
        self.is_merged = False
        self.unmerged_weight: torch.Tensor | None = None  # a copy of the base's, while merged, where one was asked for
        base.requires_grad_(False)
        kept = torch.float64 if base.weight.dtype == torch.float64 else torch.float32
        lora_A, lora_B = (torch.zeros(*shape, dtype=kept) for shape in
                          ((rank, self.in_features), (self.out_features, rank)))
        self._start_(lora_A, lora_B, generator)  # drawn on the CPU: alike on all devices
        device = base.weight.device
        self.lora_A, self.lora_B = nn.Parameter(lora_A.to(device)), nn.Parameter(lora_B.to(device))

    @property
    def weight(self) -> nn.Parameter:
        """The base layer's weight: code that looks at a layer's type or device finds it."""
        return self.base.weight

    @property
    def bias(self) -> nn.Parameter | None:
        """The base layer's bias."""
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shapes: x (..., in) → (..., out)."""
        if self.is_merged:
            return self.base(x)
        weight = self._frozen_weight(x)
        if weight is not None:
            return low_rank.low_rank_linear(x, weight, self.base.bias, self.lora_A, self.lora_B, self.scaling)
        y, lora_A = self.base(x), self.lora_A
        if not isinstance(y, torch.Tensor):
            raise refusal("base", "a linear module that returns a tensor", type(self.base).__name__,
                          "Take its name out of target_modules.")
        kept = x.to(lora_A.dtype)
        if self.dropout and self.training:
            kept = F.dropout(kept, self.dropout)
        addition = F.linear(F.linear(kept, lora_A), self.lora_B).mul_(self.scaling)
        return addition.add_(y) if addition.dtype == y.dtype else (y + addition).to(y.dtype)

    def addition(self) -> torch.Tensor:
        """What merging adds to the base's weight: scaling·BA, laid out as that weight is."""
        product = self.lora_B @ self.lora_A  # (out, in)
        return (product.t() if targets.is_transposed(self.base) else product) * self.scaling

    def extra_repr(self) -> str:
        return f"rank={self.rank}, alpha={self.alpha}, dropout={self.dropout}, use_rslora={self.use_rslora}"

    @staticmethod
    def widths(base: nn.Module) -> tuple[int, int]:
        """The numbers of inputs and outputs of a module that can be adapted; another kind is refused."""
        if not targets.is_linear(base):
            raise refusal("base", "an nn.Linear or a Conv1D of transformers", type(base).__name__)
        if isinstance(base.weight, nn.UninitializedParameter):
            raise refusal("base", "a linear module that knows its shape", type(base).__name__,
                          "Call the model once first.")
        return targets.widths(base)

    def _start_(self, lora_A: torch.Tensor, lora_B: torch.Tensor, generator: torch.Generator | None) -> None:
        nn.init.kaiming_uniform_(lora_A, a=math.sqrt(5), generator=generator)

    def _frozen_weight(self, x: torch.Tensor) -> torch.Tensor | Callable | None:
        """The weight, or what makes it, where the hand-written product may stand in for the steps above."""
        base = self.base
        if (not (low_rank.is_fewest_steps() or low_rank.is_over_codes())
                or "forward" in vars(base)  # offloading replaces forward
                or base._forward_hooks or base._forward_pre_hooks or base._backward_hooks
                or (self.dropout and self.training) or base.weight.requires_grad
                or (base.bias is not None and (base.bias.requires_grad or base.bias.dtype != x.dtype))
                or torch.is_autocast_enabled(x.device.type)):
            return None
        if type(base) is nn.Linear or targets.is_transposed(base):
            if not (low_rank.is_fewest_steps() and x.dtype == base.weight.dtype == self.lora_A.dtype):
                return None
            return base.weight.t() if targets.is_transposed(base) else base.weight
        return frozen_codes.weight_of(base, x.dtype) if low_rank.is_over_codes() else None


class LoRAEmbedding(LoRALayer):
    """A frozen embedding with a trained low-rank addition: the row of a token is W[token] + scaling·B·A[:, token].

    Shapes: A (rank, tokens), B (width, rank). Here A starts at zero and B at random: looking a token up is a product
    with a one-hot vector, so either factor may be the one that starts at zero.

    Args:
        base: an `nn.Embedding`; it is frozen. Dropout has no effect here, as in peft.

    Raises:
        Refusal: a base of another kind, one that scales its output or renormalises its rows.

    Source: Hu et al. 2021; the way it begins is that of its authors' code.
    """

    def __init__(self, base: nn.Module, *settings, **named):
        super().__init__(base, *settings, **named)
        self.num_embeddings, self.embedding_dim = base.num_embeddings, base.embedding_dim  # models read these
        self.padding_idx = base.padding_idx

    @property
    def bias(self) -> None:
        """An embedding has none."""
        return None

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Shapes: ids (...), whole numbers → (..., width)."""
        y = self.base(ids)
        if self.is_merged:
            return y
        low = F.embedding(ids, self.lora_A.t(), padding_idx=self.base.padding_idx,
                          scale_grad_by_freq=self.base.scale_grad_by_freq)  # (..., rank)
        return (y + (low @ self.lora_B.t()) * self.scaling).to(y.dtype)

    def addition(self) -> torch.Tensor:
        """What merging adds to the base's weight: scaling·(BA)ᵀ, a row a token."""
        return (self.lora_B @ self.lora_A).t() * self.scaling

    @staticmethod
    def widths(base: nn.Module) -> tuple[int, int]:
        """The numbers of tokens and of outputs of an embedding that can be adapted; another kind is refused."""
        if not isinstance(base, nn.Embedding):
            raise refusal("base", "an nn.Embedding", type(base).__name__)
        if type(base).forward is not nn.Embedding.forward or base.max_norm is not None or base.sparse:
            raise refusal("base", "an nn.Embedding that looks rows up and no more", type(base).__name__,
                          "This one scales or renormalises them, or has sparse gradients: adapt linear modules, or "
                          "put it in modules_to_save.")
        return base.num_embeddings, base.embedding_dim

    def _start_(self, lora_A: torch.Tensor, lora_B: torch.Tensor, generator: torch.Generator | None) -> None:
        nn.init.normal_(lora_B, generator=generator)


class TrainedCopy(nn.Module):
    """A module's trained copy in its place; the original is kept, frozen, to be put back.

    Any attribute that it lacks is the copy's.
    """

    def __init__(self, original: nn.Module):
        super().__init__()
        self.trained = copy.deepcopy(original).requires_grad_(True)
        self.original = original.requires_grad_(False)

    def forward(self, *inputs, **named):
        """What the trained copy makes of it."""
        return self.trained(*inputs, **named)

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("trained"), name)
