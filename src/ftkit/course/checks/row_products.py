"""Cases for answers that multiply by codes. Knows nothing about a notebook."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ftkit.course.cases import Case, Hint, Rule

_FLOAT32 = "float32 holds seven figures"
_FLOAT64 = "sums in another order, in float64"


def product() -> list[Case]:
    """Two outputs of two inputs: weights (1 − 1)·½, (3 − 1)·½ and (2 − 0)·2, (5 − 0)·2, so 0, 1 and 4, 10."""
    return _product_on_paper() + _product_by_rule()


def _product_on_paper() -> list[Case]:
    small = (torch.tensor([[1, 3], [2, 5]], dtype=torch.uint8), torch.tensor([0.5, 2.0]), torch.tensor([1.0, 0.0]))
    forget = "The zero point has to come off: the weight is (codes − zero)·scale."
    return [
        Case("x = (1, 3)", lambda made: made.apply(torch.tensor([[1.0, 3.0]]), *small, None), [[3.0, 34.0]], [
            Hint([[5.0, 34.0]], forget),
            Hint([[6.0, 17.0]], "Each output is multiplied by its scale."),
            Hint([[10.0, 17.0]], "Each output is multiplied by its scale, and the zero point comes off."),
            Hint([[1.0, 34.0]], "The zero point is one of codes: take it off before multiplying by the scale."),
            Hint([[1.5, 36.0]], "A row of codes belongs to an output: y = x·Wᵀ."),
            Hint(RuntimeError, "Codes are uint8: turn them into the type of x before the product."),
            Hint(TypeError, "bias may be None: add it only where there is one."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("∂L/∂x, with ones from above", lambda made: _gradient(made, small), [[4.0, 11.0]], [
            Hint([[4.5, 11.5]], "The zero point has a part in the gradient, too: ∂y/∂x is (codes − zero)·scale."),
            Hint([[3.5, 10.5]], "The zero point has a part in the gradient, too, and it is scaled as codes are."),
            Hint([[2.0, 7.0]], "Multiply the gradient by the scales before the product with the codes."),
            Hint([[3.0, 8.0]], "Scales and zero points have a part in the gradient, too."),
            Hint([[6.0, 10.5]], "∂L/∂x = g·W: the product without transposing."),
            Hint([[0.0, 0.0]], "No gradient comes back: return one for x."),
            Hint(TypeError, "No gradient comes back for x."),
            Hint(RuntimeError, "backward returns one value for each input of forward: x, codes, scale, zero and bias."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("∂L/∂bias over three rows", lambda made: _bias_gradient(made, small), [3.0, 3.0], [
            Hint([1.0, 1.0], "Add the gradients of all rows up: the bias has a part in each."),
            Hint([1.5, 6.0], "The bias is added after scaling: its gradient has no scale."),
            Hint([0.0, 0.0], "Return a gradient for the bias where it needs one."),
            Hint(TypeError, "Return a gradient for the bias where it needs one."),
            Hint(RuntimeError, "The gradient of the bias has the bias's shape: add up over all rows."),
        ], tolerance=1e-6, reason=_FLOAT32),
    ]


def _product_by_rule() -> list[Case]:
    codes, scale, zero, x, grad_y = _drawn_product(torch.float64)
    bias = torch.randn(6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    weight = (codes.double() - zero[:, None]) * scale[:, None]
    return [
        Case("nothing of the weight's size is kept in floating point", lambda made: _floats_kept(made),
             Rule("at most scale, zero and a few more", lambda got: got <= 64), [
                 Hint(lambda got: got >= 4096, "Something of the weight's size is kept: keep the codes."),
                 Hint(lambda got: got > 64, "x is kept and is not needed: the weight is frozen, so nobody wants its "
                      "gradient.")]),
        Case("random, batch of 2 × 3, float64", lambda made: made.apply(x, codes, scale, zero, bias),
             (x @ weight.T + bias), [
                 Hint(x @ weight.T + bias * scale, "The bias is added after scaling."),
                 Hint((x @ codes.double().T - x.sum() * zero) * scale + bias, "Each row of x has a sum of its own: "
                      "x.sum(-1, keepdim=True)."),
                 Hint(x @ ((codes.to(torch.int8).double() - zero[:, None]) * scale[:, None]).T + bias, "Codes go up to "
                      "255: int8 ends at 127."),
             ], tolerance=1e-9, reason=_FLOAT64),
        Case("its gradient", lambda made: _gradient(made, (codes, scale, zero), x, grad_y, bias), grad_y @ weight, [
            Hint((grad_y * scale) @ codes.double() - (grad_y * scale * zero).sum(), "Each row has a sum of its own: "
                 "sum over the last dimension, keepdim=True."),
            Hint(RuntimeError, "x may have more than two dimensions, or be float64; backward returns five values."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("gradient of the bias, batch of 2 × 3", lambda made: _bias_gradient(made, (codes, scale, zero), x, grad_y),
             grad_y.sum((0, 1)), tolerance=1e-9, reason=_FLOAT64),
        Case("matrices in floating point, beside the codes", _other_matrices, 0, [
            Hint(lambda got: got > 0, "This makes the weight, or something of its size: apply the scale to the output, "
                 "and the zero point through the sum of x.")]),
        Case("what has no gradient", _others, [None] * 3, [
            Hint(lambda got: True, "Codes, scale and zero are frozen: return None in their places.")]),
        Case("gradients that nobody asked for", _unasked, [True, True], [
            Hint([False, True], "x asks for no gradient here: look at ctx.needs_input_grad."),
            Hint([True, False], "bias asks for no gradient here: look at ctx.needs_input_grad."),
            Hint([False, False], "Look at ctx.needs_input_grad before computing a gradient."),
        ]),
        Case("512 × 300, codes of 8 bits", lambda made: _large(made), Rule(
            "forward and backward right", lambda got: max(got) < 1e-4), [  # sums of 512 products in float32
                Hint(lambda got: max(got) < 0.05, "Nearly right: is the bias added after scaling?")]),
    ]


def _drawn_product(dtype: torch.dtype):
    drawn = torch.Generator().manual_seed(6)
    codes = torch.randint(256, (6, 9), generator=drawn, dtype=torch.uint8)
    scale = torch.rand(6, generator=drawn, dtype=dtype) + 0.1
    zero = torch.randint(256, (6,), generator=drawn).to(dtype)
    return (codes, scale, zero, torch.randn(2, 3, 9, generator=drawn, dtype=dtype),
            torch.randn(2, 3, 6, generator=drawn, dtype=dtype))


def _gradient(made, parts, x=None, grad_y=None, bias=None):
    x = (torch.tensor([[1.0, 3.0]]) if x is None else x.clone()).requires_grad_()
    y = made.apply(x, *parts, bias)
    y.backward(torch.ones_like(y) if grad_y is None else grad_y)
    return torch.zeros_like(x) if x.grad is None else x.grad


def _bias_gradient(made, parts, x=None, grad_y=None):
    bias = torch.zeros(len(parts[1]), dtype=parts[1].dtype, requires_grad=True)
    y = made.apply(torch.ones(3, 2) if x is None else x, *parts, bias)
    y.backward(torch.ones_like(y) if grad_y is None else grad_y)
    return torch.zeros_like(bias) if bias.grad is None else bias.grad


def _floats_kept(made) -> int:
    """How many floating-point numbers are kept for backward, in whatever way."""
    codes, one = torch.ones(64, 64, dtype=torch.uint8), torch.ones(64)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = made.apply(torch.ones(5, 64, requires_grad=True), codes, one, one, None)
    kept += [each for each in vars(y.grad_fn).values() if isinstance(each, torch.Tensor)]
    return sum(each.numel() for each in kept if each.is_floating_point() and each is not one and each.data_ptr()
               != one.data_ptr())


class _Matrices(TorchDispatchMode):
    """Collects the floating-point matrices of a weight's shape that are made while it is open."""

    def __init__(self, shape: tuple[int, int]):
        super().__init__()
        self.shapes, self.made = (shape, shape[::-1]), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.made += [one for one in tree_leaves(result) if torch.is_tensor(one) and one.is_floating_point()
                      and tuple(one.shape) in self.shapes]
        return result


