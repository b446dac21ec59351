"""Cases for an answer that says what autograd keeps of an MLP. Knows nothing about a notebook."""

import torch
import torch.nn.functional as F

from ftkit.course.cases import Case, Hint

_FROZEN = {"gate": "frozen", "up": "frozen", "down": "frozen"}
_FULL = dict.fromkeys(_FROZEN, "full")
_LORA = dict.fromkeys(_FROZEN, "lora")
_T, _W, _I, _R = 10, 4, 7, 2  # ten tokens, and sizes that no sum confuses


def kept() -> list[Case]:
    """All trained, all frozen, LoRA; each matrix by itself; and drawn shapes beside what torch keeps."""
    return [*_kept_on_paper(), *_kept_of_one_matrix(), *_kept_with_nothing_below(), *_kept_by_torch()]


def _kept(kinds, below=True, rank=_R, tokens=_T, width=_W, inner=_I):
    return lambda answer: answer(tokens, width, inner, dict(kinds), rank, below)


def _kept_on_paper() -> list[Case]:
    return [
        Case("all trained", _kept(_FULL), 4 * _T * (_W + 4 * _I), [
            Hint(4 * _T * (2 * _W + 4 * _I), "gate and up read one and the same input: it is kept once."),
            Hint(4 * _T * (_W + 3 * _I), "Four tensors of the inner width: silu's input, both factors of the product, "
                 "and what down reads."),
            Hint(4 * _T * (_W + 5 * _I), "up's output and the factor are one tensor: it is kept once."),
            Hint(4 * _T * (2 * _W + 4 * _I) + 4 * _T * _W, "What down gives is kept by whoever comes next, not here."),
            Hint(_T * (_W + 4 * _I), "Bytes are wanted: 4 for each number of float32."),
            Hint(4 * (_W + 4 * _I), "That is one token: all of them are kept."),
        ]),
        Case("all frozen, something below is trained", _kept(_FROZEN), 4 * _T * 3 * _I, [
            Hint(0, "A gradient for what lies below passes through: silu and the product need their inputs for it."),
            Hint(4 * _T * (_W + 4 * _I), "A frozen matrix needs its input for nothing: the gradient of its input is a "
                 "product with the weight."),
            Hint(4 * _T * (_W + 3 * _I), "gate and up are frozen: nothing asks for their input."),
            Hint(4 * _T * 4 * _I, "down is frozen: nothing asks for what it reads."),
            Hint(4 * _T * _I, "silu keeps its input, and the product both of its factors: three tensors."),
            Hint(4 * _T * 2 * _I, "silu keeps its input, and the product both of its factors: three tensors."),
        ]),
        Case("LoRA on all three", _kept(_LORA), 4 * _T * (_W + 4 * _I + 3 * _R), [
            Hint(4 * _T * (_W + 4 * _I), "B learns from what A gives: rank numbers a token, for each of the three."),
            Hint(4 * _T * (_W + 4 * _I + _R), "Each of the three has a middle of its own."),
            Hint(4 * _T * 3 * _I + 4 * _T * 3 * _R, "The matrix is frozen, but A is not: A learns from the input that "
                 "both share."),
        ]),
    ]


def _kept_of_one_matrix() -> list[Case]:
    return [
        Case("down alone is trained", _kept(_FROZEN | {"down": "full"}), 4 * _T * 4 * _I, [
            Hint(4 * _T * (_W + 4 * _I), "gate and up are frozen: nothing asks for their input."),
        ]),
        Case("gate alone is trained", _kept(_FROZEN | {"gate": "full"}), 4 * _T * (_W + 3 * _I), [
            Hint(4 * _T * (_W + 4 * _I), "down is frozen: nothing asks for what it reads."),
        ]),
        Case("up alone is trained", _kept(_FROZEN | {"up": "full"}), 4 * _T * (_W + 3 * _I), [
            Hint(4 * _T * 3 * _I, "up reads the same input as gate: kept if either of them learns."),
        ]),
        Case("LoRA on up alone", _kept(_FROZEN | {"up": "lora"}), 4 * _T * (_W + 3 * _I + _R)),
        Case("LoRA on down, gate in full", _kept({"gate": "full", "up": "frozen", "down": "lora"}),
             4 * _T * (_W + 4 * _I + _R)),
        Case("full, with a rank that plays no part", _kept(_FULL, rank=50), 4 * _T * (_W + 4 * _I), [
            Hint(lambda got: got > 4 * _T * (_W + 4 * _I), "Only LoRA has a middle of rank numbers."),
        ]),
    ]


