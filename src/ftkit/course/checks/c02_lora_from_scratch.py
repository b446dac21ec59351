"""What an answer to an exercise of lesson 02 is judged by. Knows nothing about the notebook around it."""

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ftkit.course.cases import Case, Check, Hint, Rule

_SUMS = "float32 sums in another order differ in the last of seven figures; some two hundred terms lose one more"
_FLOAT64 = "float64 holds sixteen figures; decompositions of matrices of this size lose a few"


_COLUMNS = "You added up the columns' own energies: take torch.linalg.svdvals."
_ONE_FACTOR = "The singular values stand in one factor alone: give each their roots, so that both are of one size."
_ROOTS = "The roots of the singular values belong into both factors."


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
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


def _largest_rank() -> list[Case]:
    two = [(4, 4), (8, 4)]  # 8 numbers a rank, and 12: 20 together
    return [
        Case("one layer of 4 x 6, 25 numbers", lambda answer: answer([(4, 6)], 25), 2, [
            Hint(1, "This counts the layer's own weights: A has rank x in numbers and B has out x rank."),
            Hint(3, "Round down: three ranks would need 30 numbers, more than the budget."),
            Hint(2.5, "A rank is a whole number: divide with //."),
            Hint(4, "This counts one side alone: A has rank x in numbers and B has out x rank."),
        ]),
        Case("two layers, 60 numbers", lambda answer: answer(list(two), 60), 3, [
            Hint(4, "Count every layer, not the first alone, and both sides of each."),
            Hint(5, "A has rank x in numbers and B has out x rank: count both sides of each layer."),
            Hint(1, "This counts the layers' own weights: a rank costs out + in numbers a layer."),
        ]),
        Case("exactly enough", lambda answer: answer(list(two), 40), 2, [
            Hint(1, "40 numbers are exactly two ranks: the budget itself may be used."),
        ]),
        Case("one number too few", lambda answer: answer(list(two), 39), 1),
        Case("sides of different length", lambda answer: answer([(8, 5), (4, 10)], 22), 0, [
            Hint(2, "This is what comes of the smaller sides alone: a rank costs out + in numbers a layer."),
            Hint(1, "Count both sides of each layer: A has rank x in numbers and B has out x rank."),
        ]),
        Case("a budget for nothing", lambda answer: answer([(4, 6)], 9), 0, [
            Hint(1, "Not even rank 1 fits this budget: 0 is the answer then."),
        ]),
        Case("a budget for more than there is", lambda answer: answer(list(two), 10_000), 4, [
            Hint(500, "A rank above the smallest side of any layer adds nothing: BA has no more rank than that side."),
            Hint(8, "Take the smallest side of any layer, in or out."),
        ]),
        Case("a layer with few inputs", lambda answer: answer([(512, 3), (64, 64)], 10 ** 6), 3, [
            Hint(64, "Take the smallest side of any layer: this one has 3 inputs."),
        ]),
        Case("the layers of a 7B", lambda answer: answer([(4096, 4096)] * 64, 4_194_304), 8),
    ]


