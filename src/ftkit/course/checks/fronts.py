"""Cases for an answer that says which rows of a table are beaten by no other. Knows nothing about a notebook."""

import math
import random

from ftkit.course.cases import Case, Hint

_BOTH = "A row is beaten if it costs no less *and* scores surely lower: both."


def fronts() -> list[Case]:
    """Rows (costs, lowest, highest): one cost, several, ties, unknown costs, and many rows that were drawn."""
    return [*_one_cost(), *_several_costs(), *_edges(), *_drawn()]


def _kept(rows):
    return lambda answer: answer({name: (tuple(costs), low, high) for name, (costs, low, high) in rows.items()})


_ONE = {"full": ((40.0,), 0.80, 0.90), "lora": ((1.0,), 0.70, 0.85), "bitfit": ((0.1,), 0.20, 0.30),
        "prefix": ((2.0,), 0.10, 0.15), "adapter": ((3.0,), 0.60, 0.69)}


def _one_cost() -> list[Case]:
    return [
        Case("one cost", _kept(_ONE), ["full", "lora", "bitfit"], [
            Hint(["prefix", "adapter"], "These are the ones that are beaten: return the others."),
            Hint(lambda got: isinstance(got, set), "Return a list, in the order in which the rows were given."),
            Hint(lambda got: got == ["full", "lora", "bitfit", "adapter"], "The adapter costs more than LoRA and its "
                 "whole interval lies below LoRA's: it is beaten."),
            Hint(lambda got: "full" not in got, "LoRA costs less than full fine-tuning, but their intervals overlap: "
                 "who scores better is not known, so neither beats the other."),
            Hint(lambda got: got == ["full"] or got == ["full", "lora"], _BOTH),
            Hint(list(_ONE), "Prefix costs more than BitFit and scores lower: at least that row is beaten."),
        ]),
        Case("their order", _kept(dict(reversed(_ONE.items()))), ["bitfit", "lora", "full"], [
            Hint(lambda got: sorted(got) == ["bitfit", "full", "lora"], "In the order in which the rows were given."),
        ]),
        Case("intervals that touch", _kept({"one": ((1.0,), 0.5, 0.6), "two": ((2.0,), 0.4, 0.5)}), ["one", "two"], [
            Hint(["one"], "Surely higher: the lowest of the one must lie *above* the highest of the other."),
        ]),
        Case("intervals that overlap", _kept({"one": ((1.0,), 0.5, 0.9), "two": ((2.0,), 0.4, 0.6)}), ["one", "two"], [
            Hint(["one"], "The intervals overlap, so `two` may score better after all."),
        ]),
    ]


def _several_costs() -> list[Case]:
    return [
        Case("two costs that disagree", _kept({"small": ((1.0, 9.0), 0.8, 0.9), "fast": ((9.0, 1.0), 0.1, 0.2)}),
             ["small", "fast"], [
                 Hint(["small"], "A rival must cost no more in *any* of the costs; `fast` is cheaper in the second."),
        ]),
        Case("two costs that agree", _kept({"good": ((1.0, 2.0), 0.8, 0.9), "bad": ((1.5, 3.0), 0.1, 0.2)}), ["good"]),
        Case("one cost more, one equal", _kept({"good": ((1.0, 2.0), 0.8, 0.9), "bad": ((1.0, 3.0), 0.1, 0.2)}),
             ["good"], [
                 Hint(["good", "bad"], "An equal cost is no advantage: no more in any of the costs is enough."),
        ]),
        Case("the sum of the costs says nothing", _kept({"one": ((1.0, 4.0), 0.8, 0.9), "two": ((9.0, 3.0), 0.1, 0.2)}),
             ["one", "two"], [
                 Hint(["one"], "Costs are of different kinds and cannot be added: compare each with its own."),
        ]),
    ]


def _edges() -> list[Case]:
    return [
        Case("twins", _kept({"one": ((1.0,), 0.5, 0.6), "two": ((1.0,), 0.5, 0.6)}), ["one", "two"], [
            Hint([], "Neither of two equal rows is surely better: both stay."),
            Hint(["one"], "Neither of two equal rows is surely better: both stay."),
        ]),
        Case("equal costs", _kept({"one": ((1.0,), 0.8, 0.9), "two": ((1.0,), 0.5, 0.6)}), ["one"], [
            Hint(["one", "two"], "At equal costs the surely better one beats the other."),
        ]),
        Case("a cost that was not measured", _kept({"one": ((1.0,), 0.8, 0.9), "two": ((math.nan,), 0.1, 0.2)}),
             ["one", "two"], [
                 Hint(["one"], "Nobody knows what `two` costs (nan), so nobody can say that it costs more."),
        ]),
        Case("one row", _kept({"alone": ((5.0, 5.0), 0.1, 0.2)}), ["alone"]),
        Case("without intervals", _kept({"one": ((1.0,), 0.5, 0.5), "two": ((2.0,), 0.4, 0.4)}), ["one"]),
    ]


def _drawn() -> list[Case]:
    draw, rows = random.Random(6), {}
    for place in range(60):
        low = draw.uniform(0, 0.9)
        rows[f"row {place}"] = ((draw.randint(1, 9), draw.randint(1, 9)), low, low + draw.uniform(0, 0.1))
    left = set(rows)
    for costs, low, _ in rows.values():  # takes out what each row beats, rather than asking who beats a row
        left -= {other for other, (theirs, _, high) in rows.items()
                 if high < low and not any(mine > their for mine, their in zip(costs, theirs, strict=True))}
    return [Case("60 rows, drawn", _kept(rows), [name for name in rows if name in left])]
