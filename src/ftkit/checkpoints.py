"""Is this folder a whole and safe checkpoint? Looks at names, config and the headers of the weight files.

Knows nothing about model families, hubs or how a model is loaded; it opens no weights and runs no code.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ftkit.errors import refusal
from ftkit.files import read_json

_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TOKENIZER = re.compile(r"tokenizer\.json|.*\.model|vocab\.(json|txt)|.*\.tiktoken|tekken\.json|tokenization_\w+\.py")
_PIECE = re.compile(r".*-\d+-of-0*([2-9]|[1-9]\d+)\.safetensors")  # one of two or more
_HEADER_BYTES = 8  # a safetensors file begins with the length of its JSON header
_CONVERT = ("Pickled weights can run code when they are opened. Convert them once, which runs none:")
_FETCH = "hf download {name} --local-dir '{folder}', then "


@dataclass(frozen=True)
class Stored:
    """A tensor as a header describes it: shape, type as safetensors names it ("BF16"), bytes, and the file it is in."""

    shape: tuple[int, ...]
    kind: str
    size_bytes: int
    file: str


def check(folder: str | Path) -> Path:
    """The folder, if it holds a readable config, whole safetensors weights and a tokenizer.

    Raises:
        Refusal: the sentence names the folder and the file, and says what to do.

    Taught in: 11_save_merge_switch
    """
    folder = Path(folder)
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names and "adapter_config.json" in names:
        raise refusal(f"{folder.name}", "a whole model", "an adapter (adapter_config.json without config.json)",
                      "Load its base model, then the adapter on top of it.")
    if "config.json" not in names:
        raise refusal(f"{folder.name}", "a folder with a config.json", sorted(names)[:5],
                      "Give the folder that save_pretrained wrote, or a hub snapshot.")
    if not isinstance(read_object(folder / "config.json").get("model_type"), str):
        raise refusal(f"{folder.name}/config.json", "a config with a model_type", "none",
                      "Copy config.json again from where the model came from.")
    check_names(folder.name, names, folder)
    for weights in _shards(folder, names):
        _check_header(weights, f"{folder.name}/{weights.name}")
    return folder


def is_complete(folder: str | Path) -> bool:
    """Whether a folder that a download fills has all of its files: config, each shard, a tokenizer."""
    folder = Path(folder)
    names = {path.name for path in folder.iterdir()}
    if not {"config.json"} <= names or not any(_TOKENIZER.fullmatch(name) for name in names):
        return False
    return _has_weights(names) and all(path.is_file() for path in _listed(folder, names))


def check_names(name: str, names: set[str], folder: Path | None = None) -> None:
    """Nothing, if a list of file names has safetensors weights and a tokenizer.

    Args:
        name: of the model: its folder's, or the hub's.
        names: of its files.
        folder: where they are; None for a name on the hub.

    Raises:
        Refusal: there are none, or the weights are pickled, with the command that converts them.
    """
    if not _has_weights(names):
        pickled = sorted(file for file in names if file.endswith(_PICKLED))
        if pickled:
            raise refusal(f"{name}", "weights stored as safetensors", pickled[0], _conversion(name, folder))
        raise refusal(f"{name}", "a folder with *.safetensors weights", sorted(names)[:5],
                      "Copy the weights too: config.json alone is not a model.")
    if not any(_TOKENIZER.fullmatch(file) for file in names):
        raise refusal(f"{name}", "a folder with a tokenizer (tokenizer.json or the like)", sorted(names)[:5],
                      "Copy the tokenizer files from where the model came from.")


def tensors(folder: str | Path) -> dict[str, Stored]:
    """The tensors of a checked folder by name, from the headers alone."""
    found = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(_HEADER_BYTES), "little")))
        for name, value in header.items():
            if name != "__metadata__":
                begin, end = value["data_offsets"]
                found[name] = Stored(tuple(value["shape"]), value["dtype"], end - begin, path.name)
    return found


def read_object(path: str | Path) -> dict:
    """The object in a JSON file of a checkpoint.

    Raises:
        Refusal: the file is not JSON, or holds something else than an object.
    """
    path = Path(path)
    value = read_json(path)
    if not isinstance(value, dict):
        raise refusal(f"{path.parent.name}/{path.name}", "a JSON object", value, "Copy the file again.")
    return value


def _conversion(name: str, folder: Path | None) -> str:
    """How pickled weights are converted: those of a folder, by its path from here, or of a name on the hub."""
    fetched = name.rpartition("/")[2]
    fetch = "" if folder else _FETCH.format(name=name, folder=fetched)
    return f"{_CONVERT} {fetch}ftkit convert '{_from_here(folder) if folder else fetched}'"


def _from_here(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _has_weights(names: set[str]) -> bool:
    return any(file.endswith((".safetensors", ".safetensors.index.json")) for file in names)


def _shards(folder: Path, names: set[str]) -> list[Path]:
    for path in _listed(folder, names):
        if not path.is_file():
            raise refusal(f"{folder.name}/{path.name}", "there, as the index of the weights says", "no such file",
                          "Copy the missing shard, or download the model again.")
    piece = next((file for file in sorted(names) if _PIECE.fullmatch(file)), None)
    if piece and not any(file.endswith(".safetensors.index.json") for file in names):
        raise refusal(f"{folder.name}", "shards and their index, model.safetensors.index.json", f"{piece} without it",
                      "Copy the index too; after a conversion that was stopped, run ftkit convert again.")
    return [folder / file for file in sorted(names) if file.endswith(".safetensors")]


def _listed(folder: Path, names: set[str]) -> list[Path]:
    """The files that the indexes of the weights name."""
    indexes = [folder / file for file in names if file.endswith(".safetensors.index.json")]
    maps = [read_object(index).get("weight_map") for index in indexes]
    return [folder / str(file) for shards in maps if isinstance(shards, dict) for file in sorted(set(shards.values()))]


def _check_header(path: Path, name: str) -> None:
    """Refuses a weight file that was cut short, or that is a pointer or something else altogether."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
        length = int.from_bytes(start, "little")
        if start == b"version ":
            raise refusal(name, "the weights themselves", "a Git LFS pointer", "Run git lfs pull, or download it.")
        raw = file.read(length) if length <= size else b""
    try:
        spans = [value["data_offsets"][1] for key, value in json.loads(raw).items() if key != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise refusal(name, "a safetensors file", f"{size} bytes that do not begin like one",
                      "Download or copy it again.") from error
    whole = _HEADER_BYTES + length + max(spans, default=0)
    if size != whole:
        raise refusal(name, f"{whole} bytes long, as its header says", size, "Download or copy it again.")
