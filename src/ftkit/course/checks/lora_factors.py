"""What answers of lesson 02 on the two factors are judged by: merging, embeddings, gradients, a lower rank.

Knows nothing about the notebook around them.
"""

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ftkit.course.cases import Case, Hint, Rule

_SUMS = "float32 sums in another order differ in the last of seven figures; some two hundred terms lose one more"
_FLOAT64 = "float64 holds sixteen figures; decompositions of matrices of this size lose a few"


_ONE_FACTOR = "The singular values stand in one factor alone: give each their roots, so that both are of one size."
_ROOTS = "The roots of the singular values belong into both factors."


def random_tensor(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Normal numbers of this check's own: the learner's generator is not touched."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class _Made(TorchDispatchMode):
    """Counts the numbers of all tensors that are made while it is open."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        old = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if torch.is_tensor(one)}
        for one in tree_leaves(made):
            if torch.is_tensor(one) and one.untyped_storage().data_ptr() not in old:  # a view makes nothing
                self.numbers += one.numel()
        return made


def _made(answer, *given) -> int:
    answer = getattr(answer, "__wrapped__", answer)  # without the copies by which a changed argument is noticed
    with _Made() as seen:
        answer(*given)
    return seen.numbers


def _merge_inputs(out_features: int, in_features: int, rank: int, dtype: torch.dtype = torch.float32) -> tuple:
    return (random_tensor(out_features, in_features, seed=1, dtype=dtype), random_tensor(rank, in_features, seed=2),
            random_tensor(out_features, rank, seed=3))


def _stored(dtype: torch.dtype) -> Case:
    """A transposed weight of another dtype, with an adapter of the finer of that and float32."""
    weight, lora_A, lora_B = _merge_inputs(40, 24, 5)
    finer = torch.promote_types(dtype, torch.float32)
    weight, lora_A, lora_B = weight.T.to(dtype), lora_A.to(finer), lora_B.to(finer)
    exact = weight.to(finer) + 7 / 5 * (lora_B @ lora_A).T
    return Case(f"a transposed weight in {str(dtype).removeprefix('torch.')}",
                lambda answer: answer(weight.clone(), lora_A, lora_B, 7, transposed=True), exact.to(dtype), [
        Hint(lambda got: got.dtype != dtype, "The merged weight is stored in the dtype of the weight."),
        Hint(lambda got: (got.double() - exact.double()).abs().max() < 0.1,
             "Add first and round once: add in the finer of the two dtypes, and round the sum."),
    ], same_dtype=True, tolerance=1e-12 if dtype == torch.float64 else 0.0, reason=_FLOAT64)


def _is_itself(answer, given: tuple) -> bool:
    weight = given[0].clone()
    return answer(weight, given[1], torch.zeros_like(given[2]), 7).data_ptr() == weight.data_ptr()


def merged_cases() -> list[Case]:
    """Cases of exercise 02.5."""
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    lora_A, lora_B = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    product = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]])
    square = _merge_inputs(12, 12, 5)

    def paper(answer, alpha=6, **settings):
        return answer(weight.clone(), lora_A.clone(), lora_B.clone(), alpha, **settings)

    given = _merge_inputs(40, 24, 5)
    return [
        Case("rank 2, alpha 6", paper, weight + 3 * product, [
            Hint(weight + product, "The scaling alpha/rank is missing."),
            Hint(weight + 2 * product, "The rank is the number of rows of A; its columns are the inputs."),
            Hint(3 * product, "The addition alone: the weight itself belongs into the sum."),
            Hint(weight - 3 * product, "Taken away: merging adds, unmerging takes away."),
            Hint(weight + 6 * product, "Divide alpha by the rank."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("rsLoRA", lambda answer: paper(answer, 6, use_rslora=True), weight + 6 / math.sqrt(2) * product, [
            Hint(weight + 3 * product, "rsLoRA divides by the root of the rank."),
            Hint(weight + product, "The scaling is missing: alpha over the root of the rank."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a weight of (in, out)", lambda answer: answer(weight.T.clone(), lora_A.clone(), lora_B.clone(), 6,
                                                            transposed=True), (weight + 3 * product).T, [
            Hint(weight.T + (3 * product).reshape(3, 2), "The weight is laid out as (in, out): transpose the addition "
                 "with .T; reshape only cuts its rows elsewhere."),
            Hint(RuntimeError, "The weight is laid out as (in, out): transpose the addition before adding."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a random layer", lambda answer: answer(*given, 7), given[0] + 7 / 5 * given[2] @ given[1],
             tolerance=1e-5, reason=_SUMS),
        *map(_stored, (torch.bfloat16, torch.float16, torch.float64)),
        Case("rsLoRA into a square weight of (in, out)", lambda answer: answer(*square, 7, True, True),
             square[0] + 7 / math.sqrt(5) * (square[2] @ square[1]).T, [
            Hint(square[0] + 7 / math.sqrt(5) * square[2] @ square[1], "`transposed` is true: transpose."),
            Hint(square[0] + 7 / 5 * (square[2] @ square[1]).T, "rsLoRA divides by the root of the rank, here too."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("an adapter of zeros: is it the weight itself", lambda answer: _is_itself(answer, given), False,
             [Hint(True, "A new tensor is wanted, also where nothing is added.")]),
    ]


def _gradient(place: int, answer, ids, table, *factors) -> torch.Tensor:
    own = [one.clone().requires_grad_() for one in factors]
    found = answer(ids.clone(), table, *own, 9)
    if torch.is_tensor(found) and found.requires_grad:
        found.sum().backward()
    return torch.zeros_like(own[place]) if own[place].grad is None else own[place].grad


def _gradients_reach(many: torch.Tensor, wide: torch.Tensor, wide_A: torch.Tensor, wide_B: torch.Tensor) -> list[Case]:
    counts = torch.bincount(many.flatten(), minlength=50).float()
    return [
        Case("the gradient of B", lambda answer: _gradient(1, answer, many, wide, wide_A, wide_B),
             3 * (wide_A * counts).sum(1).expand(12, 3), [
            Hint(lambda got: not got.any(), "No gradient reaches B: compute with torch alone, without detach or item."),
        ], tolerance=1e-4, reason="the gradients of 24 tokens are added up in another order"),
        Case("the gradient of A", lambda answer: _gradient(0, answer, many, wide, wide_A, wide_B),
             3 * wide_B.sum(0)[:, None] * counts, [
            Hint(lambda got: not got.any(), "No gradient reaches A: compute with torch alone, without detach or item."),
        ], tolerance=1e-5, reason=_SUMS),
    ]


def embedding_cases() -> list[Case]:
    """Cases of exercise 02.4."""
    table = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    lora_A, lora_B = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[1.0], [10.0]])
    ids = torch.tensor([2, 0, 1])
    additions = torch.tensor([[2.0, 20.0], [3.0, 30.0], [1.0, 10.0]])
    wide, wide_A, wide_B = random_tensor(50, 12, seed=4), random_tensor(3, 50, seed=5), random_tensor(12, 3, seed=6)
    many = torch.randint(50, (2, 3, 4), generator=torch.Generator().manual_seed(7))
    return [
        Case("three tokens", lambda answer: answer(ids.clone(), table, lora_A, lora_B, 4), table[ids] + 4 * additions, [
            Hint(table[ids] + additions, "The scaling alpha/rank is missing."),
            Hint(4 * additions, "The row of the table is missing: the base's own output belongs into the sum."),
            Hint(table[ids] + 4 / 3 * additions, "The scaling divides by the rank, the number of rows of A."),
            Hint(IndexError, "The tokens are the columns of A: look ids up in lora_A.T."),
        ], tolerance=1e-6, reason=_SUMS, same_dtype=True),
        Case("ids in rows, rank 3, alpha 7", lambda answer: answer(many.clone(), wide, wide_A, wide_B, 7),
             wide[many] + 7 / 3 * torch.einsum("...r,or->...o", wide_A[:, many].movedim(0, -1), wide_B), [
            Hint(IndexError, "The tokens are the columns of A: look ids up in lora_A.T."),
            Hint(Exception, "ids may have any shape, such as (rows, width): index with the whole tensor at once."),
            Hint(wide[many] + 2 * torch.einsum("...r,or->...o", wide_A[:, many].movedim(0, -1), wide_B),
                 "alpha/rank is no whole number here: divide with /."),
            Hint(lambda got: got.shape != (2, 3, 4, 12), "ids may have any shape, such as (rows, width): a row of "
                 "the table comes in the place of each."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("one id alone", lambda answer: answer(torch.tensor(1), table, lora_A, lora_B, 2),
             torch.tensor([4.0, 22.0]), tolerance=1e-6, reason=_SUMS),
        Case("one row of ids", lambda answer: tuple(answer(many[:1, :, 0].clone(), wide, wide_A, wide_B, 9).shape),
             (1, 3, 12), [Hint((3, 12), "ids of (1, 3) give (1, 3, width): no side is dropped.")]),
        *_gradients_reach(many, wide, wide_A, wide_B),
        Case("numbers it makes, of all tensors", lambda answer: _made(
            answer, ids.clone(), wide, wide_A, wide_B, 9), Rule("fewer than the table's 600", lambda n: n < 600), [
            Hint(lambda got: got >= 600, "This makes the whole table anew, for three tokens: look up first, multiply "
                 "then."),
        ]),
    ]


def _gradient_inputs(tokens: int, out_features: int, in_features: int, rank: int, dtype=torch.float64) -> list:
    shapes = ((tokens, in_features), (out_features, in_features), (rank, in_features), (out_features, rank))
    x, weight, lora_A, lora_B = (random_tensor(*shape, seed=at, dtype=dtype) for at, shape in enumerate(shapes))
    return [x, weight, lora_A, lora_B, 1.75, random_tensor(tokens, out_features, seed=9, dtype=dtype)]


def _true_gradients(inputs: list) -> list[torch.Tensor]:
    x, weight, lora_A, lora_B, scaling, grad = inputs
    x, lora_A, lora_B = (one.clone().requires_grad_() for one in (x, lora_A, lora_B))
    (x @ weight.T + scaling * (x @ lora_A.T) @ lora_B.T).backward(grad)
    return [x.grad, lora_A.grad, lora_B.grad]


def gradient_cases() -> list[Case]:
    """Cases of exercise 02.6."""
    paper = [torch.tensor([[1, 2]]), torch.eye(2, dtype=torch.int64), torch.tensor([[3, 1]]), torch.tensor([[2], [0]]),
             10, torch.tensor([[1, 5]])]  # whole numbers, which autograd does not take
    want = [torch.tensor([[61, 25]]), torch.tensor([[20, 40]]), torch.tensor([[50], [250]])]
    inputs = _gradient_inputs(6, 5, 4, 3)
    x, weight, lora_A, lora_B, scaling, grad = inputs
    true = _true_gradients(inputs)

    def at(place):
        return lambda answer: list(answer(*[one.clone() if torch.is_tensor(one) else one for one in inputs]))[place]

    return [
        Case("one token, on paper", lambda answer: list(answer(*paper)), want, [
            Hint([*want[1:], want[0]], "The order is: of x, of A, of B."),
            Hint(RuntimeError, "Whole numbers come in here, which autograd does not take: write the products."),
        ]),
        Case("of x", at(0), true[0], [
            Hint(grad @ weight, "x also reaches the output through A and B: the gradient has two parts."),
            Hint(true[0] - grad @ weight, "x also reaches the output through W: the gradient has two parts."),
            Hint(grad @ weight + grad @ lora_B @ lora_A, "The scaling is missing in the gradient of x."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("of A", at(1), true[1], [
            Hint(true[1] / scaling, "The scaling is missing in the gradient of A."),
            Hint(true[1] * scaling, "The scaling counts once."),
            Hint(true[1].T, "A gradient has the shape of what it is of: this one is shaped as A is, (rank, in)."),
            Hint(true[1] / 6, "This is the mean over tokens: a gradient is a sum over them."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("of B", at(2), true[2], [
            Hint(true[2] / scaling, "The scaling is missing in the gradient of B."),
            Hint(true[2] * scaling, "The scaling counts once."),
            Hint(true[2].T, "A gradient has the shape of what it is of: this one is shaped as B is, (out, rank)."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("B is zero", lambda answer: [torch.is_tensor(one) and bool(one.any()) for one in answer(
            *inputs[:3], torch.zeros_like(lora_B), *inputs[4:])], [True, False, True], [
            Hint([True, True, True], "With B at zero nothing comes back to A: its gradient is zero."),
        ]),
        Case("600 tokens, rank 1", lambda answer: list(answer(*_gradient_inputs(600, 7, 9, 1))),
             _true_gradients(_gradient_inputs(600, 7, 9, 1)), tolerance=1e-10, reason=_FLOAT64),
    ]


def _both_alike(given: list[torch.Tensor], sizes: torch.Tensor) -> Case:
    def grams(answer):
        small_A, small_B = answer(*(factor.clone() for factor in given), 4)
        return [torch.linalg.eigvalsh(small_A @ small_A.T), torch.linalg.eigvalsh(small_B.T @ small_B)]

    want = sizes[:4].flip(0)  # eigenvalues come smallest first
    one, by_size = torch.ones_like(want), want ** 2
    return Case("both factors alike", grams, [want, want], [
        Hint([one, by_size], _ONE_FACTOR), Hint([by_size, one], _ONE_FACTOR), Hint([one, one], _ROOTS),
        Hint([by_size, by_size], "Both factors hold the whole singular values: each gets the root."),
    ], tolerance=1e-9, reason=_FLOAT64)


def _product(answer, given, rank: int) -> torch.Tensor:
    small_A, small_B = answer(*(factor.clone() for factor in given), rank)
    return small_B @ small_A


def smaller_adapter_cases() -> list[Case]:
    """Cases of exercise 02.7; on paper BA has the singular values 4 and 1."""
    lora_A = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], dtype=torch.float64)
    lora_B = torch.tensor([[0, 4.0], [1.0, 0], [0, 0]], dtype=torch.float64)
    best = torch.zeros(3, 4, dtype=torch.float64)
    best[0, 1] = 4.0
    wide = [random_tensor(6, 30, seed=1, dtype=torch.float64), random_tensor(20, 6, seed=2, dtype=torch.float64)]
    left, sizes, right = torch.linalg.svd(wide[1] @ wide[0], full_matrices=False)

    return [
        Case("rank 1 of 2, on paper", lambda answer: _product(answer, (lora_A, lora_B), 1), best, [
            Hint(lambda got: got.shape == (1, 1), "The order is wrong: A comes first, then B."),
            Hint(lambda got: torch.allclose(got, 4 * best), "Both factors hold the whole singular values: each gets "
                 "the root."),
            Hint(lambda got: torch.allclose(got, best / 4), _ROOTS),
            Hint(lambda got: got[1, 0] == 1 and got[0, 1] == 0, "The first rows are not the best, or these are the "
                 "smallest singular values: keep the directions in which BA is largest."),
            Hint(lambda got: got[1, 0] == 1 and got[0, 1] == 4, "This keeps both directions: rank 1 has one."),
            Hint(RuntimeError, "The new A is to be of (rank, in) and the new B of (out, rank)."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("shapes", lambda answer: [tuple(one.shape) for one in answer(*wide, 2)], [(2, 30), (20, 2)], [
            Hint([(20, 2), (2, 30)], "A comes first, then B."),
            Hint([(30, 2), (2, 20)], "The new A is to be of (rank, in) and the new B of (out, rank)."),
        ]),
        Case("rank 4 of 6, the best there is", lambda answer: _product(answer, wide, 4),
             (left[:, :4] * sizes[:4]) @ right[:4], [
            Hint(wide[1][:, :4] @ wide[0][:4], "The first rows are not the best ones: take BA's singular values."),
            Hint(left[:, :4] @ right[:4], _ROOTS),
            Hint((left[:, 2:6] * sizes[2:6]) @ right[2:6], "These are the smallest singular values: keep the largest."),
        ], tolerance=1e-9, reason=_FLOAT64),
        _both_alike(wide, sizes),
        Case("the full rank changes nothing", lambda answer: _product(answer, wide, 6), wide[1] @ wide[0],
             tolerance=1e-9, reason=_FLOAT64),
        Case("numbers it makes, of all tensors", lambda answer: _made(
            answer, random_tensor(3, 500), random_tensor(400, 3), 2),
            Rule("at most 100,000; BA alone has 200,000", lambda numbers: numbers <= 100_000), [
            Hint(lambda got: got > 100_000, "This makes a matrix as large as the layer: bring each factor to an "
                 "orthonormal basis first (torch.linalg.qr), then decompose the small product of the two cores."),
        ]),
    ]
