"""Studies: points proposed by optuna from what the folder holds."""

from dataclasses import replace

import pytest

from ftkit.errors import Refusal
from ftkit.sweep.planning import plan
from ftkit.sweep.points import Point, begin, named, stored_points, write_point
from ftkit.sweep.running import sweep
from ftkit.sweep.study import Range, Study, _trials, proposed, range_of
from ftkit.sweep.targets import find_target

SOURCE = '''
def f(rate: float = 0.1, rank: int = 8, how: str = "a", seed: int = 0):
    return {"loss": (rate - 0.01) ** 2 + rank}
'''
ASKED = Study(12, {"rate": Range(1e-4, 1.0, log=True), "rank": Range(1, 64)}, {"how": ["a", "b"]}, seeds=2,
              constraints=["rank >= 2"], metric="loss")


def through(study, target, out, loss, stop=None):
    """Goes through a study as a sweep would, without running anything; returns the ids in their order."""
    order = []
    for point in proposed(study, target, out, lambda one: one.status == "waiting"):
        order.append(point.id)
        write_point(out, Point(point.id, point.parameters, "done", {"loss": loss(point.parameters)}))
        if len(order) == stop:
            break
    return order


@pytest.fixture
def folder(function, tmp_path):
    def make(name):
        out = tmp_path / name
        out.mkdir()
        begin(out, "swept.py:f", [])
        return out

    return find_target(function(SOURCE)), make


def score(parameters):
    return parameters["rank"] + 100 * (parameters["how"] == "b")


def test_a_study_runs_as_many_settings_as_asked_for_each_with_all_seeds(folder):
    target, make = folder
    through(ASKED, target, out := make("out"), score)
    points = [one.parameters for one in stored_points(out)]
    assert len(points) == 24 and [one["seed"] for one in points] == [0, 1] * 12
    assert all(1e-4 <= one["rate"] <= 1 and 2 <= one["rank"] <= 64 and type(one["rank"]) is int for one in points)
    later = [score(one) for one in points[-6:]]
    assert sum(later) / 6 < sum(map(score, points[:6])) / 6  # it has learned where to look


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not_been(folder):
    target, make = folder
    whole = through(ASKED, target, make("whole"), score)
    out = make("out")
    assert through(ASKED, target, out, score, stop=7) + through(ASKED, target, out, score) == whole
    assert through(ASKED, target, out, score) == []


def test_points_that_failed_or_are_out_of_todays_range_do_not_stop_a_study(folder):
    target, make = folder
    out = make("out")
    points = named([{"rate": 5.0, "rank": 8, "how": "a"}, {"rate": 0.1, "rank": 8, "how": "a"}])
    begin(out, "swept.py:f", points)
    write_point(out, Point(points[0].id, points[0].parameters, "done", {"loss": 1.0}))
    write_point(out, Point(points[1].id, points[1].parameters, "failed", error="no"))
    through(ASKED, target, out, score)
    assert len(list(stored_points(out))) == 2 + 2 * 10


@pytest.mark.parametrize("metric", ["held_out_loss", None])
def test_runs_that_diverge_do_not_stop_a_study_and_teach_it_nothing(folder, metric):
    target, make = folder
    asked = replace(ASKED, trials=5, seeds=1, metric=metric)
    out, order = make("out"), []
    for point in proposed(asked, target, out, lambda one: one.status == "waiting"):
        loss = "nan" if len(order) < 3 else score(point.parameters)
        order.append(write_point(out, Point(point.id, point.parameters, "done", {"held_out_loss": loss, "train_s": 1})))
    assert len(order) == 5
    kinds = [one.state.name for one in _trials([vars(one) for one in order], "held_out_loss", {})]
    assert kinds == ["FAIL"] * 3 + ["COMPLETE"] * 2


def test_a_study_that_finds_nothing_new_ends(folder):
    target, make = folder
    few = Study(12, choices={"how": ["a", "b"]}, metric="loss")
    assert len(through(few, target, make("out"), lambda one: 1.0)) == 2


def test_a_study_is_swept(function):
    found = sweep(function(SOURCE), Study(3, {"rank": Range(1, 4)}), out="out", jobs=2, seeds=1)
    assert set(found["status"]) == {"done"} and len(found) == 3 and found["id"][0].startswith("rank=")


def test_a_range_is_read_as_the_target_declares_it(folder):
    target, _ = folder
    assert range_of("rate", "1e-4..1e-1:log", target) == Range(1e-4, 0.1, True)
    assert range_of("rank", "2..64", target) == Range(2, 64)
    checked = plan(target, Study(1, {"rate": Range(1, 2)}), out="out").study
    assert checked.ranges["rate"] == Range(1.0, 2.0) and isinstance(checked.ranges["rate"].low, float)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Study(0, {"rate": Range(1, 2)}), "trials of a study must be 1 or more"),
    (lambda: Study(1), "study must be one with a range or choices"),
    (lambda: Range(2, 1), "range must be from a smaller to a larger number, got '2..1'"),
    (lambda: Range(0, 1, True), "both above 0"), (lambda: Range("a", 1), "end of a range must be a number")])
def test_a_study_that_cannot_be_is_refused(make, words):
    with pytest.raises(Refusal, match=words):
        make()


@pytest.mark.parametrize(("asked", "words"), [
    ({"ranges": {"rte": Range(1, 2)}}, "Did you mean rate"), ({"ranges": {"rank": Range(0.5, 2.5)}}, "a whole number"),
    ({"choices": {"how": [1]}}, "how must be text"), ({"ranges": {"rank": Range(1, 2)}, "seeds": 0}, "seeds must be")])
def test_a_study_over_what_the_target_does_not_take_is_refused(folder, asked, words):
    with pytest.raises(Refusal, match=words):
        plan(folder[0], Study(2, **asked), out="out")


@pytest.mark.parametrize("text", ["1", "1..", "1..2:lin", "a..2"])
def test_a_text_that_is_no_range_is_refused(folder, text):
    with pytest.raises(Refusal, match="--range rate must be LOW..HIGH|rate must be a finite number"):
        range_of("rate", text, folder[0])


def test_a_metric_that_no_point_has_is_refused_with_those_there_are(folder):
    target, make = folder
    with pytest.raises(Refusal, match="metric must be one of loss, got 'los'. Did you mean loss"):
        through(Study(3, {"rank": Range(1, 64)}, metric="los"), target, make("out"), lambda one: 1.0)