def _kept_with_nothing_below() -> list[Case]:
    return [
        Case("all frozen, nothing below is trained", _kept(_FROZEN, below=False), 0, [
            Hint(4 * _T * 3 * _I, "No gradient is asked for, here or below: nothing is kept."),
        ]),
        Case("down alone, nothing below", _kept(_FROZEN | {"down": "full"}, below=False), 4 * _T * _I, [
            Hint(4 * _T * 4 * _I, "No gradient goes further down than the matrix `down`: silu and the product need "
                 "nothing."),
        ]),
        Case("gate alone, nothing below", _kept(_FROZEN | {"gate": "full"}, below=False), 4 * _T * (_W + 2 * _I), [
            Hint(4 * _T * (_W + 3 * _I), "The gradient goes through silu alone. For that the product needs up's "
                 "output; silu's output it would need for up, which asks for nothing."),
        ]),
        Case("up alone, nothing below", _kept(_FROZEN | {"up": "full"}, below=False), 4 * _T * (_W + _I), [
            Hint(4 * _T * (_W + 3 * _I), "The gradient goes to up alone: the product needs silu's output for it, and "
                 "silu itself is asked for nothing."),
            Hint(4 * _T * (_W + 2 * _I), "The gradient goes to up alone: the product needs one factor, silu's output."),
        ]),
        Case("LoRA on gate, nothing below", _kept(_FROZEN | {"gate": "lora"}, below=False),
             4 * _T * (_W + 2 * _I + _R)),
    ]


def _kept_by_torch() -> list[Case]:
    shapes = [(3, 5, 8, 1), (17, 6, 9, 4)]
    kinds = [_LORA | {"up": "full"}, _LORA | {"gate": "frozen"}, _FULL | {"down": "frozen"},
             {"gate": "frozen", "up": "lora", "down": "full"}]
    tried = [(*shape, kind, below) for shape in shapes for kind in kinds for below in (False, True)]
    return [Case("drawn shapes, beside what torch keeps", lambda answer: [
        answer(tokens, width, inner, dict(kind), rank, below) for tokens, width, inner, rank, kind, below in tried],
        [_measured(*one) for one in tried])]


def _measured(tokens: int, width: int, inner: int, rank: int, kinds: dict, below: bool) -> int:
    """The bytes that torch keeps, weights aside."""
    sides = {"gate": (width, inner), "up": (width, inner), "down": (inner, width)}
    weights = {name: [torch.zeros(outputs, inputs, requires_grad=kinds[name] == "full"),
                      torch.zeros(rank, inputs, requires_grad=True), torch.zeros(outputs, rank, requires_grad=True)]
               for name, (inputs, outputs) in sides.items()}
    own = {one.untyped_storage().data_ptr() for three in weights.values() for one in three}
    stored = {}

    def pack(tensor):
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes(), tensor
        return tensor

    def apply(name, x):
        weight, down, up = weights[name]
        y = x @ weight.T
        return y + (x @ down.T) @ up.T if kinds[name] == "lora" else y

    x = torch.zeros(tokens, width, requires_grad=below)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        apply("down", F.silu(apply("gate", x)) * apply("up", x))
    return sum(size for place, (size, _) in stored.items() if place not in own)
