"""Trials beside a notebook: what they are, that they can be stopped, and that nothing is left."""

import random
import threading
import time

import numpy
import psutil
import pytest
import torch

from ftkit import trials
from ftkit.widgets.live_trial import ENDED, LiveTrial

LIMIT_S = 300  # a busy machine takes long to import torch


def until(true, limit_s=LIMIT_S):
    """Waits for something to become true; the test fails where it does not."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def live_trial(heard):
    made = LiveTrial(heard.append)
    yield made
    made.stop()


def kinds(heard):
    return [next(iter(event)) for event in heard]


def test_events_come_in_their_order_and_the_next_trial_uses_the_same_process(quick_training, live_trial, heard):
    for _ in range(2):
        assert live_trial.train({"seed": 0, "max_steps": 3})
        until(lambda: not live_trial.is_training)
    until(lambda: kinds(heard).count("done") == 2)
    assert kinds(heard) == ["ready", *(["record"] * 3 + ["asking", "done"]) * 2]


def test_one_training_at_a_time(quick_training, live_trial):
    assert live_trial.train({"seed": 15, "max_steps": 9}) and not live_trial.train({"seed": 0, "max_steps": 9})


def test_stop_ends_a_training_that_hangs_and_nothing_is_heard_of_it_any_more(quick_training, live_trial, heard):
    before = threading.active_count()
    live_trial.train({"seed": 15, "max_steps": 9})
    until(lambda: kinds(heard).count("record") == 2)
    process = psutil.Process(live_trial._process.pid)
    live_trial.stop()
    assert not process.is_running() and threading.active_count() == before and not live_trial.is_training
    assert kinds(heard) == ["ready", "record", "record"]
    assert live_trial.train({"seed": 0, "max_steps": 3})
    until(lambda: "done" in kinds(heard))


def test_a_trial_that_is_refused_leaves_the_process_ready(quick_training, live_trial, heard):
    live_trial.train({"seed": 13, "max_steps": 3})
    until(lambda: not live_trial.is_training)
    until(lambda: "refused" in kinds(heard))
    assert live_trial.train({"seed": 0, "max_steps": 3})


@pytest.mark.parametrize(("seed", "code"), [(14, 3), (16, 4)])
def test_a_process_that_dies_says_so_and_the_next_trial_has_a_new_one(quick_training, live_trial, heard, seed, code):
    live_trial.train({"seed": seed, "max_steps": 3})
    until(lambda: ENDED in kinds(heard))
    assert heard[-1] == {ENDED: f"The training process ended by itself, with code {code}."}
    assert not live_trial.is_training
    live_trial.train({"seed": 0, "max_steps": 3})
    until(lambda: "done" in kinds(heard))


def test_the_process_ends_with_the_one_that_started_it(quick_training, live_trial):
    live_trial.warm_up()
    process = live_trial._process
    process.stdin.close()  # as the system does when a kernel is killed
    assert process.wait(LIMIT_S) == 0


def test_a_real_trial_gives_what_run_trial_gives_and_leaves_the_notebook_alone(live_trial, heard, tmp_path):
    data = tmp_path / "sums.jsonl"  # a clinic's questions would be asked, which takes long
    data.write_text("".join(f'{{"question": "{one} + 1?", "answer": "{one + 1}"}}\n' for one in range(40)), "utf-8")
    given = {"settings": {"rank": 2, "alpha": 4.0}, "learning_rate": 4e-3, "max_steps": 2, "records": 16, "seed": 1,
             "data": str(data)}
    state, precision = torch.get_rng_state(), torch.get_float32_matmul_precision()
    drawn = random.getstate(), numpy.random.get_state()[1].tolist()
    assert live_trial.train(given)
    until(lambda: "done" in kinds(heard) or ENDED in kinds(heard))
    assert torch.equal(torch.get_rng_state(), state) and torch.get_float32_matmul_precision() == precision
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == drawn
    assert kinds(heard) == ["ready", "record", "record", "asking", "done"]
    parameters, metrics = heard[-1]["done"]["parameters"], heard[-1]["done"]["metrics"]
    want = trials.run_trial(**{name: value for name, value in given.items() if name != "settings"}, **given["settings"])
    assert metrics["held_out_loss"] == want["held_out_loss"] and metrics["loss"] == want["loss"]
    assert metrics.keys() == want.keys() - {"before_gib"}
    assert parameters["settings"]["rank"] == 2 and "seed" not in parameters
    live_trial.train(given | {"settings": {"rank": 0}})
    until(lambda: "refused" in kinds(heard))
    assert heard[-1]["refused"] == "rank must be a whole number, 1 or more, got 0. Take 8 to begin with."
    live_trial.train(given | {"settings": {"rank": 10**10}})  # 7 TB for a matrix
    until(lambda: kinds(heard).count("refused") == 2)
    assert heard[-1]["refused"].startswith("RuntimeError: ") and "memory" in heard[-1]["refused"]
