"""Cases for answers that count bytes and that find codes. Knows nothing about a notebook."""

import math
import random

import torch

from ftkit.course.cases import Case, Hint, Rule
from ftkit.course.results import same

_FLOAT32 = "float32 holds seven figures, and sums in another order lose one"
ONE_MATRIX = {"q_proj": (4, 8)}
MODEL = {"layers.0.q_proj": (4, 8), "lm_head": (4, 12), "norm": (8,)}


def stored() -> list[Case]:
    """Counted by hand: 32 codes of 4 bits are 16 bytes, two blocks of 16 have two scales of 4 bytes, 24 together."""
    return _one_weight() + _several_weights() + _many_weights()


def _bytes_of(shapes, kept=(), bits=4, block_size=16, scale_bits=32):
    return lambda stored: stored(dict(shapes), tuple(kept), bits, block_size, scale_bits)


def _many_weights() -> list[Case]:
    drawn = random.Random(7)
    many = {f"layers.{n}.w{n % 5}": tuple(drawn.randint(1, 9) for _ in range(drawn.randint(1, 3))) for n in range(60)}
    large = {f"layers.{n}.{name}": shape for n in range(32) for name, shape in
             [("q_proj", (4096, 4096)), ("up_proj", (11008, 4096)), ("norm", (4096,))]} | {"lm_head": (32000, 4096)}
    return [
        Case("60 weights, 5 bits", _bytes_of(many, ["w3"], 5, 10, 8), _stored_by_counting(many, ("w3",), 5, 10, 8)),
        Case("a model of 7 B, 4 bits", _bytes_of(large, ["lm_head"], 4, 64, 8),
             _stored_by_counting(large, ("lm_head",), 4, 64, 8)),
    ]


def _one_weight() -> list[Case]:
    return [
        Case("a matrix of 4 × 8, 4 bits", _bytes_of(ONE_MATRIX), 24, [
            Hint(16, "These are the codes alone: each block has a scale, too."),
            Hint(192, "These are bits: eight of them make a byte."),
            Hint(40, "A code of 4 bits takes half a byte: count bits and divide by 8."),
            Hint(80, "scale_bits are bits as well: divide by 8."),
            Hint(20, "There are two blocks of 16 in 32 numbers, so two scales."),
            Hint(144, "One scale a block, not one a number."),
            Hint(32, "Blocks run over the whole weight, row after row: a row of 8 begins no block of its own."),
            Hint(64, "This matrix is to be quantised: only weights of fewer than two dimensions, or named in kept, "
                 "stay in 16 bits."),
        ]),
        Case("three dimensions", _bytes_of({"conv": (2, 4, 4)}), 24, [
            Hint(8, "Multiply all dimensions: math.prod(shape).")]),
        Case("15 codes in blocks of 8", _bytes_of({"q_proj": (3, 5)}, block_size=8), 16, [
            Hint(15.5, "There is no half byte: round up."),
            Hint(15, "There is no half byte: round up, not down."),
            Hint(12, "A block that is begun has a scale, too: round the number of blocks up."),
            Hint(11, "A block that is begun has a scale, too, and there is no half byte: round up twice."),
            Hint(11.5, "A block that is begun has a scale, too: round the number of blocks up."),
            Hint(15.0, "Round both up: the blocks of a weight, and its bytes."),
        ]),
    ]


def _several_weights() -> list[Case]:
    return [
        Case("head and norm kept", _bytes_of(MODEL, ["lm_head"]), 24 + 96 + 16, [
            Hint(24, "What is kept is stored all the same, in 2 bytes a number."),
            Hint(24 + 192 + 32, "16 bits are 2 bytes, not 4."),
            Hint(24 + 36 + 16, "lm_head is in kept: it stays in 16 bits."),
            Hint(24 + 96 + 8, "norm has one dimension: it stays in 16 bits."),
            Hint(24 + 36 + 8, "Neither a name in kept nor a weight of one dimension is quantised."),
            Hint(24 + 48 + 8, "16 bits are 2 bytes: one number takes both."),
        ]),
        Case("names with lm_head in them", _bytes_of({"lm_head.w": (4, 8), "not_lm_head": (4, 8)}, ["lm_head"]), 48,
             [Hint(88, "Compare the last part of the path, split at the dots: not_lm_head is another name, and so is a "
                   "path that begins with lm_head."),
              Hint(128, "Compare the last part of the path alone: a path that begins with lm_head is another one.")]),
        Case("names that share letters", _bytes_of({"a.lm": (4, 8), "model.layers.0.lm_head": (4, 8),
                                                    "lm_head_2": (4, 8)}, ["lm_head"]), 24 + 64 + 24, [
            Hint(lambda got: got != 112, "Compare whole names: lm is not lm_head, lm_head_2 is not, and a name may lie "
                 "deep in a path.")]),
        Case("a single number", _bytes_of({"temperature": ()}), 2, [
            Hint(lambda got: got != 2, "A number alone has no dimension at all: it stays in 16 bits.")]),
        Case("scales of 4 bits", _bytes_of(ONE_MATRIX, scale_bits=4), 16 + 1, [
            Hint(18, "Two scales of 4 bits fill one byte: round up for all scales of a weight together.")]),
        Case("two kept names", _bytes_of(MODEL, ["lm_head", "q_proj"]), 64 + 96 + 16, [
            Hint(24 + 96 + 16, "Compare the last part of the path with the names in kept.")]),
        Case("three odd ones", _bytes_of({"a": (3, 3), "b": (3, 3), "c": (1, 1)}, bits=3, block_size=4, scale_bits=6),
             4 + 3 + 4 + 3 + 1 + 1, [
                 Hint(13, "Round up for each weight: two weights share no byte."),
                 Hint(4 + 12 + 4 + 12 + 1 + 4, "scale_bits are given: here 6, not 32."),
                 Hint(5 + 3 + 5 + 3 + 1 + 1, "bits are given: here 3, not 4."),
                 Hint(12.375, "Round up for each weight: no weight ends in the middle of a byte.")]),
    ]


