"""Cases for an adapter that stands beside a block instead of behind it. Knows nothing about a notebook."""

import torch
from torch import nn

from ftkit.course.cases import Case, Hint, Rule

_FLOAT32 = "float32; sums in another order"


def beside() -> list[Case]:
    """What it is at the start, what it computes, what is trained, and what it leaves alone."""
    return [*_starts(), *_computes(), *_trains(), *_keeps()]


def _block(width: int = 3) -> nn.Module:
    torch.manual_seed(6)
    return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, width))


def _made(answer, width=3, size=2, scale=4.0, filled=False):
    block = _block(width)
    made = answer(block, width, size, scale)
    if filled:
        with torch.no_grad():
            made.down.weight.copy_(torch.linspace(-1, 1, size * width).view(size, width))
            made.up.weight.copy_(torch.linspace(2, -1, width * size).view(width, size))
    return made, block


_X = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])


def _starts() -> list[Case]:
    def moved(answer):
        made, block = _made(answer)
        return float((made(_X) - block(_X)).detach().abs().max())

    def drawn(answer):
        made, _ = _made(answer, width=40, size=30)
        return float(made.down.weight.detach().std())

    return [
        Case("a fresh one changes nothing", moved, 0.0, [
            Hint(lambda got: got > 0, "At the start it must change nothing: the weights of `up` begin at zero."),
        ]),
        Case("`down` is drawn", drawn, Rule("spread like nn.Linear's own weights", lambda got: 0.05 < got < 0.15), [
            Hint(0.0, "With both at zero neither ever gets a gradient: `down` keeps what nn.Linear draws."),
        ]),
    ]


def _by_hand(made_block: nn.Module, scale: float) -> torch.Tensor:
    down = torch.linspace(-1, 1, 6).view(2, 3)
    up = torch.linspace(2, -1, 6).view(3, 2)
    with torch.no_grad():
        return made_block(_X) + scale * (_X @ down.T).clamp(min=0) @ up.T


def _computes() -> list[Case]:
    def output(scale):
        return lambda answer: _made(answer, scale=scale, filled=True)[0](_X)

    def behind(got, scale=4.0):
        """What an adapter behind the block would give."""
        block, down, up = _block(), torch.linspace(-1, 1, 6).view(2, 3), torch.linspace(2, -1, 6).view(3, 2)
        with torch.no_grad():
            out = block(_X)
            return bool((got - (out + scale * (out @ down.T).clamp(min=0) @ up.T)).abs().max() < 1e-5)

    def without(got, change):
        with torch.no_grad():
            return bool((got - change(_block()(_X), _by_hand(_block(), 4.0) - _block()(_X))).abs().max() < 1e-5)

    return [
        Case("with given weights, scale 4", output(4.0), _by_hand(_block(), 4.0), [
            Hint(AttributeError, "The two layers are to be called `down` and `up`, each an nn.Linear."),
            Hint(behind, "This reads what the block gives. Beside means: it reads the same x as the block."),
            Hint(lambda got: without(got, lambda out, added: added), "The block's own output is missing."),
            Hint(lambda got: without(got, lambda out, added: out + added / 4), "The scale is missing."),
            Hint(lambda got: without(got, lambda out, added: 4 * out + added / 4), "The scale belongs to the adapter "
                 "alone, not to the block."),
            Hint(lambda got: without(got, lambda out, added: _X + added), "It is added to what the block gives, not to "
                 "x."),
            Hint(lambda got: without(got, lambda out, added: out + _X + added), "x itself is not added: whatever "
                 "residual there is stands outside the block."),
            Hint(lambda got: bool((got - _block()(_X) - 4 * (_X @ torch.linspace(-1, 1, 6).view(2, 3).T)
                                   @ torch.linspace(2, -1, 6).view(3, 2).T).abs().max() < 1e-5),
                 "Without the relu in between two matrices are one: it would be LoRA."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("scale 0.5", output(0.5), _by_hand(_block(), 0.5), tolerance=1e-6, reason=_FLOAT32),
        Case("three dimensions", lambda answer: _made(answer, filled=True)[0](_X.view(1, 2, 3)),
             _by_hand(_block(), 4.0).view(1, 2, 3), tolerance=1e-6, reason=_FLOAT32),
    ]


def _trains() -> list[Case]:
    def names(answer):
        made, _ = _made(answer)
        return sorted(name for name, one in made.named_parameters() if one.requires_grad)

    def gradients(answer):
        made, _ = _made(answer)
        x = _X.clone().requires_grad_()
        made(x).square().sum().backward()
        grads = dict(made.named_parameters())
        return [bool(grads["up.weight"].grad.abs().sum() > 0), bool(grads["down.weight"].grad.abs().sum() == 0),
                bool(x.grad.abs().sum() > 0)]

    return [
        Case("what is trained", names, ["down.weight", "up.weight"], [
            Hint(lambda got: any(name.startswith("block") for name in got), "The block is still trained: freeze it."),
            Hint(lambda got: any("bias" in name for name in got), "Both layers are without a bias."),
            Hint([], "Nothing is trained: `down` and `up` are."),
            Hint(lambda got: "scale" in got, "The scale is a fixed number, and no parameter."),
        ]),
        Case("gradients of up, down and x at the start", gradients, [True, True, True], [
            Hint(RuntimeError, "A gradient has to come through: no no_grad and no detach on the way."),
            Hint(lambda got: got[2] is False, "The gradient has to reach x, for the layers below."),
        ]),
    ]


def _keeps() -> list[Case]:
    def shapes(answer):
        made, _ = _made(answer, width=7, size=4)
        return [list(made.down.weight.shape), list(made.up.weight.shape)]

    def kept(answer):
        block = _made(answer)[1]
        pairs = zip(block.parameters(), _block().parameters(), strict=True)
        return all(torch.equal(one, other) for one, other in pairs)

    def stored(answer):
        made, block = _made(answer)
        return any(one is block for one in made.modules()) and isinstance(made, nn.Module)

    return [
        Case("shapes of down and up", shapes, [[4, 7], [7, 4]], [
            Hint([[7, 4], [4, 7]], "nn.Linear takes inputs first: `down` maps width to size."),
        ]),
        Case("the block keeps its weights", kept, True),
        Case("the block stands inside", stored, True, [
            Hint(False, "Keep the block as an attribute, so that it moves and is saved with the module."),
        ]),
    ]
