"""Real models and data sets by folder or name, the embedded base too: the only module that may download.

Knows nothing about fine-tuning: it finds a checkpoint, checks it before loading, and loads it.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import torch

from ftkit import checkpoints, footprint
from ftkit.causal import READ_FIRST, check_causal
from ftkit.device import choose_device, choose_dtype
from ftkit.errors import nearest, refusal
from ftkit.files import sha256
from ftkit.hub_config import REACH_S, not_from_hub
from ftkit.loading import load_weights, quiet, shape_alone
from ftkit.progress import Lines
from ftkit.quantization import (
    bitsandbytes_config,
    blocks_left,
    check_kind,
    keep_codes_,
    kind_of,
    kind_stored,
    left_in_floats,
)
from ftkit.targets import counts

EMBEDDED = "ftkit-tiny"
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
_DATA_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken"]
_CONTENT = re.compile(r".*\.(safetensors|model|tiktoken|jinja)|(merges|vocab)\.txt"
                      r"|(config|generation_config|tokenizer\w*|special_tokens_map|added_tokens|vocab)\.json")
_SMALLER = ("Close other programs, load it with quantization='nf4' if that is not so already, or take a smaller model; "
            "ftkit plan says what training needs besides.")
_WORTH_SAYING = 0.01  # share of a model that stays in floats although its linear layers are quantised
_NOT_CONTENT = ("_name_or_path", "name_or_path", "transformers_version")


def load_model(name_or_folder: str | Path = EMBEDDED, *, device: str = "auto", dtype: str = "auto",
               quantization: str | None = None, double_quant: bool = True, unquantised: Iterable[str] = (),
               trust_remote_code: bool = False):
    """A causal language model, ready and in evaluation mode, and its tokenizer.

    A tokenizer without a pad token is given its end-of-text token as one; no token is added. A checkpoint that is
    stored quantised is loaded as it is stored.

    Args:
        name_or_folder: "ftkit-tiny", a folder in the Hugging Face layout, or a hub name such as "Qwen/Qwen3-0.6B".
        device: "auto", "cpu", "cuda", ...
        dtype: "auto", "float32", "bfloat16" or "float16"; or "stored": what is not quantised stays in the type of the
            files (float16, whose range is too small for gradients, becomes bfloat16 on a CPU), and quantised layers
            compute as with "auto".
        quantization: None, "nf4" or "fp4" for linear layers in 4 bits, "int8" for LLM.int8(). Embeddings and head
            stay as they are, and so do experts of a mixture in blocks (a warning says how much that is).
        double_quant: whether the scales of 4-bit blocks are stored in 8 bits.
        unquantised: names of modules whose linear layers stay as they are, such as "mlp" or "layers.1.mlp".
        trust_remote_code: whether code that comes with the checkpoint may run.

    Raises:
        Refusal: the checkpoint cannot be found or reached, is incomplete, holds pickled weights, needs code of its
            own, does not fit its config, is stored in other codes than are asked for, or does not fit into the memory
            that is free.

    Taught in: 00_start_here
    """
    check_kind(quantization)
    unquantised = [unquantised] if isinstance(unquantised, str) else list(unquantised)
    folder = find_model(name_or_folder, trust_remote_code)
    chosen = choose_device(device)
    compute = choose_dtype("auto" if dtype == "stored" else dtype, chosen)
    kind = _as_stored(folder, chosen, compute) if dtype == "stored" else compute
    stored = checkpoints.read_object(folder / "config.json").get("quantization_config")
    if stored and quantization:
        quantization = _nothing_to_do(folder.name, stored, quantization)
    needed = footprint.loaded(folder, kind, quantization, unquantised)
    footprint.refuse_small_memory(folder.name, needed, chosen, _SMALLER)
    settings = {"dtype": kind, "trust_remote_code": trust_remote_code}
    if quantization or stored:
        settings["device_map"] = {"": chosen}
    if quantization:
        left = left_in_floats(shape_alone(folder, trust_remote_code), unquantised)
        settings["quantization_config"] = bitsandbytes_config(quantization, compute, double_quant, left)
    tokenizer = _load_tokenizer(folder, trust_remote_code)
    model = load_weights(folder, settings)
    if quantization and not any(map(kind_of, model.modules())):
        raise refusal("quantization", f"None for {folder.name}", quantization,
                      f"None of the layers of {type(model).__name__} is one that can be quantised.")
    if quantization:
        _say_what_is_left(folder.name, model)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise refusal(f"{folder.name}: tokenizer", f"of at most {rows} tokens, the rows of the model's embeddings",
                      len(tokenizer), "It belongs to another model, or tokens were added to it: take both from one "
                      "source, or give the model rows for them (resize_token_embeddings) and save it anew.")
    return (keep_codes_(model) if "device_map" in settings else model.to(chosen)).eval(), tokenizer


def find_model(name_or_folder: str | Path = EMBEDDED, trust_remote_code: bool = False) -> Path:
    """The checked folder that holds a model; a hub name is downloaded unless it is in the cache already.

    Raises:
        Refusal: as for `load_model`.
    """
    name = str(name_or_folder)
    if name == EMBEDDED:
        from ftkit.tiny import base

        return base.folder()
    folder = Path(name).expanduser().absolute()
    if not name.strip() or not folder.is_dir():
        if folder.exists() or not _HUB_NAME.fullmatch(name):
            raise refusal("model", f'"{EMBEDDED}", an existing folder or a hub name such as "owner/name"', name,
                          _near(name, folder) or "Check the path.")
        folder = _from_cache(name) or _download(name, _near(name, folder), trust_remote_code)
    check_causal(folder.name, checkpoints.read_object(checkpoints.check(folder) / "config.json"), trust_remote_code)
    return folder


def model_hash(name_or_folder: str | Path = EMBEDDED) -> str:
    """The SHA-256 over a model's weights, config, tokenizer and template, whatever its folder is called."""
    digest = hashlib.sha256()
    for path in sorted(find_model(name_or_folder, trust_remote_code=True).iterdir()):
        if not _CONTENT.fullmatch(path.name):
            continue
        if path.suffix == ".json":
            value = checkpoints.read_object(path)
            kept = {key: value[key] for key in value if key not in _NOT_CONTENT}
            inside = sha256(json.dumps(kept, sort_keys=True).encode())
        else:
            inside = sha256(path)
        digest.update(f"{path.name} {inside}\n".encode())
    return digest.hexdigest()


