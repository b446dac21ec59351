"""Cases for answers about what LoRA adds: how large it is, and which settings train it alike.

Knows nothing about a notebook.
"""

import math

import torch

from ftkit.course.cases import Case, Hint, Rule

_SUMS = "sums in another order differ in their last figures"
_PATH = "float64 holds sixteen figures, and some are lost over twelve steps"
_STEPS = 12


def norms() -> list[Case]:
    """Norms done on paper, beside the product itself, and where the product does not fit any memory."""
    return [*_norms_by_hand(), *_norms_by_rule(), *_norms_under_stress()]


def _norm(lora_A, lora_B, alpha, *more):
    return lambda answer: answer(torch.tensor(lora_A), torch.tensor(lora_B), alpha, *more)


def _norms_by_hand() -> list[Case]:
    diagonal, square = [[2.0, 0.0], [0.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]
    root = math.sqrt(60)  # BA is [[2, 2], [6, 4]]
    return [
        Case("rank 1: lengths 5 and 3, alpha 2", _norm([[3.0, 4.0]], [[1.0], [2.0], [2.0]], 2), 30.0, [
            Hint(15.0, "alpha is left out."),
            Hint(900.0, "This is the square of the norm: the root is missing."),
            Hint(lambda got: abs(got - 2 * math.sqrt(15)) < 1e-6, "One root too many: the product's norm is the root "
                 "of the sum of its squares."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("rank 2, alpha 4, BA = [[2, 2], [6, 4]]", _norm(diagonal, square, 4), 2 * root, [
            Hint(4 * root, "Divide alpha by the rank, the rows of A."),
            Hint(root, "alpha / rank is left out."),
            Hint(2 * math.sqrt(150), "The norm of a product is not the product of the norms."),
            Hint(28.0, "This adds the entries up: the Frobenius norm is the root of the sum of their squares."),
            Hint(2 * math.sqrt(30 + math.sqrt(884)), "This is the largest singular value: the Frobenius norm counts "
                 "all of them."),
            Hint(4 * root / math.sqrt(2), "The root of the rank belongs to use_rslora alone."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("two rows of A that cancel", _norm([[1.0, 1.0], [1.0, 1.0]], [[2.0, -2.0]], 2), 0.0, [
            Hint(lambda got: got > 0, "BA is zero here: the ranks are added up before anything is squared."),
        ], tolerance=1e-9, reason=_SUMS),
        Case("rank 4, use_rslora", _norm([[1.0] * 2] * 4, [[1.0] * 4], 8, True), 4 * math.sqrt(32), [
            Hint(2 * math.sqrt(32), "With use_rslora alpha is divided by √rank."),
            Hint(8 * math.sqrt(32), "With use_rslora alpha is divided by √rank, not left whole."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("a wide A and a tall B", _norm([[1.0, 2.0, 2.0]], [[2.0]], 1), 6.0, [
            Hint(2.0, "The rank is the number of A's rows, not of its columns."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("the kind of number", lambda answer: type(_norm([[3.0, 4.0]], [[1.0]], 1)(answer)).__name__,
             Rule("a number (float)", lambda got: got == "float"), [
                 Hint("Tensor", "Return a number: .item() takes it out of the tensor."),
        ]),
    ]


def _norms_by_rule() -> list[Case]:
    def beside(answer, dtype=torch.float32):
        generator = torch.Generator().manual_seed(7)
        found = []
        for rank, width, height in ((1, 9, 4), (3, 5, 8), (8, 6, 3)):
            lora_A = torch.randn(rank, width, generator=generator).to(dtype)
            lora_B = torch.randn(height, rank, generator=generator).to(dtype)
            whole = float((1.5 / rank * lora_B.double() @ lora_A.double()).norm())
            found.append(answer(lora_A, lora_B, 1.5) / whole)
        return found

    def of_parameters(answer):
        lora_A, lora_B = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
        return answer(lora_A, lora_B, 2)

    return [
        Case("beside the product, in shares of it", beside, [1.0] * 3, tolerance=1e-5, reason=_SUMS),
        Case("bfloat16 factors", lambda answer: beside(answer, torch.bfloat16), [1.0] * 3, [
            Hint(lambda got: max(abs(one - 1) for one in got) < 0.1, "bfloat16 keeps three figures: turn the factors "
                 "into a wider type before they are multiplied."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("factors that carry gradients", of_parameters, 4.0, tolerance=1e-6, reason=_SUMS),
    ]


def _norms_under_stress() -> list[Case]:
    wide = 400_000

    def large(answer):
        return answer(torch.full((2, wide), 0.5), torch.full((wide, 2), 0.25), 4)

    def near_zero(answer):
        lora_A = torch.tensor([[0.1, 0.7], [0.2, 1.4], [0.3, 2.1]], dtype=torch.float64)
        lora_B = torch.tensor([[0.3, 0.3, -0.3], [0.7, 0.7, -0.7]], dtype=torch.float64)
        return answer(lora_A, lora_B, 3)

    return [
        Case("a 400,000 × 400,000 product", large, 2 * 0.25 * wide, tolerance=1e-5, reason=_SUMS),
        Case("float16 factors of 300", lambda answer: answer(
            torch.full((1, 4), 300.0, dtype=torch.float16), torch.full((4, 1), 300.0, dtype=torch.float16), 1),
            360_000.0, [
                Hint(lambda got: math.isinf(got) or math.isnan(got), "float16 ends at 65,504: turn the factors into a "
                     "wider type first."),
        ], tolerance=1e-6, reason=_SUMS),
        Case("ranks that cancel up to rounding", near_zero, 0.0, [
            Hint(ValueError, "Rounding has left a sum of squares just below 0: take it as 0 before the root."),
            Hint(lambda got: math.isnan(got), "Rounding has left a sum of squares just below 0: take it as 0 before "
                 "the root."),
        ], tolerance=1e-6, reason="the root of a rounding error of 1e-16 is 1e-8"),
    ]


def twins() -> list[Case]:
    """The numbers of small settings, then both of two settings trained side by side."""
    return [*_twin_numbers(), *_twin_leaves(), *_twin_paths()]


def _settings(rate=0.02, eps=1e-8, decay=0.5) -> dict:
    generator = torch.Generator().manual_seed(8)
    ours = {"rate": rate, "eps": eps, "decay": decay}
    return {"alpha": 16.0,
            "A": {"start": torch.randn(3, 5, generator=generator, dtype=torch.float64), **ours},
            "B": {"start": torch.zeros(4, 3, dtype=torch.float64), **ours}}


def _numbers(c, into, optimizer, eps=True):
    def run(answer):
        found = answer(_settings(), c, into, optimizer)
        return [found["alpha"], found[into]["rate"], found[into]["decay"], *([found[into]["eps"]] if eps else [])]
    return run


def _twin_numbers() -> list[Case]:
    return [
        Case("AdamW, c = 2, into B: alpha, rate, decay, eps", _numbers(2.0, "B", "adamw"), [32.0, 0.01, 1.0, 2e-8], [
            Hint(lambda got: got[0] != 32, "alpha becomes c · alpha: 32."),
            Hint(lambda got: got[1] == 0.02, "AdamW's step is as long as its rate, whatever the gradient: a B of half "
                 "the size needs half the rate."),
            Hint(lambda got: got[1] == 0.04, "The other way round: a B of half the size takes steps of half the size."),
            Hint(lambda got: got[1] == 0.005, "AdamW divides the gradient's size out, so c enters once, not twice."),
            Hint(lambda got: got[2] == 0.5, "AdamW shrinks by rate · decay each step: with half the rate, the decay "
                 "doubles."),
            Hint(lambda got: got[2] == 0.25, "The product rate · decay must stay: the decay grows by c."),
            Hint(lambda got: got[3] == 1e-8, "eps stands beside the size of a gradient that is c times as large: it "
                 "grows with it."),
            Hint(lambda got: got[3] == 5e-9, "The gradient of B grows by c, and eps with it."),
        ], tolerance=1e-12, reason=_PATH),
        Case("SGD, c = 2, into B: alpha, rate, decay", _numbers(2.0, "B", "sgd", eps=False), [32.0, 0.005, 2.0], [
            Hint(lambda got: got[1] == 0.01, "With SGD the gradient's size counts: it is c times as large, and the "
                 "step is to be c times shorter, so the rate falls by c²."),
            Hint(lambda got: got[1] > 0.01, "The rate falls: the gradient is larger, and B is smaller."),
            Hint(lambda got: got[2] != 2, "SGD adds decay · B to the gradient. B is c times smaller, the gradient c "
                 "times larger: the decay grows by c²."),
        ], tolerance=1e-12, reason=_PATH),
        Case("AdamW, c = 4, into A", _numbers(4.0, "A", "adamw"), [64.0, 0.005, 2.0, 4e-8], [
            Hint(lambda got: got[1] == 0.02, "`into` names the factor that makes up for alpha: here it is A."),
        ], tolerance=1e-12, reason=_PATH),
    ]


def _twin_leaves() -> list[Case]:
    def other(answer):
        found, given = answer(_settings(), 2.0, "B", "adamw")["A"], _settings()["A"]
        return [sorted(found) == sorted(given), bool(torch.equal(found["start"], given["start"])),
                *(found[name] == given[name] for name in ("rate", "eps", "decay"))]

    def start(answer):
        return answer(_settings(), 2.0, "A", "adamw")["A"]["start"] / _settings()["A"]["start"]

    def start_of_sgd(answer):
        return answer(_settings(), 4.0, "A", "sgd")["A"]["start"] / _settings()["A"]["start"]

    return [
        Case("the factor that is not meant stays as it is", other, [True] * 5, [
            Hint(lambda got: not all(got), "Only the factor named by `into` changes."),
        ]),
        Case("where A starts, c = 2", start, torch.full((3, 5), 0.5, dtype=torch.float64), [
            Hint(lambda got: bool((got == 1).all()), "c · alpha with the same A would begin elsewhere: A starts at 1/c "
                 "of it."),
            Hint(lambda got: bool((got == 2).all()), "alpha has grown by c: A starts at 1/c, not at c times its size."),
        ], tolerance=1e-12, reason=_PATH),
        Case("where A starts under SGD, c = 4", start_of_sgd, torch.full((3, 5), 0.25, dtype=torch.float64), [
            Hint(lambda got: bool((got == 0.0625).all()), "The start is divided by c once, under SGD, too: BA is to "
                 "begin where it did."),
        ], tolerance=1e-12, reason=_PATH),
    ]


def _path(settings: dict, optimizer: str) -> torch.Tensor:
    """What a LoRA layer adds to its weight, after each of some steps of a small regression."""
    generator = torch.Generator().manual_seed(9)
    x, y = (torch.randn(16, size, generator=generator, dtype=torch.float64) for size in (5, 4))
    factors = {name: settings[name]["start"].clone().requires_grad_() for name in "AB"}
    memory, path = {name: [torch.zeros_like(one)] * 2 for name, one in factors.items()}, []
    for step in range(1, _STEPS + 1):
        addition = settings["alpha"] / 3 * factors["B"] @ factors["A"]
        path.append(addition.detach())
        grads = torch.autograd.grad((x @ addition.t() - y).square().mean(), [factors["A"], factors["B"]])
        for name, grad in zip("AB", grads, strict=True):
            move = _adamw if optimizer == "adamw" else _sgd
            memory[name] = move(factors[name].data, grad, memory[name], step, **settings[name])
    return torch.stack(path)


def _adamw(weight: torch.Tensor, grad: torch.Tensor, memory: list, step: int, rate: float, eps: float, decay: float,
           start: object) -> list:
    """One step of torch's AdamW, written out: the first use of torch's own imports half a compiler."""
    mean, square = 0.9 * memory[0] + 0.1 * grad, 0.999 * memory[1] + 0.001 * grad**2
    weight.mul_(1 - rate * decay)
    weight.sub_(rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + eps))
    return [mean, square]


def _sgd(weight: torch.Tensor, grad: torch.Tensor, memory: list, step: int, rate: float, eps: float, decay: float,
         start: object) -> list:
    """One step of torch's SGD with a momentum of 0.9."""
    kept = 0.9 * memory[0] + grad + decay * weight
    weight.sub_(rate * kept)
    return [kept, memory[1]]


def _twin_paths() -> list[Case]:
    def apart(c, into, optimizer, **settings):
        def run(answer):
            one = _path(_settings(**settings), optimizer)
            other = _path(answer(_settings(**settings), c, into, optimizer), optimizer)
            return float((one - other).abs().max() / one.abs().max())
        return run

    kept = Rule("apart by less than 1e-9 of the largest entry", lambda got: got < 1e-9)
    return [
        Case(f"{optimizer}, c = {c:g}, into {into}: {_STEPS} steps", apart(c, into, optimizer, **how), kept, [
            Hint(lambda got: True, "The two trainings part: one of start, rate, decay and eps does not fit.")])
        for optimizer, c, into, how in (
            ("adamw", 3.0, "B", {"eps": 1e-2}), ("adamw", 0.3, "A", {"eps": 1e-2, "decay": 2.0}),
            ("sgd", 3.0, "B", {"rate": 1e-3}), ("sgd", 1.7, "A", {"rate": 1e-3, "decay": 2.0}))]
