"""What a target takes, read from its text without running it."""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from ftkit.errors import Refusal
from ftkit.sweep.targets import find_target, literal

SOURCE = '''
raise RuntimeError("loaded")

def f(a, b: "int", c=1.5, d=None, *, e: bool = True, seed: int = 0, **settings):
    import torch

def positional(a, /):
    pass
'''


def test_a_function_is_known_by_its_text_alone(function):
    target = find_target(function(SOURCE))
    assert {name: one.type for name, one in target.declared.items()} == {
        "a": "any", "b": "int", "c": "float", "d": "any", "e": "bool", "seed": "int"}
    assert target.required == ("a", "b") and target.is_open and target.takes_seed and target.is_heavy
    assert target.name == "swept.py:f"
    assert target.parse("a", "1e-3") == 0.001 and target.parse("new", "q_proj") == "q_proj"
    point = {"a": [1], "b": 2, "new": None}
    assert target.parse("b", "3") == 3 and target.check(point) == point


def test_the_shipped_trial_asks_beforehand():
    target = find_target("ftkit.trials:run_trial")
    assert target.asks == "check_run_trial" and target.is_heavy and target.declared["learning_rate"].type == "float"
    assert "torch" not in str(target.place)


def test_a_function_itself_will_do_if_it_stands_in_a_file(function, monkeypatch, tmp_path):
    from ftkit.units import bytes_to_words

    assert find_target(bytes_to_words).name == "ftkit.units:bytes_to_words"
    function("def g(x: int = 1):\n    return x\n", "g", "script.py")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "script.py"))
    namespace = {"__name__": "__main__"}
    exec("def g(x: int = 1):\n    return x\n", namespace)
    assert find_target(namespace["g"]).name == "script.py:g"
    for odd in (lambda x: x, functools.partial(bytes_to_words), Refusal.__init__, functools):
        with pytest.raises(Refusal, match="target must be a function that stands in a file, got "):
            find_target(odd)


def test_a_change_of_the_code_can_be_seen_and_a_change_of_outputs_is_none(function, tmp_path):
    target = find_target(function(SOURCE))
    first = target.source
    function(SOURCE + "\n# more\n")
    assert first and target.source not in (first, "")
    Path("swept.py").unlink()
    assert target.source == ""
    cells = [{"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": "rank: int = 8", "outputs": []},
             {"cell_type": "markdown", "metadata": {}, "source": "words"}]

    def source(**changes):
        (tmp_path / "n.ipynb").write_text(json.dumps({"cells": [{**cells[0], **changes}, cells[1]]}))
        return find_target("n.ipynb").source

    assert source() == source(outputs=[1], execution_count=3) != source(source="rank: int = 9")


def test_a_whole_default_without_an_annotation_takes_any_number(function):
    target = find_target(function("def g(rank=8, dropout=0, seed=0):\n    pass\n", "g"))
    assert target.parse("dropout", "0.1") == 0.1 and target.check({"dropout": 0.1, "rank": 4}) == {
        "dropout": 0.1, "rank": 4}
    for value in ("many", True, float("nan")):
        with pytest.raises(Refusal, match="dropout must be a finite number, got .* Its default is 0"):
            target.check({"dropout": value})
    with pytest.raises(Refusal, match="seed must be a whole number"):
        target.check({"seed": 0.5})


def test_numbers_of_numpy_and_paths_are_taken_for_what_they_are_and_other_things_refused(function):
    target = find_target(function(SOURCE))
    given = {"a": np.float32(0.5), "b": np.int64(3), "c": np.float64(0.25), "d": Path("x") / "y"}
    checked = target.check(given)
    assert checked == {"a": 0.5, "b": 3, "c": 0.25, "d": "x/y"} and {type(one) for one in checked.values()} == {
        float, int, str}
    with pytest.raises(Refusal, match="a must be what JSON can hold: a number, text, a list or an object of these"):
        target.check({"a": np.arange(3), "b": 1})


@pytest.mark.parametrize(("text", "words"), [
    ("swept.py:g", "function of swept.py must be one of f, positional, got 'g'"),
    ("swept.py:positional", "a function whose parameters can be given by name, got 'a'"),
    ("swept.py", "a notebook or a function, got 'swept.py'. Write swept.py:FUNCTION"),
    ("none.py:f", "an existing file with a function"), ("no.such.module:f", "a module that can be imported"),
    ("json.decoder.x:f", "a module that can be imported"), ("sys:exit", "a module that can be imported"),
    ("broken.py:f", "broken.py must be Python that parses"), ("99", "lesson must be one of")])
def test_what_is_no_target_is_refused(function, text, words):
    function(SOURCE)
    function("def f(:", file="broken.py")
    with pytest.raises(Refusal, match=words):
        find_target(text)


def test_values_without_a_declared_type_are_read_as_json_or_text():
    assert [literal(text) for text in ("1", "1.5", "true", "False", "null", "q,v", "[1]", "NaN", "1e999")] == [
        1, 1.5, True, False, None, "q,v", [1], "NaN", "1e999"]
