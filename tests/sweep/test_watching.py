"""Hopeless points are ended while they run, by what their traces say."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from ftkit.errors import Refusal
from ftkit.sweep import executors
from ftkit.sweep.planning import plan
from ftkit.sweep.points import named, write_point
from ftkit.sweep.running import run, sweep
from ftkit.sweep.watching import Watch

from .conftest import record

LEARNS = '''
import json, os, time

def f(x: float, seed: int = 0, out_dir: str = "") -> dict:
    os.makedirs(out_dir, exist_ok=True)
    patient = x > 1  # what is hopeless would go on until it is ended
    for step in range(1, 600 if patient else 5):
        with open(os.path.join(out_dir, "trace.jsonl"), "a") as file:
            file.write(json.dumps({"step": step, "held_out_loss": x if step % 2 == 0 else None}) + "\\n")
        time.sleep(0.1 if patient else 0.01)
    return {"held_out_loss": x}
'''


def test_a_hopeless_point_is_ended_and_its_other_seeds_are_not_begun(function):
    found = sweep(function(LEARNS), [{"x": 1.0}, {"x": 9.0}], seeds=2, jobs=1, out="out", prune="halving")
    assert dict(zip(zip(found["param.x"], found["param.seed"], strict=True), found["status"], strict=True)) == {
        (1.0, 0): "done", (9.0, 0): "pruned", (1.0, 1): "done", (9.0, 1): "pruned"}
    assert record("out", x=9.0, seed=0)["attempts"] == 1 and record("out", x=9.0, seed=1)["attempts"] == 0
    assert record("out", x=9.0, seed=0)["error"] == "it was hopeless beside the others"
    asked = plan("swept.py:f", [{"x": 1.0}, {"x": 9.0}], seeds=2, out="out")
    assert not any(asked.is_todo(one) for one in asked.standing())


def test_what_was_finished_in_an_earlier_sitting_counts(tmp_path):
    best, worse = named([{"x": 1.0}, {"x": 9.0}])
    for point in (best, worse):
        folder = tmp_path / "points" / point.id / "run"
        folder.mkdir(parents=True)
        values = [{"step": step, "held_out_loss": point.parameters["x"]} for step in (2, 4)]
        (folder / "trace.jsonl").write_text("".join(json.dumps(one) + "\n" for one in values))
    best = write_point(tmp_path, type(best)(best.id, best.parameters, "done", {"held_out_loss": 1.0}))
    watch = Watch(tmp_path, "halving", [best, worse])
    watch.look([worse])
    assert watch.spared(worse).status == "pruned" and watch.spared(best) is None
    assert (tmp_path / "points" / worse.id / ".end").read_text() == "pruned"


def test_a_damaged_trace_is_the_points_own_trouble(tmp_path):
    point = named([{"x": 1.0}])[0]
    folder = tmp_path / "points" / point.id
    folder.mkdir(parents=True)
    (folder / "trace.jsonl").write_text("{\n{}\n")
    watch = Watch(tmp_path, "median", [point])
    watch.look([point])
    assert watch.spared(point) is None


def test_pruning_needs_an_executor_that_can_look_meanwhile(function):
    asked = plan(function(LEARNS), [{"x": 1.0}], out="out", prune="median")
    with executors.opened("serial") as (executor, at_once), closing(run(asked, executor, at_once)) as steps, \
            pytest.raises(Refusal, match="executor must be one that can look at a point while it runs"):
        next(steps)
    assert not Path("out").exists()
