"""Several low-rank adapters on one frozen model at once: each is added to its own rows of a batch.

Knows nothing about training: rows in, rows out, and the gradients of each adapter apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from ftkit import cpu
from ftkit.errors import refusal


@dataclass(frozen=True)
class Adapter:
    """What one member has: by module path its two factors, what they are scaled by, and its dropout.

    Shapes: A (rank, in), B (out, rank).
    """

    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    scalings: Mapping[str, float]
    dropout: float


@dataclass(frozen=True)
class Rows:
    """A member's rows of the batch, and how wide they are without the padding that others need."""

    member: int
    count: int
    width: int


class Group:
    """Members with adapters of one shape; all numbers of a member lie in one row, so one optimizer step is one pass.

    Where ranks differ and `pad` is set they are filled up to the highest with zeros, which stay zeros: with a row of A
    and its column of B at zero both have no gradient.

    Shapes: weights and grads (members, numbers). At a module: A (members, rank, in), B (members, rank, out).
    """

    def __init__(self, members: Sequence[int], adapters: Mapping[int, Adapter], device: torch.device):
        self.members, self._adapters = list(members), adapters
        own = [adapters[member] for member in members]
        self._places, size = {}, 0
        for path, (lora_A, lora_B) in own[0].factors.items():
            rank = max(len(one.factors[path][0]) for one in own)
            middle, end = size + rank * lora_A.shape[1], size + rank * (lora_A.shape[1] + lora_B.shape[0])
            self._places[path], size = (slice(size, middle), slice(middle, end), rank), end
        kept = next(iter(own[0].factors.values()))[0].dtype
        self.weights = torch.zeros(len(own), size, dtype=kept, device=device)
        self.parameters = {member: nn.Parameter(row) for member, row in zip(members, self.weights, strict=True)}
        for member in members:
            for path, (lora_A, lora_B) in adapters[member].factors.items():
                for view, factor in zip(self._own(member, path), (lora_A, lora_B.t()), strict=True):
                    view[: len(factor)] = factor
        self.keep_(self.members)

    @torch.no_grad()
    def keep_(self, members: Sequence[int]) -> None:
        """Goes on with these members alone; the parameters of the others keep what they hold."""
        places = [self.members.index(member) for member in members]
        self.members, self.weights = list(members), self.weights[places].clone()
        self.grads = torch.zeros_like(self.weights)
        for member, row, grad in zip(members, self.weights, self.grads, strict=True):
            self.parameters[member].data, self.parameters[member].grad = row, grad
        self.scalings = {path: self.weights.new_tensor([self._adapters[member].scalings[path] for member in members])
                         [:, None, None] for path in self._places}
        self.dropouts = [self._adapters[member].dropout for member in members]
        self._views = {path: [*self._at(self.weights, path), *self._at(self.grads, path)] for path in self._places}

    def views(self, path: str) -> list[torch.Tensor] | None:
        """A, B and the places of their gradients at a module; None where the members have no adapter on it."""
        return self._views.get(path)

    def factors(self, member: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """A member's factors as they are now, by path: A (rank, in), B (out, rank)."""
        found = {}
        for path, (lora_A, _) in self._adapters[member].factors.items():
            now_A, now_B = (view[: len(lora_A)].clone() for view in self._own(member, path))
            found[path] = now_A, now_B.t().contiguous()
        return found

    def _own(self, member: int, path: str) -> list[torch.Tensor]:
        return [view[0] for view in self._at(self.parameters[member].detach()[None], path)]

    def _at(self, numbers: torch.Tensor, path: str) -> list[torch.Tensor]:
        *places, rank = self._places[path]
        return [numbers[:, place].unflatten(1, (rank, -1)) for place in places]


def grouped(adapters: Mapping[int, Adapter], device: torch.device, pad: bool) -> list[Group]:
    """The members in as few groups as their shapes allow.

    Args:
        pad: whether members may differ in rank alone; fewer and larger products then, some of them of zeros.
    """
    shapes: dict[tuple, list[int]] = {}
    for member, one in adapters.items():
        shape = tuple((path, None if pad else len(lora_A)) for path, (lora_A, _) in one.factors.items())
        shapes.setdefault(shape, []).append(member)
    return [Group(members, adapters, device) for members in shapes.values()]


class Draws:
    """A stream of random numbers of its own, as torch's default generator of a device would draw them from a seed.

    `F.dropout` takes no generator, so the default one is put where this stream stands and back again.
    """

    def __init__(self, seed: int, device: torch.device):
        self._of = torch.cuda if device.type == "cuda" else torch
        self._state = torch.Generator(device).manual_seed(seed).get_state()

    def dropout_of_ones(self, shape: Sequence[int], like: torch.Tensor, share: float) -> torch.Tensor:
        """What dropout makes of ones: 0 or 1/(1 − share)."""
        before = self._of.get_rng_state()
        self._of.set_rng_state(self._state)
        try:
            return F.dropout(torch.ones(shape, dtype=like.dtype, device=like.device), share)
        finally:
            self._state = self._of.get_rng_state()
            self._of.set_rng_state(before)


@dataclass(frozen=True)
class _Piece:
    """Neighbours of a group with equally many rows: which of the group, which tokens of the batch."""

    group: Group
    members: slice
    tokens: slice
    rows: tuple[Rows, ...]


@contextmanager
def open_paths(modules: Mapping[str, nn.Module], groups: Sequence[Group], rows: Sequence[Rows], width: int,
               draws: Mapping[int, Draws] | None = None) -> Iterator[None]:
    """While open, the modules add each member's low-rank path to its rows; a backward pass adds to `grads`.

    Args:
        modules: by path.
        groups: whose members' rows lie behind each other, in the order of the group.
        rows: the batch, from its first row to its last.
        width: of the batch.
        draws: of each member, for dropout; None leaves dropout out.

    Raises:
        Refusal: when the model runs, of a module that is not given each token once.
    """
    at, there = 0, {}
    for one in rows:
        there[one.member], at = (at, one), at + one.count * width
    pieces = [piece for group in groups for piece in _pieces(group, there, width)]
    hooks = [module.register_forward_hook(_Path(path, pieces, at, width, draws)) for path, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _pieces(group: Group, there: Mapping[int, tuple[int, Rows]], width: int) -> Iterator[_Piece]:
    run: list[int] = []
    for place, member in enumerate([*group.members, None]):
        if run and (member not in there or place != run[-1] + 1
                    or there[member][1].count != there[group.members[run[0]]][1].count):
            own = [there[group.members[one]] for one in run]
            tokens = slice(own[0][0], own[0][0] + len(own) * own[0][1].count * width)
            yield _Piece(group, slice(run[0], run[-1] + 1), tokens, tuple(one for _, one in own))
            run = []
        if member in there:
            run.append(place)


@dataclass(frozen=True)
class _Path:
    """The forward hook of one module."""

    path: str
    pieces: Sequence[_Piece]
    tokens: int
    width: int
    draws: Mapping[int, Draws] | None

    def __call__(self, module: nn.Module, inputs: tuple, y: torch.Tensor) -> torch.Tensor | None:
        x, work = inputs[0], []
        for piece in self.pieces:
            if views := piece.group.views(self.path):
                own = [view[piece.members] for view in views]
                work.append((piece.tokens, piece.group.scalings[self.path][piece.members],
                             self._noise(piece, x.shape[-1]), *own))
        if not work:
            return None
        if x.numel() != self.tokens * x.shape[-1]:
            raise refusal(self.path, f"a module that is given each of the batch's {self.tokens} tokens once",
                          tuple(x.shape), "Take its name out of target_modules.")
        y = y if type(module) is nn.Linear else y.clone(memory_format=torch.contiguous_format)  # it may need its own
        return _Additions.apply(y, x, torch.ones((), requires_grad=True), work)

    def _noise(self, piece: _Piece, inputs: int) -> torch.Tensor | None:
        """What the inputs are multiplied by, as dropout: (members, tokens, in); None where no member has any."""
        shares = piece.group.dropouts[piece.members]
        if self.draws is None or not any(shares):
            return None
        like, count = piece.group.weights, piece.rows[0].count
        noise = like.new_ones(len(shares), count, self.width, inputs)
        for own, one, share in zip(noise, piece.rows, shares, strict=True):
            if share:
                own[:, : one.width] = self.draws[one.member].dropout_of_ones((count, one.width, inputs), like, share)
        return noise.flatten(1, 2)


class _Additions(torch.autograd.Function):
    """y with the low-rank paths added, in place: scaling·(x∘noise)AᵀB for the tokens of each piece.

    By hand for the reason that `low_rank` is: fewer tensors of the size of x and y. The gradients of A and B go where
    they belong at once; `anchor` makes autograd come by where x needs no gradient.
    """

    @staticmethod
    def forward(ctx, y, x, anchor, work):
        ctx.mark_dirty(y)
        flat, ctx.lows = y.view(-1, y.shape[-1]), []
        with cpu.matmul("highest"):  # thin products gain nothing by rounding
            for tokens, scaling, noise, lora_A, lora_B, *_ in work:
                low = torch.bmm(_part(x, tokens, noise, lora_A), lora_A.mT).mul_(scaling)
                out = flat[tokens].unflatten(0, (len(lora_A), -1))  # (members, tokens, out)
                if out.dtype == low.dtype:
                    out.baddbmm_(low, lora_B)
                else:
                    out.add_(torch.bmm(low, lora_B))
                ctx.lows.append(low)
        ctx.work = work
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_y):
        (x,) = ctx.saved_tensors
        covered = sum(tokens.stop - tokens.start for tokens, *_ in ctx.work) == x.numel() // x.shape[-1]
        grad_x = (x.new_empty if covered else x.new_zeros)(x.shape) if ctx.needs_input_grad[1] else None
        flat = grad_y.reshape(-1, grad_y.shape[-1])
        with cpu.matmul("highest"):
            for low, (tokens, scaling, noise, lora_A, lora_B, grad_A, grad_B) in zip(ctx.lows, ctx.work, strict=True):
                grad = flat[tokens].unflatten(0, (len(lora_A), -1)).to(lora_B.dtype)
                grad_low = torch.bmm(grad, lora_B.mT).mul_(scaling)
                grad_A.baddbmm_(grad_low.mT, _part(x, tokens, noise, lora_A))
                grad_B.baddbmm_(low.mT, grad)
                if grad_x is not None:
                    back = torch.bmm(grad_low, lora_A)
                    grad_x.view(-1, x.shape[-1])[tokens] = (back if noise is None else back.mul_(noise)).flatten(0, 1)
        return grad_y, grad_x, None, None


def _part(x: torch.Tensor, tokens: slice, noise: torch.Tensor | None, lora_A: torch.Tensor) -> torch.Tensor:
    """A piece's inputs by member, in the type of the factors: (members, tokens, in)."""
    part = x.reshape(-1, x.shape[-1])[tokens].unflatten(0, (len(lora_A), -1)).to(lora_A.dtype)
    return part if noise is None else part * noise
