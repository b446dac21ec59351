"""Cases for answers that lay out a star of settings and share out a budget. Knows nothing about a notebook."""

import random

from ftkit.course.cases import Case, Hint, Rule

_CENTRE = {"rank": 8, "alpha": 16, "dropout": 0.0}


def stars() -> list[Case]:
    """Stars small enough to be written down, then drawn ones."""
    return [*_stars_by_hand(), *_stars_with_ties(), *_stars_at_the_edges(), _drawn_stars()]


def _with(*settings: dict, seeds=(0,)) -> list[dict]:
    return [{**_CENTRE, **one, "seed": seed} for one in settings for seed in seeds]


def _made(arms: dict, seeds, tied: dict | None = None, centre: dict | None = None):
    return lambda answer: answer(dict(centre or _CENTRE), arms, list(seeds), tied or {})


def _ranks(got: list) -> list:
    return [one["rank"] for one in got]


def _stars_by_hand() -> list[Case]:
    return [
        Case("two arms, one seed", _made({"rank": [4, 16], "dropout": [0.1]}, [0]),
             _with({}, {"rank": 4}, {"rank": 16}, {"dropout": 0.1}), [
                 Hint(lambda got: len(got) == 2 and len(_ranks(got)) == 2, "Every combination is a grid: in a star one "
                      "parameter changes and all others stay as in the centre."),
                 Hint(lambda got: len(got) == 3 and got[0]["rank"] == 4, "The centre itself is a point, the first."),
                 Hint(lambda got: got == _with({}, {"rank": 4}, {"rank": 16}, {"rank": 16, "dropout": 0.1}),
                      "A later arm begins at the centre again, not where the arm before it ended."),
                 Hint(lambda got: any("seed" not in one for one in got), "Every point says its seed, too."),
                 Hint(lambda got: any(len(one) < 4 for one in got), "A point names all parameters, not only the one "
                      "that changed."),
                 Hint(lambda got: got[-1] == _with({})[0], "The centre comes first."),
             ]),
        Case("two seeds", _made({"rank": [4]}, [3, 5]), _with({}, {"rank": 4}, seeds=(3, 5)), [
            Hint(lambda got: [one["seed"] for one in got] == [3, 3, 5, 5], "Right points in another order: all seeds "
                 "of one setting stand together."),
            Hint(lambda got: [one["seed"] for one in got] == [0, 1, 0, 1], "`seeds` is a list of seeds, not how many "
                 "there are."),
            Hint(lambda got: len(got) == 2, "Every setting is repeated with every seed."),
        ]),
        Case("the centre's value among an arm's", _made({"rank": [4, 8, 16]}, [0]),
             _with({}, {"rank": 4}, {"rank": 16}), [
                 Hint(lambda got: _ranks(got) == [8, 4, 8, 16], "Rank 8 is the centre, which is there already."),
             ]),
    ]


def _stars_with_ties() -> list[Case]:
    tied = {"alpha": ("rank", 2)}
    both = {"rank": [4, 32], "alpha": [8, 64]}
    want = _with({}, {"rank": 4, "alpha": 8}, {"rank": 32, "alpha": 64}, {"alpha": 8}, {"alpha": 64})
    return [
        Case("alpha tied to rank", _made(both, [0], tied), want, [
            Hint(lambda got: got == _with({}, {"rank": 4}, {"rank": 32}, {"alpha": 8}, {"alpha": 64}), "Where the rank "
                 "changes, alpha is to follow: 2 · rank."),
            Hint(lambda got: len(got) == 3, "In alpha's own arm alpha takes the arm's values; it follows the rank only "
                 "where the rank is what changes."),
            Hint(lambda got: got[1]["alpha"] == 32, "What follows is the factor times the new value, not times the "
                 "centre's."),
        ]),
        Case("a tie goes one way", _made({"alpha": [4]}, [0], tied), _with({}, {"alpha": 4}), [
            Hint(lambda got: got[1]["rank"] != 8, "A tie goes one way: where alpha changes, the rank stays."),
        ]),
        Case("a tie that makes a setting of the centre's value", _made({"rank": [8, 4]}, [0], {"alpha": ("rank", 4)}),
             _with({}, {"alpha": 32}, {"rank": 4, "alpha": 16}), [
                 Hint(lambda got: _ranks(got) == [8, 4], "Rank 8 with alpha 4 · 8 is not the centre: compare whole "
                      "settings, not one value."),
             ]),
        Case("the same setting in two arms", _made({"rank": [4], "alpha": [16, 8], "dropout": [0.0, 0.5, 0.5]}, [0]),
             _with({}, {"rank": 4}, {"alpha": 8}, {"dropout": 0.5}), [
                 Hint(lambda got: len(got) == 5, "A setting that is there already, from this arm or another, is left "
                      "out."),
             ]),
        Case("two followers of one leader", _made({"rank": [2], "dropout": [0.2]}, [1], {
            "alpha": ("rank", 3), "dropout": ("rank", 0.1)}), _with({}, {"rank": 2, "alpha": 6, "dropout": 0.2},
                                                                    {"dropout": 0.2}, seeds=(1,)), [
            Hint(lambda got: got[1]["alpha"] != 6 or got[1]["dropout"] != 0.2, "All ties of the changed parameter hold "
                 "at once."),
        ]),
    ]


