"""Cases for answers that multiply by a weight that is held in codes. Knows nothing about a notebook."""

import weakref

import torch
from torch.utils._pytree import tree_leaves

from ftkit.course.cases import Case, Hint, Rule

_FLOAT32 = "float32 holds seven figures, and sums in another order lose one"
_FLOAT64 = "sums in another order, in float64"
_BFLOAT16 = "a product in bfloat16 is rounded to three figures, alike in every order of two or three terms"


def gradients() -> list[Case]:
    """One input of two numbers, W̃ = [[1, 2], [3, 4]], A = [[1, 1]], B = [[1], [2]], scaling ½, g = (1, 1).

    By hand: g·B = 3, times ½ is 1.5; ∂L/∂x = g·W̃ + 1.5·A = (4 + 1.5, 6 + 1.5); ∂L/∂A = 1.5·x = (3, 1.5) for
    x = (2, 1); A·x = 3, so ∂L/∂B = ½·3·g = (1.5, 1.5).
    """
    return _gradients_on_paper() + _gradients_by_autograd()


def _gradients_on_paper() -> list[Case]:
    forgot = "Only one of the two paths from x to y is in this gradient: add both."
    return [
        Case("∂L/∂x", lambda made: _small(made)[0], [[5.5, 7.5]], [
            Hint([[4.0, 6.0]], forgot), Hint([[1.5, 1.5]], forgot),
            Hint([[7.0, 9.0]], "The low-rank path is scaled: scaling stands in its gradient, too."),
            Hint([[4.5, 8.5]], "y = x·W̃ᵀ, so ∂L/∂x = g·W̃, without transposing."),
            Hint([[4.75, 6.75]], "scaling is applied once."),
            Hint(TypeError, "Return three gradients: of x, of A and of B."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("∂L/∂A", lambda made: _small(made)[1], [[3.0, 1.5]], [
            Hint([[6.0, 3.0]], "scaling stands in the gradient of A, too."),
            Hint([[1.5], [1.5]], "The order is x, A, B."),
            Hint([[3.0], [1.5]], "A gradient has the shape of its tensor: A is (rank, in)."),
            Hint([[1.5, 0.75]], "scaling is applied once."),
            Hint([[2.0, 1.0]], "B lies between A and y: g·B, and not g alone."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("∂L/∂B", lambda made: _small(made)[2], [[1.5], [1.5]], [
            Hint([[3.0], [3.0]], "scaling stands in the gradient of B, too."),
            Hint([[3.0, 1.5]], "The order is x, A, B."),
            Hint([[1.5, 1.5]], "A gradient has the shape of its tensor: B is (out, rank)."),
            Hint([[0.75], [0.75]], "scaling is applied once."),
        ], tolerance=1e-6, reason=_FLOAT32),
    ]


def _gradients_by_autograd() -> list[Case]:
    asked, wanted = _drawn(torch.float64)
    asked16, wanted16 = _drawn(torch.bfloat16)
    whole = "Only the product with W̃ is computed in the type of `compute`: A and B stay in float32."
    plain = _drawn(torch.float32, torch.float32)[1]
    return [
        Case(f"random, ∂L/∂{name}", lambda made, place=place: made(*asked)[place], wanted[place], [
            Hint(RuntimeError, "Look at the shapes: x (tokens, in), W̃ (out, in), A (rank, in), B (out, rank)."),
            Hint(lambda got: True, "Every token has a part in the gradients: products of matrices, no loop needed.")],
             tolerance=1e-9, reason=_FLOAT64) for place, name in enumerate("xAB")
    ] + [
        Case("computed in bfloat16, ∂L/∂x", lambda made: made(*asked16)[0], wanted16[0], [
            Hint(plain[0], "g and W̃ are rounded to the type of `compute` before their product."),
            Hint(RuntimeError, "Both sides of a product have one type: turn g and W̃ into `compute`, and the result "
                 "back into the type of x."),
            Hint(lambda got: got.dtype != torch.float32, "The gradient of x has the type of x."),
            Hint(lambda got: True, whole)], tolerance=1e-2, reason=_BFLOAT16, same_dtype=True),
        Case("computed in bfloat16, the product is the rounded one", lambda made: _off(made(*asked16)[0], wanted16[0]),
             Rule("below 1e-6", lambda got: got < 1e-6), [
                 Hint(lambda got: got > 1e-3, "g and W̃ are rounded to the type of `compute` before their product."),
                 Hint(lambda got: True, whole)]),
        Case("numbers in bfloat16, computed in float32, ∂L/∂x", lambda made: _off(*_numbers_in_bfloat16(made)),
             Rule("below 1e-5", lambda got: got < 1e-5), [  # float32 in another order
                 Hint(lambda got: True, "The product goes back into the type of x, not into that of the numbers.")]),
        Case("computed in bfloat16, ∂L/∂A and ∂L/∂B", lambda made: [*made(*asked16)[1:]], [*wanted16[1:]], [
            Hint(lambda got: True, whole)], tolerance=1e-5, reason=_FLOAT32, same_dtype=True),
    ]


def slices() -> list[Case]:
    """Rows (1, 2), (3, 4), (5, 6) and x = (1, 10): outputs 21, 43, 65; ones from above give the sum of the rows."""
    return _slices_on_paper() + _slices_under_stress()


def _slices_on_paper() -> list[Case]:
    rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    short = "The last slice may hold fewer rows: it ends at `outputs`."
    return [
        Case("three rows, two at a time", lambda made: _product(made, rows, torch.tensor([[1.0, 10.0]]), 2)[0],
             [[21.0, 43.0, 65.0]], [
                 Hint([[21.0, 43.0]], short),
                 Hint(RuntimeError, "y = x·Wᵀ, and slices stand beside each other: torch.cat along the last "
                      "dimension. In place changes of x or y confuse autograd."),
                 Hint(IndexError, short), Hint(ValueError, "Ask for rows from `first` up to, but without, `last`."),
                 Hint([[65.0, 21.0, 43.0]], "Slices stand in the order of their rows."),
             ], tolerance=1e-6, reason=_FLOAT32),
        Case("∂L/∂x", lambda made: _product(made, rows, torch.tensor([[1.0, 10.0]]), 2)[1], [[9.0, 12.0]], [
            Hint([[4.0, 6.0]], "Every slice has a part in the gradient, the short one at the end, too."),
            Hint([[5.0, 6.0]], "Add the gradients of all slices up."),
            Hint(TypeError, "backward returns four values: a gradient for x, and None for the others."),
            Hint(RuntimeError, "backward returns four values; a slice of g meets the rows of the same slice, without "
                 "transposing."),
            Hint([[0.0, 0.0]], "No gradient comes back for x."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("all rows at once", lambda made: _product(made, rows, torch.tensor([[1.0, 10.0]]), 9)[0],
             [[21.0, 43.0, 65.0]], [Hint(ValueError, short), Hint(IndexError, short)], tolerance=1e-6,
             reason=_FLOAT32),
        Case("which rows are asked for", lambda made: _product(made, rows, torch.ones(1, 2), 2)[2],
             [(0, 2), (2, 3), (0, 2), (2, 3)], [
                 Hint(lambda got: (0, 3) in got, "Ask for `step` rows at a time, never for all of them."),
                 Hint(lambda got: (2, 4) in got, short),
                 Hint([(0, 2), (2, 3)], "The rows are made once more in backward, and nothing is kept."),
                 Hint(lambda got: len(got) > 4, "Each slice is made once forward and once backward."),
                 Hint(lambda got: True, "Slices begin at 0, step, 2·step, …, forward and again backward.")]),
    ]


def _slices_under_stress() -> list[Case]:
    drawn = torch.Generator().manual_seed(4)
    weight = torch.randn(23, 7, generator=drawn, dtype=torch.float64)
    x, grad = (torch.randn(2, 5, width, generator=drawn, dtype=torch.float64) for width in (7, 23))
    small = weight.float().half()
    return [
        Case("random, batch of 2 × 5", lambda made: list(_product(made, weight, x, 4, grad)[:2]),
             [x @ weight.T, grad @ weight], [
                 Hint(RuntimeError, "x may have more than two dimensions: slice the last one, g[..., first:last].")],
             tolerance=1e-9, reason=_FLOAT64),
        Case("rows in float16, x in float32", lambda made: list(_product(made, small, x.float(), 5, grad.float())[:2]),
             [x.float() @ small.float().T, grad.float() @ small.float()], [
                 Hint(RuntimeError, "Rows come in a type of their own: turn them into that of x, or of g.")],
             tolerance=1e-5, reason=_FLOAT32, same_dtype=True),
        Case("slices that are alive at once", lambda made: _alive(made), 1, [
            Hint(lambda got: got > 1, "An earlier slice is still held when the next one is made: keep nothing but "
                 "results.")]),
        Case("what is kept for backward", lambda made: _kept(made), 0, [
            Hint(lambda got: got > 0, "x is not needed in backward, as the weight is frozen: keep no tensor at all.")]),
    ]


def _small(made):
    return made(torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(1, 2),
                torch.tensor([[1.0], [2.0]]), 0.5, torch.ones(1, 2), torch.float32)


def _drawn(compute: torch.dtype, in_fact: torch.dtype | None = None):
    """Inputs of an answer, and the gradients by autograd, with the product over W̃ in the compute type."""
    kind, generator = (torch.float64 if compute == torch.float64 else torch.float32), torch.Generator().manual_seed(3)
    x, numbers, lora_A, lora_B, grad_y = (torch.randn(*shape, generator=generator, dtype=torch.float64).to(kind)
                                          for shape in ((6, 5), (4, 5), (2, 5), (4, 2), (6, 4)))
    base = ((grad_y.to(in_fact or compute) @ numbers.to(in_fact or compute)).to(kind))
    low = grad_y @ lora_B * 1.5
    return (x, numbers, lora_A, lora_B, 1.5, grad_y, compute), (base + low @ lora_A, low.T @ x,
                                                                grad_y.T @ (x @ lora_A.T) * 1.5)


def _numbers_in_bfloat16(made) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of x by an answer and by hand, of a base that was made from bfloat16."""
    x, numbers, lora_A, lora_B, scaling, grad_y, _ = _drawn(torch.float32)[0]
    rounded = numbers.bfloat16()
    want = grad_y @ rounded.float() + scaling * (grad_y @ lora_B) @ lora_A
    return made(x, rounded, lora_A, lora_B, scaling, grad_y, torch.float32)[0], want


def _off(got: torch.Tensor, want: torch.Tensor) -> float:
    return (got.double() - want.double()).abs().max().item()


def _product(made, weight, x, step, grad=None):
    """Output, gradient of x, and the rows that were asked for, in order."""
    asked = []

    def rows_of(first, last):
        if not 0 <= first < last <= len(weight):
            raise ValueError(f"there are no rows {first} to {last} among {len(weight)}")
        asked.append((first, last))
        return weight[first:last].clone()

    x = x.clone().requires_grad_()
    y = made.apply(x, rows_of, len(weight), step)
    y.backward(torch.ones_like(y) if grad is None else grad)
    return y.detach(), torch.zeros_like(x) if x.grad is None else x.grad, asked


def _alive(made) -> int:
    """The most slices of rows that are held at once, counted when one is made."""
    held, most = [], [0]

    def rows_of(first, last):
        slice_ = torch.ones(last - first, 8)
        held.append(weakref.ref(slice_))
        most[0] = max(most[0], sum(one() is not None for one in held))
        return slice_

    y = made.apply(torch.ones(2, 8, requires_grad=True), rows_of, 20, 4)
    y.sum().backward()
    return most[0]


def _kept(made) -> int:
    """How many numbers are kept for backward, in whatever way."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = made.apply(torch.ones(2, 8, requires_grad=True), lambda first, last: torch.ones(last - first, 8), 20, 4)
    kept += [one for one in tree_leaves(vars(y.grad_fn)) if isinstance(one, torch.Tensor)]
    return sum(one.numel() for one in kept)
