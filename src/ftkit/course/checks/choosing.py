"""Cases for answers that choose among settings, and say how sure the choice is. Knows nothing about a notebook."""

import math
import random
from statistics import fmean

from ftkit.course.cases import Case, Hint

_FLOAT64 = "means of sixteen figures, added up in another order"
_NAN = math.nan


def seeds() -> list[Case]:
    """Means and spreads that can be done in the head, with quantiles given as a small function."""
    return [*_seeds_by_hand(), *_seeds_at_the_edges()]


def _falling(freedom: int) -> float:
    """Stands in for Student's t: large for few degrees of freedom."""
    return {1: 12.0, 2: 4.3, 3: 3.2, 4: 2.8}.get(freedom, 2.0)


def _needed(differences, quantile=_falling, most=1000):
    return lambda answer: answer(list(differences), quantile, most)


def _seeds_by_hand() -> list[Case]:
    return [  # 1, 2, 3: the mean is 2, the spread 1
        Case("differences 1, 2, 3", _needed([1.0, 2.0, 3.0]), 4, [
            Hint(3, "n seeds leave n − 1 degrees of freedom: quantile(n − 1). Or the spread was divided by n: that of "
                 "a sample is divided by n − 1."),
            Hint(5, "The quantile is that of the seeds asked about, not of those that were measured."),
            Hint(13, "The mean of n seeds is surer than one seed: the spread is divided by √n."),
            Hint(lambda got: got is None, "With four seeds the half width is 3.2 · 1 / √4 = 1.6, less than the mean of "
                 "2."),
            Hint(2, "With two seeds the half width is 12 · 1 / √2 = 8.5: the quantile is missing, or another one."),
        ]),
        Case("the same the other way round", _needed([-1.0, -2.0, -3.0]), 4, [
            Hint(lambda got: got is None, "A mean below 0 is a difference as well: take its size."),
            Hint(2, "A mean below 0 is a difference as well: take its size."),
        ]),
        Case("a constant quantile of 4", _needed([1.0, 2.0, 3.0], lambda freedom: 4.0), 5, [
            Hint(4, "At 4 seeds the interval ends exactly at 0, which is still inside it."),
            Hint(3, "Divide the spread by √n, not by n."),
        ]),
        Case("spread twice the mean", _needed([-1.0, 1.0, 3.0], lambda freedom: 2.0), 17, [
            Hint(16, "At 16 seeds the interval ends exactly at 0, which is still inside it."),
            Hint(11, "The spread of a sample is divided by n − 1 (statistics.stdev)."),
        ]),
    ]


def _seeds_at_the_edges() -> list[Case]:
    return [
        Case("no difference at all", _needed([1.0, -1.0]), None, [
            Hint(lambda got: isinstance(got, int), "A mean of 0 stays inside every interval: None."),
        ]),
        Case("differences all alike", _needed([0.5, 0.5, 0.5]), 2, [
            Hint(lambda got: got in (0, 1), "One seed alone has no spread to go by: two are the fewest."),
            Hint(lambda got: got is None, "Without any spread the fewest seeds that there can be settle it: 2."),
        ]),
        Case("`most` is enough", _needed([1.0, 2.0, 3.0], most=4), 4, [
            Hint(lambda got: got is None, "`most` seeds may be run, that number included."),
        ]),
        Case("`most` is too few", _needed([1.0, 2.0, 3.0], most=3), None, [
            Hint(lambda got: isinstance(got, int), "More than `most` seeds are not to be run: None."),
        ]),
        Case("two measured seeds", _needed([3.0, 5.0]), 3, [
            Hint(2, "With two seeds the half width is 12 · √2 / √2 = 12, more than the mean."),
        ]),
    ]


def winners() -> list[Case]:
    """Tables of three seeds, then tables of pure chance."""
    return [*_winners_by_hand(), *_winners_at_the_edges(), _winners_of_chance()]


def _chosen(scores: dict):
    return lambda answer: list(answer({name: list(found) for name, found in scores.items()}))


