"""Points that fail, are killed, hang or are stopped cost only themselves; what is done is not run again."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import nbformat
import psutil
import pytest

from ftkit.cards import read_card
from ftkit.errors import Refusal
from ftkit.locks import Lock
from ftkit.notebooks.kernel import kernel_env
from ftkit.sweep import executors, guard, processes
from ftkit.sweep.planning import Limits, plan
from ftkit.sweep.points import Point
from ftkit.sweep.running import run, sweep, table

from .conftest import HOW, read, record, starts

WAIT_S = 120.0  # for what takes a second where nothing else runs


def wait_for(what, *paths: Path):
    deadline_s = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < deadline_s, [path.read_text() for path in paths if path.is_file()]
        time.sleep(0.05)
    return found


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def pids_in(out: Path) -> list[int]:
    """Of all processes that the hanging points noted; empty while one is being noted."""
    texts = [path.read_text() for name in ("beat", "child") for path in out.glob(f"points/*/{name}.txt")]
    return [int(text) for text in texts] if all(texts) else []


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """A sweep with a failure of each kind among points that do their work."""
    here = Path.cwd()
    folder = tmp_path_factory.mktemp("broken")
    os.chdir(folder)
    Path("swept.py").write_text(HOW)
    try:
        kinds = ["ok", "raise", "kill", "exit", "leave", "hang", "spin", "eat"]
        found = sweep("swept.py:f", {"x": [1, 2], "how": kinds}, jobs=3, out="out", limit_s=4, memory_gib=2)
    finally:
        os.chdir(here)
    return folder, found


def test_a_point_that_dies_in_any_way_costs_only_itself(broken):
    folder, found = broken
    errors = {row["param.how"]: row["error"] for _, row in found.iterrows() if row["param.x"] == 2}
    assert errors == {
        "ok": "", "raise": "ValueError: no good",
        "kill": "ProcessDied: ended by SIGKILL; the usual cause is too little memory",
        "exit": "ProcessDied: it left with exit status 3 before its end", "leave": "SystemExit: 4",
        "hang": "TimeLimit: it ran past its limit of 4 s", "spin": "TimeLimit: it ran past its limit of 4 s",
        "eat": "MemoryError"}
    assert sorted(found[found.status == "done"]["metric.loss"]) == [10.0, 20.0]
    assert set(starts(folder / "out").values()) == {1} and len(starts(folder / "out")) == 16


def test_a_point_that_was_ended_leaves_no_process_behind(broken):
    folder, _ = broken
    pids = pids_in(folder / "out")
    assert len(pids) == 4 and not any(map(is_alive, pids))  # two points, and a child of each in a session of its own


def test_what_a_point_printed_is_in_its_folder_and_the_summary_says_what_failed(broken):
    folder, _ = broken
    log = next((folder / "out").glob("points/x=1-how=raise*/log.txt")).read_text()
    assert "working on 1" in log and "ValueError: no good" in log
    summary = (folder / "out" / "table.md").read_text()
    assert "TimeLimit: it ran past its limit of 4 s" in summary and (folder / "out" / "table.csv").is_file()


def test_a_point_that_writes_no_run_card_is_given_one(broken):
    folder, _ = broken
    found = [read_card(path.parent) for path in (folder / "out").glob("points/x=1-*/card.json")]
    cards = {card.parameters["how"]: card for card in found}
    assert {how: card.status for how, card in cards.items()} == {
        "ok": "done", "raise": "failed", "leave": "failed", "eat": "failed"}  # the others were killed
    assert cards["ok"].metrics == {"loss": 10.0} and cards["ok"].parameters == {"x": 1, "how": "ok"}
    assert cards["raise"].error == "ValueError: no good" and "python" in cards["ok"].versions


def test_a_second_time_nothing_runs_and_a_larger_grid_runs_what_is_new(broken, monkeypatch):
    folder, _ = broken
    monkeypatch.chdir(folder)
    before = starts(Path("out"))
    again = plan("swept.py:f", {"x": [1, 2], "how": ["ok", "raise"]}, out="out")
    with executors.opened("forked", 2) as (executor, at_once):
        assert list(run(again, executor, at_once)) == []
    assert starts(Path("out")) == before
    larger = plan("swept.py:f", {"x": [1, 2, 3], "how": ["ok"]}, out="out")
    with executors.opened("serial") as (executor, at_once):
        steps = list(run(larger, executor, at_once))
    assert [(step.point.status, step.done, step.total, step.left_s) for step in steps] == [("done", 3, 3, 0.0)]
    assert len(table("out")) == 17


def test_failed_points_run_again_when_asked_for_and_not_before(function):
    text = function()
    assert sweep(text, {"x": [1], "how": ["once"]}, out="out")["error"][0] == "OSError: not yet"
    next(Path("out").glob("points/*/log.txt")).with_name("mended.txt").touch()
    assert sweep(text, {"x": [1], "how": ["once"]}, out="out")["status"][0] == "failed"
    found = sweep(text, {"x": [1], "how": ["once"]}, out="out", retry=True)
    assert found["status"][0] == "done" and found["error"][0] == "" and found["attempts"][0] == 2


@pytest.mark.parametrize(("asked", "todo"), [
    ({}, []), ({"retry": True}, ["failed", "pruned"]), ({"retry": True, "prune": "median"}, ["failed"])])
def test_points_that_were_pruned_can_be_run_to_their_end_without_pruning(function, asked, todo):
    grid = plan(function(), {"x": [1]}, out="out", **asked)
    assert [status for status in ("done", "failed", "pruned") if grid.is_todo(Point("a", {}, status))] == todo


def test_after_a_change_of_the_function_finished_points_stand_and_it_is_said(function):
    text = function("def f(x: int):\n    return {'loss': x}\n")
    sweep(text, {"x": [1]}, out="out")
    assert plan(text, {"x": [1]}, out="out").outdated() == ""
    function("def f(x: int):\n    return {'loss': 10 * x}\n")
    with pytest.warns(UserWarning, match="1 finished point ran before swept.py:f was changed, .* another folder"):
        found = sweep(text, {"x": [1, 2]}, out="out")
    assert dict(zip(found["param.x"], found["metric.loss"], strict=True)) == {1: 1, 2: 20}
    assert "not all rows are of the same code" in Path("out/table.md").read_text()


def test_repeats_with_other_seeds_are_points_of_their_own(function):
    found = sweep(function(), {"x": [1]}, seeds=[3, 5], out="out", fixed={"how": "ok"})
    assert list(zip(found["param.seed"], found["metric.loss"], strict=True)) == [(3, 13.0), (5, 15.0)]
    assert record("out", seed=5)["metrics"] == {"loss": 15.0}


def test_leaving_the_iteration_ends_running_points_and_they_go_on_later(function):
    asked = plan(function(), [{"x": 1}, {"x": 2, "how": "hang"}, {"x": 3}], out="out")
    with executors.opened("forked", 2) as (executor, at_once), closing(run(asked, executor, at_once)) as steps:
        first = next(steps)
        wait_for(lambda: list(Path("out").glob("points/*/beat.txt")))
    assert first.point.parameters["x"] == 1
    assert record("out", x=2)["status"] == "stopped" and record("out", x=2)["error"] == "the sweep was stopped"
    assert not any(map(is_alive, pids_in(Path("out"))))
    assert asked.is_todo(Point(**record("out", x=2)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_stopped_or_killed_leaves_a_table_and_no_process(function, number):
    words = [sys.executable, "-m", "ftkit.cli", "sweep", function(), "--grid", "x=1,2", "--grid", "how=ok,hang",
             "--where", "x == 1 or how == 'hang'", "--jobs", "2", "--out", "out"]
    with open("said.txt", "w") as said:
        started = subprocess.Popen(words, env=kernel_env({}), stdout=said, stderr=said)
    try:
        wait_for(lambda: len(list(Path("out").glob("points/*/child.txt"))) == 2 and Path("out/table.md").is_file(),
                 Path("said.txt"))
        pids = wait_for(lambda: pids_in(Path("out")))
        started.send_signal(number)
        code = started.wait(WAIT_S)
    finally:
        started.kill()
    wait_for(lambda: not any(map(is_alive, pids)), Path("said.txt"))
    assert code == (130 if number != signal.SIGKILL else -9)
    assert "10" in Path("out/table.csv").read_text() and record("out", x=1, how="ok")["status"] == "done"
    status = {record("out", x=x, how="hang")["status"] for x in (1, 2)}
    assert status == ({"stopped"} if number != signal.SIGKILL else {"running"})
    if number != signal.SIGKILL:
        assert "The same command goes on." in Path("said.txt").read_text()
    again = plan("swept.py:f", [{"x": 1, "how": "ok"}, {"x": 1, "how": "hang"}], out="out")
    assert [again.is_todo(point) for point in again.standing()] == [False, True]


def test_a_second_and_a_third_ctrl_c_do_not_keep_a_sweep_from_its_table(function):
    words = [sys.executable, "-m", "ftkit.cli", "sweep", function(), "--grid", "x=1,2", "-p", "how=hang", "--out",
             "out"]
    with open("said.txt", "w") as said:
        started = subprocess.Popen(words, env=kernel_env({}), stdout=said, stderr=said)
    try:
        pids = wait_for(lambda: pids_in(Path("out")), Path("said.txt"))
        while started.poll() is None and not Path("out/table.md").is_file():  # somebody leans on the key
            started.send_signal(signal.SIGINT)
            time.sleep(0.02)
        assert started.wait(WAIT_S) == 130
    finally:
        started.kill()
    said = Path("said.txt").read_text()
    assert "The same command goes on." in said and "Traceback" not in said, said
    assert "the sweep was stopped" in Path("out/table.md").read_text()
    assert record("out", x=1)["status"] == "stopped" and not any(map(is_alive, pids))


def test_two_sweeps_do_not_write_to_one_folder(function):
    text = function()
    Path("out").mkdir()
    lock = "import sys, time; from ftkit.locks import Lock; Lock('out'); print('held', flush=True); time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", lock], stdout=subprocess.PIPE, env=kernel_env({})) as other:
        try:
            assert other.stdout.readline() == b"held\n"
            with pytest.raises(Refusal, match="written to by one process at a time"):
                sweep(text, {"x": [1]}, out="out")
        finally:
            other.kill()
    Lock("out").release()


def test_a_folder_that_cannot_be_written_to_is_refused_in_words(function):
    text = function()
    Path("file").touch()
    with pytest.raises(Refusal, match="sweep folder out must be one that can be written to, got 'Not a directory'"):
        sweep(text, {"x": [1]}, out="file/out")


def test_a_script_needs_no_guard_even_if_it_sweeps_a_function_of_its_own(function):
    function("""
        from ftkit.sweep.running import sweep

        def f(x: int, seed: int = 0):
            return {"loss": float(x)}

        print(sorted(sweep(f, {"x": [1, 2]}, jobs=2, out="out")["metric.loss"]))
        """, file="script.py")
    done = subprocess.run([sys.executable, "script.py"], env=kernel_env({"OMP_NUM_THREADS": "1"}), text=True,
                          capture_output=True, timeout=WAIT_S)
    assert done.stdout == "[1.0, 2.0]\n", done.stderr


def test_a_function_below_the_scripts_own_sweep_is_not_found_in_words(function):
    found = sweep(function("""
        from ftkit.sweep.running import sweep

        sweep("script.py:f", [{"x": 1}], out="own")

        def f(x: int):
            return x
        """, file="script.py"), [{"x": 1}], out="out")
    assert found["error"][0] == "function f must be defined above the sweep, got 'a file that sweeps first, script.py'."


def test_a_point_is_worked_on_by_one_process_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_WAIT_S", 0.1)
    assert guard._alone(tmp_path) and not guard._alone(tmp_path)
    channel, theirs = multiprocessing.Pipe()
    monkeypatch.setattr(guard.os, "setsid", lambda: None)
    monkeypatch.setattr(guard, "_prctl", lambda *_: None)
    guard._guard(theirs, {"call": {"folder": str(tmp_path)}})
    assert json.loads(channel.recv_bytes()) == {"error": "another process still works on this point"}


def test_a_message_that_a_kill_cut_short_is_the_end_of_the_process():
    channel, theirs = multiprocessing.Pipe()
    theirs.send_bytes(json.dumps({"pid": 3}).encode())
    theirs.send_bytes(b'{"metrics": {"a"')
    outcome = processes._followed(channel, None, processes._Clock(None), lambda: None)
    assert outcome == {"error": "ProcessDied: it ended without a word"}


@pytest.mark.parametrize(("returned", "metrics"), [
    ("3", {"value": 3.0}), ("{'a': float('nan'), 'b': (1, None), 2: 'x'}", {"a": "nan", "b": [1, None], "2": "x"}),
    ("None", {}), ("__import__('numpy').float32(0.5)", {"value": 0.5}),
    ("{'a': __import__('numpy').arange(2)}", {"a": [0, 1]})])
def test_what_a_function_returns_becomes_metrics(function, returned, metrics):
    sweep(function(f"def f(x: int = 0):\n    return {returned}\n"), [{"x": 1}], out="out")
    assert record("out")["metrics"] == metrics


def test_a_function_that_returns_something_else_fails_in_words(function):
    found = sweep(function("def f(x: int = 0):\n    return 'good'\n"), [{"x": 1}], out="out")
    assert found["error"][0] == "what the function returns must be a dict of metrics, a number or nothing, got 'good'."


def test_a_function_is_asked_beforehand_where_it_can_say_what_it_takes(function):
    text = function("""
        def f(**settings):
            raise RuntimeError

        def check_f(**settings):
            if "rnk" in settings:
                raise ValueError("rank, you mean")
        """)
    with pytest.raises(Refusal, match="ValueError: rank, you mean"):
        plan(text, [{"rank": 1}, {"rnk": 1}], out="out")
    assert len(plan(text, [{"rank": 1}], out="out").points) == 1 and not Path("out").exists()


NOTEBOOK = '''
import os, time
from ftkit.runs import open_run
with open_run(os.path.join(out_dir, "r"), {"rank": rank}, name="x", seed=seed) as run:
    if how == "raise":
        1 / 0
    if how == "kill":
        os.kill(os.getpid(), 9)
    if how == "hang":
        time.sleep(600)
    if how == "eat":
        held = bytearray(2**33)
    run.finish({"held_out_loss": 1.0 / rank, "threads": os.environ["OMP_NUM_THREADS"]})
print(open(data).read())
'''


def test_a_notebook_is_a_target_like_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parameters = 'rank: int = 8\nseed: int = 0\nout_dir: str = "runs"\nhow: str = "ok"\ndata: str = ""'
    nbformat.write(nbformat.v4.new_notebook(cells=[
        nbformat.v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(NOTEBOOK, id="run")]), "n.ipynb")
    Path("mine.txt").write_text("read from the caller's folder")
    asked = {"fixed": {"data": "mine.txt"}, "jobs": 2, "out": "out"}
    sweep("n.ipynb", {"rank": [4], "how": ["ok", "raise", "kill"]}, **asked)
    found = sweep("n.ipynb", {"rank": [4], "how": ["hang", "eat"]}, **asked, limit_s=5, memory_gib=6)
    errors = dict(zip(found["param.how"], found["error"], strict=True))
    assert errors.pop("ok") == "" and "TimeLimit: the notebook ran past its limit of 5 s" in errors.pop("hang")
    assert errors == {
        "eat": "MemoryError: (cell run)", "raise": "ZeroDivisionError: division by zero (cell run)",
        "kill": "KernelDied: the kernel died; the usual cause is too little memory (cell run)"}
    metrics = record("out", how="ok")["metrics"]
    assert metrics["held_out_loss"] == 0.25 and metrics["threads"] == "1" and {"seconds", "peak_gib"} <= metrics.keys()
    folder = next(Path("out").glob("points/how=ok*"))
    assert "read from the caller's folder" in (folder / "n.ipynb").read_text() and (folder / "n.html").is_file()
    assert read(folder / "r" / "card.json")["status"] == "done"


def test_a_trial_from_a_sweep_is_the_trial_itself(tmp_path, monkeypatch):
    from ftkit.trials import run_trial

    monkeypatch.chdir(tmp_path)
    asked = {"rank": 2, "alpha": 4, "max_steps": 2, "records": 16}
    with pytest.raises(Refusal, match="a setting of lora must be one of .* got 'rnk'. Did you mean rank"):
        plan("ftkit.trials:run_trial", [{"rnk": 2}], out="out")
    sweep("ftkit.trials:run_trial", [asked], seeds=1, jobs=1, out="out")
    import torch

    torch.set_num_threads(1)  # as OMP_NUM_THREADS=1 of the tests gives the point
    alone = run_trial(**asked, seed=0)
    found = record("out")
    assert found["status"] == "done", found["error"]
    assert found["metrics"]["held_out_loss"] == alone["held_out_loss"]
    assert (next(Path("out").glob("points/*/run")) / "card.json").is_file()


@pytest.mark.parametrize(("more", "words"), [
    ({"limits": {"limit_s": 0}}, "limit_s must be more than 0, or left out, got 0"),
    ({"limits": {"memory_gib": True}}, "memory_gib must be more than 0"),
    ({"limits": {"memory_gib": float("inf")}}, "memory_gib must be more than 0, or left out, got inf"),
    ({"prune": "halve"}, "prune must be one of"),
    ({"grid": 3}, "grid must be values by parameter, a list of points, or a file"),
    ({"out": "swept.py"}, "sweep folder must be a folder, got 'the file swept.py'")])
def test_a_sweep_that_cannot_be_is_refused_and_writes_nothing(function, more, words):
    text, limits = function(), more.pop("limits", {})
    with pytest.raises(Refusal, match=words):
        plan(text, more.pop("grid", {"x": [1]}), out=more.pop("out", "out"), limits=Limits(**limits), **more)
    assert not Path("out").exists()


def test_a_slot_that_is_given_a_point_again_after_it_was_done_runs_nothing(function):
    asked = plan(function(), {"x": [1]}, seeds=1, out="out")
    given = []

    class Twice(executors.Serial):
        """One that, like Dask after the death of a worker, runs what was done a moment before."""

        def submit(self, slot, /, *arguments, **named):
            given.append(super().submit(slot, *arguments, **named).result())
            return super().submit(slot, *arguments, **named)

    with closing(run(asked, Twice())) as steps:
        assert [step.point for step in steps] == given
    assert list(starts(Path("out")).values()) == [1] and record("out", x=1)["attempts"] == 1
