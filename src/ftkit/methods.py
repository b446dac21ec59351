"""A method's name to a model prepared for it: what is trained, with which learning rate, and how that part is saved.

Knows nothing about data, the training loop or scores.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from ftkit import peft_layout, targets
from ftkit.errors import refusal, unknown
from ftkit.files import read_json, write_atomic, write_json
from ftkit.lora.adapter import add_lora_, config_of, lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.lora.saving import load_adapter_, save_adapter

METHOD_NAME, TRAINED_NAME = "method.json", "trained.safetensors"
SMALL_MODEL = 20_000_000
"""Up to how many parameters a model counts as small in `LEARNING_RATES`."""

LEARNING_RATES = {"full": (1e-3, 1e-5), "freeze": (1e-3, 2e-5), "bitfit": (5e-3, 4e-4), "lora": (4e-3, 2e-4)}
"""By method, for small models and for larger ones. A narrow model needs larger steps: with Adam each weight moves by
about the learning rate, and an output sums over as many moves as the layer is wide. A method that trains less needs
larger steps too. Those for larger models are what papers and their code use: 1e-5 to 2e-5 for all parameters (Llama 2,
Alpaca), 2e-4 for LoRA (QLoRA), 1e-4 to 1e-3 for biases (BitFit)."""


@dataclass(frozen=True)
class Prepared:
    """A model made ready for training by a method.

    Args:
        model: the model; only what the method trains has `requires_grad`.
        method: the method's name.
        trainable: how many numbers are trained.
        total: how many numbers the model has, the method's additions included.
        settings: every setting of the method, defaults included.
    """

    model: nn.Module
    method: str
    trainable: int
    total: int
    settings: dict


def prepare(model: nn.Module, method: str, **settings) -> Prepared:
    """The model prepared for a method; the model itself is changed.

    `full` trains every parameter; `lora` adds an adapter (settings of `LoraConfig`, and `seed`); `freeze` trains the
    top `layers` decoder layers; `bitfit` trains the biases.

    Raises:
        Refusal: an unknown method or setting, or one that this model cannot take.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
        >>> prepared = prepare(model, "bitfit")
        >>> prepared.trainable, prepared.total
        (4, 12)
    """
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    apply, defaults = _METHODS[method]
    for name in settings:
        if name not in defaults:
            raise unknown(f"a setting of {method}", name, defaults)
    chosen = defaults | settings
    if lora_layers(model):
        raise refusal("model", "one without an adapter", "an adapted one", "Load it anew, or take the adapter out "
                      "with remove_lora_ first.")
    apply(model, **chosen)
    return Prepared(model, method, *targets.counts(model), chosen)


def save(prepared: Prepared, folder: str | Path, base_name: str | None = None) -> Path:
    """The folder, holding what the method trained and no more; a LoRA adapter in peft's layout.

    Args:
        base_name: the base model's name to write beside an adapter; the name it was loaded by if None.
    """
    folder = Path(folder)
    if prepared.method == "lora":
        save_adapter(prepared.model, folder, base_name or _base_name(prepared.model))
    else:
        trained = {name: parameter.detach().cpu().contiguous()
                   for name, parameter in prepared.model.named_parameters() if parameter.requires_grad}
        write_atomic(folder / TRAINED_NAME, to_bytes(trained, metadata={"format": "pt"}))
    write_json(folder / METHOD_NAME, {"method": prepared.method, "settings": prepared.settings})
    return folder


def load(model: nn.Module, folder: str | Path) -> Prepared:
    """The base model with what `save` wrote put into it, prepared as it was; a folder written by peft will do too.

    Raises:
        Refusal: the folder holds no such thing, or it was made for another model.
    """
    folder = Path(folder)
    saved = _saved_method(folder)
    if saved["method"] == "lora":
        load_adapter_(model, folder)
        return Prepared(model, "lora", *targets.counts(model), saved["settings"] | asdict(config_of(model)))
    prepared = prepare(model, saved["method"], **saved["settings"])
    _fill_(model, folder)
    return prepared


def default_learning_rate(method: str, total_parameters: int) -> float:
    """A learning rate to begin with for a method on a model of a size; `LEARNING_RATES` says where it comes from.

    Raises:
        Refusal: an unknown method.

    Example:
        >>> default_learning_rate("lora", 7_000_000_000)
        0.0002
    """
    if method not in LEARNING_RATES:
        raise unknown("method", method, LEARNING_RATES)
    small, large = LEARNING_RATES[method]
    return small if total_parameters <= SMALL_MODEL else large


def defaults(method: str) -> dict:
    """The settings that a method takes, and the values that stand for those left out.

    Raises:
        Refusal: an unknown method.

    Example:
        >>> defaults("freeze")
        {'layers': 2}
    """
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    return dict(_METHODS[method][1])


def _full(model: nn.Module) -> None:
    _refuse_quantised(model, "full")
    model.requires_grad_(True)


def _freeze(model: nn.Module, layers: int) -> None:
    _refuse_quantised(model, "freeze")
    paths = targets.layers_of(model)
    if not isinstance(layers, int) or not 1 <= layers <= len(paths):
        raise refusal("layers", f"a whole number from 1 to {len(paths)}, the layers of this model", layers)
    targets.freeze_(model, except_=paths[-layers:])


def _bitfit(model: nn.Module) -> None:
    biases = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    if not biases:
        raise refusal("method", "one that this model can take", "bitfit", "This model has no biases to train.")
    targets.freeze_(model, except_=biases)


def _refuse_quantised(model: nn.Module, method: str) -> None:
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise refusal("method", "lora or bitfit on a quantised model", method,
                          f"{name} is stored as {parameter.dtype} and has no gradient; or load the model unquantised.")


def _lora(model: nn.Module, seed: int, **settings) -> None:
    add_lora_(model, LoraConfig(**settings), seed)


_METHODS: dict[str, tuple[Callable[..., None], dict]] = {
    "full": (_full, {}),
    "lora": (_lora, asdict(LoraConfig()) | {"seed": 0}),
    "freeze": (_freeze, {"layers": 2}),
    "bitfit": (_bitfit, {}),
}


def _base_name(model: nn.Module) -> str:
    name = str(getattr(getattr(model, "config", None), "name_or_path", "") or "unknown")
    return Path(name).name if Path(name).exists() else name  # a folder's path says where somebody keeps their files


def _saved_method(folder: Path) -> dict:
    if not (folder / METHOD_NAME).is_file() and (folder / peft_layout.CONFIG_NAME).is_file():
        return {"method": "lora", "settings": {}}
    if not (folder / METHOD_NAME).is_file():
        raise refusal("folder", f"one that holds {METHOD_NAME} or {peft_layout.CONFIG_NAME}", folder.name,
                      "Give the folder that methods.save wrote.")
    saved = read_json(folder / METHOD_NAME)
    if not isinstance(saved, dict) or not {"method", "settings"} <= set(saved):
        raise refusal(METHOD_NAME, "an object with method and settings", saved, "Save the model again.")
    return saved


@torch.no_grad()
def _fill_(model: nn.Module, folder: Path) -> None:
    try:
        trained = load_file(folder / TRAINED_NAME)
    except (SafetensorError, FileNotFoundError) as error:
        raise refusal(TRAINED_NAME, "a whole safetensors file", str(error).rpartition("/")[2],
                      "Copy or save it again.") from error
    wanted = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    got = {name: tuple(tensor.shape) for name, tensor in trained.items()}
    for name in sorted(set(wanted) | set(got)):
        shape = tuple(wanted[name].shape) if name in wanted else None
        if got.get(name) != shape:
            raise refusal(f"{name} in {TRAINED_NAME}", f"of shape {shape}" if shape else "absent",
                          got.get(name, "nothing"), "Was it trained on another base model?")
    for name, parameter in wanted.items():
        parameter.copy_(trained[name])
