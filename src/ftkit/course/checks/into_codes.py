"""Cases for answers that put numbers into codes and look at what came through. Knows nothing about a notebook."""

import torch

from ftkit.course.cases import Case, Hint, Rule

_FLOAT32 = "float32 holds seven figures, and sums in another order lose one"
_SVD = "a decomposition in float32 is right to about five figures"


def whole(x: torch.Tensor) -> torch.Tensor:
    """Codes that are whole numbers: the nearest one."""
    return torch.round(x)


def coarse(x: torch.Tensor) -> torch.Tensor:
    """Codes of sixteen values, their largest that of the tensor."""
    step = x.abs().max().clamp(min=1e-12) / 7
    return torch.round(x / step) * step


def survival() -> list[Case]:
    """Whole numbers as codes. Base (0, 1, 2, 3), update (0.4, 0.6, 0, 1): only two numbers reach another code.

    By hand: the change is (0, 1, 0, 1); times the update 0.6 + 1, divided by 0.16 + 0.36 + 1 = 1.52.
    """
    base, update = torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([[0.4, 0.6], [0.0, 1.0]])
    return _survival_on_paper(base, update) + _survival_by_rule(base, update)


def _survival_on_paper(base: torch.Tensor, update: torch.Tensor) -> list[Case]:
    return [
        Case("the share, four numbers", lambda made: made(base, update, whole)[0], 1.6 / 1.52, [
            Hint(1.0, "Take the change between codes: what comes out of the codes, less the base."),
            Hint((1.6 / 1.52) ** 0.5, "No root is taken here."),
            Hint(2 / 1.52, "The numerator is the product of change and update, number by number, added up."),
            Hint(1.6 / 2, "Divide by the update's own squares, not by those of the change."),
            Hint(1.6 / 4, "Divide by the sum of the update's squares."),
            Hint(0.5, "That is the share of numbers that moved; the first result is the share of the update."),
            Hint(TypeError, "Return two numbers: the share that survives, and the share of numbers that moved."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("how many moved", lambda made: made(base, update, whole)[1], 0.5, [
            Hint(2, "A share of all numbers, not a count."), Hint(0.75, "0.4 does not reach the next code."),
            Hint(1.6 / 1.52, "The order is: share of the update, share of numbers that moved."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("a larger update", lambda made: list(made(base, update * 3, whole)),
             [_share(base, update * 3), _moved(base, update * 3)], tolerance=1e-6, reason=_FLOAT32),
        Case("a small update is lost", lambda made: list(made(base, torch.full((2, 2), 0.3), whole)), [0.0, 0.0], [
            Hint(lambda got: got[0] > 0.5, "0.3 reaches no other whole number: nothing of it is left.")]),
        Case("no update at all", lambda made: list(made(base, torch.zeros(2, 2), whole)), [1.0, 0.0], [
            Hint(ZeroDivisionError, "Where there is no update, nothing of it is lost: 1.0."),
            Hint(lambda got: got[0] != got[0], "0/0 is no number. Where there is no update, nothing is lost: 1.0."),
            Hint([0.0, 0.0], "Where there is no update, nothing of it is lost: 1.0.")]),
    ]


def _survival_by_rule(base: torch.Tensor, update: torch.Tensor) -> list[Case]:
    drawn = torch.Generator().manual_seed(5)
    large = whole(torch.randn(64, 48, generator=drawn) * 4)
    moves = torch.randn(64, 48, generator=drawn)
    spread = coarse(torch.randn(32, 32, generator=drawn))
    return [
        Case("random, whole numbers", lambda made: list(made(large, moves, whole)),
             [_share(large, moves), _moved(large, moves)], tolerance=1e-5, reason=_FLOAT32),
        Case("codes whose scale moves with the largest number",
             lambda made: list(made(spread, spread.sign() * 0.3, coarse)),
             [_share(spread, spread.sign() * 0.3, coarse), _moved(spread, spread.sign() * 0.3, coarse)], [
                 Hint(lambda got: True, "Put the sum through the codes, not the update alone.")],
             tolerance=1e-5, reason=_FLOAT32),
        Case("one number updated, and the scale with it", lambda made: list(made(spread, *_largest_moved(spread))), [
            _share(spread, *_largest_moved(spread)), _moved(spread, *_largest_moved(spread))], [
                Hint(lambda got: True, "What moves without an update of its own has moved, too.")],
             tolerance=1e-5, reason=_FLOAT32),
        Case("plain numbers", lambda made: [type(one) for one in made(base, update, whole)], [float, float], [
            Hint(lambda got: True, "Return numbers of Python: .item().")]),
    ]


def _share(base, update, through=whole) -> float:
    change, update = (through(base + update) - base).double().flatten(), update.double().flatten()
    return (change @ update / (update @ update)).item()


def _largest_moved(base) -> tuple:
    """An update of the largest number alone, which the scale of all others follows, and the codes."""
    return (base.abs() == base.abs().max()) * base.sign(), coarse


def _moved(base, update, through=whole) -> float:
    return (through(base + update) != base).double().mean().item()


def rounds() -> list[Case]:
    """Whole numbers as codes, and a weight whose loss has rank 1: one round makes up for it exactly."""
    paper = torch.tensor([[1.25, 2.25], [3.25, 4.25]])  # codes lose ¼ everywhere: a matrix of rank 1
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(6))
    return _one_round(paper, weight) + _several_rounds(weight)


def _one_round(paper: torch.Tensor, weight: torch.Tensor) -> list[Case]:
    return [
        Case("what codes and factors stand for together, rank 1", lambda made: _sum(made(paper, whole, 1, 1.0, 1)),
             paper.tolist(), [
                 Hint([[1.0, 2.0], [3.0, 4.0]], "The factors are to make up for what the codes lost: W − Q."),
                 Hint(ValueError, "Return three tensors: the numbers of the codes, A and B."),
                 Hint(TypeError, "Return three tensors: the numbers of the codes, A and B."),
                 Hint(RuntimeError, "A is (rank, in) and B is (out, rank)."),
             ], tolerance=1e-4, reason=_SVD),
        Case("the codes of one round", lambda made: made(paper, whole, 1, 1.0, 1)[0], [[1.0, 2.0], [3.0, 4.0]], [
            Hint(lambda got: got.shape != (2, 2), "The order is: numbers of the codes, A, B.")],
             tolerance=1e-6, reason=_FLOAT32),
        Case("shapes, rank 3", lambda made: [tuple(one.shape) for one in made(weight, coarse, 3, 1.0, 2)],
             [(24, 16), (3, 16), (24, 3)], [
                 Hint([(24, 16), (24, 3), (3, 16)], "The order is: numbers of the codes, A, B."),
                 Hint(lambda got: True, "Cut off after the rank: A has so many rows, B so many columns.")]),
        Case("with scaling 2", lambda made: _sum(made(paper, whole, 1, 2.0, 1), 2.0), paper.tolist(), [
            Hint((paper + 0.25).tolist(), "The layer multiplies BA by scaling: divide B (or A) by it."),
            Hint((paper - 0.125).tolist(), "Divide by scaling once, not both factors by it."),
            Hint((paper - 0.1875).tolist(), "Divide by scaling once."),
            Hint(lambda got: True, "The layer multiplies BA by scaling: scaling·BA is to be what the codes lost."),
        ], tolerance=1e-4, reason=_SVD),
    ]


def _several_rounds(weight: torch.Tensor) -> list[Case]:
    return [
        Case("one round, rank 3: how far from the weight", lambda made: _distance(made, weight, 3, 1), Rule(
            "the best of that rank", _near(_best(weight, 3, 1))), [
                Hint(lambda got: got > 1.001 * _best(weight, 3, 1), "The nearest matrix of a rank keeps the largest "
                     "singular values, each with its own vectors.")]),
        Case("five rounds", lambda made: _distance(made, weight, 3, 5), Rule(
            "the best of five rounds", _near(_best(weight, 3, 5))), [
                Hint(_near(_best(weight, 3, 1)), "Later rounds quantise W − BA: this is the first round's."),
                Hint(_near(_rounds(weight, 3, 5)[-1]), "This is the last round's: keep the best one."),
                Hint(lambda got: True, "Each round quantises W less the BA of the round before.")]),
        Case("later rounds that are worse", lambda made: _distance(made, _falling(), 3, 6), Rule(
            "the best of six rounds", _near(_best(_falling(), 3, 6))), [
                Hint(_near(_rounds(_falling(), 3, 6)[-1]), "This is the last round's: keep the best one."),
                Hint(_near(_rounds(_falling(), 3, 6)[0]), "This is the first round's: keep the best one.")]),
        Case("rounds that are nearest in another sense", lambda made: _distance(made, _two_senses(), 3, 6), Rule(
            "the best of six rounds", _near(_best(_two_senses(), 3, 6))), [
                Hint(lambda got: True, "Nearest by the sum of squares, not by the largest error.")]),
        Case("how often codes are made", _calls, 4, [
            Hint(lambda got: got > 4, "One round makes codes once."),
            Hint(lambda got: True, "So many rounds, each with new codes.")]),
        Case("two rounds that end alike", _first_of_two, [[2.0, 0.0], [0.0, 0.0]], [
            Hint([[0.0, 0.0], [0.0, 2.0]], "Of two rounds that end alike keep the earlier.")],
             tolerance=1e-6, reason=_FLOAT32),
        Case("five rounds with scaling 4", lambda made: (_sum(made(weight, coarse, 3, 4.0, 5), 4.0)
                                                         - weight).norm().item(), Rule(
            "the best of five rounds", _near(_best(weight, 3, 5))), [
                Hint(lambda got: True, "scaling belongs to the factors that are returned: within the rounds BA is "
                     "taken as it is.")]),
        Case("a full rank leaves nothing", lambda made: _distance(made, weight, 16, 1), Rule(
            "next to nothing", lambda got: got < 1e-4)),
    ]


def _sum(made, scaling: float = 1.0) -> torch.Tensor:
    numbers, lora_A, lora_B = made
    return numbers + scaling * lora_B @ lora_A


def _distance(made, weight, rank, count) -> float:
    return (_sum(made(weight, coarse, rank, 1.0, count)) - weight).norm().item()


def _rounds(weight, rank, count) -> list[float]:
    """How far codes and factors are from the weight after each round."""
    return [left.norm().item() for left in _left(weight, rank, count)]


def _left(weight, rank, count) -> list[torch.Tensor]:
    """What is left of the weight after each round: the part of the smaller singular values."""
    low, found = torch.zeros_like(weight), []
    for _ in range(count):
        u, s, v = torch.svd(weight - coarse(weight - low))
        low = u[:, :rank] @ torch.diag(s[:rank]) @ v[:, :rank].T
        found.append(u[:, rank:] @ torch.diag(s[rank:]) @ v[:, rank:].T)
    return found


def _best(weight, rank, count) -> float:
    return min(_rounds(weight, rank, count))


def _near(value: float):
    return lambda got: abs(got - value) < 1e-3 * value


def _falling() -> torch.Tensor:
    """A weight whose best round is neither the first nor the last of six."""
    for seed in range(200):
        weight = torch.randn(12, 10, generator=torch.Generator().manual_seed(seed))
        found = _rounds(weight, 3, 6)
        if min(found) < min(found[0], found[-1]) * 0.98:
            return weight
    raise AssertionError("no such weight among 200")


def _two_senses() -> torch.Tensor:
    """A weight of whose six rounds one is nearest by squares, and another by the largest error."""
    for seed in range(200):
        weight = torch.randn(12, 10, generator=torch.Generator().manual_seed(seed))
        found = [(left.norm().item(), left.abs().max().item()) for left in _left(weight, 3, 6)]
        if min(found)[0] < 0.98 * min(found, key=lambda one: one[1])[0]:
            return weight
    raise AssertionError("no such weight among 200")


def _calls(made) -> int:
    count = [0]

    def counted(x):
        count[0] += 1
        return coarse(x)

    made(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)), counted, 2, 1.0, 4)
    return count[0]


def _first_of_two(made) -> torch.Tensor:
    """BA where the codes of two rounds lose diag(2, 1) and diag(1, 2): cut off after rank 1, each leaves 1."""
    weight, lost = torch.full((2, 2), 5.0), [torch.diag(torch.tensor([1.0, 2.0])), torch.diag(torch.tensor([2.0, 1.0]))]
    _, lora_A, lora_B = made(weight, lambda _: weight - lost.pop(), 1, 1.0, 2)
    return lora_B @ lora_A
