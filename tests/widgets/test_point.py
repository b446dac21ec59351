"""A choice as it is typed, trained, run and kept."""

import pytest
import yaml

from ftkit.errors import Refusal
from ftkit.notebooks.parameters import declared_in, parse_parameters
from ftkit.trials import Trial
from ftkit.widgets.point import command, parameter_file, parse, trial_of

CHOSEN = {"rank": 4, "alpha": 8.0, "target_modules": ("q_proj", "v_proj"), "use_rslora": True, "layers": "last 2",
          "learning_rate": 4e-3, "seed": 7}
DECLARED = "\n".join(["rank: int = 8", "alpha: float = 16.0", 'target_modules: str = "all-linear"',
                      "use_rslora: bool = False", 'layers: str = "all"', "learning_rate: float = 0.008",
                      "seed: int = 0", "point_only: bool = False"])


@pytest.mark.parametrize(("name", "text", "like", "value"), [
    ("rank", " 16 ", 8, 16), ("alpha", "32", 16.0, 32.0), ("learning_rate", "8e-3", 1e-3, 0.008),
    ("use_rslora", "True", False, True), ("target_modules", "q_proj, v_proj", "all-linear", ("q_proj", "v_proj")),
    ("target_modules", "all-linear", ("q_proj",), "all-linear"), ("layers", "last 6", "all", "last 6"),
    ("seed", "12", 0, 12), ("records", "200", 0, 200)])
def test_typed_text_becomes_a_value_of_the_knobs_kind(name, text, like, value):
    found = parse(name, text, like)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("name", "text", "like", "sentence"), [
    ("rank", "many", 8, "rank must be a whole number, got 'many'"),
    ("rank", "0", 8, "rank must be a whole number, 1 or more, got 0. Take 8 to begin with."),
    ("alpha", "1,5", 16.0, "alpha must be a number, got '1,5'"),
    ("alpha", "nan", 16.0, "alpha must be a number above 0, got nan"),
    ("dropout", "1", 0.0, "dropout must be a share, 0 or more and below 1"),
    ("use_rslora", "maybe", False, "use_rslora must be true or false, got 'maybe'"),
    ("target_modules", " ", "all-linear", "target_modules must be at least one name"),
    ("learning_rate", "0", 1e-3, "learning_rate must be above 0, got 0.0"),
    ("learning_rate", "-1", 1e-3, "learning_rate must be"),
    ("batch_size", "0", 8, "batch_size must be"),
    ("seed", "-1", 0, r"seed must be a whole number from 0 to 2\*\*32 - 1, got -1")])
def test_what_cannot_be_is_refused_in_the_words_of_the_setting(name, text, like, sentence):
    with pytest.raises(Refusal, match=sentence):
        parse(name, text, like)


def test_the_command_is_read_back_by_ftkit_run_as_the_same_choice():
    import shlex

    typed = shlex.split(command("05_rank_alpha_dropout", CHOSEN))
    assert typed[:3] == ["ftkit", "run", "05_rank_alpha_dropout"] and typed[3::2] == ["-p"] * 8
    given = parse_parameters(declared_in(DECLARED), typed[4::2])
    assert given == CHOSEN | {"target_modules": "q_proj,v_proj", "point_only": True}


def test_the_parameter_file_is_yaml_with_the_same_values():
    assert yaml.safe_load(parameter_file(CHOSEN)) == CHOSEN | {"target_modules": "q_proj,v_proj", "point_only": True}


def test_the_trial_of_a_choice_is_the_defaults_with_these_knobs(star):
    given = trial_of({name: value for name, value in CHOSEN.items()}, star[0])
    trial = Trial(**given)
    assert (trial.seed, trial.learning_rate, trial.max_steps, trial.method) == (7, 4e-3, 160, "lora")
    assert trial.settings["rank"] == 4 and trial.settings["target_modules"] == ["q_proj", "v_proj"]
    assert "seed" not in trial.settings and trial.settings["dropout"] == 0.0
    assert star[0].parameters["settings"]["rank"] == 8  # the card is as it was
