"""Parts of common language models fused by torch's compiler: norms, rotary positions, gated activations, decoding.

Knows nothing about adapters, losses or training: while `compiled` is open, a model computes the same in fewer passes
over memory. Attention and large products stay what they are; they have kernels of their own already.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from ftkit import frozen_codes
from ftkit.errors import refusal
from ftkit.fused import FAMILIES, NORMS

BACKEND = "inductor"
DECODING = {"assert_indirect_indexing": False}  # of the compiler: every code has a value, so none is checked
MLPS = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP")


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """While open, models of transformers' llama, mistral, qwen2 and qwen3 families take compiled functions for their
    small parts, and weights in 4-bit codes are decoded by one; for other families only the latter.

    Each function is compiled when first needed, which takes seconds; a batch of another width compiles none again.
    Results differ by rounding alone. Forward and backward pass must both be inside, since layers may be computed again.

    Args:
        model: where it stands decides what compiles.

    Raises:
        Refusal: torch cannot compile here.

    Source: the same parts as Hsu et al. 2024, Liger Kernel, fuses by hand.
    """
    refuse_without_compiler(next(model.parameters()).device)
    loaded = (sys.modules.get(f"transformers.models.{one}.modeling_{one}") for one in FAMILIES)
    families = [module for module in loaded if module is not None]
    before = []

    def put(owner: object, name: str, make: Callable) -> None:
        before.append((owner, name, getattr(owner, name)))
        setattr(owner, name, make(getattr(owner, name)))

    try:
        for module in families:
            put(module, "apply_rotary_pos_emb", _rotary_for)
            for names, make in ((NORMS, _norm_for), (MLPS, _mlp_for)):
                for name in names:
                    if hasattr(module, name):
                        put(getattr(module, name), "forward", make)
        with frozen_codes.decoding_by(decoder()):
            yield
    finally:
        for owner, name, original in reversed(before):
            setattr(owner, name, original)


def decoder() -> Callable:
    """`frozen_codes.decode`, compiled for each shape of weights: what `frozen_codes.decoding_by` takes."""
    return _compiled(frozen_codes.decode, BACKEND, False)


@cache
def refuse_without_compiler(device: torch.device) -> None:
    """Refuses to go on where torch's compiler has not what it needs: Triton on a GPU, a C++ compiler on a CPU."""
    if BACKEND != "inductor":
        return
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise refusal("compiled", "False without Triton", True, "Install triton, or leave it at False.")
        return
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise refusal("compiled", "False without a C++ compiler", True,
                      "Install g++ or clang, or leave it at False.") from error


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def _rotated(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor,
             sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    def turned(x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    return turned(q), turned(k)


def _gated(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    return nn.functional.silu(gate) * up


def _norm_for(original: Callable) -> Callable:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        _any_width(1, x)
        return _compiled(_norm, BACKEND)(x, self.weight, self.variance_epsilon)

    return forward


def _rotary_for(original: Callable) -> Callable:
    def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):  # the names are transformers'
        if unsqueeze_dim != 1:
            return original(q, k, cos, sin, unsqueeze_dim)
        cos, sin = cos[:, None], sin[:, None]  # (rows, 1, width, head)
        _any_width(2, q, k, cos, sin)
        return _compiled(_rotated, BACKEND)(q, k, cos, sin)

    return apply_rotary_pos_emb


def _mlp_for(original: Callable) -> Callable:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        if getattr(self.config, "hidden_act", None) != "silu":
            return original(self, x)
        gate, up = self.gate_proj(x), self.up_proj(x)
        _any_width(1, gate, up)
        return self.down_proj(_compiled(_gated, BACKEND)(gate, up))

    return forward


def _any_width(dim: int, *tensors: torch.Tensor) -> None:
    """Has the compiler take these tensors' tokens for any number of them: else it compiles anew at the second number,
    seconds within a training step, wherever that comes."""
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, dim)


@cache
def _compiled(function: Callable, backend: str, dynamic: bool | None = None) -> Callable:
    options = DECODING if function is frozen_codes.decode and backend == "inductor" else None
    return torch.compile(function, backend=backend, dynamic=dynamic, options=options)
