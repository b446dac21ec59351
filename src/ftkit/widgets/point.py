"""One choice of knobs, as it is typed, trained, run from a command line, or kept in a file.

Knows nothing about widgets, or what was measured.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields

from ftkit.cards import Card
from ftkit.errors import refusal
from ftkit.lora.config import LoraConfig
from ftkit.trials import Trial
from ftkit.widgets import typed
from ftkit.widgets.grid import SEED, words

_OF_LORA = {one.name for one in fields(LoraConfig)}
_OF_TRIALS = {one.name for one in fields(Trial)}
_ANSWERS = {"true": True, "false": False}


def parse(name: str, text: str, like: object) -> object:
    """The value of a knob that somebody typed.

    Args:
        name: of the knob.
        text: such as "16", "8e-3", "q_proj,v_proj" or "true".
        like: a value that the knob had before; the new one is of its kind.

    Raises:
        Refusal: the text is of another kind, or the value is out of range.

    Example:
        >>> parse("target_modules", "q_proj, v_proj", "all-linear")
        ('q_proj', 'v_proj')
    """
    text = text.strip()
    if isinstance(like, bool):
        if text.lower() not in _ANSWERS:
            raise refusal(name, "true or false", text)
        value = _ANSWERS[text.lower()]
    elif isinstance(like, int | float):
        value = typed.number(name, text, whole=isinstance(like, int))
    else:
        names = tuple(filter(None, map(str.strip, text.split(","))))
        value = names if len(names) > 1 else "".join(names)
    _check(name, value)
    return value


def trial_of(chosen: Mapping, like: Card) -> dict:
    """Fields of the `Trial` that a choice stands for, as JSON holds them.

    Args:
        chosen: every knob's value, and the seed.
        like: a card that has all that is no knob.
    """
    known = {name: value for name, value in like.parameters.items() if name in _OF_TRIALS}
    settings = {name: value for name, value in like.parameters["settings"].items() if name != SEED}
    for name, value in chosen.items():
        place = settings if name in settings else known
        place[name] = list(value) if isinstance(value, tuple) else value
    return {**known, "settings": settings}


def command(stem: str, chosen: Mapping) -> str:
    """What to type to run the choice in a lesson.

    Example:
        >>> command("05_rank_alpha_dropout", {"rank": 4, "layers": "last 2", "seed": 1})
        "ftkit run 05_rank_alpha_dropout -p rank=4 -p layers='last 2' -p seed=1 -p point_only=true"
    """
    given = {**chosen, "point_only": True}
    return " ".join(["ftkit run", stem, *(f"-p {name}={shlex.quote(words(value))}" for name, value in given.items())])


def parameter_file(chosen: Mapping) -> str:
    """The choice as YAML, for `papermill -f`.

    Example:
        >>> print(parameter_file({"rank": 4, "target_modules": ("q_proj", "v_proj")}))
        rank: 4
        target_modules: "q_proj,v_proj"
        point_only: true
    """
    given = {**chosen, "point_only": True}
    return "\n".join(f"{name}: {json.dumps(words(value) if isinstance(value, tuple) else value)}"
                     for name, value in given.items())


def _check(name: str, value: object) -> None:
    if name in _OF_LORA:
        LoraConfig(**{name: value})
    elif name == SEED:
        if not 0 <= value < 2**32:
            raise refusal(name, "a whole number from 0 to 2**32 - 1", value)
    elif name in _OF_TRIALS:
        Trial(**{"learning_rate": 1e-3, name: value})  # with a rate all of them are checked
        if name == "learning_rate" and value == 0:
            raise refusal(name, "above 0", value)