def _stars_at_the_edges() -> list[Case]:
    def alone(answer):
        points = answer(dict(_CENTRE), {"rank": [4]}, [0, 1], {})
        points[0]["rank"] = 99
        return _ranks(points[1:])

    def unknown(answer):
        try:
            answer(dict(_CENTRE), {"rnak": [4]}, [0], {})
        except KeyError:
            return "KeyError"
        return "no error"

    return [
        Case("no arms", _made({}, [0, 1]), _with({}, seeds=(0, 1)), [
            Hint(lambda got: got == [], "A star without arms is its centre."),
        ]),
        Case("one point is changed afterwards", alone, [8, 4, 4], [
            Hint(lambda got: 99 in got, "Two points are the same dict: each has to be one of its own."),
        ]),
        Case("an arm of a name that the centre lacks", unknown, "KeyError", [
            Hint("no error", "A misspelt name would be swept as a parameter that nothing reads: raise KeyError."),
        ]),
        Case("values that are lists, such as names of modules", _made({"modules": [["q"], ["q", "v"]]}, [0], {}, {
            "modules": ["q"]}), [{"modules": ["q"], "seed": 0}, {"modules": ["q", "v"], "seed": 0}], [
                Hint(TypeError, "A list cannot be an entry of a set or a key of a dict: compare settings with `in` a "
                     "list."),
        ]),
    ]


def _drawn_stars() -> Case:
    draw, drawn, want = random.Random(5), [], []
    for _ in range(20):
        centre = {name: draw.randint(0, 4) for name in "abcd"}
        arms = {name: [draw.randint(0, 4) for _ in range(3)] for name in draw.sample("abcd", 3)}
        tied = {"d": ("a", draw.randint(1, 3))}
        drawn.append((centre, arms, [1, 2], tied))
        want.append(_walked(*drawn[-1]))
    return Case("20 stars, drawn", lambda answer: [answer(*one) for one in drawn], want)


def _walked(centre: dict, arms: dict, seeds: list, tied: dict) -> list[dict]:
    """The same, all settings first and those that repeat taken out afterwards."""
    settings = [tuple(centre.items())]
    for name, values in arms.items():
        for value in values:
            follow = {other: factor * value for other, (leader, factor) in tied.items() if leader == name}
            settings.append(tuple({**centre, name: value, **follow}.items()))
    return [{**dict(one), "seed": seed} for one in dict.fromkeys(settings) for seed in seeds]


def budgets() -> list[Case]:
    """Budgets of a few numbers, of a whole model, and past what a matrix can hold."""
    square = [(4, 4), (4, 4)]
    return [
        Case("two 4 × 4 modules, 40 numbers", lambda answer: answer(square, 40), (2, 32), [
            Hint((2, 40), "The second number is what rank 2 trains, not the budget."),
            Hint(lambda got: got[0] == 2.5, "A rank is a whole number, and one more would cost more than there is."),
            Hint((3, 48), "The budget is not to be exceeded: round down."),
            Hint(lambda got: got[0] == 1, "A rank costs in + out for each module: A is (rank, in), B is (out, rank)."),
            Hint((4, 32), "The budget is for all modules together."),
        ]),
        Case("a budget that is met exactly", lambda answer: answer(square, 48), (3, 48), [
            Hint((2, 32), "Rank 3 costs 48, which is exactly the budget: it may be spent to the last number."),
        ]),
        Case("less than rank 1", lambda answer: answer(square, 15), (0, 0), [
            Hint(lambda got: got[0] == 1, "Rank 1 costs 16: with 15 nothing can be trained."),
        ]),
        Case("more than the matrices hold", lambda answer: answer(square, 1000), (4, 64), [
            Hint(lambda got: got[0] > 4, "A 4 × 4 matrix has a rank of 4 at most: the rank stops there, however large "
                 "the budget."),
        ]),
        Case("a small module beside a large one", lambda answer: answer([(2, 30), (20, 20)], 500), (10, 464), [
            Hint(lambda got: got[0] == 6, "The small module is full at rank 2 and costs no more from there on: the "
                 "rest of the budget is for the other."),
            Hint(lambda got: got[0] == 2, "The small module stops at rank 2 by itself; the other goes on."),
            Hint((12, 480), "A module that is full still costs what its own rank costs."),
        ]),
        Case("all-linear of the tiny base at rank 8, in q and v alone", lambda answer: answer(
            [(192, 192)] * 16, 233_472), (38, 233_472)),
        Case("the same in its MLP", lambda answer: answer([(192, 512), (192, 512), (512, 192)] * 8, 233_472),
             (13, 219_648), [
                 Hint(lambda got: got[0] == 14, "Rank 14 would cost 236,544: more than there is."),
        ]),
        Case("whole numbers", lambda answer: [type(one).__name__ for one in answer([(192, 192)], 5000)],
             Rule("int and int", lambda got: got == ["int", "int"]), [
                 Hint(lambda got: True, "Both are counts: whole numbers (int)."),
        ]),
        *_drawn_budgets(),
    ]


def _drawn_budgets() -> list[Case]:
    draw = random.Random(6)
    drawn = [([(draw.randint(1, 12), draw.randint(1, 12)) for _ in range(draw.randint(1, 4))], draw.randint(0, 400))
             for _ in range(60)]
    return [Case("60 budgets, drawn", lambda answer: [list(answer(shapes, budget)) for shapes, budget in drawn],
                 [_bought(*one) for one in drawn])]


def _bought(shapes: list, budget: int) -> list[int]:
    """The same, by trying every rank there is."""
    costs = [sum(min(rank, *shape) * sum(shape) for shape in shapes) for rank in range(13)]
    within = [rank for rank in range(max(min(shape) for shape in shapes) + 1) if costs[rank] <= budget]
    return [within[-1], costs[within[-1]]]