def _spectrum(sizes: list[float], rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A matrix with these singular values, in directions that are no rows and no columns."""
    left = torch.linalg.qr(_random(rows, rows, seed=seed, dtype=torch.float64))[0][:, :len(sizes)]
    right = torch.linalg.qr(_random(columns, columns, seed=seed + 1, dtype=torch.float64))[0][:, :len(sizes)]
    return (left * torch.tensor(sizes, dtype=torch.float64)) @ right.T


def _rank_for_energy() -> list[Case]:
    diagonal = torch.diag(torch.tensor([1.0, 4.0, 2.0, 2.0]))  # energies 16, 4, 4, 1 of 25
    turned = [6.0, 3.0, 2.0, 1.0]  # energies 36, 9, 4, 1 of 50
    return [
        Case("16 of 25 are enough", lambda answer: answer(diagonal.clone(), 0.6), 1, [
            Hint(2, "Energy is the square of a singular value: 4² alone is 16 of 25. Or one too many: the rank at "
                    "which the share is reached counts."),
            Hint(0, "One too few: places count from 0, ranks from 1."),
            Hint(3, "This adds the smallest first: singular values come largest first, add them in that order."),
            Hint(4, "This adds the smallest first: singular values come largest first, add them in that order."),
        ]),
        Case("two are needed", lambda answer: answer(diagonal.clone(), 0.7), 2, [
            Hint(3, "One too many, or the diagonal is not the singular values: they come largest first."),
            Hint(1, "One too few: the rank whose energy reaches the share counts."),
            Hint(0, "One too few: places count from 0, ranks from 1."),
        ]),
        Case("directions that are no columns", lambda answer: answer(_spectrum(turned, 7, 5), 0.89), 2, [
            Hint(3, "Energy is the square of a singular value. " + _COLUMNS),
            Hint(1, "One too few, or you counted how many values are large: add up until the share is reached."),
            Hint(4, "This adds the smallest first. " + _COLUMNS),
            Hint(5, _COLUMNS),
        ]),
        Case("a share of the whole", lambda answer: answer(_spectrum([3.0] * 8, 9, 8), 0.55), 5, [
            Hint(1, "Take the share of the whole matrix, not of its largest singular value."),
            Hint(8, "Here all singular values are alike, and you counted how many values are large: add energies up."),
            Hint(6, "One too many: five of eight are 62 %, and four are 50 %."),
            Hint(4, "One too few: four of eight are 50 %."),
        ]),
        Case("exactly reached", lambda answer: answer(torch.eye(4), 0.5), 2, [
            Hint(3, "One too many: two of four hold exactly half, and half is what is asked for."),
        ]),
        Case("more columns than rows, float32", lambda answer: answer(_spectrum(turned, 5, 40).float(), 0.95), 3),
        Case("a long tail", lambda answer: answer(_spectrum([10.0] + [1.0] * 150, 200, 160), 0.999), 151, [
            Hint(lambda got: 148 <= got <= 150, "One too few: 0.999 needs the whole tail here."),
        ]),
        Case("an update of zeros", lambda answer: answer(torch.zeros(3, 2), 0.9), 0, [
            Hint(1, "An update of zeros has no energy at all: rank 0 holds all of it."),
            Hint(lambda got: got != 0, "An update of zeros has no energy: answer 0 before dividing by it."),
            Hint(Exception, "An update of zeros has no energy: answer 0 before dividing by it."),
        ]),
    ]


def _merge_inputs(out_features: int, in_features: int, rank: int, dtype: torch.dtype = torch.float32) -> tuple:
    return (_random(out_features, in_features, seed=1, dtype=dtype), _random(rank, in_features, seed=2),
            _random(out_features, rank, seed=3))


def _merged() -> list[Case]:
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


def _embedding() -> list[Case]:
    table = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    lora_A, lora_B = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0], [10.0]])
    ids = torch.tensor([2, 0, 1])
    additions = torch.tensor([[2.0, 20.0], [0.0, 0.0], [1.0, 10.0]])
    wide, wide_A, wide_B = _random(50, 12, seed=4), _random(3, 50, seed=5), _random(12, 3, seed=6)
    many = torch.randint(50, (2, 3, 4), generator=torch.Generator().manual_seed(7))

    def gradient(answer):
        own_A = wide_A.clone().requires_grad_()
        found = answer(many.clone(), wide, own_A, wide_B, 9)
        if not (torch.is_tensor(found) and found.requires_grad):
            return torch.zeros(3, 50)
        found.sum().backward()
        return own_A.grad

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
        Case("the gradient of A", gradient, 3 * wide_B.sum(0)[:, None] * counts, [
            Hint(lambda got: not got.any(), "No gradient reaches A: compute with torch alone, without detach or item."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("numbers in the largest tensor it makes", lambda answer: _largest(
            answer, ids.clone(), wide, wide_A, wide_B, 9), Rule("fewer than the table's 600", lambda n: n < 600), [
            Hint(lambda got: got >= 600, "This makes the whole table anew, for three tokens: look up first, multiply "
                 "then."),
        ]),
    ]


_PATHS = ["embed", "layers.0.attn.q_proj", "layers.0.mlp.up_proj", "layers.9.attn.q_proj", "layers.9.mlp.up_proj",
          "layers.10.attn.q_proj", "layers.10.mlp.up_proj", "layers.10.q_proj.norm", "q_proj"]


_REFUSED = Rule("a ValueError", lambda got: str(got).startswith("ValueError"))


def _in_last_layers() -> list[Case]:
    def tried(names, k, paths=_PATHS):
        return lambda answer: answer(list(paths), list(names), k)

    def refused(names):
        def got(answer):
            try:
                return answer(list(_PATHS), names, 2)
            except ValueError as error:
                return f"ValueError: {error}"
        return got

    q_last = ["layers.9.attn.q_proj", "layers.10.attn.q_proj"]
    return [
        Case("q_proj in the last two", tried(["q_proj"], 2), q_last, [
            Hint([*q_last, "layers.10.q_proj.norm"], "A name that stands in the middle of a path is not the module's: "
                 "compare the end of the path."),
            Hint([*q_last, "q_proj"], "A module that stands in no layer is in none of the last ones."),
            Hint(["layers.0.attn.q_proj", "layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes "
                 "before 9. (Or these are the first layers.)"),
            Hint(["layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes before 9."),
        ]),
        Case("in the last one", tried(["q_proj"], 1), q_last[1:], [
            Hint(["layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes before 9."),
            Hint(["layers.0.attn.q_proj"], "These are the first layers: the last ones have the highest numbers."),
        ]),
        Case("two names", tried(["up_proj", "q_proj"], 1), _PATHS[5:7], [
            Hint(_PATHS[6:4:-1], "Keep the paths in the order of the model: go through the paths, not the names."),
        ]),
        Case("a longer name", tried(["attn.q_proj"], 3), ["layers.0.attn.q_proj", *q_last]),
        Case("part of a name", refused(["proj"]), _REFUSED, [
            Hint(lambda got: isinstance(got, list), "'proj' is not a name of a module here: names begin after a dot."),
        ]),
        Case("k is 0", tried(["q_proj"], 0), [], [
            Hint(lambda got: len(got) > 0, "k = 0 asks for no layer, and layers[-0:] is all of them."),
        ]),
        Case("more than there are", tried(["q_proj"], 5), ["layers.0.attn.q_proj", *q_last], [
            Hint(lambda got: len(got) < 3, "A model with fewer than k layers has all its layers among the last k: a "
                 "slice that begins below 0 counts from the end."),
            Hint(Exception, "A model with fewer than k layers has all its layers among the last k."),
        ]),
        Case("a name that is not there", refused(["q_proj", "wqkv"]), Rule(
            "a ValueError that says wqkv", lambda got: str(got).startswith("ValueError") and "wqkv" in got), [
            Hint(lambda got: isinstance(got, list), "A name that no module has is mostly a mistake: raise ValueError "
                 "and say which."),
        ]),
        Case("all names there", tried(["embed"], 2), []),
        Case("every second layer has it", tried(["v"], 2, ["b.1.v", "b.2.w", "b.3.v", "b.4.w"]), ["b.3.v"], [
            Hint(["b.1.v", "b.3.v"], "The last layers are those of the model, whether they have the module or not."),
        ]),
    ]


def _gradient_inputs(tokens: int, out_features: int, in_features: int, rank: int, dtype=torch.float64) -> list:
    shapes = ((tokens, in_features), (out_features, in_features), (rank, in_features), (out_features, rank))
    x, weight, lora_A, lora_B = (_random(*shape, seed=at, dtype=dtype) for at, shape in enumerate(shapes))
    return [x, weight, lora_A, lora_B, 1.75, _random(tokens, out_features, seed=9, dtype=dtype)]


def _true_gradients(inputs: list) -> list[torch.Tensor]:
    x, weight, lora_A, lora_B, scaling, grad = inputs
    x, lora_A, lora_B = (one.clone().requires_grad_() for one in (x, lora_A, lora_B))
    (x @ weight.T + scaling * (x @ lora_A.T) @ lora_B.T).backward(grad)
    return [x.grad, lora_A.grad, lora_B.grad]


def _lora_gradients() -> list[Case]:
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


def _smaller_adapter() -> list[Case]:
    """A = diag(3, 2, 1) in three of four inputs and B = diag(3, 1, 2): BA has the singular values 9, 2 and 2."""
    lora_A = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]], dtype=torch.float64)
    lora_B = torch.tensor([[0, 4.0], [1.0, 0], [0, 0]], dtype=torch.float64)
    best = torch.zeros(3, 4, dtype=torch.float64)
    best[0, 1] = 4.0
    wide = [_random(6, 30, seed=1, dtype=torch.float64), _random(20, 6, seed=2, dtype=torch.float64)]
    left, sizes, right = torch.linalg.svd(wide[1] @ wide[0], full_matrices=False)

    def product(answer, given, rank):
        small_A, small_B = answer(*(one.clone() for one in given), rank)
        return small_B @ small_A

    def grams(answer):
        small_A, small_B = answer(*(one.clone() for one in wide), 4)
        return [small_A @ small_A.T, small_B.T @ small_B]

    want = [torch.diag(sizes[:4])] * 2
    one, by_size = torch.eye(4, dtype=torch.float64), torch.diag(sizes[:4] ** 2)
    return [
        Case("rank 1 of 2, on paper", lambda answer: product(answer, (lora_A, lora_B), 1), best, [
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
        Case("rank 4 of 6, the best there is", lambda answer: product(answer, wide, 4),
             (left[:, :4] * sizes[:4]) @ right[:4], [
            Hint(wide[1][:, :4] @ wide[0][:4], "The first rows are not the best ones: take BA's singular values."),
            Hint(left[:, :4] @ right[:4], _ROOTS),
            Hint((left[:, 2:6] * sizes[2:6]) @ right[2:6], "These are the smallest singular values: keep the largest."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("both factors alike", grams, want, [
            Hint([one, by_size], _ONE_FACTOR), Hint([by_size, one], _ONE_FACTOR), Hint([one, one], _ROOTS),
            Hint([by_size, by_size], "Both factors hold the whole singular values: each gets the root."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("the full rank changes nothing", lambda answer: product(answer, wide, 6), wide[1] @ wide[0],
             tolerance=1e-9, reason=_FLOAT64),
        Case("numbers in the largest tensor it makes", lambda answer: _largest(
            answer, _random(3, 500), _random(400, 3), 2), Rule("at most 10,000, where BA would have 200,000",
                                                         lambda n: n <= 10_000), [
            Hint(lambda got: got > 10_000, "This makes a matrix as large as the layer: bring each factor to an "
                 "orthonormal basis first (torch.linalg.qr), then decompose the small product of the two cores."),
        ]),
    ]


CHECKS = {
    "02.1": Check("largest_rank", "The largest rank for a budget", 1, 5, _largest_rank),
    "02.2": Check("rank_for_energy", "The rank that holds a share of an update", 2, 7, _rank_for_energy),
    "02.3": Check("merged", "Merging into any layout", 2, 8, _merged),
    "02.4": Check("embedding_with_lora", "LoRA on an embedding", 3, 9, _embedding),
    "02.5": Check("in_last_layers", "Targets in the last layers alone", 3, 10, _in_last_layers),
    "02.6": Check("lora_gradients", "The gradients by hand", 4, 12, _lora_gradients),
    "02.7": Check("smaller_adapter", "An adapter of lower rank, without the large matrix", 5, 18, _smaller_adapter),
}
