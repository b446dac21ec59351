"""Grids, stars, lists and files as points; what is wrong is refused before anything runs."""

import json

import pytest

from ftkit.errors import Refusal
from ftkit.sweep.grid import Grid, grid_of_texts, points_of, read_grid, seed_list
from ftkit.sweep.targets import find_target

SOURCE = '''
def f(rank: int = 8, alpha: float = 16.0, modules: str = "all", rslora: bool = False, seed: int = 0, out_dir: str = ""):
    return 0.0

def bare(rank: int):
    return 0.0
'''


@pytest.fixture
def target(function):
    return find_target(function(SOURCE))


def test_a_grid_is_the_product_with_the_first_seed_of_all_settings_first(target):
    points = points_of(Grid(grid={"rank": [2, 4], "alpha": [8, 16]}, seeds=2), target)
    assert [(one["rank"], one["alpha"], one["seed"]) for one in points] == [
        (2, 8.0, 0), (2, 16.0, 0), (4, 8.0, 0), (4, 16.0, 0), (2, 8.0, 1), (2, 16.0, 1), (4, 8.0, 1), (4, 16.0, 1)]
    assert all(isinstance(one["alpha"], float) for one in points)


def test_constraints_derive_and_filter_and_know_the_defaults(target):
    asked = Grid(grid={"rank": [2, 4, 8]}, constraints=["alpha = 2*rank", "alpha >= 8", "modules == 'all'"])
    assert points_of(asked, target) == [{"rank": 4, "alpha": 8.0}, {"rank": 8, "alpha": 16.0}]
    halved = Grid(grid={"alpha": [8.0]}, constraints=["rank = alpha / 2"])
    assert points_of(halved, target) == [{"alpha": 8.0, "rank": 4}]
    assert type(points_of(halved, target)[0]["rank"]) is int


def test_a_star_changes_one_thing_at_a_time_and_its_centre_is_there_once(target):
    star = {"centre": {"rank": 8, "alpha": 16.0}, "values": {"rank": [4, 8], "alpha": [8.0, 16.0]}}
    assert points_of(Grid(star=star), target) == [
        {"rank": 8, "alpha": 16.0}, {"rank": 4, "alpha": 16.0}, {"rank": 8, "alpha": 8.0}]


def test_groups_have_fixed_values_and_seeds_of_their_own_and_share_points(target):
    asked = Grid(fixed={"modules": "all"}, seeds=2, groups={
        "rank": {"points": [{"rank": 2}, {"rank": 4}]}, "again": {"points": [{"rank": 4}], "seeds": 3},
        "few": {"grid": {"rank": [2]}, "fixed": {"modules": "q"}, "seeds": [7], "constraints": ["alpha = rank"]}})
    points = points_of(asked, target)
    assert sorted((one["rank"], one["modules"], one["seed"]) for one in points) == [
        (2, "all", 0), (2, "all", 1), (2, "q", 7), (4, "all", 0), (4, "all", 1), (4, "all", 2)]


def test_fixed_values_alone_are_one_point_and_a_point_may_say_otherwise(target):
    assert points_of(Grid(fixed={"rank": 2}), target) == [{"rank": 2}]
    assert points_of(Grid(fixed={"rank": 2}, points=[{"rank": 3}]), target) == [{"rank": 3}]


def test_texts_are_read_as_the_declared_types(target):
    assert grid_of_texts(["rank=2,4", "alpha=8,1e1", "rslora=true,False", 'modules=["q,v","all"]'], target) == {
        "rank": [2, 4], "alpha": [8.0, 10.0], "rslora": [True, False], "modules": ["q,v", "all"]}


@pytest.mark.parametrize(("texts", "words"), [
    (["rnk=2"], "parameter of swept.py:f must be one of rank, .*got 'rnk'. Did you mean rank"),
    (["rank=2,x"], "rank must be a whole number \\(int\\), got 'x'"), (["rank=2.5"], "rank must be a whole number"),
    (["rank"], "--grid must be name=value,value"), (["rank="], "--grid must be name=value,value"),
    (["rank=2", "rank=4"], "--grid rank must be given once"), (["rank=2,2"], "--grid rank must be different values"),
    (["out_dir=a,b"], "out_dir must be left to the sweep")])
def test_texts_that_cannot_be_are_refused(target, texts, words):
    with pytest.raises(Refusal, match=words):
        grid_of_texts(texts, target)


