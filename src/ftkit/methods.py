"""A method's name to a model prepared for it: what is trained, with which learning rate, and how that part is saved.

Knows nothing about data, the training loop or scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import nn

from ftkit import peft_layout, targets
from ftkit.adapters.bottleneck import BottleneckConfig, add_bottlenecks_, bottlenecks
from ftkit.adapters.prefix import PrefixConfig, add_prefix_
from ftkit.adapters.prompt import PromptConfig, add_prompt_
from ftkit.adapters.saving import PREFIX, PROMPT, load_virtual_, save_virtual
from ftkit.adapters.virtual import virtual_of
from ftkit.errors import refusal, unknown
from ftkit.files import read_json, write_json
from ftkit.freeze import FreezeConfig, freeze_
from ftkit.hub import find_model
from ftkit.loftq import LoftqConfig, add_loftq_, quantise_for_loftq_
from ftkit.lora.adapter import add_lora_, config_of, lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.lora.saving import load_adapter_, save_adapter
from ftkit.quantization import bits_of, keep_codes_
from ftkit.trained import load_trained_, save_trained

METHOD_NAME = "method.json"
ADAPTERS = ("lora", "lora8bit", "loftq", "qlora")  # methods whose trained part is a LoRA adapter
SMALL_MODEL = 20_000_000
"""Up to how many parameters a model counts as small in `LEARNING_RATES`."""

LEARNING_RATES = {"full": (1e-3, 1e-5), "freeze": (2e-3, 2e-5), "bitfit": (1e-1, 4e-4), "adapter": (1e-2, 3e-4),
                  "prefix": (0.45, 1e-2), "prompt": (0.9, 3e-2), **dict.fromkeys(ADAPTERS, (4e-3, 2e-4))}
"""By method, for small models and for larger ones. A narrow model needs larger steps: with Adam each weight moves by
about the learning rate, and an output sums over as many moves as the layer is wide. A method that trains less needs
larger steps too. Those for small models lie near the best of the rates that lesson 06 tries on the embedded base, by
held-out loss after 160 steps of 8 records; full and LoRA, on whatever base, keep those of lesson 01. Those for larger
models are what papers and their code use: 1e-5 to 2e-5 for all parameters (Llama 2, Alpaca), 2e-4 for LoRA (QLoRA),
1e-4 to 1e-3 for biases (BitFit), 3e-4 for adapters (the code of LLM-Adapters), 5e-3 to 3e-2 for a prefix (that of
P-Tuning v2, peft's example), 3e-2 for a prompt (peft's example)."""
BASE_OF = {"lora8bit": "int8", "qlora": "nf4"}
"""The `quantization` with which the base of a method is loaded, where it needs one."""


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

    `full` trains every parameter; `freeze` some of the layers, or of the modules in them (settings of `FreezeConfig`);
    `bitfit` the biases; `adapter` a small network after parts of each layer (`BottleneckConfig`); `prefix` keys and
    values in front of those of each layer (`PrefixConfig`); `prompt` embeddings in front of the tokens
    (`PromptConfig`); `lora` low-rank additions to linear layers (`LoraConfig`); `qlora` the same on a 4-bit model and
    `lora8bit` on one in int8; `loftq` quantises the model itself, and its additions begin with what that lost
    (`LoraConfig` and `LoftqConfig`). What begins at random takes a `seed`.

    Raises:
        Refusal: an unknown method or setting, or one that this model cannot take.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
        >>> prepared = prepare(model, "bitfit")
        >>> prepared.trainable, prepared.total
        (4, 12)

    Taught in: 06_methods_compared
    """
    known = defaults(method)
    for name in settings:
        if name not in known:
            raise unknown(f"a setting of {method}", name, known)
    if carried := _carried(model):
        raise refusal("model", "one without an adapter", carried, "Load it anew, or take a LoRA adapter out with "
                      "remove_lora_ first.")
    keep_codes_(model)
    chosen = _METHODS[method][0](model, **settings)
    return Prepared(model, method, *targets.counts(model), chosen)


def save(prepared: Prepared, folder: str | Path, base_name: str | None = None) -> Path:
    """The folder, holding what the method trained and no more; LoRA, a prompt and a prefix in peft's layout.

    Args:
        base_name: the base model's name to write beside an adapter; the name it was loaded by if None.
    """
    folder, model = Path(folder), prepared.model
    if prepared.method in ADAPTERS:
        save_adapter(model, folder, base_name or _base_name(model))
    elif prepared.method in ("prompt", "prefix"):
        save_virtual(model, folder, base_name or _base_name(model))
    else:
        save_trained(model, folder)
    write_json(folder / METHOD_NAME, {"method": prepared.method, "settings": prepared.settings})
    return folder


