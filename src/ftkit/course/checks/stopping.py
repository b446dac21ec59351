"""Cases for an answer that watches held-out perplexities and says when to stop. Knows nothing about a notebook."""

import math
import random
from collections.abc import Iterator

from ftkit.course.cases import Case, Hint

_GOOD = [9.0, 5.0, 4.0, 4.5, 4.2, 4.1, 4.05, 3.0, 2.0]
_NO_LIMIT = ("The first finite perplexity is a gain, however large: begin with None or infinity, not with a number "
             "that looks large.")
_CREEPING = [100.0, 96.0, 92.5, 89.5, 88.0, 80.0]


def stopping() -> list[Case]:
    """Evaluations every 10 steps, given one by one as a training gives them: what is read too early is too late."""
    return [*_by_hand(), *_beyond_the_usual(), *_small_gains(), *_no_numbers(), _lazily(), _drawn()]


def _steps(perplexities: list[float]) -> Iterator[tuple[int, float]]:
    return ((10 * place, perplexity) for place, perplexity in enumerate(perplexities, start=1))


def _stopped(perplexities: list[float], patience: int, min_gain: float = 0.0):
    return lambda answer: _listed(answer(_steps(perplexities), patience, min_gain))


def _listed(found: object) -> object:
    return list(found) if isinstance(found, tuple) else found


def _by_hand() -> list[Case]:
    return [
        Case("patience 3", _stopped(_GOOD, 3), [60, 30], [
            Hint(lambda got: isinstance(got, int | float), "Two steps are to be returned: the one at which the "
                 "training ended, and the one to go back to."),
            Hint([30, 60], "The step at which the training ends comes first, then the one to go back to."),
            Hint([60, 60], "Go back to the step with the lowest perplexity, not to the last one."),
            Hint([70, 30], "Three evaluations without a gain are enough: the training ends with the third."),
            Hint([50, 30], "The evaluation with the gain does not count: 4.5, 4.2 and 4.1 are the three without one."),
            Hint([90, 90], "4.2 and 4.1 are lower than the evaluation before them, and no gain: compare with the "
                 "last gain, 4.0, and end the training when patience runs out."),
            Hint([6, 3], "Return steps, as they stand in the stream, not places in it."),
            Hint(lambda got: got[1] in (4.0, 30.0) and got[0] == 4.0, "Return steps, not perplexities."),
        ]),
        Case("patience 1", _stopped(_GOOD, 1), [40, 30]),
        Case("a gain in between", _stopped([9.0, 10.0, 10.0, 8.0, 10.0, 10.0, 10.0, 1.0], 3), [70, 40], [
            Hint(lambda got: got[0] in (50, 60) or got == [40, 40], "In a row: a gain sets the count back to 0."),
        ]),
        Case("the stream ends first", _stopped([9.0, 5.0, 6.0], 3), [30, 20], [
            Hint(lambda got: got[0] is None, "Where patience never runs out, the training ends with its last step."),
            Hint(lambda got: got[1] is None, "The lowest of what was read is to be gone back to, stopped or not."),
        ]),
        Case("the first is the best", _stopped([5.0, 6.0, 7.0, 8.0], 2), [30, 10], [
            Hint([20, 10], "The first evaluation is a gain: there was nothing before it."),
        ]),
        Case("twice the same", _stopped([5.0, 5.0, 5.0, 5.0], 3), [40, 10], [
            Hint(lambda got: got == [40, 40], "As low is not lower: no gain, and the earlier of two equals is kept."),
            Hint(lambda got: got == [40, 20] or got == [40, 30], "The earlier of two equals is kept."),
        ]),
        Case("nothing to read", _stopped([], 3), [None, None], [
            Hint(Exception, "Without an evaluation both are None."),
            Hint(lambda got: True, "Without an evaluation both are None."),
        ]),
    ]


def _beyond_the_usual() -> list[Case]:
    return [
        Case("an evaluation before step 1", lambda answer: _listed(answer(iter([(0, 5.0), (10, 6.0), (20, 7.0)]), 2,
                                                                          0.0)), [20, 0], [
            Hint([20, None], "Step 0 is a step, and false in Python: ask whether there is one with `is None`."),
        ]),
        Case("perplexities of an untrained model", _stopped([22_026.0, 22_026.0, 22_026.0, 22_026.0, 1.0], 3), [40, 10],
             [Hint(lambda got: got[1] is None, _NO_LIMIT)]),
        Case("a perplexity of 3e12", _stopped([3e12] * 5, 3), [40, 10], [
            Hint(lambda got: got[1] is None, _NO_LIMIT),
        ]),
        Case("a thousandth lower", _stopped([5.004, 5.001, 5.003, 5.002], 3), [40, 20], [
            Hint([40, 10], "5.001 is lower than 5.004: compare them as they come, not rounded."),
        ]),
    ]


