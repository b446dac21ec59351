"""Cases for an answer that computes a loss and its gradient without all the logits. Knows nothing about a notebook."""

import torch
import torch.nn.functional as F

from ftkit.course.cases import Case, Hint, Rule
from ftkit.live_bytes import LiveBytes

_ROWS = 64  # where it is counted what is held
_FLOAT32 = "float32 holds seven figures, and sums in another order lose one"


def losses() -> list[Case]:
    """By torch's own cross entropy on all logits at once, with autograd."""
    return _even_chunks() + _other_sizes() + _what_is_held()


def _even_chunks() -> list[Case]:
    whole = _made(8, 5, 12, 0)
    return [
        Case("the loss of two chunks of four", lambda answer: _loss(answer(*_copied(whole), 4)), _wanted(*whole)[0], [
            Hint(8 * _wanted(*whole)[0], "The mean over all targets is wanted, not the sum."),
            Hint(lambda got: _near(got, -_wanted(*whole)[0]), "A loss is the negative of the log of a share."),
            Hint(lambda got: _near(got, _of(whole, slice(4, 8))), "All chunks count: this is the last one alone."),
            Hint(lambda got: _near(got, _of(whole, slice(0, 4))), "All chunks count: this is the first one alone."),
            Hint(2 * _wanted(*whole)[0], "The mean over all targets, once: means of chunks are not to be added."),
            Hint(TypeError, "Return a pair: the loss and the gradient."),
        ], 1e-5, reason=_FLOAT32),
        Case("the gradient of two chunks of four", lambda answer: answer(*_copied(whole), 4)[1], _wanted(*whole)[1], [
            Hint(lambda got: _near(got, 8 * _wanted(*whole)[1]), "The loss is a mean: its gradient is divided by the "
                 "number of targets, too."),
            Hint(lambda got: _near(got, 2 * _wanted(*whole)[1]), "Divide by the number of all targets, not of "
                 "a chunk's."),
            Hint(lambda got: _near(got, -_wanted(*whole)[1]), "The sign: shares less the one at the target."),
            Hint(lambda got: _near(got, _pull_without_target(*whole)), "The target's own share is less by one in the "
                 "gradient of the logits."),
        ], 1e-5, reason=_FLOAT32),
    ]


def _other_sizes() -> list[Case]:
    odd, single, few = _made(7, 6, 11, 1), _made(1, 4, 9, 2), _made(9, 5, 4, 6)
    return [
        Case("seven rows in chunks of three", lambda answer: _loss(answer(*_copied(odd), 3)), _wanted(*odd)[0], [
            Hint(lambda got: _near(got, _of(odd, slice(0, 6))), "The last chunk is a short one; it counts as well."),
            Hint(lambda got: _near(got, _mean_of_means(odd, 3)), "Chunks of different length do not count alike: sum "
                 "first, divide at the end."),
        ], 1e-5, reason=_FLOAT32),
        Case("and their gradient", lambda answer: answer(*_copied(odd), 3)[1], _wanted(*odd)[1], [
            Hint(lambda got: isinstance(got, torch.Tensor) and got.shape == (7, 6) and not got[6].any(),
                 "The last chunk is a short one; it counts as well."),
        ], 1e-5, reason=_FLOAT32),
        Case("one row, a chunk larger than all", lambda answer: answer(*_copied(single), 64)[1], _wanted(*single)[1],
             [Hint(IndexError, "A chunk may be larger than what is left.")], 1e-5, reason=_FLOAT32),
        Case("fewer tokens than rows", lambda answer: _loss(answer(*_copied(few), 2)), _wanted(*few)[0], [
            Hint(lambda got: True, "Chunks go over the rows of states, however many tokens there are.")],
            1e-5, reason=_FLOAT32),
        Case("large logits", lambda answer: _loss(answer(*_large(), 2)), _wanted(*_large())[0], [
            Hint(lambda got: not got == got or got == float("inf"), "exp of 200 overflows float32: log_softmax takes "
                 "the largest off first.")], 1e-5, reason=_FLOAT32),
    ]


