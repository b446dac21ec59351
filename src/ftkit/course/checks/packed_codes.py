"""Cases for answers that unpack codes and scale blocks. Knows nothing about a notebook."""

import math

import torch

from ftkit.course.cases import Case, Hint


def bits() -> list[Case]:
    """Written in binary: 101 100 010 100 0000 are the bytes 1011 0001 and 0100 0000."""
    def run(packed, bits, count):
        return lambda unpack: unpack(torch.tensor(packed, dtype=torch.uint8), bits, count)

    drawn = torch.randint(256, (40,), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    long = torch.randint(256, (30_000,), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    return [
        Case("3 bits: 10110001 01000000", run([0b10110001, 0b01000000], 3, 4), [5, 4, 2, 4], [
            Hint([5, 4, 2, 0], "A code may begin in one byte and end in the next: take all bits as one stream."),
            Hint([1, 6, 2, 0], "The first code is in the highest bits of the first byte."),
            Hint([4, 3, 4, 0], "The first code is in the highest bits of the first byte."),
            Hint([4, 3, 2, 0], "A byte's highest bit comes first: shift by 7, 6, … 0."),
            Hint([4, 1, 4, 6], "A code's bits lie side by side: view(count, bits)."),
            Hint(lambda got: len(got) == 4 and max(got) > 7, "A code of 3 bits is at most 7: each bit is 0 or 1."),
            Hint([4, 3, 2, 3], "The bits of a code are worth 4, 2 and 1: powers of two."),
            Hint([5, 1, 2, 1], "Within a code the highest bit comes first: it is worth 2**(bits−1)."),
            Hint([2, 0, 1, 3], "The bytes are in order: the first byte's bits come first."),
            Hint(lambda got: len(got) == 5, "Only count codes are wanted: what is left over fills the last byte."),
            Hint(lambda got: len(got) == 2, "Two bytes hold more than two codes of 3 bits."),
            Hint(RuntimeError, "16 bits are no whole number of codes of 3: cut the stream to count·bits first."),
        ]),
        Case("4 bits: AB CD", run([0xAB, 0xCD], 4, 4), [10, 11, 12, 13], [
            Hint([11, 10, 13, 12], "The first code is in the upper half of a byte."),
            Hint([5, 13, 3, 11], "Within a code the highest bit comes first."),
        ]),
        Case("5 bits over three bytes", run([0b00001_111, 0b10_01010_1, 0b0111_0000], 5, 4), [1, 30, 10, 23]),
        Case("8 bits", run([0, 127, 128, 255], 8, 4), [0, 127, 128, 255], [
            Hint([0, 127, -128, -1], "A byte goes up to 255: stay with uint8, or use a wider type with care.")]),
        Case("8 bits, three of four", run([0, 127, 128, 255], 8, 3), [0, 127, 128]),
        Case("1 bit, three of eight", run([0b1010_0000], 1, 3), [1, 0, 1]),
        Case("codes are bytes", lambda unpack: str(unpack(drawn, 4, 3).dtype), "torch.uint8", [
            Hint("torch.int64", "Turn the codes into torch.uint8 at the end: 8 bytes a code would undo the packing.")]),
        Case("40 random bytes, each width", lambda unpack: [unpack(drawn.clone(), bits, 320 // bits) for bits in
                                                             (2, 3, 5, 6, 7)],
             [_codes_by_hand(drawn, bits, 320 // bits) for bits in (2, 3, 5, 6, 7)]),
        Case("30,000 bytes of 3 bits", lambda unpack: int((unpack(long.clone(), 3, 79_999).long()
                                                           * (torch.arange(79_999) % 7919)).sum()),
             sum(code * (place % 7919) for place, code in enumerate(_codes_by_hand(long, 3, 79_999)))),
    ]


def _codes_by_hand(packed: torch.Tensor, bits: int, count: int) -> list[int]:
    stream = "".join(f"{byte:08b}" for byte in packed.tolist())
    return [int(stream[place * bits : place * bits + bits], 2) for place in range(count)]


FIVE = (-1.0, -0.5, 0.0, 0.5, 1.0)


def powers() -> list[Case]:
    """Five values make the codes easy to tell: 0 is code 2, and the largest number of a block lies between ½ and 1."""
    return _powers_on_paper() + _powers_of_odd_blocks() + _powers_of_random_blocks()


def _power_codes(x, size=4):
    return lambda quantise: quantise(torch.tensor(x), torch.tensor(FIVE), size)[0].tolist()


def _power_exponents(x, size=4):
    return lambda quantise: quantise(torch.tensor(x), torch.tensor(FIVE), size)[1].tolist()


def _powers_on_paper() -> list[Case]:
    values = torch.tensor(FIVE)
    return [
        Case("1.5, 2, −4, 0.5", lambda quantise: _lists(quantise(torch.tensor([1.5, 2.0, -4.0, 0.5]), values, 4)),
             [[3, 3, 0, 2], [2]], [
                 Hint(lambda got: len(got[1]) > 1, "One exponent a block: take the largest over dim 1 of (blocks, "
                      "block_size)."),
                 Hint([[3, 3, 0, 2], [4]], "Return the exponent, not the power of two."),
                 Hint([[3, 3, 0, 2], [3]], "4 is a power of two itself: the smallest that is not below it is 4, so the "
                      "exponent is 2."),
                 Hint([[2, 2, 1, 2], [3]], "4 is a power of two itself: the smallest that is not below it is 4, so the "
                      "exponent is 2."),
                 Hint([[3, 3, 0, 3], [1]], "The power of two must not lie below the largest number: here it is 4."),
                 Hint(lambda got: got[1] == [-2], "The scale is 2**exponent, and the numbers are divided by it."),
                 Hint([[4, 4, 0, 3], [2]], "Divide by the scale before looking for the nearest value."),
                 Hint([[0.5, 0.5, -1, 0], [2]], "Return the places of the values, not the values."),
                 Hint(lambda got: got[1] == [2], "The scale is right. A code is the place of the nearest value: "
                      "compare with the midpoints between neighbours."),
             ]),
        Case("largest 3, 5, 1, 0.3", _power_exponents([3.0, 0, 5, 0, 1, 0, 0.3, 0], 2), [2, 3, 0, -1], [
            Hint([1, 2, 0, -2], "Round up: a power of two below the largest number would cut it off."),
            Hint([2, 2, 0, -2], "Round up, not to the nearest: a smaller power of two cuts the largest number off."),
            Hint([2, 3, 1, -1], "1 is a power of two itself, 2 to the 0."),
            Hint([3], "A scale for each block: take the largest number of each, over dim 1."),
            Hint([4, 8, 1, 0], "Return the exponents, not the powers of two."),
        ]),
        Case("a negative number is the largest", _power_exponents([-3.0, 1.0, 0.0, 0.0]), [2], [
            Hint([0], "The largest in size: take the absolute value first.")]),
        Case("a block of zeros", lambda quantise: _lists(quantise(torch.zeros(4), values, 4)), [[2] * 4, [0]], [
            Hint(lambda got: got[1] != [0], "The logarithm of 0 is no number: a block of zeros has exponent 0."),
            Hint(lambda got: got[0] != [2] * 4, "0/0 is no number: a block of zeros has exponent 0 and codes of 0."),
        ]),
    ]


def _powers_of_odd_blocks() -> list[Case]:
    return [
        Case("3 × 2 numbers in blocks of 4", _power_codes([[1.0, -1.0], [0.5, 0.0], [8.0, -4.0]]),
             [[4, 0], [3, 2], [4, 1]], [
            Hint([4, 0, 3, 2, 4, 1], "Codes in the shape of x: view them so at the end."),
            Hint(lambda got: len(got) == 8, "The last block was filled with zeros: cut them off again."),
            Hint(RuntimeError, "6 numbers are no whole number of blocks of 4: fill the last one with zeros."),
            Hint([[2, 2], [4, 2], [2, 0]], "Row after row: x.flatten()."),
            Hint([[4, 0], [3, 2]], "The last block is only begun: it counts all the same."),
        ]),
        Case("just above a power of two", _power_exponents([2.0**20 + 0.125, 0.0, 4.000001, 1.0], 2), [21, 3], [
            Hint(lambda got: True, "A logarithm is rounded, and so is a coarser type: torch.frexp tells exactly.")]),
        Case("a last block of small numbers", _power_exponents([0.25, 0.1]), [-2], [
            Hint([0], "The last block is filled with zeros, which are no larger than its numbers.")]),
        Case("33 and 256 values", lambda quantise: [
            quantise(torch.tensor([1.0, -1.0]), torch.linspace(-1, 1, many), 2)[0].tolist() for many in (33, 256)],
             [[32, 0], [255, 0]], [
            Hint(lambda got: True, "Any codebook: with 33 or 256 values codes go up to 32 or 255.")]),
        Case("halfway between two values", _power_codes([1.0, 0.25, -0.25, 0.75]), [4, 2, 1, 3], [
            Hint([4, 3, 2, 4], "Of two equally near values the smaller: bucketize without right=True."),
            Hint([4, 3, 1, 4], "Of two equally near values the smaller one counts.")]),
    ]


def _powers_of_random_blocks() -> list[Case]:
    e2m1 = torch.tensor([-6, -4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 6]) / 6
    drawn = torch.randn(6, 35, generator=torch.Generator().manual_seed(4)) * 3
    wide = torch.ldexp(torch.rand(7, 8, generator=torch.Generator().manual_seed(5)) + 0.1,
                       torch.tensor([-120, -60, -1, 0, 1, 60, 120])[:, None])
    near, far = _powers_by_hand(drawn, e2m1, 32), _powers_by_hand(wide, e2m1, 8)
    return [
        Case("exponents are bytes", lambda quantise: str(quantise(drawn, e2m1, 32)[1].dtype), "torch.int8",
             [Hint(lambda got: got != "torch.int8", "8 bits hold an exponent: turn them into torch.int8.")]),
        Case("random numbers, blocks of 32", lambda quantise: _lists(quantise(drawn.clone(), e2m1, 32)),
             near, [
            Hint(lambda got: got[1] == near[1], "The exponents are right, the codes are not: the values need not be "
                 "evenly spaced, so compare with the midpoints.")]),
        Case("from 2^−120 to 2^120", lambda quantise: _lists(quantise(wide.clone(), e2m1, 8)), far, [
            Hint(RuntimeError, "The exponents are from −120 to 120: int8 holds them, and so does float32."),
            Hint(lambda got: got[1] != far[1], "Very small and very large blocks have exponents of their own: do not "
                 "clamp them, and add no constant to the largest number."),
        ]),
    ]


def _lists(parts) -> list:
    return [part.tolist() for part in parts]


def _powers_by_hand(x: torch.Tensor, values: torch.Tensor, block_size: int) -> list:
    codes, exponents, flat = [], [], x.flatten().tolist()
    for start in range(0, len(flat), block_size):
        block = flat[start : start + block_size]
        mantissa, exponent = math.frexp(max(map(abs, block)))  # of 0: 0, 0
        exponent -= mantissa == 0.5  # a power of two itself
        exponents.append(exponent)
        codes += [_place(number / 2.0**exponent, values.tolist()) for number in block]
    return [torch.tensor(codes).view(x.shape).tolist(), exponents]


def _place(number: float, values: list[float]) -> int:
    """The place of the nearest value, the first of two equally near."""
    return min(range(len(values)), key=lambda place: abs(number - values[place]))
