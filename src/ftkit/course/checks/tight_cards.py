"""Cases for an answer that finds what has to change on a smaller card. Knows nothing about a notebook."""

import random

from ftkit.course.cases import Case, Hint

START = {"bits": 16, "batch_size": 8, "checkpointing": False}
BITS, ROWS, AGAIN = {"bits": 4}, {"batch_size": 1}, {"checkpointing": True}


def needs(settings):
    """Made-up bytes: of weights by bits, of activations by rows, less of them with checkpointing."""
    return settings["bits"] * 10 + settings["batch_size"] * (3 if settings["checkpointing"] else 10)


def changes() -> list[Case]:
    """240 as it is; 4 bits 120, one row 170, checkpointing 184; bits and rows 50, bits and checkpointing 64; all 43."""
    return [
        Case("it fits as it is", _asked(240, BITS, ROWS), [], [
            Hint([0], "Nothing has to change here: what needs as many bytes as the card has, fits."),
            Hint(None, "The settings as they are count, too: no step at all is the empty list.")]),
        Case("the first step is enough", _asked(120, BITS, ROWS, AGAIN), [0], [
            Hint([0, 1, 2], "One step is enough here."),
            Hint([0, 1], "What needs as many bytes as the card has, fits: one step is enough here."),
            Hint([BITS], "The places of the steps are wanted, not the steps."),
            Hint(lambda got: isinstance(got, dict), "The places of the steps are wanted, not the settings.")]),
        Case("the second step is enough", _asked(125, AGAIN, BITS, ROWS), [1], [
            Hint([0, 1], "The first step need not be taken: the second is enough by itself."),
            Hint([1, 2], "The third step need not be taken."),
            Hint([0, 1, 2], "The second step is enough by itself.")]),
        Case("the first and the third", _asked(55, BITS, AGAIN, ROWS), [0, 2], [
            Hint([0, 1, 2], "The second step need not be taken: try every pair before all three.")]),
        Case("two pairs that are enough", _asked(64, BITS, ROWS, AGAIN), [0, 1], [
            Hint([0, 2], "[0, 1] is enough as well, and comes first in the playbook."),
            Hint([0, 1, 2], "Two steps are enough here.")]),
        Case("all three", _asked(43, ROWS, AGAIN, BITS), [0, 1, 2], [Hint(None, "All steps together fit here.")]),
        Case("nothing is enough", _asked(42, BITS, ROWS, AGAIN), None, [
            Hint([0, 1, 2], "All steps together still do not fit: None."),
            Hint([], "An empty list says that it fits as it is.")]),
        Case("a step that takes more", _asked(170, ROWS, {"bits": 32}), [0], [
            Hint(None, "All steps together may need more than some of them: try every choice.")]),
        Case("a step that goes further than another", _asked(90, {"batch_size": 4}, {"batch_size": 1}, BITS), [0, 2], [
            Hint(None, "4 bits and four rows need 80 bytes.")]),
        Case("both set the same", _asked(50, {"batch_size": 1, "bits": 8}, BITS), [0, 1], [
            Hint(None, "Steps are taken in their order: what a later one sets, holds.")]),
        *(_drawn(seed) for seed in range(8)),
    ]


def _asked(card_bytes, *steps):
    return lambda answer: answer(needs, dict(START), [dict(step) for step in steps], card_bytes)


def _drawn(seed: int) -> Case:
    """Steps of drawn worth; those that are enough were found by going through all sets of them."""
    drawn = random.Random(f"card {seed}")
    worth = [drawn.randint(1, 40) for _ in range(5)]
    card_bytes = 100 - drawn.randint(5, sum(worth) + 5)

    def takes(settings):
        return 100 - sum(one for place, one in enumerate(worth) if settings[place])

    sets = [[place for place in range(5) if number >> place & 1] for number in range(32)]
    enough = [one for one in sets if 100 - sum(worth[place] for place in one) <= card_bytes]
    want = min(enough, key=lambda one: (len(one), one), default=None)
    return Case(f"five drawn steps, {seed}", lambda answer: answer(
        takes, dict.fromkeys(range(5), False), [{place: True} for place in range(5)], card_bytes), want)
