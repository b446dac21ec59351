"""Points on Dask's workers: one is killed in mid-sweep, and nothing is lost, nothing is twice in the table."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from ftkit.errors import MissingPackage, Refusal
from ftkit.notebooks.kernel import kernel_env
from ftkit.sweep import executors
from ftkit.sweep.planning import plan
from ftkit.sweep.running import run, table

from .conftest import record, starts

pytest.importorskip("distributed", reason="distributed is not installed: pip install 'ftkit[cluster]'")
WAIT_S = 120.0  # for what takes a second where nothing else runs
SLOW = '''
import os, time

def f(x: int, seed: int = 0, out_dir: str = "") -> dict:
    folder = os.path.dirname(out_dir)
    with open(os.path.join(folder, "starts.txt"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    while x == 2 and not os.path.exists(os.path.join(folder, "go.txt")):
        time.sleep(0.02)
    return {"loss": float(10 * x + seed)}
'''


def wait_for(what):
    deadline_s = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    return found


def done(out: Path, *numbers: int) -> bool:
    """Whether only point 2 is left."""
    paths = [path for x in numbers for path in out.glob(f"points/x={x}-*/point.json")]
    return len(paths) == len(numbers) and all('"done"' in path.read_text() for path in paths)


def kill_the_first_worker_of_2(out: Path, client) -> None:
    """Waits until point 2 runs on some worker, kills the worker, and lets the second attempt finish."""
    started = wait_for(lambda: [path for path in out.glob("points/x=2*/starts.txt") if path.read_text().count("\n")])[0]
    try:
        pid = int(started.read_text())
        wait_for(lambda: done(out, 1, 3))
        busy = wait_for(lambda: one if len(one := [worker for worker, keys in client.processing().items() if keys]) == 1
                        else [])  # the scheduler hears a little later of what is done
        os.kill(client.run(os.getpid)[busy[0]], signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        wait_for(lambda: started.read_text().count("\n") == 2)
    finally:  # else it would run for ever
        started.with_name("go.txt").touch()


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A sweep on two workers, one of them killed while it works on a point."""
    here, folder, variables = Path.cwd(), tmp_path_factory.mktemp("dask"), dict(os.environ)
    os.chdir(folder)
    Path("slow.py").write_text(SLOW)
    try:
        asked = plan("slow.py:f", {"x": [1, 2, 3]}, seeds=1, out="out")
        with executors.opened("dask", 2, "local") as (executor, at_once):
            killer = threading.Thread(target=kill_the_first_worker_of_2, args=(asked.out, executor._client))
            killer.start()
            with closing(run(asked, executor, at_once)) as steps:
                ended = [step.point for step in steps]
            killer.join()
    finally:
        os.chdir(here)
    assert dict(os.environ) == variables  # Dask sets some where it starts workers: nothing would be forked here then
    return folder / "out", ended


def test_a_worker_killed_in_mid_sweep_loses_nothing_and_doubles_nothing(killed):
    out, ended = killed
    assert sorted(one.metrics["loss"] for one in ended) == [10.0, 20.0, 30.0]
    found = table(out)
    assert list(found["metric.loss"]) == [10.0, 20.0, 30.0] and set(found["status"]) == {"done"}
    assert len(set(found["id"])) == 3


def test_the_point_of_the_killed_worker_ran_again_and_its_first_process_ended(killed):
    out, _ = killed
    counts = {record(out, x=x)["attempts"]: starts(out)[record(out, x=x)["id"]] for x in (1, 2)}
    assert counts == {1: 1, 2: 2}


def test_a_cluster_is_reached_by_its_address_and_forgets_points_of_a_sweep_that_is_gone(function):
    text = function(SLOW)
    cluster = ("from distributed import LocalCluster; import time\n"
               "if __name__ == '__main__':\n"
               "    made = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)\n"
               "    print(made.scheduler_address, flush=True); time.sleep(600)\n")
    Path("cluster.py").write_text(cluster)
    with subprocess.Popen([sys.executable, "cluster.py"], stdout=subprocess.PIPE, text=True, env=kernel_env({}),
                          stderr=subprocess.DEVNULL) as made:
        try:
            address = made.stdout.readline().strip()
            words = [sys.executable, "-m", "ftkit.cli", "sweep", text, "--grid", "x=2", "--dask", address]
            words += ["--out", "out"]
            with open("said.txt", "w") as said:
                gone = subprocess.Popen(words, env=kernel_env({}), stdout=said, stderr=said)
            path = wait_for(lambda: [one for one in Path("out").glob("points/*/starts.txt") if one.read_text()])[0]
            gone.kill()
            gone.wait()
            pid = int(path.read_text())
            wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
            wait_for(lambda: record("out", x=2)["status"] == "stopped")
            path.with_name("go.txt").touch()
            assert subprocess.run(words, env=kernel_env({}), capture_output=True, timeout=WAIT_S).returncode == 0
        finally:
            made.terminate()
    assert record("out", x=2)["status"] == "done" and record("out", x=2)["attempts"] == 2


def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setattr(executors, "ANSWER_S", 1.0)
    with pytest.raises(Refusal, match="local, or the address of a scheduler that answers, got 'nowhere:1'"), \
            executors.opened("dask", 1, "nowhere:1"):
        pass


def test_without_dask_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingPackage, match='pip install "ftkit\\[cluster\\]"'), executors.opened("dask", 1):
        pass


def test_a_job_script_for_slurm_can_be_read_before_it_is_submitted():
    jobqueue = pytest.importorskip("dask_jobqueue", reason="not installed: pip install 'ftkit[cluster]'")
    with jobqueue.SLURMCluster(queue="gpu", cores=1, processes=1, memory="16GB", walltime="02:00:00",
                               job_extra_directives=["--gres=gpu:1"],
                               scheduler_options={"dashboard_address": None}) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --gres=gpu:1" in script and "dask_worker tcp://" in script and "--nthreads 1" in script