def load(model: nn.Module, folder: str | Path) -> Prepared:
    """The base model with what `save` wrote put into it, prepared as it was; a folder written by peft will do too.

    A prefix that was trained with a projection comes back without it, with the keys and values that it made. LoftQ's
    codes are worked out again from the base.

    Raises:
        Refusal: the folder holds no such thing, or it was made for another model.
    """
    folder = Path(folder)
    saved = _saved_method(folder)
    method, settings = saved["method"], saved["settings"]
    keep_codes_(model)
    if method in ADAPTERS:
        if method == "loftq":
            quantise_for_loftq_(model, *_loftq_configs(settings))
        load_adapter_(model, folder)
        settings = settings | asdict(config_of(model))
    elif method in ("prompt", "prefix"):
        load_virtual_(model, folder)
        settings = defaults(method) | settings
    else:
        prepared = prepare(model, method, **settings)
        load_trained_(model, folder)
        return prepared
    return Prepared(model, method, *targets.counts(model), settings)


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
        >>> defaults("adapter")
        {'bottleneck': 16, 'place': 'houlsby', 'activation': 'gelu', 'init_std': 0.01, 'seed': 0}
    """
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    return dict(_METHODS[method][1])


def _full(model: nn.Module) -> dict:
    _refuse_quantised(model, "full")
    model.requires_grad_(True)
    return {}


def _freeze(model: nn.Module, **settings) -> dict:
    _refuse_quantised(model, "freeze")
    config = FreezeConfig(**settings)
    freeze_(model, config)
    return asdict(config)


def _bitfit(model: nn.Module) -> dict:
    biases = [name for name, _ in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    if not biases:
        raise refusal("method", "one that this model can take", "bitfit", "This model has no biases to train.")
    targets.freeze_(model, except_=biases)
    return {}


def _adapter(model: nn.Module, seed: int = 0, **settings) -> dict:
    config = BottleneckConfig(**settings)
    add_bottlenecks_(model, config, seed)
    return asdict(config) | {"seed": seed}


def _prefix(model: nn.Module, seed: int = 0, **settings) -> dict:
    config = PrefixConfig(**settings)
    add_prefix_(model, config, seed, _ids_of(model, config.start_text))
    return asdict(config) | {"seed": seed}


def _prompt(model: nn.Module, seed: int = 0, **settings) -> dict:
    config = PromptConfig(**settings)
    add_prompt_(model, config, seed, _ids_of(model, config.start_text))
    return asdict(config) | {"seed": seed}


def _lora(model: nn.Module, seed: int = 0, **settings) -> dict:
    config = LoraConfig(**settings)
    add_lora_(model, config, seed)
    return asdict(config) | {"seed": seed}


def _loftq(model: nn.Module, **settings) -> dict:
    lora, config = _loftq_configs(settings)
    add_loftq_(model, lora, config)
    return asdict(lora) | asdict(config)


def _loftq_configs(settings: Mapping) -> tuple[LoraConfig, LoftqConfig]:
    own = asdict(LoftqConfig()).keys()
    return (LoraConfig(**{name: value for name, value in settings.items() if name not in own}),
            LoftqConfig(**{name: value for name, value in settings.items() if name in own}))


def _on_codes(method: str, model: nn.Module, **settings) -> dict:
    bits = 4 if method == "qlora" else 8
    if bits not in map(bits_of, model.modules()):
        raise refusal("model", f"one with {bits}-bit weights for {method}", f"{next(model.parameters()).dtype} alone",
                      f"Load it with hub.load_model(..., quantization='{BASE_OF[method]}'), or take lora.")
    return _lora(model, **settings)


_METHODS: dict[str, tuple[Callable[..., dict], dict]] = {
    "full": (_full, {}),
    "freeze": (_freeze, asdict(FreezeConfig())),
    "bitfit": (_bitfit, {}),
    "adapter": (_adapter, asdict(BottleneckConfig()) | {"seed": 0}),
    "prefix": (_prefix, asdict(PrefixConfig()) | {"seed": 0}),
    "prompt": (_prompt, asdict(PromptConfig()) | {"seed": 0}),
    "lora": (_lora, asdict(LoraConfig()) | {"seed": 0}),
    "lora8bit": (partial(_on_codes, "lora8bit"), asdict(LoraConfig()) | {"seed": 0}),
    "loftq": (_loftq, asdict(LoraConfig()) | asdict(LoftqConfig())),
    "qlora": (partial(_on_codes, "qlora"), asdict(LoraConfig()) | {"seed": 0}),
}


def _carried(model: nn.Module) -> str:
    """What the model carries already; empty for a plain one."""
    if lora_layers(model) or bottlenecks(model):
        return "an adapted one"
    in_front = virtual_of(model)
    return f"one with a trained {type(in_front).__name__.lower()}" if in_front is not None else ""


def _ids_of(model: nn.Module, text: str) -> list[int] | None:
    """The tokens of a text, by the tokenizer that stands with the model; None without a text."""
    if not text:
        return None
    name = getattr(getattr(model, "config", None), "name_or_path", "")
    if not name:
        raise refusal("start_text", "given with a model that was loaded by name or from a folder", text,
                      "Its tokenizer stands there: load it with hub.load_model, or take start='vocab'.")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(find_model(name))(text)["input_ids"]


def _refuse_quantised(model: nn.Module, method: str) -> None:
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            raise refusal("method", "one that adds to a quantised model, such as qlora", method,
                          f"{name} is stored as {parameter.dtype} and has no gradient; or load the model unquantised.")


def _base_name(model: nn.Module) -> str:
    name = str(getattr(getattr(model, "config", None), "name_or_path", "") or "unknown")
    return Path(name).name if Path(name).exists() else name  # a folder's path says where somebody keeps their files


def _saved_method(folder: Path) -> dict:
    if not (folder / METHOD_NAME).is_file() and (folder / peft_layout.CONFIG_NAME).is_file():
        kinds = {PROMPT: "prompt", PREFIX: "prefix"}
        return {"method": kinds.get(peft_layout.kind_of(folder), "lora"), "settings": {}}
    if not (folder / METHOD_NAME).is_file():
        raise refusal("folder", f"one that holds {METHOD_NAME} or {peft_layout.CONFIG_NAME}", folder.name,
                      "Give the folder that methods.save wrote.")
    saved = read_json(folder / METHOD_NAME)
    if not isinstance(saved, dict) or not {"method", "settings"} <= set(saved):
        raise refusal(METHOD_NAME, "an object with method and settings", saved, "Save the model again.")
    return saved