@pytest.mark.parametrize(("asked", "words"), [
    ({"grid": {"rnk": [2]}}, "parameter of swept.py:f must be one of rank"),
    ({"grid": {"rank": [2.5]}}, "rank must be a whole number"),
    ({"grid": {"rank": []}}, "values of rank must be a list"),
    ({"grid": {"rank": "248"}}, "values of rank must be a list"), ({"points": [3]}, "points of a grid must be objects"),
    ({"grid": [2]}, "grid of a grid must be an object"), ({"star": {"center": {}}}, "Did you mean centre"),
    ({}, "grid must be one with points in it"), ({"points": "rank"}, "points of a grid must be a list"),
    ({"grid": {"rank": [2]}, "constraints": ["rank > 2"]}, "one with points in it, .*loosen a constraint"),
    ({"grid": {"alpha": [4]}, "constraints": ["alpha = 2*rank"]}, "alpha of a point must be either given or derived"),
    ({"groups": {"a": 3}}, "group a must be an object"), ({"groups": {"a": {"pionts": []}}}, "Did you mean points"),
    ({"grid": {"rank": [2]}, "seeds": 0}, "seeds must be 1 or more"),
    ({"grid": {"rank": [2]}, "seeds": [1, 1]}, "a list of different whole numbers"),
    ({"grid": {"rank": [2]}, "seeds": "3"}, "seeds must be"), ({"grid": {"rank": [2]}, "seeds": True}, "seeds must be"),
    ({"grid": {"seed": [2]}, "seeds": 2}, "seeds must be given once")])
def test_a_grid_that_cannot_be_is_refused(target, asked, words):
    with pytest.raises(Refusal, match=words):
        points_of(Grid(**asked), target)


def test_repeats_of_a_target_without_a_seed_are_refused(function):
    bare = find_target(function(SOURCE, "bare"))
    assert seed_list(1, bare) == [None]
    with pytest.raises(Refusal, match=r"seeds must be left out: swept.py:bare has no parameter seed, got \[3\]"):
        seed_list([3], bare)
    with pytest.raises(Refusal, match="seeds must be left out: swept.py:bare has no parameter seed, got 3"):
        points_of(Grid(grid={"rank": [1]}, seeds=3), bare)
    with pytest.raises(Refusal, match="parameter rank of swept.py:bare must be given: it has no default"):
        points_of(Grid(points=[{}]), bare)


def test_files_hold_a_grid_or_points(target, tmp_path):
    (tmp_path / "g.json").write_text(json.dumps({"grid": {"rank": [2]}, "seeds": 2}))
    (tmp_path / "p.json").write_text('[{"rank": 2}, {"rank": 4}]')
    (tmp_path / "p.jsonl").write_text('{"rank": 2}\n\n{"rank": 4}\n')
    (tmp_path / "p.csv").write_text("rank,modules\n2,4\n4,\n")
    for name, encoding in (("excel.csv", "gb18030"), ("excel.csv", "utf-8-sig"), ("excel.jsonl", "gb18030")):
        text = '{"rank": 2, "modules": "注意力层"}\n' if name.endswith("l") else "rank,modules\n2,注意力层\n"
        (tmp_path / name).write_text(text, encoding)
        assert read_grid(name, target).points == [{"rank": 2, "modules": "注意力层"}]
    assert read_grid("g.json", target).seeds == 2
    assert read_grid("p.json", target).points == read_grid("p.jsonl", target).points == [{"rank": 2}, {"rank": 4}]
    assert read_grid("p.csv", target).points == [{"rank": 2, "modules": "4"}, {"rank": 4}]


@pytest.mark.parametrize(("name", "content", "words"), [
    ("g.json", '{"gird": {}}', "part of g.json must be one of grid, .*Did you mean grid"),
    ("g.json", "3", "g.json must be an object with a grid, or a list of points"), ("g.json", "{", "must be valid JSON"),
    ("p.jsonl", '{"rank": 2}\n3\n', "p.jsonl, line 2 must be a JSON object"),
    ("p.csv", "rank\n2,3\n", "p.csv, line 2 must be as many cells as the header"),
    ("p.csv", "rank\nx\n", "rank must be a whole number"), ("none.csv", None, "grid file must be an existing file"),
    ("none.jsonl", None, "grid file must be an existing file"), ("none.json", None, "must be a readable JSON file")])
def test_a_file_that_is_no_grid_is_refused_with_its_place(target, tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(Refusal, match=words):
        read_grid(name, target)
