"""Cases for answers that count what a cast or an optimizer holds. Knows nothing about a notebook."""

import random

from ftkit.course.cases import Case, Hint

TIED = {"embed_tokens": (1000, "bfloat16", 0), "up_proj": (4096, "uint8", 2), "norm": (64, "bfloat16", 3),
        "lm_head": (1000, "bfloat16", 0)}


def cast() -> list[Case]:
    """By hand: 1,000 and 64 numbers grow from two bytes to four; codes stay, and the head is the embeddings."""
    return [
        Case("embeddings alone, in bfloat16", lambda cast: cast({"embed_tokens": (1000, "bfloat16", 0)}), 2000, [
            Hint(4000, "4,000 bytes are held afterwards, and 2,000 of them were held before: what is added?"),
            Hint(1000, "A number grows by two bytes, not by one."),
            Hint(16000, "These are bits: bfloat16 has 16, float32 has 32, and a byte has eight."),
            Hint(8000, "A number grows from two bytes to four."),
            Hint(0, "bfloat16 is cast, as float16 is."),
        ]),
        Case("float16 beside float32", lambda cast: cast({"a": (10, "float16", 0), "b": (10, "float32", 1)}), 20, [
            Hint(0, "float16 is cast, too."),
            Hint(40, "What is float32 already grows by nothing."),
            Hint(60, "What is float32 already grows by nothing."),
        ]),
        Case("a head that is tied to the embeddings, and codes", lambda cast: cast(dict(TIED)), 2128, [
            Hint(4128, "lm_head and embed_tokens have one storage: they are cast once."),
            Hint(10320, "uint8 holds codes of four bits: codes are not cast."),
            Hint(12320, "Codes are not cast, and tied weights are cast once."),
            Hint(128, "Tied weights are cast once, and not left out."),
            Hint(2000, "norm is in bfloat16, too: a name plays no part."),
        ]),
        Case("codes in int8", lambda cast: cast({"up_proj": (4096, "int8", 0), "norm": (64, "float16", 1)}), 128, [
            Hint(8320, "int8 holds codes: they are not cast."),
            Hint(lambda got: got > 128, "int8 holds codes: they are not cast.")]),
        Case("nothing in 16 bits", lambda cast: cast({"w": (8, "float32", 0), "codes": (8, "uint8", 1)}), 0, [
            Hint(lambda got: True, "Where nothing is in 16 bits, nothing grows: 0.")]),
        Case("two norms of one size", lambda cast: cast({"a": (64, "bfloat16", 0), "b": (64, "bfloat16", 1)}), 256, [
            Hint(128, "Two tensors of one size and type are two, unless they lie in one storage.")]),
        Case("no parameters", lambda cast: cast({}), 0),
        Case("60 parameters, some of them tied", lambda cast: cast(_many()), _by_counting(_many()), [
            Hint(lambda got: got > _by_counting(_many()), "Count each storage once, and 16-bit types alone.")]),
    ]


def adam() -> list[Case]:
    """By hand: 1,000 numbers keep 8 bytes each; 5,120 keep two codes each and 2 · 20 scales of 4 bytes."""
    return _one_tensor() + [
        Case("several tensors, 8 bits, paged", lambda adam: adam([1000, 5120, 200_000], 8, True),
             (8000 + 10_400 + 406_256, 400_000), [
                 Hint((8000 + 10_400 + 406_256, 406_256), "The scales are not paged: only the moments are."),
                 Hint((8000 + 10_400 + 406_256, 0), "200,000 numbers are 100,000 or more: their moments are paged."),
                 Hint((8000 + 10_400 + 406_256, 424_656), "Small tensors stay where they are."),
             ]),
        Case("32 bits, paged", lambda adam: adam([99_999, 100_000], 32, True), (1_599_992, 800_000), [
            Hint((1_599_992, 0), "Paging has nothing to do with the bits: 100,000 numbers are paged in 32 bits, too."),
            Hint((1_599_992, 1_599_992), "99,999 numbers are fewer than 100,000: they are not paged."),
            Hint((1_599_992, 200_000), "In 32 bits a paged number takes eight bytes for both moments."),
        ]),
        Case("not paged", lambda adam: adam([300_000, 100], 8, False), (600_000 + 8 * 1172 + 800, 0), [
            Hint(lambda got: got[1] > 0, "Without paging nothing is paged.")]),
        Case("two tensors of 4,400 numbers", lambda adam: adam([4400, 4400], 8, False), (17_888, 0), [
            Hint((17_880, 0), "Blocks do not reach from one tensor into the next: round up for each.")]),
        Case("no tensors", lambda adam: adam([], 8, True), (0, 0)),
        Case("LoRA of rank 8 on a 7B, 8 bits, paged", lambda adam: adam(_seven_b(8), 8, True), _state(_seven_b(8), 8)),
        Case("rank 32", lambda adam: adam(_seven_b(32), 8, True), _state(_seven_b(32), 8)),
        Case("rank 32 in 32 bits", lambda adam: adam(_seven_b(32), 32, True), _state(_seven_b(32), 32)),
    ]


