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


class _Largest(TorchDispatchMode):
    """Notes how many numbers the largest tensor made while it is open has."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(one.numel() for one in tree_leaves(made) if torch.is_tensor(one))])
        return made


def _largest(answer, *given) -> int:
    answer = getattr(answer, "__wrapped__", answer)  # without the copies by which a changed argument is noticed
    with _Largest() as seen:
        answer(*given)
    return seen.numbers


def _merge_inputs(out_features: int, in_features: int, rank: int, dtype: torch.dtype = torch.float32) -> tuple:
    return (random_tensor(out_features, in_features, seed=1, dtype=dtype), random_tensor(rank, in_features, seed=2),
            random_tensor(out_features, rank, seed=3))


def merged_cases() -> list[Case]:
    """Cases of exercise 02.4."""
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    lora_A, lora_B = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    product = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 2.0]])

    def paper(answer, alpha=6, **settings):
        return answer(weight.clone(), lora_A.clone(), lora_B.clone(), alpha, **settings)

    given = _merge_inputs(40, 24, 5)
    coarse = _merge_inputs(40, 24, 5, torch.bfloat16)
    exact = (coarse[0].float() + 7 / 5 * (coarse[2] @ coarse[1])).to(torch.bfloat16)
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
        Case("a weight in bfloat16", lambda answer: answer(*coarse, 7), exact, [
            Hint(lambda got: got.dtype != torch.bfloat16, "The merged weight is stored in the dtype of the weight."),
            Hint(lambda got: (got.float() - exact.float()).abs().max() < 0.1,
                 "Add first and round once: bring the weight to the adapter's dtype, add, and round the sum."),
        ], same_dtype=True),
    ]


def _gradient_of_A(answer, ids, table, lora_A, lora_B) -> torch.Tensor:
    own_A = lora_A.clone().requires_grad_()
    found = answer(ids.clone(), table, own_A, lora_B, 9)
    if not (torch.is_tensor(found) and found.requires_grad):
        return torch.zeros_like(lora_A)
    found.sum().backward()
    return own_A.grad


def embedding_cases() -> list[Case]:
    """Cases of exercise 02.5."""
    table = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    lora_A, lora_B = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0], [10.0]])
    ids = torch.tensor([2, 0, 1])
    additions = torch.tensor([[2.0, 20.0], [0.0, 0.0], [1.0, 10.0]])
    wide, wide_A, wide_B = random_tensor(50, 12, seed=4), random_tensor(3, 50, seed=5), random_tensor(12, 3, seed=6)
    many = torch.randint(50, (2, 3, 4), generator=torch.Generator().manual_seed(7))

    counts = torch.bincount(many.flatten(), minlength=50).float()
    return [
        Case("three tokens", lambda answer: answer(ids.clone(), table, lora_A, lora_B, 4), table[ids] + 4 * additions, [
            Hint(table[ids] + additions, "The scaling alpha/rank is missing."),
            Hint(4 * additions, "The row of the table is missing: the base's own output belongs into the sum."),
            Hint(table[ids] + 4 / 3 * additions, "The scaling divides by the rank, the number of rows of A."),
            Hint(IndexError, "The tokens are the columns of A: look ids up in lora_A.T."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("ids in rows", lambda answer: answer(many.clone(), wide, wide_A, wide_B, 9),
             wide[many] + 3 * torch.einsum("...r,or->...o", wide_A[:, many].movedim(0, -1), wide_B), [
            Hint(IndexError, "The tokens are the columns of A: look ids up in lora_A.T."),
            Hint(Exception, "ids may have any shape, such as (rows, width): index with the whole tensor at once."),
            Hint(lambda got: got.shape != (2, 3, 4, 12), "ids may have any shape, such as (rows, width): a row of "
                 "the table comes in the place of each."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("one id alone", lambda answer: answer(torch.tensor(1), table, lora_A, lora_B, 2),
             torch.tensor([4.0, 22.0]), tolerance=1e-6, reason=_SUMS),
        Case("the gradient of A", lambda answer: _gradient_of_A(answer, many, wide, wide_A, wide_B),
             3 * wide_B.sum(0)[:, None] * counts, [
            Hint(lambda got: not got.any(), "No gradient reaches A: compute with torch alone, without detach or item."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("numbers in the largest tensor it makes", lambda answer: _largest(
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
    paper = [torch.tensor([[1.0, 2.0]]), torch.eye(2), torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0], [0.0]]), 10.0,
             torch.tensor([[1.0, 5.0]])]
    want = [torch.tensor([[61.0, 25.0]]), torch.tensor([[20.0, 40.0]]), torch.tensor([[50.0], [250.0]])]
    inputs = _gradient_inputs(6, 5, 4, 3)
    x, weight, lora_A, lora_B, scaling, grad = inputs
    true = _true_gradients(inputs)

    def at(place):
        return lambda answer: list(answer(*[one.clone() if torch.is_tensor(one) else one for one in inputs]))[place]

    return [
        Case("one token, on paper", lambda answer: list(answer(*paper)), want, [
            Hint([*want[1:], want[0]], "The order is: of x, of A, of B."),
        ], tolerance=1e-6, reason=_SUMS),
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
        Case("B is zero", lambda answer: [float(one.abs().sum()) > 0 for one in answer(
            *inputs[:3], torch.zeros_like(lora_B), *inputs[4:])], [True, False, True], [
            Hint([True, True, True], "With B at zero nothing comes back to A: its gradient is zero."),
        ]),
        Case("600 tokens, rank 1", lambda answer: list(answer(*_gradient_inputs(600, 7, 9, 1))),
             _true_gradients(_gradient_inputs(600, 7, 9, 1)), tolerance=1e-10, reason=_FLOAT64),
    ]


def _both_alike(given: list[torch.Tensor], sizes: torch.Tensor) -> Case:
    def grams(answer):
        small_A, small_B = answer(*(factor.clone() for factor in given), 4)
        return [small_A @ small_A.T, small_B.T @ small_B]

    want, one, by_size = torch.diag(sizes[:4]), torch.eye(4, dtype=torch.float64), torch.diag(sizes[:4] ** 2)
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
            Hint(lambda got: float(got[1, 0]) == 1.0, "The first rows are not the best ones, or these are the smallest "
                 "singular values: keep the directions in which BA is largest."),
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
        Case("numbers in the largest tensor it makes", lambda answer: _largest(
            answer, random_tensor(3, 500), random_tensor(400, 3), 2),
            Rule("at most 10,000; BA would have 200,000", lambda numbers: numbers <= 10_000), [
            Hint(lambda got: got > 10_000, "This makes a matrix as large as the layer: bring each factor to an "
                 "orthonormal basis first (torch.linalg.qr), then decompose the small product of the two cores."),
        ]),
    ]
