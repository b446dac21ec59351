"""Cases for answers that count a recipe's steps and give the learning rate of each. Knows nothing about a notebook."""

import math
import random

from ftkit.course.cases import Case, Hint, Rule

_FLOAT64 = "float64 holds sixteen figures; an answer in another order loses a few of them"
_FLOAT32 = 3e-7
_FLOAT32_TOO = "float32 holds seven figures, and is as good a type for a rate"


def counts() -> list[Case]:
    """Small recipes counted on fingers, and one that is printed everywhere."""
    return [*_counts_by_hand(), *_counts_at_the_edges(), *_counts_of_drawn_recipes()]


def _counted(*recipe, **more):
    return lambda answer: answer(*recipe, **more)


def _counts_by_hand() -> list[Case]:
    return [
        Case("10 records, 4 a batch", _counted(10, 4, 1, 1, 0, 2), (3, 0.0, [2]), [
            Hint(lambda got: got[0] == 2, "The last batch has 2 records, and is a batch all the same: round up."),
            Hint(lambda got: got[0] == 2.5, "Half a step is none: round up, the last batch is a partial one."),
            Hint(lambda got: got[0] == 3 and 3 in got[2], "A checkpoint is due at multiples of save_every alone: step "
                 "3 is none."),
            Hint(lambda got: got[0] == 3 and 0 in got[2], "Steps count from 1: there is no checkpoint at step 0."),
            Hint(lambda got: got[2] == 1, "The steps themselves are wanted, in a list, not how many they are."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("12 records, 4 a batch", _counted(12, 4, 1, 1, 0, 2), (3, 0.0, [2]), [
            Hint(lambda got: got[0] == 4, "Records that divide evenly leave no batch over: 12 records are 3 batches of "
                 "4."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("2 epochs, 2 batches a step", _counted(10, 4, 2, 2, 1, 2), (4, 0.25, [2, 4]), [
            Hint(lambda got: got[0] == 3, "Steps do not cross from one epoch into the next: round up in each epoch, "
                 "then multiply."),
            Hint(lambda got: got[0] == 2, "The batch that is left over at the end of an epoch is a step of its own: "
                 "round up. And count every epoch."),
            Hint(lambda got: got[0] in (6, 12), "One step takes `accumulation` batches."),
            Hint(lambda got: got[0] == 4 and got[2] == [2], "A checkpoint at the last step is one, too, if it is "
                 "due."),
            Hint(lambda got: got[1] == 25, "A share lies between 0 and 1: these are per cent."),
            Hint(lambda got: got[1] == 4, "The share is warm-up by steps, not the other way round."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("1000 records, 4 × 4, 3 epochs, warm-up 100", _counted(1000, 4, 4, 3, 100, 500), (189, 100 / 189, []), [
            Hint(lambda got: got[0] in (186, 187, 188), "250 batches an epoch are 62 steps and half of one, which is "
                 "a step: 63 an epoch."),
            Hint(lambda got: got[0] == 750, "One step takes `accumulation` batches."),
            Hint(lambda got: got[2] != [], "189 steps never reach step 500: the list is empty."),
        ], tolerance=1e-12, reason=_FLOAT64),
    ]


def _counts_at_the_edges() -> list[Case]:
    return [
        Case("a warm-up that never ends", _counted(10, 4, 2, 2, 100, 3), (4, 1.0, [3]), [
            Hint(lambda got: got[1] == 25, "A warm-up longer than the training is all of it: the share is 1 at most."),
            Hint(lambda got: got[1] > 1, "A warm-up longer than the training is all of it: the share is 1 at most."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("drop_last, 14 records", _counted(14, 4, 2, 1, 0, 1, drop_last=True), (2, 0.0, [1, 2]), [
            Hint(lambda got: got[0] == 1, "drop_last drops a partial batch, not a step that has fewer batches than "
                 "the others: 3 batches are 2 steps."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("drop_last, 17 records", _counted(17, 4, 2, 3, 3, 4, drop_last=True), (6, 0.5, [4]), [
            Hint(lambda got: got[0] == 9, "17 records are 4 full batches: drop_last leaves the fifth out."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("drop_last, and no full batch", _counted(3, 4, 2, 5, 10, 1, drop_last=True), (0, 0.0, []), [
            Hint(ZeroDivisionError, "A training without a step has no warm-up either: the share is 0.0 there."),
            Hint(lambda got: got[0] > 0, "No batch is full, so there is no step at all."),
            Hint(lambda got: got[1] != 0, "A training without a step has no warm-up either: the share is 0.0."),
        ]),
        Case("the kind of number", lambda answer: answer(1000, 4, 4, 3, 100, 500)[0],
             Rule("a whole number (int)", lambda got: type(got) is int), [
                 Hint(lambda got: True, "Steps are a whole number: math.ceil gives an int, numpy and torch do not."),
        ]),
        Case("one record", _counted(1, 8, 4, 2, 0, 1), (2, 0.0, [1, 2]), tolerance=1e-12, reason=_FLOAT64),
    ]


def _counts_of_drawn_recipes() -> list[Case]:
    draw, drawn = random.Random(4), []
    for _ in range(40):
        drawn.append((draw.randint(1, 400), draw.randint(1, 9), draw.randint(1, 6), draw.randint(1, 4),
                      draw.randint(0, 90), draw.randint(1, 60), draw.random() < 0.5))
    want = [_walked(*one) for one in drawn]
    return [Case("40 recipes, drawn", lambda answer: [list(answer(*one)) for one in drawn], want, [
        Hint(lambda got: [one[0] for one in got] != [one[0] for one in want], "Some recipes come to another number of "
             "steps: count a small one of your own on paper, batch by batch."),
    ], tolerance=1e-12, reason=_FLOAT64)]


def _walked(records, batch_size, accumulation, epochs, warmup, save_every, drop_last) -> list:
    """The same, by walking through every record of every epoch."""
    steps, written = 0, []
    for _ in range(epochs):
        left = records
        while left >= (batch_size if drop_last else 1):
            for _ in range(accumulation):
                if left >= (batch_size if drop_last else 1):
                    left -= min(batch_size, left)
            steps += 1
            if not steps % save_every:
                written.append(steps)
    warm = sum(step <= warmup for step in range(1, steps + 1))
    return [steps, warm / steps if steps else 0.0, written]


def rates() -> list[Case]:
    """All steps of a schedule at once, so that a wrong end can be told from a wrong beginning."""
    return [*_rates_by_hand(), *_rates_at_the_edges()]


def _rates(steps, highest, warmup, decay, floor):
    return lambda answer: [answer(step, steps, highest, warmup, decay, floor) for step in range(1, steps + 1)]


_HALF = math.sqrt(0.5)  # the cosine of an eighth of a circle


def _rates_by_hand() -> list[Case]:
    tail = [0.1 + 0.9 * (1 + cosine) / 2 for cosine in (_HALF, 0.0, -_HALF, -1.0)]
    linear = [1 - 0.9 * share for share in (0.25, 0.5, 0.75, 1.0)]
    shares = [1 / 3, 2 / 3, 1.0, 1.0, 1.0, 1.0, 0.625, 0.25]
    return [
        Case("10 steps: 2 up, 4 level, 4 down", _rates(10, 1.0, 2, 4, 0.1), [0.5, *[1.0] * 5, *tail], [
            Hint(lambda got: got[0] == 0, "Step 1 would do nothing at a rate of 0: the first step has highest/warmup."),
            Hint(lambda got: abs(got[1] - 1) > 1e-6, "The last step of the warm-up has the highest rate."),
            Hint(lambda got: abs(got[2] - 1) > 1e-6, "Behind the warm-up the rate is level: the fall takes the last "
                 "`decay` steps, not all that are left."),
            Hint(lambda got: _near(got[6:], linear), "This falls in a straight line: take half a wave of the cosine."),
            Hint(lambda got: _near(got[6:7], [1.0]), "One step late: the first step of the fall is below the highest "
                 "already, and the last one is at the floor."),
            Hint(lambda got: abs(got[9]) < 1e-6, "This falls to 0: the last step is to have floor · highest."),
            Hint(lambda got: _near(got[9:], [0.1]) and not _near(got[6:], tail) and _near(got[6:8], [
                (1 + _HALF) / 2, 0.5]), "Cut off at the floor: let the cosine itself span from highest to the floor."),
            Hint(lambda got: _near(got[6:7], [0.1 + (1 + _HALF) / 2]), "The fall begins at highest: the cosine's part "
                 "is what lies above the floor, 1 − floor."),
            Hint(lambda got: got[9] > got[6], "This rises at the end: at share 1 the cosine is −1."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("a highest rate of 2e-5, in shares of it", lambda answer: [
            rate / 2e-5 for rate in _rates(8, 2e-5, 3, 2, 0.25)(answer)], shares, [
                Hint(lambda got: got[7] > 1, "floor is a share of the highest rate, not a rate."),
                Hint(lambda got: _near(got, shares, 0.1), "Figures were lost: a rate as small as this has all of "
                     "them far behind the point, so do not round it."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("a warm-up of 4, a floor of 0.5", _rates(8, 1.0, 4, 2, 0.5), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.75, 0.5], [
            Hint(lambda got: _near(got[1:2], [0.5]) and got[0] < 0.2, "The warm-up rises in equal steps, not along a "
                 "wave: 1/4, 2/4, 3/4, 4/4."),
            Hint(lambda got: got[0] > 0.3, "The floor belongs to the fall alone: the warm-up begins at "
                 "highest/warmup."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
    ]


def _rates_at_the_edges() -> list[Case]:
    return [
        Case("no warm-up", _rates(4, 2.0, 0, 2, 0.5), [2.0, 2.0, 1.5, 1.0], [
            Hint(ZeroDivisionError, "Without a warm-up there is nothing to divide by: ask first whether the step is "
                 "in it."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("no fall", _rates(4, 2.0, 2, 0, 0.5), [1.0, 2.0, 2.0, 2.0], [
            Hint(ZeroDivisionError, "Without a fall there is nothing to divide by: ask first whether the step is in "
                 "it."),
            Hint(lambda got: _near(got[3:], [1.0]), "With decay = 0 there is no fall, not even in the last step."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("one step up, one step down", _rates(3, 2.0, 1, 1, 0.5), [2.0, 2.0, 1.0], [
            Hint(ZeroDivisionError, "A rise or a fall of one step: divide by warmup and by decay, not by one less."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("nothing but warm-up and fall", _rates(4, 1.0, 2, 2, 0.0), [0.5, 1.0, 0.5, 0.0], [
            Hint(lambda got: abs(got[3]) > 1e-6, "With a floor of 0 the last step has a rate of 0."),
        ], tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("a floor of 1", _rates(5, 3.0, 1, 3, 1.0), [3.0] * 5, tolerance=_FLOAT32, reason=_FLOAT32_TOO),
        Case("1000 steps: they never rise after the warm-up", lambda answer: _falls(
            _rates(1000, 0.1, 50, 300, 0.01)(answer)), [50, 700, 1000], [
                Hint(lambda got: got[1] != 700, "The last step at the highest rate is step 700, of 1000 with 300 "
                     "down."),
        ]),
    ]


def _near(got: list, want: list, within: float = 1e-6) -> bool:
    return all(abs(one - other) < within for one, other in zip(got, want, strict=True))


def _falls(found: list[float]) -> list[int]:
    """The first and the last step at the highest rate, and up to which step the rate never rises after that."""
    top = [step for step, rate in enumerate(found, start=1) if rate > max(found) - _FLOAT32 / 10]
    rises = [step for step in range(top[0] + 1, len(found) + 1) if found[step - 1] > found[step - 2] + _FLOAT32 / 10]
    return [top[0], top[-1], min(rises, default=len(found) + 1) - 1]
