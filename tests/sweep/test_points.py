"""A sweep's folder: names that stay the same, and records that survive."""

import json

import pytest

from ftkit.errors import Refusal
from ftkit.sweep.points import Point, begin, named, point_hash, read_point, read_sweep, stored_points, write_point


def test_a_point_is_named_by_what_differs_and_a_hash_of_all():
    points = named([{"rank": 4, "alpha": 8.0, "model": "/a/b/base.v2"}, {"rank": 8, "alpha": 8.0, "model": "c d/é"}])
    assert [one.id[:-8] for one in points] == ["rank=4-model=base.v2-", "rank=8-model=_-"]
    assert points[0].id[-8:] == point_hash({"model": "/a/b/base.v2", "alpha": 8.0, "rank": 4})
    assert len(named([{"name": "x" * 500, "n": n} for n in (1, 2)])[0].id) < 80


def test_a_name_that_would_be_too_long_tells_what_is_not_as_in_most_points():
    centre = {"learning_rate": 0.008, "target_modules": "all-linear", "batch_size": 8, "max_steps": 160}
    points = named([centre, {**centre, "learning_rate": 0.1}, {**centre, "target_modules": "q_proj"},
                    {**centre, "batch_size": 32}, {**centre, "max_steps": 40, "batch_size": 16}])
    assert [one.id[:-8] for one in points] == [
        "", "learning_rate=0.1-", "target_modules=q_proj-", "batch_size=32-", "batch_size=16-max_steps=40-"]


def test_the_same_parameters_keep_their_name_whatever_is_asked_for_beside_them(tmp_path):
    first = named([{"rank": 4, "seed": 0}, {"rank": 8, "seed": 0}])[0]
    write_point(tmp_path, first)
    again = named([{"seed": 0, "rank": 4}, {"rank": 4, "seed": 1}], tmp_path)
    assert again[0].id == first.id and again[1].id != first.id


def test_a_point_that_was_noted_and_never_begun_keeps_its_name_too(tmp_path):
    begin(tmp_path, "f.py:f", named([{"rank": 4, "alpha": 8}, {"rank": 8, "alpha": 8}]))
    begin(tmp_path, "f.py:f", named([{"rank": 4, "alpha": 8}, {"rank": 4, "alpha": 16}], tmp_path))
    assert [one.parameters for one in stored_points(tmp_path)] == [
        {"rank": 4, "alpha": 8}, {"rank": 8, "alpha": 8}, {"rank": 4, "alpha": 16}]


def test_a_larger_grid_is_added_and_a_sweep_of_something_else_refused(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    begin(out, "f.py:f", named([{"x": 1}]), {"limits": {}})
    write_point(out, Point(named([{"x": 1}], out)[0].id, {"x": 1}, "done", {"loss": 1.0}))
    begin(out, "f.py:f", named([{"x": 2}], out))
    assert [(one.parameters["x"], one.status) for one in stored_points(out)] == [(1, "done"), (2, "waiting")]
    assert read_sweep(out)["limits"] == {}
    with pytest.raises(Refusal, match="sweep folder out must be one of g.py:g, got 'one of f.py:f'"):
        begin(out, "g.py:g", [])


def test_a_record_that_a_disk_lost_counts_as_none_and_another_points_record_is_refused(tmp_path):
    point = named([{"x": 1}])[0]
    path = tmp_path / "points" / point.id / "point.json"
    path.parent.mkdir(parents=True)
    for torn in ("{", "[]", '{"id": "a"}'):
        path.write_text(torn)
        assert read_point(tmp_path, point) == point
    path.write_text(json.dumps({"id": point.id, "parameters": {"x": 2}}))
    with pytest.raises(Refusal, match="point.json must be of the parameters that its name stands for"):
        read_point(tmp_path, point)


@pytest.mark.parametrize(("content", "words"), [
    ("[]", "sweep.json must be what a sweep wrote"), ('{"points": 3}', "must be what a sweep wrote"),
    ('{"points": [], "schema": 99}', "of schema 1 or less, got 99")])
def test_a_folder_that_no_sweep_of_this_version_wrote_is_refused(tmp_path, content, words):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(Refusal, match=words):
        read_sweep(tmp_path)


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Refusal, match="a new, an empty or a sweep's folder, got '.* with thesis.txt'"):
        begin(tmp_path, "f.py:f", [])
    with pytest.raises(Refusal, match="status of a must be one of waiting"):
        Point("a", {}, "finished")
