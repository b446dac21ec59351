"""A training killed with SIGKILL comes out as an uninterrupted one. Twenty kills: benchmarks/kill_trial.py."""

import importlib.util
import signal
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "kill_trial.py"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_training_comes_out_bit_for_bit_and_its_folder_stays_readable(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spec = importlib.util.spec_from_file_location("kill_trial", SCRIPT)
    kill_trial = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, "kill_trial", kill_trial)  # dataclasses look their module up there
    spec.loader.exec_module(kill_trial)

    kills = kill_trial.plan(kills=3, in_checkpoint=1, seed=0)
    assert [kill.point is not None for kill in kills] == [False, False, True]
    result = kill_trial.trial(tmp_path, kills)  # raises where a folder can't be read after a kill

    assert result["same_trace"] and result["same_weights"]
    assert [row["kill"] for row in result["kills"]] == [1, 2, 3]
