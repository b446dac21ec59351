"""Shipped run cards: read, written, and what they say about one more run."""

import json
import math

import numpy
import pytest
from scipy import stats

from ftkit.cards import Card
from ftkit.course import recorded
from ftkit.course.exercise import CheckFailed
from ftkit.errors import Refusal


def cards(scores=(0.80, 0.84, 0.88, 0.82, 0.86), **changes):
    plain = {"status": "done", "started": "2026-01-01", "name": "first"}
    return [Card(parameters={"rank": 8, "seed": seed}, seed=seed, metrics={"score": score, "loss": 1.0 + score},
                 **(plain | changes)) for seed, score in enumerate(scores)]


def test_cards_come_back_as_they_were_shipped(tmp_path):
    recorded.ship("98_shapes", "first", cards(), tmp_path)
    assert recorded.shipped("98_shapes", "first", tmp_path) == cards()
    assert recorded.experiments("98_shapes", tmp_path) == ["first"]


def test_the_interval_is_the_textbook_one_for_a_new_observation():
    scores = [0.80, 0.84, 0.88, 0.82, 0.86]
    half = stats.t.ppf(0.995, 4) * numpy.std(scores, ddof=1) * math.sqrt(1 + 1 / 5)
    found = recorded.interval(cards(scores), "score")
    # the density is summed in 100,000 steps: good to eight figures
    assert (found.value, found.low, found.high) == pytest.approx((0.84, 0.84 - half, 0.84 + half), rel=1e-7)
    assert (found.n, found.level) == (5, 0.99)


@pytest.mark.parametrize("freedom", [2, 3, 4, 9, 30])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_students_t_is_scipys(freedom, level):
    found = recorded.interval(cards(range(freedom + 1)), "score", level)
    spread = numpy.std(range(freedom + 1), ddof=1) * math.sqrt(1 + 1 / (freedom + 1))
    # the tail is looked up between two of 100,000 angles
    assert (found.high - found.value) / spread == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-5)


def test_a_new_seed_leaves_the_interval_as_rarely_as_it_says():
    generator, outside = numpy.random.default_rng(0), 0
    for _ in range(400):
        *measured, new = generator.normal(size=6)
        found = recorded.interval(cards(measured), "score", level=0.9)
        outside += not found.low <= new <= found.high
    assert 20 <= outside <= 60  # 40 are expected; 20 is more than three standard deviations (6) away


def test_a_share_does_not_leave_0_to_1():
    found = recorded.interval(cards([0.99, 0.98, 1.0]), "score", bounds=recorded.SHARE)
    assert found.high == 1.0 and found.low < 0.98


def test_a_live_run_within_the_interval_is_said_so_and_one_outside_fails():
    said = recorded.stays_within(0.83, cards(), "score")
    assert said.startswith("score: 0.83 lies within 0.68") and "99% of new seeds" in said
    with pytest.raises(CheckFailed, match=r"score is 0.3 here, outside 0\.68\d+ to 0\.99\d+, where 99% of new seeds"):
        recorded.stays_within(0.3, cards(), "score")


def test_a_live_run_with_other_parameters_is_not_compared():
    said = recorded.stays_within(0.3, cards(), "score", {"rank": 4, "seed": 9})
    assert said == "score: 0.3, not compared with the shipped runs: rank is 4 here and 8 there"
    with pytest.raises(CheckFailed):
        recorded.stays_within(0.3, cards(), "score", {"rank": 8, "seed": 9})


def test_the_table_has_a_row_for_each_seed_the_mean_and_the_live_run():
    table = recorded.seeds_table(cards([0.1, 0.2, 0.3]), {"score": "clinic", "loss": "held out"},
                                 {"score": 0.25, "loss": 1.25})
    assert repr(table).splitlines() == [
        "          clinic  held out",
        "seed 0    0.1     1.1",
        "seed 1    0.2     1.2",
        "seed 2    0.3     1.3",
        "mean      0.2     1.2",
        "this run  0.25    1.25",
    ]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: recorded.experiments("97_none"), "lesson with shipped cards must be one of"),
    (lambda: recorded.interval(cards()[:2], "score"), "cards must be of 3 seeds or more, got 2"),
    (lambda: recorded.interval(cards(), "scroe"), "metric of first must be one of score, loss.*Did you mean score"),
    (lambda: recorded.interval(cards([0.1, 0.2, math.nan]), "score"), "score of first, seed 2 must be a finite number"),
    (lambda: recorded.interval([*cards(), Card("first", {"rank": 2}, 0, "2026-01-01", metrics={"score": 1.0})],
                               "score"), "cards must be of runs that differ in the seed alone"),
    (lambda: recorded.interval(cards(), "score", level=95), "level must be a share between 0 and 1, got 95"),
])
def test_bad_questions_are_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


@pytest.mark.parametrize(("content", "words"), [
    ("[", "first.json must be valid JSON"),
    ("{}", "first.json must be a list of run cards"),
    ("[]", "first.json must be a list of run cards, got .*lesson_cards.py 98_shapes"),
    ('[{"name": "first", "colour": "red"}]', r"first.json\[0\] must be a run card, got .*colour"),
    (json.dumps([{"name": "x", "parameters": {}, "seed": 0, "started": "2026", "schema": 99}]), "schema must be 1"),
    (json.dumps([{"name": "x", "parameters": {}, "seed": 0, "started": "2026", "status": "running"}]),
     "first.json: x, seed 0 must be a finished run, got 'running'"),
    (json.dumps([{"name": "x", "parameters": {"seed": seed}, "seed": seed, "started": "2026", "status": "done"}
                 for seed in (0, 1, 1)]), "first.json must be runs with 3 seeds or more of each setting, got 2"),
])
def test_a_damaged_file_of_cards_is_refused(tmp_path, content, words):
    (tmp_path / "98_shapes").mkdir()
    (tmp_path / "98_shapes" / "first.json").write_text(content)
    with pytest.raises(Refusal, match=words):
        recorded.shipped("98_shapes", "first", tmp_path)


def test_an_unknown_experiment_gets_the_nearest_name(tmp_path):
    recorded.ship("98_shapes", "first", cards(), tmp_path)
    with pytest.raises(Refusal, match="experiment must be one of first, got 'frist'. Did you mean first"):
        recorded.shipped("98_shapes", "frist", tmp_path)


def test_runs_that_only_chose_something_may_have_fewer_seeds_if_one_says_so(tmp_path):
    with pytest.raises(Refusal, match="runs with 3 seeds or more of each setting, got 1"):
        recorded.ship("98_shapes", "tuning", cards((0.8,)), tmp_path)
    recorded.ship("98_shapes", "tuning", cards((0.8,)), tmp_path, fewest_seeds=1)
    assert recorded.shipped("98_shapes", "tuning", tmp_path, fewest_seeds=1) == cards((0.8,))
    with pytest.raises(Refusal, match="runs with 3 seeds or more of each setting, got 1"):
        recorded.shipped("98_shapes", "tuning", tmp_path)


def test_unfinished_cards_are_not_shipped(tmp_path):
    with pytest.raises(Refusal, match="must be a finished run, got 'failed'"):
        recorded.ship("98_shapes", "first", cards(status="failed"), tmp_path)
    assert not list(tmp_path.iterdir())