def _winners_by_hand() -> list[Case]:
    scores = {"a": [1.0, 1.0, 4.0], "b": [2.0, 2.0, 2.5]}
    return [
        Case("a: 1, 1, 4; b: 2, 2, 2.5", _chosen(scores), ["a", 2.0, 8 / 3], [
            Hint(lambda got: got[0] == "b", "These are losses: the lowest mean wins."),
            Hint(lambda got: got[1] != 2.0, "The second number is the winner's mean over all seeds: 2."),
            Hint(lambda got: got[2] == 2.0, "Without seed 0 b is ahead, so the honest value there is b's 2. Choose "
                 "anew for each seed, by the other seeds alone."),
            Hint(lambda got: abs(got[2] - 1.5) < 1e-9, "The lowest of each seed is the most dishonest of all: it "
                 "chooses by the very number that it reports."),
            Hint(lambda got: abs(got[2] - (2.25 + 2.25 + 1) / 3) < 1e-9, "Read the chosen setting's score at the seed "
                 "that was left out, not at those that chose it."),
            Hint(lambda got: abs(got[2] - 8) < 1e-9, "A mean over the seeds is wanted, not a sum."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("one setting ahead with every seed", _chosen({"b": [3.0, 3.0, 3.0], "a": [1.0, 2.0, 3.0]}),
             ["a", 2.0, 2.0], tolerance=1e-12, reason=_FLOAT64),
        Case("a tie", _chosen({"b": [2.0, 1.0], "a": [1.0, 2.0], "c": [1.5, 1.5]}), ["b", 1.5, 2.0], [
            Hint(lambda got: got[0] != "b", "Of equal means the first in the table wins."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("two seeds", _chosen({"a": [0.0, 4.0], "b": [3.0, 3.0]}), ["a", 2.0, 3.5], [
            Hint(lambda got: got[2] == 1.5, "Seed 1 chooses for seed 0 and seed 0 for seed 1: 3 and 4."),
        ], tolerance=1e-12, reason=_FLOAT64),
    ]


def _winners_at_the_edges() -> list[Case]:
    return [
        Case("a setting with nan comes first", _chosen({"a": [_NAN, 0.0, 0.0], "b": [1.0, 2.0, 3.0],
                                                        "c": [2.0, 3.0, 4.0]}), ["b", 2.0, 2.0], [
            Hint(lambda got: got[0] == "a", "A training that ended in nan cannot win: leave the whole setting out."),
            Hint(lambda got: got[2] != 2.0, "Without the seed of the nan this setting looks best: leave it out for "
                 "every seed."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("an infinite loss", _chosen({"a": [math.inf, 1.0, 1.0], "b": [2.0, 2.0, 2.0]}), ["b", 2.0, math.inf], [
            Hint(lambda got: got[2] == 2.0, "Only nan leaves a setting out. Without its infinite seed a is ahead, and "
                 "that is what was chosen."),
        ], tolerance=1e-12, reason=_FLOAT64),
        Case("one setting alone", _chosen({"a": [1.0, 2.0, 3.0]}), ["a", 2.0, 2.0], [
            Hint(lambda got: got[2] != 2.0, "With one setting there is nothing to choose, and both values are its "
                 "mean."),
        ], tolerance=1e-12, reason=_FLOAT64),
    ]


def _winners_of_chance() -> Case:
    draw = random.Random(10)
    tables = [{f"s{place}": [draw.randint(0, 64) / 8 for _ in range(5)] for place in range(12)} for _ in range(20)]
    want = [_cross_chosen(table) for table in tables]
    return Case("20 tables of pure chance, 12 settings of 5 seeds",
                lambda answer: [list(answer({name: list(row) for name, row in one.items()})) for one in tables], want,
                tolerance=1e-12, reason=_FLOAT64)


def _cross_chosen(table: dict) -> list:
    """The same by sums: what is left of a row's sum without one seed."""
    names, count = list(table), len(next(iter(table.values())))
    winner = sorted(names, key=lambda name: sum(table[name]))[0]
    left_out = [sorted(names, key=lambda name: sum(table[name]) - table[name][seed])[0] for seed in range(count)]
    return [winner, fmean(table[winner]), fmean(table[name][seed] for seed, name in enumerate(left_out))]


def halvings() -> list[Case]:
    """Curves of four evaluations, whose rungs can be walked with a finger."""
    return [*_halvings_by_hand(), *_halvings_at_the_edges(), _drawn_halvings()]


def _halved(curves: dict, rungs, factor=2):
    return lambda answer: list(answer({name: [list(one) for one in found] for name, found in curves.items()},
                                      list(rungs), factor))


_FOUR = {"a": [[4.0, 3.0, 2.0, 0.1]], "b": [[1.0, 2.0, 3.0, 4.0]], "c": [[2.0, 1.5, 1.0, 0.5]],
         "d": [[3.0, 3.5, 3.0, 3.0]]}


def _halvings_by_hand() -> list[Case]:
    return [
        Case("4 settings, rungs after 1 and 2", _halved(_FOUR, [1, 2]), [["c"], 8], [
            Hint(lambda got: got[0] == ["a"], "a is best at the end, but was stopped at the first rung: look at the "
                 "loss there, not at the last one."),
            Hint(lambda got: got[0] == ["b"], "At the second rung c is ahead of b: 1.5 against 2."),
            Hint(lambda got: got[0] == ["d"], "These are losses: the lowest go on."),
            Hint(lambda got: len(got[0]) == 2, "Each rung is a halving of its own: after the second, one is left."),
            Hint(lambda got: got[1] == 10, "Evaluations count once: from rung to rung, not from the start each time."),
            Hint(lambda got: got[1] == 6, "The survivor runs on to its end, and that costs, too."),
            Hint(lambda got: got[1] == 7, "Up to the first rung all 4 cost 1, up to the second 2 cost 1, then 1 costs "
                 "2: 8."),
            Hint(lambda got: got[1] == 16, "What was stopped costs nothing after its rung."),
        ]),
        Case("one rung", _halved(_FOUR, [2]), [["b", "c"], 12], [
            Hint(lambda got: got[0] == ["c", "b"], "Those that are left stand in the order in which they came, not by "
                 "loss."),
        ]),
        Case("5 settings, factor 3", _halved({**_FOUR, "e": [[0.5] * 4]}, [1], 3), [["b", "e"], 11], [
            Hint(lambda got: len(got[0]) == 1, "5 / 3 is rounded up: two go on."),
            Hint(lambda got: len(got[0]) == 3, "`factor` is how many share one place: 5 / 3, rounded up, go on."),
        ]),
        Case("two seeds each", _halved({"a": [[1.0, 1.0], [4.0, 4.0]], "b": [[2.0, 2.0], [2.0, 2.0]]}, [1]),
             [["b"], 6], [
                 Hint(lambda got: got[0] == ["a"], "A setting is judged by the mean over its seeds, not by its "
                      "luckiest one or its first."),
                 Hint(lambda got: got[1] in (3, 4), "Each seed of a setting costs: 2 settings of 2 seeds are 4 "
                      "evaluations up to the first rung."),
        ]),
    ]


def _halvings_at_the_edges() -> list[Case]:
    return [
        Case("no rungs", _halved(_FOUR, []), [["a", "b", "c", "d"], 16], [
            Hint(lambda got: got[1] == 0, "Without rungs all run to their end: 16 evaluations."),
        ]),
        Case("nan, and room for it", _halved({"a": [[_NAN, _NAN]], "b": [[2.0, 2.0]], "c": [[_NAN, 1.0]]}, [1], 1),
             [["b"], 4], [
                 Hint(lambda got: "a" in got[0] or "c" in got[0], "A training that has reached nan is hopeless: it "
                      "stops, even where there is room for it."),
        ]),
        Case("nan in front", _halved({"a": [[_NAN, _NAN]], "b": [[2.0, 1.0]], "c": [[3.0, 1.0]]}, [1]),
             [["b", "c"], 5], [
                 Hint(lambda got: got[0] == ["a", "b"], "nan compares with nothing, and sorting leaves it where it is: "
                      "take it out first."),
                 Hint(lambda got: got[0] == ["b"], "Three settings have two places between them, and two are in good "
                      "health."),
        ]),
        Case("an infinite loss", _halved({"a": [[math.inf, 1.0]], "b": [[2.0, 2.0]]}, [1], 1), [["a", "b"], 4], [
            Hint(lambda got: got[0] == ["b"], "An infinite loss is the last in line, but it is in the line: only nan "
                 "is out."),
        ]),
        Case("equal losses", _halved({"b": [[1.0, 1.0]], "a": [[1.0, 0.0]]}, [1]), [["b"], 3], [
            Hint(lambda got: got[0] == ["a"], "Of equal losses the first in the table goes on."),
            Hint(lambda got: got[0] == ["b", "a"], "No more go on than there are places, equal or not."),
        ]),
        Case("a rung at the last evaluation", _halved(_FOUR, [4]), [["a", "c"], 16], [
            Hint(lambda got: got[0] == ["a", "b", "c", "d"], "A rung at the end still chooses who is left."),
        ]),
    ]


def _drawn_halvings() -> Case:
    draw, drawn = random.Random(11), []
    for _ in range(30):
        curves = {f"s{place}": [[draw.randint(0, 40) / 4 for _ in range(6)] for _ in range(2)]
                  for place in range(draw.randint(2, 9))}
        drawn.append((curves, sorted(draw.sample(range(1, 7), 2)), draw.randint(2, 3)))
    want = [_stepped(*one) for one in drawn]
    return Case("30 tables, drawn", lambda answer: [list(answer(*one)) for one in drawn], want)


def _stepped(curves: dict, rungs: list, factor: int) -> list:
    """The same, one evaluation after another."""
    running, spent = list(curves), 0
    for step in range(1, 7):
        spent += 2 * len(running)
        if step in rungs:
            line = sorted(running, key=lambda name: sum(curve[step - 1] for curve in curves[name]))
            places = -(-len(running) // factor)
            running = [name for name in running if name in line[:places]]
    return [running, spent]