def _small_gains() -> list[Case]:
    return [
        Case("gains of 4 % where 5 % count", _stopped(_CREEPING[:2], 1, 0.05), [20, 20], [
            Hint([20, 10], "A gain too small to count is a lower perplexity all the same: go back to the lowest."),
        ]),
        Case("small gains that add up", _stopped(_CREEPING, 2, 0.05), [50, 50], [
            Hint(lambda got: got[0] == 30, "Small gains add up: compare with the last perplexity that counted as a "
                 "gain, here 100 and then 92.5, not with the lowest or the last."),
            Hint([50, 30], "A gain too small to count is a lower perplexity all the same: go back to the lowest."),
            Hint([60, 60], "Too much counted as a gain: min_gain is a share of the last gain's perplexity, and 88 is "
                 "4.9 % below 92.5."),
        ]),
        Case("exactly the share", _stopped([100.0, 75.0, 75.0], 1, 0.25), [20, 20], [
            Hint([30, 20], "More than the share is needed: 75 is exactly a quarter below 100."),
        ]),
        Case("a share of a large number", _stopped([1000.0, 999.0, 998.0, 1.0], 2, 0.06), [30, 30], [
            Hint(lambda got: got[0] == 40, "min_gain is a share: 999 is 0.1 % below 1000, and 0.06 is 6 %."),
        ]),
    ]


def _no_numbers() -> list[Case]:
    return [
        Case("nan in between", _stopped([9.0, math.nan, math.nan, 8.0, 9.0], 3), [50, 40], [
            Hint([20, 10], "nan is one evaluation without a gain, no more: the training ends when patience runs out."),
            Hint(lambda got: got[1] in (20, 30), "nan is never the lowest: every comparison with it is false, so ask "
                 "whether the new one is lower."),
            Hint(lambda got: got[1] == 10, "nan took the place of the best, and nothing is lower than nan: every "
                 "comparison with it is false."),
        ]),
        Case("nan at the end", _stopped([9.0, 8.0, math.nan, math.nan], 2), [40, 20], [
            Hint(lambda got: got[1] != 20, "nan is never the lowest: every comparison with it is false, so ask whether "
                 "the new one is lower, not whether it fails to be higher."),
        ]),
        Case("nan at first", _stopped([math.nan, 9.0, 8.0, 9.0, 9.0], 2), [50, 30], [
            Hint(lambda got: got[1] == 10 or got[0] in (20, 30), "nan took the place of the best, and nothing is lower "
                 "than nan: begin with infinity instead of the first value."),
        ]),
        Case("nothing but nan", _stopped([math.nan] * 5, 3), [30, None], [
            Hint(lambda got: got[0] == 50, "nan is no gain: three in a row end the training, too."),
            Hint(lambda got: got[1] is not None, "There is no step to go back to: None."),
            Hint([40, None], "nan is no gain, at first neither: the third in a row ends the training."),
        ]),
        Case("infinity at first", _stopped([math.inf, 9.0, math.inf, math.inf], 2), [40, 20], [
            Hint(lambda got: got[1] == 10, "Infinity is no perplexity to go back to."),
        ]),
        Case("nothing but infinity", _stopped([math.inf] * 5, 3, 0.1), [30, None], [
            Hint(lambda got: True, "Infinity is no gain, and no perplexity to go back to."),
        ]),
    ]


def _lazily() -> Case:
    def read(answer):
        taken = []

        def stream():
            for step, perplexity in _steps([4.0, 5.0, 6.0, 7.0, 8.0]):
                taken.append(step)
                yield step, perplexity

        answer(stream(), 2, 0.0)
        return taken

    return Case("what was read of the stream", read, [10, 20, 30], [
        Hint([10, 20, 30, 40, 50], "Each value costs ten steps of training: do not read the whole stream into a list."),
        Hint([10, 20, 30, 40], "One was read that was not needed: leave the loop as soon as patience runs out."),
    ])


def _drawn() -> Case:
    draw = random.Random(6)
    runs = [([draw.choice([math.nan, math.inf, *[draw.uniform(2, 4) for _ in range(9)]]) for _ in range(14)],
             draw.randint(1, 4), draw.choice([0.0, 0.05, 0.3])) for _ in range(60)]
    return Case("60 trainings, drawn", lambda answer: [_listed(answer(_steps(one), patience, gain))
                                                       for one, patience, gain in runs],
                [_by_looking_back(*one) for one in runs])


def _by_looking_back(perplexities: list[float], patience: int, min_gain: float) -> list:
    """The same with all of it in hand: which evaluations gain, then the first `patience` in a row that do not."""
    gains = []
    for place, one in enumerate(perplexities):
        counted = [perplexities[other] for other in gains]
        if math.isfinite(one) and (not counted or one < counted[-1] * (1 - min_gain)):
            gains.append(place)
    end = next((place for place in range(patience - 1, len(perplexities))
                if not set(range(place - patience + 1, place + 1)) & set(gains)), len(perplexities) - 1)
    finite = [one for one in perplexities[:end + 1] if math.isfinite(one)]
    return [10 * (end + 1), 10 * (perplexities.index(min(finite)) + 1) if finite else None]