def _one_tensor() -> list[Case]:
    return [
        Case("1,000 numbers, 32 bits", lambda adam: adam([1000], 32, False), (8000, 0), [
            Hint((4000, 0), "Adam keeps two moments of every number."),
            Hint(8000, "Return two numbers: all bytes, and those that are paged."),
            Hint((2000, 0), "A moment takes four bytes in 32 bits."),
            Hint((8032, 0), "Scales belong to 8-bit moments alone."),
        ]),
        Case("5,120 numbers, 8 bits", lambda adam: adam([5120], 8, False), (10_400, 0), [
            Hint((10_240, 0), "8-bit moments have scales: four bytes for each block of 256 numbers, of each moment."),
            Hint((10_320, 0), "Each of the two moments has scales of its own."),
            Hint((5200, 0), "Adam keeps two moments of every number."),
            Hint((40_960, 0), "5,120 numbers are 4,096 or more: their moments take one byte a number."),
            Hint((10_280, 0), "A scale is a float32: four bytes."),
        ]),
        Case("1,000 numbers, 8 bits", lambda adam: adam([1000], 8, False), (8000, 0), [
            Hint((2032, 0), "Below 4,096 numbers the moments stay in float32, whatever was asked for."),
            Hint((2000, 0), "Below 4,096 numbers the moments stay in float32, whatever was asked for."),
        ]),
        Case("4,096 and 4,095 numbers, 8 bits", lambda adam: adam([4096, 4095], 8, False), (8320 + 32_760, 0), [
            Hint((32_768 + 32_760, 0), "4,096 numbers are enough for 8 bits: fewer are not."),
            Hint((8320 + 8318, 0), "4,095 numbers are too few for 8 bits."),
        ]),
        Case("5,000 numbers, 8 bits", lambda adam: adam([5000], 8, False), (10_160, 0), [
            Hint((10_152, 0), "A block that is begun has a scale, too: round up."),
            Hint((10_156.25, 0), "There is no part of a scale: round the number of blocks up."),
            Hint((10_156, 0), "Round the number of blocks up, for each moment."),
        ]),
    ]


def _many() -> dict:
    drawn = random.Random(8)
    kinds = ("bfloat16", "float16", "float32", "uint8", "int8")
    storages = [(drawn.randint(1, 999), drawn.choice(kinds)) for _ in range(40)]
    return {f"w{place}": (*storages[store], store) for place, store in
            enumerate([*range(40), *(drawn.randrange(40) for _ in range(20))])}


def _by_counting(parameters: dict) -> int:
    seen, total = set(), 0
    for numbers, kind, storage in parameters.values():
        if storage not in seen and kind.endswith("float16"):  # bfloat16 ends so, too
            total += numbers + numbers
        seen.add(storage)
    return total


def _seven_b(rank: int) -> list[int]:
    widths = [(4096, 4096)] * 4 + [(4096, 11_008)] * 2 + [(11_008, 4096)]
    return [rank * width for pair in widths for width in pair] * 32


def _state(sizes: list[int], bits: int) -> tuple[int, int]:
    """All sizes here are of 4,096 numbers or more, and multiples of 256."""
    scales = sum(sizes) // 256 * 8 if bits == 8 else 0
    return sum(sizes) * bits // 4 + scales, sum(size for size in sizes if size >= 100_000) * bits // 4