def load_dataset_records(name: str, split: str = "train") -> list[dict]:
    """The rows of a hub data set as dictionaries.

    Args:
        name: "owner/name", or "owner/name:subset" where it has several.
        split: the part to take.

    Raises:
        Refusal: it cannot be reached, or has no such subset or split.
    """
    match = _DATA_NAME.fullmatch(name)
    if not match:
        raise refusal("data", 'a hub name such as "owner/name" or "owner/name:subset"', name)
    import datasets

    cached = Path(datasets.config.HF_DATASETS_CACHE) / match[1].replace("/", "___")
    if not cached.is_dir():
        _ask_hub("dataset_info", match[1], "data", "Download its files elsewhere and give their folder.")
    try:
        return datasets.load_dataset(match[1], match[2], split=split).to_list()
    except (ValueError, OSError) as error:
        raise refusal("data", "a hub data set with this subset and split", f"{name}, split {split}",
                      f"The hub's library says: {error}") from error


def _download(name: str, near: str, trust_remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download

    remedy = f'Give a local folder, fill the Hugging Face cache elsewhere, or take model="{EMBEDDED}". {near}'
    info = _ask_hub("model_info", name, "model", remedy.strip())
    names = {file.rfilename for file in info.siblings}
    checkpoints.check_names(name, names)
    _refuse_small_cache(name, getattr(info, "safetensors", None))
    wanted = [*_WANTED, "*.py"] if trust_remote_code else _WANTED
    try:
        with quiet():
            _fetch_weights(name, sorted(file for file in names if file.endswith(".safetensors") and "/" not in file))
            return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=["*/*"]))
    except Exception as error:  # each transport has exceptions of its own, and a disk may become full
        raise refusal("model", "downloaded whole", name, f"The download ended with {type(error).__name__}: {error}. "
                      "Ask for it again: it goes on where it stopped.") from error


