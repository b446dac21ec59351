"""Cases for an answer that counts what adapters and merged models take on a disk. Knows nothing about a notebook."""

from ftkit.course.cases import Case, Hint

SMALL = (1000, [(10, 20), (10, 5)], 2, 3)  # parameters, adapted, rank, tasks
ADAPTER, MERGED = 4 * 2 * (30 + 15), 2 * 1000
QWEN = [(3584, 3584), (3584, 512), (3584, 512), (3584, 3584), (3584, 18944), (3584, 18944), (18944, 3584)] * 28


def sizes() -> list[Case]:
    """By hand: A is 2 × 10 and B 20 × 2, so 60 numbers; the other 30; four bytes each, 360 for an adapter."""
    return [
        Case("two matrices, three tasks", lambda on_disk: on_disk(*SMALL), (MERGED + 3 * ADAPTER, 3 * MERGED), [
            Hint((MERGED + ADAPTER, 3 * MERGED), "Each task has an adapter of its own."),
            Hint((3 * ADAPTER, 3 * MERGED), "An adapter alone answers nothing: the base lies beside it, once."),
            Hint((3 * (MERGED + ADAPTER), 3 * MERGED), "The base is stored once, for all adapters."),
            Hint((MERGED + 3 * ADAPTER, MERGED), "A merged model holds one task: store one for each."),
            Hint((MERGED + 3 * ADAPTER, 3 * (MERGED + ADAPTER)), "Once merged, an adapter takes no room of its own: "
                 "its numbers are in the weights."),
            Hint((MERGED + 3 * ADAPTER // 2, 3 * MERGED), "Adapters are stored in float32: four bytes a number."),
            Hint((2 * MERGED + 3 * ADAPTER, 6 * MERGED), "Base and merged models are stored in 16 bits: two bytes a "
                 "number."),
            Hint((MERGED + 3 * 4 * 2 * (200 + 50), 3 * MERGED), "A has rank · inside numbers and B outside · rank: "
                 "add, do not multiply."),
            Hint((MERGED + 3 * ADAPTER // 4, 3 * MERGED), "These are numbers: an adapter's take four bytes each."),
            Hint((MERGED + 3 * 4 * 2 * (10 + 10), 3 * MERGED), "B has as many rows as the matrix has outputs: count A "
                 "and B."),
            Hint((MERGED + 3 * 4 * 2 * (20 + 5), 3 * MERGED), "A has as many columns as the matrix has inputs: count A "
                 "and B."),
        ]),
        Case("nothing adapted", lambda on_disk: on_disk(1000, [], 8, 2), (MERGED, 2 * MERGED), [
            Hint((0, 2 * MERGED), "The base is there, adapters or not.")]),
        Case("no task yet", lambda on_disk: on_disk(1000, [(10, 20)], 8, 0), (MERGED, 0), [
            Hint((0, 0), "The base is there, whatever the number of tasks.")]),
        Case("Qwen2.5-7B, rank 16, ten tasks", lambda on_disk: on_disk(7_615_616_512, QWEN, 16, 10),
             (2 * 7_615_616_512 + 10 * 4 * 40_370_176, 20 * 7_615_616_512)),
    ]
