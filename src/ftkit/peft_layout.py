"""The two files of an adapter as peft writes them, `adapter_config.json` and `adapter_model.safetensors`.

Knows nothing about models: it reads and writes settings and named tensors, and refuses an adapter that does more than
plain LoRA and modules to save, or than a prompt or prefix, because half an adapter would compute something else without
a word.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ftkit.errors import refusal
from ftkit.files import read_json, write_atomic, write_json

CONFIG_NAME, TENSORS_NAME = "adapter_config.json", "adapter_model.safetensors"
PREFIX, VIRTUAL = "base_model.model.", "prompt_embeddings"
_ENDS, _EMBEDDING_ENDS = (".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")  # ways to begin that leave the base weights as they are
_READ = {"peft_type", "r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "init_lora_weights",
         "rank_pattern", "alpha_pattern", "modules_to_save", "bias"}
# Fields without effect on a plain adapter's result, or that only say where the adapter sits, which its tensors' names
# say too. Every other field must be empty.
_WITHOUT_EFFECT = {"auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
                   "layers_to_transform", "megatron_core", "peft_version", "qalora_group_size", "revision",
                   "task_type", "ensure_weight_tying", "runtime_config", "eva_config",
                   "fan_in_fan_out"}  # the kind of module decides, here as in peft


@dataclass(frozen=True)
class SavedAdapter:
    """What a folder holds.

    Args:
        settings: in peft's names.
        tensors: by module path, A (rank, in) and B (out, rank).
        others: all other tensors by the name that the base has for them.
    """

    settings: dict
    tensors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    others: dict[str, torch.Tensor]


def write(folder: str | Path, settings: dict, tensors: dict[str, torch.Tensor]) -> Path:
    """The folder, holding an adapter that `peft.PeftModel.from_pretrained` opens.

    Args:
        settings: r, lora_alpha, target_modules and whatever else differs from peft's defaults; of another kind of
            adapter its peft_type, too.
        tensors: by peft's names, as `names_of` makes them.
    """
    lora = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True}
    fixed = {"inference_mode": True} | (lora if "peft_type" not in settings else {})
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(Path(folder) / TENSORS_NAME, save(plain, metadata={"format": "pt"}))
    write_json(Path(folder) / CONFIG_NAME, fixed | settings)
    return Path(folder)


def names_of(path: str, embedding: bool = False) -> tuple[str, str]:
    """peft's names for the two tensors of the module at `path`.

    Example:
        >>> names_of("model.layers.0.mlp.up_proj")[0]
        'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'
    """
    return tuple(f"{PREFIX}{path}{end}" for end in (_EMBEDDING_ENDS if embedding else _ENDS))


def value_at(settings: Mapping, field: str, path: str, default):
    """A pattern's value for a module, read as peft does: names are regular expressions for the end of its path.

    Args:
        settings: of the adapter, in peft's names.
        field: rank_pattern or alpha_pattern.
        default: for a module that no name fits.

    Raises:
        Refusal: the pattern is none.

    Example:
        >>> value_at({"rank_pattern": {r"layers\\.[01]\\..*": 2}}, "rank_pattern", "model.layers.1.mlp.up_proj", 8)
        2
    """
    pattern = settings.get(field) or {}
    try:
        return next((value for name, value in pattern.items() if re.match(rf"(.*\.)?({name})$", path)), default)
    except (AttributeError, re.error) as error:
        raise refusal(f"{field} in {CONFIG_NAME}", "a mapping from regular expressions to numbers", pattern,
                      f"It cannot be read: {error}.") from error


def read(folder: str | Path) -> SavedAdapter:
    """The adapter in a folder written by `write` or by peft.

    Raises:
        Refusal: no adapter is there, its weights are pickled or damaged, or it uses more than plain LoRA.
    """
    settings = _settings(Path(folder))
    tensors = _tensors(Path(folder))
    pairs = {}
    for ends in (_ENDS, _EMBEDDING_ENDS):
        for name in [name for name in tensors if name.startswith(PREFIX) and name.endswith(ends)]:
            path = name.removeprefix(PREFIX).removesuffix(ends[0]).removesuffix(ends[1])
            pairs[path] = tuple(f"{PREFIX}{path}{end}" for end in ends)
    wanted = {name for names in pairs.values() for name in names}
    strange = sorted(name for name in set(tensors) - wanted if not name.startswith(PREFIX) or ".lora_" in name)
    lonely = sorted(wanted - set(tensors))
    if strange or lonely or not pairs:
        raise refusal(TENSORS_NAME, "pairs of lora_A and lora_B weights",
                      strange[0] if strange else f"no {lonely[0]}" if lonely else "none",
                      "Only adapters of linear modules and embeddings are read here: open this one with peft.")
    others = {name.removeprefix(PREFIX).replace(".base_layer.", "."): tensor for name, tensor in tensors.items()
              if name not in wanted}
    return SavedAdapter(settings, {path: tuple(tensors[name] for name in names) for path, names in pairs.items()},
                        others)


def kind_of(folder: str | Path) -> str:
    """The peft_type of the adapter in a folder.

    Raises:
        Refusal: no adapter is there.
    """
    settings = _any_settings(Path(folder))
    return str(settings.get("peft_type") if isinstance(settings, dict) else settings)


def read_virtual(folder: str | Path, kinds: tuple[str, ...]) -> tuple[dict, torch.Tensor]:
    """The settings and the tensor of a trained prompt or prefix, written by `write` or by peft.

    Args:
        kinds: values of peft_type that will do.

    Raises:
        Refusal: another kind of adapter is there, or its weights are pickled, damaged or more than one tensor.
    """
    folder, kind = Path(folder), kind_of(folder)
    if kind not in kinds:
        raise refusal(f"peft_type in {CONFIG_NAME}", " or ".join(kinds), kind, "Open other kinds with peft.")
    tensors = _tensors(folder)
    if set(tensors) != {VIRTUAL} or tensors[VIRTUAL].dim() != 2:
        raise refusal(TENSORS_NAME, f"one matrix called {VIRTUAL}", ", ".join(sorted(tensors)) or "nothing",
                      "Open this adapter with peft.")
    return _any_settings(folder), tensors[VIRTUAL]


def _any_settings(folder: Path) -> object:
    if not (folder / CONFIG_NAME).is_file():
        raise refusal("adapter folder", f"one that holds {CONFIG_NAME}", folder.name,
                      "Check the path: an adapter is a folder, as written by save_adapter or by peft.")
    return read_json(folder / CONFIG_NAME)


def _settings(folder: Path) -> dict:
    settings = _any_settings(folder)
    kind = settings.get("peft_type") if isinstance(settings, dict) else settings
    if kind != "LORA":
        raise refusal(f"peft_type in {CONFIG_NAME}", "LORA", kind, "Open other kinds of adapters with peft.")
    if settings.get("init_lora_weights", True) not in _PLAIN_STARTS:
        raise refusal(f"init_lora_weights in {CONFIG_NAME}", "true, false, gaussian, orthogonal or eva",
                      settings["init_lora_weights"], "Other starts change the base weights too: convert the adapter "
                      "with peft (path_initial_model_for_weight_conversion), or open it there.")
    if settings.get("bias", "none") not in ("none", "all"):
        raise refusal(f"bias in {CONFIG_NAME}", "none or all", settings["bias"], "Open this adapter with peft.")
    for field, value in settings.items():
        if field not in _READ | _WITHOUT_EFFECT and value not in (None, False, "none", [], {}):
            raise refusal(f"{field} in {CONFIG_NAME}", "empty: plain LoRA has no such part", value,
                          "Open this adapter with peft, or train one without it.")
    missing = [field for field in ("r", "lora_alpha") if field not in settings]
    if missing:
        raise refusal(CONFIG_NAME, "one that names r and lora_alpha", f"no {missing[0]}", "Save the adapter again.")
    return settings


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / TENSORS_NAME
    if not path.is_file() and (folder / "adapter_model.bin").is_file():
        raise refusal("adapter weights", "safetensors", "adapter_model.bin", "A pickled file can run any code when it "
                      "is opened. Where you trust it, open it with peft and save_pretrained it again.")
    if not path.is_file():
        raise refusal("adapter folder", f"one that holds {TENSORS_NAME}", folder.name, "Save the adapter again.")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise refusal(TENSORS_NAME, "a whole safetensors file", str(error), "Copy or save it again.") from error