def _what_is_held() -> list[Case]:
    with LiveBytes():  # torch imports what that needs, which takes longer than an answer: no part of a case's time
        torch.ones(1)
    return [
        Case("never more than a chunk of logits", _most_logits, Rule("at most 4 × 1,000 logits at a time",
             lambda most: isinstance(most, int) and most <= 4 * 1000), [
            Hint(_ROWS * 1000, "All logits were there at once: multiply a chunk's states with the head, not all of "
                 "them."),
            Hint(lambda most: isinstance(most, int), "More than a chunk of logits was there at once.")]),
        Case("never all logits, in pieces either", _alive, Rule(
            "fewer bytes at a time than all logits take", lambda most: most < 4 * _ROWS * 1000), [
                Hint(lambda most: True, "The pieces add up: a list of them, or a graph of autograd over all chunks, "
                     "holds as much as all logits at once. Be done with a chunk before the next.")]),
        Case("no graph is left behind", lambda answer: _keeps_graph(answer), False, [
            Hint(True, "autograd keeps the logits of every chunk until the end: compute the gradient by hand, or "
                 "detach() what is returned.")]),
    ]


def _made(rows, width, vocabulary, seed):
    drawn = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, width, generator=drawn), torch.randn(vocabulary, width, generator=drawn),
            torch.randint(vocabulary, (rows,), generator=drawn))


def _large():
    states, head, targets = _made(4, 5, 12, 3)
    return 100 * states, head, targets


def _copied(inputs):
    return tuple(one.clone() for one in inputs)


def _wanted(states, head, targets):
    leaf = states.clone().requires_grad_()
    loss = F.cross_entropy(leaf @ head.T, targets)
    return loss.item(), torch.autograd.grad(loss, leaf)[0]


def _of(inputs, part):
    states, head, targets = inputs
    return F.cross_entropy(states[part] @ head.T, targets[part]).item()


def _mean_of_means(inputs, chunk):
    parts = [slice(start, start + chunk) for start in range(0, len(inputs[0]), chunk)]
    return sum(_of(inputs, part) for part in parts) / len(parts)


def _pull_without_target(states, head, targets):
    return (states @ head.T).softmax(-1) @ head / len(states)


def _loss(pair):
    return float(pair[0].detach() if isinstance(pair[0], torch.Tensor) else pair[0])


def _near(got, wanted):
    try:
        return bool(torch.allclose(torch.as_tensor(got).float(), torch.as_tensor(wanted).float(), rtol=1e-4, atol=1e-6))
    except (TypeError, ValueError, RuntimeError):
        return False


class _Watched(torch.Tensor):
    """A head that notes how many logits, rows of 1,000, the largest result has that anything computes from it."""

    most = 0

    @classmethod
    def __torch_function__(cls, function, types, given=(), named=None):
        made = super().__torch_function__(function, types, given, named or {})
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor) and one.shape[-1:] == (1000,):
                cls.most = max(cls.most, one.numel())
        return made


def _most_logits(answer):
    states, head, targets = _made(_ROWS, 4, 1000, 4)
    _Watched.most = 0
    answer(states, head.as_subclass(_Watched), targets, 4)
    return _Watched.most


def _alive(answer) -> int:
    """The most bytes alive at once beyond the inputs, with chunks of four rows out of 64."""
    inputs = _made(_ROWS, 4, 1000, 4)
    with LiveBytes(*inputs) as alive:
        answer(*inputs, 4)
    return alive.peak().bytes - alive.before_bytes


def _keeps_graph(answer):
    states, head, targets = _made(8, 5, 12, 5)
    return any(isinstance(one, torch.Tensor) and one.grad_fn is not None for one in answer(states, head, targets, 4))