def _stored_by_counting(shapes, kept, bits, block_size, scale_bits) -> int:
    total = 0
    for path, shape in shapes.items():
        numbers = math.prod(shape)
        quantised = len(shape) >= 2 and path.rpartition(".")[2] not in kept
        blocks, rest = divmod(numbers, block_size)
        total += (-(-numbers * bits // 8) - (-(blocks + bool(rest)) * scale_bits // 8)) if quantised else numbers * 2
    return total


def rows() -> list[Case]:
    """Small rows whose scale is 1, so that codes can be told by looking."""
    return _rows_by_looking() + _rows_of_any_size() + _rows_by_rule()


def _codes(x, bits):
    return lambda quantise: quantise(torch.tensor(x), bits)[0]


def _back(x, bits):
    def run(quantise):
        found, scale, zero = quantise(torch.tensor(x), bits)
        return (found.float() - zero) * scale
    return run


def _rows_by_looking() -> list[Case]:
    return [
        Case("0, 1, 3 in 2 bits", _codes([[0.0, 1.0, 3.0]], 2), [[0, 1, 3]], [
            Hint([0, 1, 3], "Return three things: codes, scales and zero points."),
            Hint([[0, 1, 4]], "2 bits have the codes 0 to 3: there are 2**bits − 1 steps between them."),
            Hint([[0, 0, 2]], "This range reaches as far below zero as above: take the smallest and the largest."),
            Hint([[0, 0, 1]], "This range reaches as far below zero as above: take the smallest and the largest."),
            Hint([[0, 3, 3]], "That is a scale for each column: take amin and amax over dim 1."),
            Hint([[0, 1, 2]], "2 bits have four codes: there are 2**bits − 1 steps between them."),
        ]),
        Case("−1, 0, 2 in 2 bits", _codes([[-1.0, 0.0, 2.0]], 2), [[0, 1, 3]], [
            Hint([[255, 0, 2]], "Add the zero point before turning into uint8: codes begin at 0."),
            Hint([[254, 255, 1]], "The zero point is the code of 0: it is −low/scale, and it is added."),
            Hint([[1, 2, 3]], "This is symmetric: the smallest number is to get code 0."),
            Hint([[0, 0, 2]], "Codes below zero were cut off: add the zero point first."),
            Hint([[0, 2, 3]], "The zero point is the code of 0: it is −low/scale, rounded."),
        ]),
        Case("1, 3, 4 in 8 bits", _codes([[1.0, 3.0, 4.0]], 8), [[64, 191, 255]], [
            Hint([[0, 170, 255]], "The range has to hold 0, or 0 has no code: low is at most 0."),
            Hint([[63, 191, 254]], "Round to the nearest code; do not cut off."),
            Hint([[63, 191, 255]], "Round to the nearest code; do not cut off."),
        ]),
        Case("−4, −3, −1 in 8 bits", _codes([[-4.0, -3.0, -1.0]], 8), [[0, 64, 191]], [
            Hint([[0, 85, 255]], "The range has to hold 0, or 0 has no code: high is at least 0."),
            Hint([[1, 64, 192]], "Round to the nearest code; do not cut off."),
            Hint([[0, 64, 192]], "Round to the nearest code; do not cut off."),
        ]),
    ]


def _rows_of_any_size() -> list[Case]:
    return [
        Case("−1.5, 1.5 in 2 bits", _codes([[-1.5, 1.5]], 2),
             Rule("0 or 1, then 3", lambda got: got.tolist() in ([[0, 3]], [[1, 3]])), [
            Hint([[0, 4]], "Two roundings can add up to one code too many: clamp to 2**bits − 1."),
            Hint([[0, 0]], "Two roundings can add up to one code too many: clamp to 2**bits − 1."),
        ]),
        Case("two rows of different size", _codes([[0.0, 1.0, 3.0], [0.0, 100.0, 300.0]], 2), [[0, 1, 3]] * 2, [
            Hint([[0, 0, 0], [0, 1, 3]], "Each row has a scale of its own: take amin and amax over dim 1."),
            Hint([[0, 0, 0], [3, 3, 3]], "That is a scale for each column: take amin and amax over dim 1."),
            Hint(RuntimeError, "A scale for each row has the shape (rows, 1): keepdim=True."),
        ]),
        Case("a row of zeros: its scale", lambda quantise: quantise(torch.zeros(1, 3), 2)[1].flatten().tolist(), [1.0],
             [Hint(lambda got: True, "The scale of a row of zeros is 1.")]),
        Case("a row of one number, three times", _codes([[5.3, 5.3, 5.3]], 8), [[255] * 3], [
            Hint(lambda got: True, "The range goes from 0 to 5.3 here, so all three have the highest code.")]),
        Case("−127.5, 127.5 in 8 bits", _codes([[-127.5, 127.5]], 8),
             Rule("0 or 1, then 255", lambda got: got.tolist() in ([[0, 255]], [[1, 255]])), [
            Hint(lambda got: got.tolist()[0][1] < 255, "256 does not fit a byte: clamp before turning into uint8.")]),
        Case("types of scales and zero points", lambda quantise: [
            str(part.dtype) for kind in ("float64", "bfloat16")
            for part in quantise(torch.ones(2, 3, dtype=getattr(torch, kind)), 4)[1:]],
             ["torch.float64"] * 2 + ["torch.bfloat16"] * 2, [
            Hint(lambda got: True, "Scales and zero points are in the type of x, whatever it is.")]),
        Case("a row of zeros, back again", _back([[0.0, 0.0, 0.0], [0.0, 1.0, 3.0]], 2), [[0, 0, 0], [0, 1, 3]], [
            Hint(lambda got: math.isnan(got[0][0]), "A row of zeros has the scale 0, and 0/0 is none: take 1 there."),
            Hint(RuntimeError, "Scales and zero points have the shape (rows, 1): keepdim=True."),
        ]),
    ]


def _rows_by_rule() -> list[Case]:
    drawn = torch.randn(5, 33, generator=torch.Generator().manual_seed(1)) + torch.tensor([[-3], [-1], [0], [1], [3]])
    scales_and_zeros = [[_row_by_hand(row, 6)[part] for row in drawn.tolist()] for part in (1, 2)]
    hard = torch.stack([drawn[0] * 1e30, drawn[1] * 1e-30, drawn[2].abs() + 1e6, -drawn[3].abs(), drawn[4] * 0 + 5])
    return [
        Case("0 comes back as exactly 0", _back([[-0.3, 0.0, 1.0]], 4),
             Rule("0 in the middle", lambda got: got[0][1] == 0), [
                 Hint(lambda got: abs(got[0][1]) < 0.1, "The zero point has to be a whole number: round it.")]),
        Case("codes are bytes", lambda quantise: str(quantise(drawn, 8)[0].dtype), "torch.uint8", [
            Hint("torch.float32", "Turn the codes into torch.uint8 at the end."),
            Hint("torch.int8", "int8 ends at 127: codes of 8 bits go up to 255.")]),
        Case("random rows, 4 bits", lambda quantise: quantise(drawn.clone(), 4)[0],
             [_row_by_hand(row, 4)[0] for row in drawn.tolist()], [
                 Hint([_rounded_once(row, 4) for row in drawn.tolist()], "x/scale and −low/scale are rounded each for "
                      "itself: 0 has a code only if the zero point is a whole number.")]),
        # a float32 has seven figures, and scale and zero point are each rounded once
        Case("random rows, scales and zero points of 6 bits",
             lambda quantise: [part.flatten() for part in quantise(drawn.clone(), 6)[1:]],
             scales_and_zeros, [
                 Hint(scales_and_zeros[::-1], "Return codes, scales and zero points, in this order."),
                 Hint(lambda got: same(scales_and_zeros[0], got[0], 1e-5), "The scales are right. The zero point is "
                      "−low/scale, rounded to the nearest whole number.")], tolerance=1e-5, reason=_FLOAT32),
        Case("very large, very small, one-sided rows", lambda quantise: _worst_in_steps(quantise, hard),
             Rule("no error above 0.51 steps", lambda got: got <= 0.51), [
                 Hint(math.isnan, "A row ended in a number that is none."),
                 Hint(lambda got: got > 0.51, "An error above half a step: is the range right in a row on one side of "
                      "zero, or of very small numbers? Add no constant to the scale.")]),
    ]


def _row_by_hand(row: list[float], bits: int) -> tuple[list[int], float, int]:
    low, high = min(0.0, *row), max(0.0, *row)
    scale = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / scale)
    return [min(2**bits - 1, round(x / scale) + zero) for x in row], scale, zero


def _rounded_once(row: list[float], bits: int) -> list[int]:
    scale = _row_by_hand(row, bits)[1]
    return [round((x - min(0.0, *row)) / scale) for x in row]


def _worst_in_steps(quantise, x: torch.Tensor) -> float:
    codes, scale, zero = quantise(x.clone(), 8)
    step = (x.amax(1, True).clamp(min=0) - x.amin(1, True).clamp(max=0)) / 255
    return float((((codes.double() - zero) * scale - x) / step).abs().max())
