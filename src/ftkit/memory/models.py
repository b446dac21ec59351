"""The table of known models: config, licence, whose code they run, what to adapt. Knows nothing about training.

Configs hold the keys that decide a shape, as the models' own config.json have them; a test compares the number of
parameters that follows with the one that each model is published with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ftkit.errors import refusal, unknown
from ftkit.files import read_json
from ftkit.memory.shape import Shape, shape_of

NATIVE, REMOTE = "native", "remote"


@dataclass(frozen=True)
class Model:
    """A model of the table.

    Args:
        name: short, as `ftkit plan --model` takes it.
        hub: its name on the hub.
        licence: of the weights, in words.
        code: "native" where transformers has its code, "remote" where it brings code of its own.
        template: what chat turns are written in, those of tuned versions where it is a base model; "none" where there
            are none.
        target_modules: which matrices LoRA usually goes on.
        config: what its config.json says about its shape.
        note: what else there is to know.
    """

    name: str
    hub: str
    licence: str
    code: str
    template: str
    target_modules: str | tuple[str, ...]
    config: Mapping
    note: str = ""

    @property
    def shape(self) -> Shape:
        """Its shape."""
        return shape_of(self.config)

    @property
    def parameters(self) -> int:
        """How many numbers it has, a tied head counted once."""
        return self.shape.parameters


@cache
def known_models() -> tuple[Model, ...]:
    """All models of the table, small ones first.

    Example:
        >>> [model.name for model in known_models()][:2]
        ['ftkit-tiny', 'qwen2.5-0.5b']
    """
    rows = read_json(Path(str(files("ftkit.memory") / "assets" / "models.json")))
    return tuple(Model(**row | {"target_modules": _names(row["target_modules"])}) for row in rows)


def model_named(name: str) -> Model:
    """The model of the table with this name, short or the hub's; upper and lower case are the same.

    Raises:
        Refusal: there is none; the nearest names are offered.

    Example:
        >>> model_named("Qwen/Qwen2.5-7B").parameters
        7615616512
    """
    for model in known_models():
        if str(name).lower() in (model.name, model.hub.lower()):
            return model
    raise unknown("model", name, [model.name for model in known_models()], "Or give a folder, or a config.json.")


def read_config(path: str | Path) -> dict:
    """The config in a file, or in a folder's config.json.

    Raises:
        Refusal: there is none, or it is no JSON object with a model_type.
    """
    path = Path(path)
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise refusal("model", "a name of the table, a config.json or a folder with one", str(path))
    config = read_json(file)
    if not isinstance(config, dict) or "model_type" not in config:
        raise refusal(file.name, "a JSON object with model_type", config)
    return config


def _names(names: str | list[str]) -> str | tuple[str, ...]:
    return names if isinstance(names, str) else tuple(names)
