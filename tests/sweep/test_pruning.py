"""Which settings are stopped early, by rules made up and on the curves of a grid that was run to its end.

curves.json: held-out losses after 20, 40 … 160 steps of 38 settings of lesson 05 with three seeds each.
"""

import json
import math
import random
from pathlib import Path
from statistics import fmean, stdev

import pytest

from ftkit.errors import Refusal
from ftkit.runs import open_run
from ftkit.sweep.points import Point
from ftkit.sweep.pruning import Pruner, curve, spread

EVERY = 20  # steps between evaluations
RECORDED = [{seed: values for seed, values in one["held_out_loss"].items()}
            for one in json.loads((Path(__file__).parent / "curves.json").read_text())
            if one["parameters"]["method"] == "lora"]


class Judging(Pruner):
    """One that judges from the first evaluation on, where a test says no other."""

    def __init__(self, points, kind="halving", warmup_steps=0, **others):
        super().__init__(points, kind, warmup_steps=warmup_steps, **others)


def points(*settings, seeds=(0,)):
    return [{"id": f"{name}-{seed}", "parameters": {"name": name, "seed": seed}} for seed in seeds for name in settings]


def tell(pruner, point_id, values, every=EVERY):
    """The steps that a point runs for: until it is hopeless."""
    for number, value in enumerate(values, start=1):
        pruner.report(point_id, number * every, value)
        if pruner.hopeless(point_id):
            return number * every
    pruner.finish(point_id)
    return len(values) * every


@pytest.mark.parametrize("kind", ["halving", "median"])
def test_a_hopeless_setting_is_stopped_and_a_better_one_is_not(kind):
    pruner = Judging(points("a", "b", "c", "bad", "good"), kind)
    for name in "abc":
        tell(pruner, f"{name}-0", [1.0, 0.6, 0.5, 0.4])
    assert tell(pruner, "bad-0", [3.0, 2.9, 2.8, 2.7]) == EVERY
    assert tell(pruner, "good-0", [0.9, 0.5, 0.4, 0.3]) == 4 * EVERY
    assert pruner.hopeless("bad-0") and not pruner.hopeless("good-0")


def test_where_more_is_better_the_small_one_is_stopped():
    pruner = Judging(points("a", "b"), lower=False)
    tell(pruner, "a-0", [0.5, 0.6])
    assert tell(pruner, "b-0", [0.1, 0.2]) == EVERY


def test_no_setting_is_judged_before_the_warm_up_is_over():
    pruner = Judging(points("a", "b"), warmup_steps=3 * EVERY)
    tell(pruner, "a-0", [1.0, 0.5, 0.3, 0.2])
    assert tell(pruner, "b-0", [9.0, 9.0, 9.0, 9.0]) == 3 * EVERY
    assert tell(Judging(points("a", "b"), "median", warmup_steps=10**6), "b-0", [9.0, 9.0]) == 2 * EVERY


def test_without_a_word_about_the_warm_up_a_setting_is_judged_from_its_second_evaluation_on():
    pruner = Pruner(points("a", "b"))
    tell(pruner, "a-0", [1.0, 0.5, 0.3])
    assert tell(pruner, "b-0", [9.0, 9.0, 9.0]) == 2 * EVERY


def test_what_is_not_a_number_is_hopeless_at_once_warm_up_or_not():
    pruner = Judging(points("a", "b", seeds=(0, 1)), warmup_steps=1000)
    assert tell(pruner, "a-1", [1.0, math.nan]) == 2 * EVERY
    assert pruner.hopeless("a-0") and not pruner.hopeless("b-0")


def test_a_setting_is_judged_by_its_first_seed_and_its_other_seeds_go_with_it():
    pruner = Judging(points("a", "b", seeds=(0, 1, 2)))
    tell(pruner, "a-0", [1.0, 0.5])
    tell(pruner, "b-0", [2.0, 1.5])
    assert pruner.hopeless("b-1") and pruner.hopeless("b-2")
    assert tell(pruner, "a-1", [5.0, 5.0]) == 2 * EVERY  # an unlucky seed of a good setting stays


def test_what_is_told_twice_counts_once():
    once, twice = Judging(points("a", "b", "c")), Judging(points("a", "b", "c"))
    for pruner, times in ((once, 1), (twice, 2)):
        for name, value in (("a", 0.5), ("b", 0.4), ("c", 0.45)):
            for _ in range(times):
                pruner.report(f"{name}-0", EVERY, value)
    assert [once.hopeless(f"{name}-0") for name in "abc"] == [twice.hopeless(f"{name}-0") for name in "abc"]