def _fetch_weights(name: str, files: list[str]) -> None:
    """Downloads files that are not in the cache yet, one by one; an interrupted one goes on where it stopped."""
    from huggingface_hub import hf_hub_download

    lines = Lines(f"downloading {name}")
    for done, file in enumerate(files, start=1):
        hf_hub_download(name, file)
        lines.reach(done / len(files), f"file {done} of {len(files)}")


def _refuse_small_cache(name: str, summary) -> None:
    """Refuses a download whose rest the disk has no room for, where the hub says how many numbers there are."""
    from huggingface_hub.constants import HF_HUB_CACHE

    sizes = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}
    needed = sum(sizes.get(kind, 1) * count for kind, count in (getattr(summary, "parameters", None) or {}).items())
    blobs = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "blobs"  # a stopped download's, too
    there = sum(path.stat().st_size for path in blobs.glob("*"))
    footprint.refuse_small_disk(HF_HUB_CACHE, f"the files of {name}", max(0, needed - there),
                                "HF_HOME says where the cache is.")


def _ask_hub(question: str, name: str, what: str, remedy: str):
    """What the hub knows about a name: one request, no retry."""
    from huggingface_hub import HfApi

    try:
        return getattr(HfApi(), question)(name, timeout=REACH_S)
    except Exception as error:  # each transport has exceptions of its own
        raise not_from_hub(what, name, error, remedy) from error


def _from_cache(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) and checkpoints.is_complete(Path(config).parent) else None


def _near(name: str, folder: Path) -> str:
    """A sentence with the names that were probably meant: the base's, those in the cache, folders beside this one."""
    from huggingface_hub.constants import HF_HUB_CACHE

    cached = [path.name[8:].replace("--", "/") for path in Path(HF_HUB_CACHE).glob("models--*")]
    beside = [path.name for path in folder.parent.glob("*/")] if folder.parent.is_dir() else []
    found = [*nearest(name, [EMBEDDED, *cached]), *nearest(folder.name, beside)]
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _as_stored(folder: Path, device: torch.device, compute: torch.dtype) -> torch.dtype:
    """The type of a folder's numbers, or the one of the same width that a device can train in."""
    stored = footprint.stored_dtype(folder)
    if stored.itemsize != torch.float16.itemsize:
        return stored
    return torch.bfloat16 if device.type == "cpu" else compute


def _load_tokenizer(folder: Path, trust_remote_code: bool):
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:  # each tokenizer backend has exceptions of its own
        described = folder / "tokenizer_config.json"
        if not trust_remote_code and described.is_file() and "auto_map" in checkpoints.read_object(described):
            raise refusal("trust_remote_code", f"True for {folder.name}, whose tokenizer is code of its own", False,
                          READ_FIRST) from error
        if not (folder / "tokenizer.json").is_file() and find_spec("sentencepiece") is None:
            raise refusal(f"{folder.name}: tokenizer", "a tokenizer.json, where sentencepiece is not installed",
                          "files that need it", "pip install sentencepiece tiktoken") from error
        raise refusal(f"{folder.name}: tokenizer", "readable", f"{type(error).__name__}: {error}",
                      "Copy the tokenizer files again from where the model came from.") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _nothing_to_do(name: str, stored: dict, quantization: str) -> None:
    """Nothing, if a checkpoint is stored in the codes that are asked for; refused if it is in others."""
    found = kind_stored(stored)
    if found != quantization:
        raise refusal("quantization", f"None for {name}, which is stored quantised already ({found})", quantization,
                      "Load it as it is stored, or take the checkpoint that it was made from.")


def _say_what_is_left(name: str, model) -> None:
    """A warning about matrices that stay as they are although they make up much of a model: experts of a mixture."""
    blocks = blocks_left(model)
    share = sum(blocks.values()) / counts(model)[1]
    if share > _WORTH_SAYING:
        warnings.warn(f"{share:.0%} of the numbers of {name} stay as they are and take no adapter by 'all-linear': "
                      f"experts in blocks such as {min(blocks)}. Linear layers alone are quantised.", stacklevel=3)
