"""What a sweep will take, from what was measured of it."""

import pytest

from ftkit.errors import Refusal
from ftkit.files import DiskFull
from ftkit.sweep import pricing
from ftkit.sweep.pricing import price

TODO = [{"id": str(rank), "parameters": {"rank": rank, "seed": 0}} for rank in (2, 4, 8)]


def done(seconds=20.0, peak_gib=1.5, **parameters):
    return {"id": str(parameters), "parameters": parameters, "status": "done", "metrics": {}, "elapsed_s": seconds,
            "peak_gib": peak_gib}


def test_a_point_costs_what_the_finished_points_cost_that_are_most_like_it():
    found = price(TODO, [done(10, rank=2, seed=1), done(40, rank=8, seed=1), done(44, rank=8, seed=2)])
    assert found.seconds == pytest.approx(10 + (10 + 40 + 44) / 3 + 42)
    assert found.basis == "measured on 3 finished points of this sweep" and found.points == 3


def test_jobs_share_the_time_and_add_up_their_memory():
    found = price(TODO, [done(10, rank=2), done(20, rank=4), done(40, peak_gib=2.0, rank=8)], jobs=2)
    assert (found.seconds, found.peak_gib) == (50, 3.5)  # 10 and 40 behind each other beside 20


def test_seconds_grow_with_the_steps():
    found = price([{"max_steps": 160}], [done(10, max_steps=40)])
    assert found.seconds == 40


def test_files_of_finished_points_are_what_a_point_writes(tmp_path):
    one = done(rank=2)
    folder = tmp_path / "points" / one["id"] / "run"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(1000))
    assert price(TODO, [one], tmp_path).disk_bytes == 3000


def test_what_was_not_measured_is_said_and_not_made_up():
    found = price(TODO)
    assert (found.seconds, found.peak_gib, found.disk_bytes) == (None, None, None)
    assert str(found) == "3 points to run\nnot measured: run one point first with --probe"
    failed = {**done(rank=2), "status": "failed"}
    assert price(TODO, [failed]).seconds is None


def test_an_estimate_of_the_caller_stands_in_and_is_called_one():
    found = price(TODO, estimate={"seconds": 3600, "peak_gib": 1.0, "bytes": 2**20}, jobs=2)
    assert "estimated by the caller, not measured" in str(found) and "time: 2.00 h on 2 jobs" in str(found)
    assert "memory: 2.00 GiB at its peak" in str(found) and "disk: 3.00 MiB, " in str(found)


def test_what_was_measured_comes_before_an_estimate():
    assert price(TODO, [done(10, rank=2)], estimate={"seconds": 99}).seconds == 30


def test_a_disk_or_a_memory_that_is_too_small_is_warned_of_and_a_full_disk_refused(monkeypatch):
    monkeypatch.setattr(pricing.shutil, "disk_usage", lambda _: type("D", (), {"free": 2 * 2**20}))
    found = price(TODO, estimate={"bytes": 2**20, "peak_gib": 1e6}, jobs=3)
    assert "3 jobs at once would need" in str(found) and "Take fewer jobs" in str(found)
    assert "disk: 3.00 MiB are needed, and 2.00 MiB are free" in str(found)
    with pytest.raises(DiskFull, match="one with room for 3.00 MiB, got '2.00 MiB free'. Free some space"):
        found.refuse_full_disk()
    price(TODO, estimate={"bytes": 2**19}).refuse_full_disk()
    price(TODO).refuse_full_disk()


def test_nothing_to_run_takes_nothing():
    assert str(price([], [done(rank=2)])).startswith("0 points to run")


@pytest.mark.parametrize(("call", "words"), [
    (lambda: price(TODO, jobs=0), "jobs must be 1 or more, got 0"),
    (lambda: price(TODO, estimate={"second": 3}), "Did you mean seconds"),
    (lambda: price(TODO, estimate={"seconds": -3}), "seconds of the estimate must be a number, 0 or more, got -3"),
])
def test_bad_input_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_memory_that_was_not_measured_is_planned_where_the_parameters_name_a_method():
    points = [{"method": "lora", "rank": rank, "batch_size": 8, "seq_len": 64} for rank in (2, 64)]
    found, smaller = price(points), price(points[:1])
    assert found.planned_bytes > smaller.planned_bytes > 0
    assert "of tensors in the largest point, by ftkit plan" in str(found)
    assert price(points, estimate={"peak_gib": 1}).planned_bytes is None
    assert price([{"rank": 2}]).planned_bytes is None and price([{"method": "lora", "rank": 0}]).planned_bytes is None
