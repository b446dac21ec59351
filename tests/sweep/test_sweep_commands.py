"""The command `ftkit sweep`: what it prints, refuses and returns."""

import json
from pathlib import Path

import pytest

from ftkit import cli

from .conftest import read, record, starts


@pytest.fixture
def ftkit(capfd):
    """Calls the command; returns its status and what it printed."""
    def call(*words):
        status = cli.main(["sweep", *words])
        said = capfd.readouterr()
        return status, said.out, said.err

    return call


def test_a_grid_runs_to_a_table_and_a_figure(function, ftkit):
    status, said, _ = ftkit(function(), "--grid", "x=1,2", "--where", "x != 2 or how == 'ok'", "--seeds", "2", "--jobs",
                            "2", "--out", "out", "-p", "how=ok")
    assert status == 0 and said.startswith("swept.py:f: 4 points in out\n[1/4] x=")
    assert "[4/4]" in said and "left" in said and "| 10.5 |" in said and "table and figure are in out" in said
    assert {"table.csv", "table.md", "figure.png", "sweep.json"} <= {path.name for path in Path("out").iterdir()}
    again, said, _ = ftkit("swept.py:f", "--grid", "x=1,2", "-p", "how=ok", "--seeds", "2", "--out", "out")
    assert again == 0 and "[" not in said.partition("|")[0] and set(starts(Path("out")).values()) == {1}


def test_failed_points_are_listed_with_their_error_and_the_way_to_try_again(function, ftkit):
    status, said, _ = ftkit(function(), "--grid", "how=ok,raise", "-p", "x=1", "--out", "out")
    assert status == 1 and "1 of 2 failed; the same command with --retry runs them again" in said
    assert "| raise |" in said.replace("  ", " ") and "failed | ValueError: no good |" in said
    ftkit("swept.py:f", "--grid", "how=ok,raise", "-p", "x=1", "--out", "out", "--retry")
    assert record("out", how="raise")["attempts"] == 2 and record("out", how="ok")["attempts"] == 1


def test_a_dry_run_runs_nothing_and_a_probe_runs_one_point_to_price_the_rest(function, ftkit):
    words = [function(), "--grid", "x=1,2,3", "--out", "out"]
    status, said, _ = ftkit(*words, "--dry-run")
    assert status == 0 and said.count("waiting") == 3 and "3 points to run" in said and "--probe" in said
    assert not Path("out").exists()
    status, said, _ = ftkit(*words, "--probe")
    assert status == 0 and "2 points to run" in said and "measured on 1 finished point" in said and "time: " in said
    assert len(starts(Path("out"))) == 1


def test_a_study_is_asked_for_by_ranges(function, ftkit):
    status, said, _ = ftkit(function(), "--study", "2", "--range", "x=1..9", "-p", "how=ok", "--out", "out")
    assert status == 0 and "swept.py:f: 2 points in out" in said and len(starts(Path("out"))) == 2
    assert "4 points to run" in ftkit("swept.py:f", "--study", "6", "--range", "x=1..9", "-p", "how=ok", "--out", "out",
                                      "--dry-run")[1]


def test_a_grid_file_may_name_its_target(function, ftkit):
    function()
    Path("g.json").write_text(json.dumps({"target": "swept.py:f", "grid": {"x": [1, 2]}, "fixed": {"how": "ok"}}))
    status, said, _ = ftkit("--grid-file", "g.json", "--out", "out", "--dry-run")
    assert status == 0 and "swept.py:f: 2 points in out" in said
    function(file="other.py")
    status, _, refused = ftkit("other.py:f", "--grid-file", "g.json", "--out", "out")
    assert status == 2 and "target must be swept.py:f, which the grid is for, got 'other.py:f'" in refused
    status, _, refused = ftkit("--grid", "x=1")
    assert status == 2 and "target must be a notebook or a function, got 'none'" in refused


def test_each_point_gets_a_gpu_of_its_own(function, ftkit):
    text = function("import os\n\ndef f(x: int):\n    return {'gpu': int(os.environ['CUDA_VISIBLE_DEVICES'])}\n")
    assert ftkit(text, "--grid", "x=1,2,3", "--gpus", "4,6", "--out", "out")[0] == 0
    assert {read(path)["metrics"]["gpu"] for path in Path("out").glob("points/*/point.json")} == {4, 6}


@pytest.mark.parametrize(("words", "said"), [
    (["--grid", "y=1"], "parameter of swept.py:f must be one of x, how, seed, got 'y'"),
    (["--grid", "x=a"], "x must be a whole number"), (["-p", "x"], "-p must be name=value, got 'x'"),
    (["-p", "x=1", "-p", "x=2"], "-p x must be given once, got 'twice'. Keep one of the two"),
    ([], "grid must be one with points in it"), (["--study", "0", "--range", "x=1..2"], "trials of a study must be 1"),
    (["--grid", "how=ok"], "parameter x of swept.py:f must be given"),
    (["--grid", "x=1", "--range", "x=1..2"], "--range must be given with --study"),
    (["--grid", "x=1", "--dask", "tcp://a:1", "--gpus", "0"], "--gpus must be left out with a scheduler's address"),
    (["--grid", "x=1", "--jobs", "0"], "jobs must be 1 or more"),
    (["--grid", "x=1", "--limit", "0"], "limit_s must be more than 0"),
    (["--grid", "x=1", "--executor", "threads"], "executor must be one of forked"),
    (["--grid", "x=1", "--prune", "never"], "prune must be one of halving, median"),
    (["--grid-file", "star.json", "--study", "2"], "grid file of a study must be one with grid, fixed")])
def test_what_cannot_be_is_refused_before_anything_runs(function, ftkit, words, said):
    Path("star.json").unlink(missing_ok=True)
    text = function()
    Path("star.json").write_text(json.dumps({"star": {"centre": {"x": 1}}}))
    status, _, refused = ftkit(text, *words, "--out", "out")
    assert status == 2 and refused.startswith("ftkit: ") and said in refused and not starts(Path("out"))
