"""The wording of refusals."""

import pytest

from ftkit.errors import MissingPackage, Refusal, missing_package, nearest, refusal, unknown


def test_a_refusal_names_the_input_the_rule_the_value_and_the_remedy():
    error = refusal("rank", "1 or more", 0, "Take 8 to begin with.")
    assert isinstance(error, ValueError)
    assert str(error) == "rank must be 1 or more, got 0. Take 8 to begin with."
    assert str(refusal("rank", "1 or more", "0")) == "rank must be 1 or more, got '0'."


def test_a_long_value_is_shortened():
    text = str(refusal("prompt", "short", "发" * 500))
    assert len(text) < 120
    assert text.endswith("…. ".strip())


@pytest.mark.parametrize(("value", "sentence"), [
    ("linaer", "schedule must be one of constant, linear, got 'linaer'. Did you mean linear?"),
    ("zzz", "schedule must be one of constant, linear, got 'zzz'."),
    (None, "schedule must be one of constant, linear, got None."),
])
def test_an_unknown_name_gets_the_list_and_the_nearest(value, sentence):
    assert str(unknown("schedule", value, ["constant", "linear"])) == sentence


def test_an_empty_list_of_names_is_said_to_be_empty():
    assert str(unknown("run", "a", [])) == "run must be one of (none known), got 'a'."
    assert str(unknown("run", "a", [1], "Look there.")) == "run must be one of 1, got 'a'. Look there."


def test_a_missing_package_names_the_command_and_is_caught_as_either_error():
    error = missing_package("tensorboard", "track")
    assert isinstance(error, Refusal) and isinstance(error, ImportError) and isinstance(error, MissingPackage)
    assert str(error) == 'tensorboard is not installed. Install it with: pip install "ftkit[track]"'


def test_the_nearest_names_come_best_first_and_at_most_three():
    known = ["learning_rate", "learning_rates", "learn_rate", "learning_rte2", "rank"]
    assert nearest("learning_rate", known)[0] == "learning_rate"
    assert len(nearest("learning_rate", known)) == 3
    assert nearest("xyz", known) == []