def test_what_an_earlier_session_decided_stands_whatever_the_order():
    values = {"a": [0.5, 0.4], "b": [0.6, 0.3], "c": [2.0]}
    for order in ("abc", "cba", "bca"):
        pruner = Judging(points("a", "b", "c", "d", seeds=(0, 1)))
        for name in order:
            own = [(EVERY * number, value) for number, value in enumerate(values[name], start=1)]
            pruner.recall(f"{name}-0", own, pruned=name == "c")
        assert [pruner.hopeless(f"{name}-1") for name in "abc"] == [False, False, True]
        assert tell(pruner, "d-0", [1.9, 1.9]) == EVERY  # compared with all three


def test_a_point_that_comes_later_can_be_added():
    pruner = Judging([])
    for one in points("a", "b"):
        pruner.add(one)
    tell(pruner, "a-0", [1.0])
    assert tell(pruner, "b-0", [2.0]) == EVERY


def swept(settings, kind):
    """The winner of a pruned sweep, seed by seed in this order, and the share of the steps that were run."""
    names = [str(number) for number in range(len(settings))]
    seeds = sorted(settings[0])
    pruner, run, kept = Pruner(points(*names, seeds=seeds), kind), 0, {}
    for seed in seeds:
        for name, setting in zip(names, settings, strict=True):
            if not pruner.hopeless(f"{name}-{seed}"):
                run += tell(pruner, f"{name}-{seed}", setting[seed])
    for name, setting in zip(names, settings, strict=True):
        if not pruner.hopeless(f"{name}-{seeds[0]}"):
            kept[name] = fmean(values[-1] for values in setting.values())
    whole = sum(EVERY * len(values) for setting in settings for values in setting.values())
    return settings[int(min(kept, key=kept.get))], run / whole


@pytest.mark.parametrize(("kind", "most"), [("halving", 0.4), ("median", 0.55)])
def test_on_recorded_curves_the_winner_is_within_seed_spread_of_the_full_grid_s(kind, most):
    shares, held = [], []
    for order in range(40):
        settings = random.Random(order).sample(RECORDED, 12)
        ends = [[values[-1] for values in one.values()] for one in settings]
        best = min(ends, key=fmean)
        winner, share = swept(settings, kind)
        held.append(fmean(values[-1] for values in winner.values()) - fmean(best) <= stdev(best))
        shares.append(share)
    assert sum(held) >= 38  # of 40; whoever comes first is judged by few others
    assert fmean(shares) < most
    winner, share = swept(RECORDED, kind)
    assert winner == min(RECORDED, key=lambda one: fmean(values[-1] for values in one.values())) and share < 0.5


def test_the_same_calls_give_the_same_verdicts():
    settings = random.Random(3).sample(RECORDED, 12)
    assert swept(settings, "halving") == swept(settings, "halving")


def test_a_point_s_curve_is_read_from_the_traces_below_its_folder(tmp_path):
    assert curve(tmp_path) == []
    with open_run(tmp_path / "run", {"rank": 2}, name="try", seed=0) as run:
        for step in (1, 2, 3):
            run.record({"step": step, "loss": 1.0, "held_out_loss": 0.5 if step == 2 else None})
    assert curve(tmp_path) == [(2, 0.5)]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: Judging([], "hyperband"), "kind must be one of halving, median, got 'hyperband'"),
    (lambda: Judging([], warmup_steps=-1), "warmup_steps must be a whole number, 0 or more, or None, got -1"),
    (lambda: Judging(points("a")).hopeless("b-0"), "point must be one of a-0, got 'b-0'"),
    (lambda: Judging(points("a")).report("b-0", 1, 1.0), "point must be one of a-0"),
    (lambda: Judging(points("a")).finish("b-0"), "point must be one of a-0"),
    (lambda: Judging(points("a")).recall("b-0", [], False), "point must be one of a-0"),
])
def test_bad_input_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_a_pruned_sweep_takes_settings_from_all_over_its_grid_and_the_first_seed_of_each_first():
    grid = [Point(f"{rank} {seed}", {"rank": rank, "seed": seed}) for seed in (0, 1) for rank in range(20)]
    order = [(point.parameters["seed"], point.parameters["rank"]) for point in spread(grid)]
    assert order == [(point.parameters["seed"], point.parameters["rank"]) for point in spread(grid)]
    first, second = order[:20], order[20:]
    assert {seed for seed, _ in first} == {0} and [rank for _, rank in first] == [rank for _, rank in second]
    ranks = [rank for _, rank in first]
    assert sorted(ranks) == list(range(20)) and ranks != sorted(ranks)
