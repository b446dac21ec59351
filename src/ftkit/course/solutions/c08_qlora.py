"""The official answers to the exercises of lesson 08, each as it stands in the notebook in place of its stub."""

import math

import torch


def cast_bytes(parameters):
    more = {}
    for numbers, kind, storage in parameters.values():
        if kind in ("bfloat16", "float16"):
            more[storage] = 2 * numbers
    return sum(more.values())


def adam_state(sizes, bits, paged):
    total = in_pages = 0
    for numbers in sizes:
        if bits == 8 and numbers >= 4096:
            moments, scales = 2 * numbers, 2 * 4 * math.ceil(numbers / 256)
        else:
            moments, scales = 2 * 4 * numbers, 0
        total += moments + scales
        if paged and numbers >= 100_000:
            in_pages += moments
    return total, in_pages


def qlora_gradients(x, numbers, lora_A, lora_B, scaling, grad_y, compute):
    low = grad_y @ lora_B * scaling  # (tokens, rank)
    past_codes = (grad_y.to(compute) @ numbers.to(compute)).to(x.dtype)  # (tokens, in)
    return past_codes + low @ lora_A, low.T @ x, grad_y.T @ (x @ lora_A.T) * scaling


def survives(base, update, through):
    change = through(base + update) - base
    size = (update * update).sum()
    share = ((change * update).sum() / size).item() if size > 0 else 1.0
    return share, (change != 0).double().mean().item()


def best_loftq(weight, through, rank, scaling, rounds):
    low, best, smallest = torch.zeros_like(weight), None, math.inf
    for _ in range(rounds):
        base = through(weight - low)
        left, sizes, right = torch.linalg.svd(weight - base, full_matrices=False)
        low = left[:, :rank] * sizes[:rank] @ right[:rank]
        error = (weight - base - low).norm().item()
        if error < smallest:
            root = sizes[:rank].sqrt()
            smallest = error
            best = base, root[:, None] * right[:rank], left[:, :rank] * root / scaling
    return best


class SlicedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rows_of, outputs, step):
        ctx.rows_of, ctx.outputs, ctx.step = rows_of, outputs, step
        parts = []
        for first in range(0, outputs, step):
            parts.append(x @ rows_of(first, min(first + step, outputs)).to(x.dtype).T)
        return torch.cat(parts, -1)

    @staticmethod
    def backward(ctx, grad_y):
        grad_x = 0
        for first in range(0, ctx.outputs, ctx.step):
            last = min(first + ctx.step, ctx.outputs)
            grad_x = grad_x + grad_y[..., first:last] @ ctx.rows_of(first, last).to(grad_y.dtype)
        return grad_x, None, None, None


_ALIKE = "to(tensor) takes the tensor's type, as to(type) does"
_CAST = "past_codes = (grad_y.to(compute) @ numbers.to(compute)).to(x.dtype)"
_CUT = "what is more is cut off"
_SVD = "left, sizes, right = torch.linalg.svd(weight - base, full_matrices=False)"
EQUIVALENT = {
    "08.1": {
        "if kind in ('bfloat16', 'float16'): -> if kind in ('float16', 'bfloat16'):": "either order finds both",
    },
    "08.3": {
        f"{_CAST} -> past_codes = (grad_y.to(compute) @ numbers.to(compute)).to()": "the sum takes the wider type",
        f"{_CAST} -> past_codes = (grad_y.to(compute) @ numbers.to(compute)).to(x)": _ALIKE,
    },
    "08.5": {
        f"{_SVD} -> left, sizes, right = torch.linalg.svd(weight - base)": _CUT,
        f"{_SVD} -> left, sizes, right = torch.linalg.svd(weight - base, full_matrices=True)": _CUT,
        "error = (weight - base - low).norm().item() -> error = (low - (weight - base)).norm().item()":
            "a length has no sign",
        "root = sizes[:rank].sqrt() -> root = -sizes[:rank].sqrt()": "the sign goes into both factors",
    },
    "08.6": {
        "parts.append(x @ rows_of(first, min(first + step, outputs)).to(x.dtype).T) -> "
        "parts.append(x @ rows_of(first, min(first + step, outputs)).to(x).T)": _ALIKE,
        "grad_x = grad_x + grad_y[..., first:last] @ ctx.rows_of(first, last).to(grad_y.dtype) -> "
        "grad_x = grad_x + grad_y[..., first:last] @ ctx.rows_of(first, last).to(grad_y)": _ALIKE,
    },
}