def _other_matrices(made) -> int:
    """How many of them are something else than the codes in the type of x."""
    drawn = torch.Generator().manual_seed(10)
    codes, x = torch.randint(256, (7, 11), generator=drawn, dtype=torch.uint8), torch.randn(2, 3, 11, generator=drawn)
    scale, zero, grad_y = torch.full((7,), 0.5), torch.arange(1.0, 8.0), torch.randn(2, 3, 7, generator=drawn)
    with _Matrices(tuple(codes.shape)) as seen:
        made.apply(x.clone().requires_grad_(), codes, scale, zero, None).backward(grad_y)
    plain = codes.float()
    return sum(not torch.equal(one if one.shape == plain.shape else one.T, plain) for one in seen.made)


def _others(made) -> list:
    codes, scale, zero, x, grad_y = _drawn_product(torch.float64)
    y = made.apply(x.clone().requires_grad_(), codes, scale, zero, None)
    return list(made.backward(y.grad_fn, grad_y))[1:4]


def _unasked(made) -> list[bool]:
    """Whether backward leaves out the gradient of x, and that of the bias, where only the other is asked for."""
    codes, scale, zero, x, grad_y = _drawn_product(torch.float64)
    bias, found = torch.zeros(6, dtype=torch.float64), []
    for place, wanted in ((0, bias), (4, x)):
        y = made.apply(x.clone().requires_grad_(wanted is x), codes, scale, zero,
                       bias.clone().requires_grad_(wanted is bias))
        found.append(made.backward(y.grad_fn, grad_y)[place] is None)
    return found


def _large(made) -> list[float]:
    drawn = torch.Generator().manual_seed(9)
    codes = torch.randint(256, (300, 512), generator=drawn, dtype=torch.uint8)
    scale, zero = torch.rand(300, generator=drawn), torch.full((300,), 128.0)
    x = torch.randn(40, 512, generator=drawn).requires_grad_()
    weight = (codes.double() - 128) * scale.double()[:, None]
    y = made.apply(x, codes, scale, zero, torch.ones(300))
    y.sum().backward()
    want, slope = x.detach().double() @ weight.T + 1, weight.sum(0).expand(40, -1)
    return [float((got.detach() - right).abs().max() / right.abs().max())
            for got, right in ((y, want), (x.grad, slope))]
