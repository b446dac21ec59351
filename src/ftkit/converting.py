"""Pickled weights turned into safetensors, one file at a time. Knows nothing about model families, and runs no code.

A pickle is a program; `torch.load(weights_only=True)` runs none of it that is not the making of a tensor.
"""

import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from ftkit import checkpoints
from ftkit.errors import refusal
from ftkit.files import needs_room, write_json
from ftkit.footprint import refuse_small_disk

_INDEX = "pytorch_model.bin.index.json"


def convert(folder: str | Path) -> Iterator[Path]:
    """The safetensors files of a folder with pickled weights, each as soon as it is written.

    The pickled files stay where they are. A conversion that was stopped goes on where it stopped: a file appears under
    its name only when it is whole.

    Args:
        folder: holds pytorch_model.bin, or its pieces and their index.

    Raises:
        Refusal: there are none; a file holds more than tensors, or cannot be read; the disk is too small.

    Taught in: 18_qlora_7b
    """
    folder = Path(folder)
    files = _pickled(folder)
    left = [(path, folder / _new_name(path.name)) for path in files]
    left = [(path, new) for path, new in left if not new.is_file()]
    for _, new in left:
        _partial(new).unlink(missing_ok=True)  # of a conversion that was killed: its room is needed
    refuse_small_disk(folder, "the converted weights", sum(path.stat().st_size for path, _ in left))
    return _converted(folder, files, dict(left))


def _converted(folder: Path, files: list[Path], left: dict[Path, Path]) -> Iterator[Path]:
    for path in files:
        if path in left:
            _write(_tensors_in(path), left[path])
        yield folder / _new_name(path.name)
    if len(files) > 1:
        stored = checkpoints.tensors(folder)
        write_json(folder / "model.safetensors.index.json", {
            "metadata": {"total_size": sum(one.size_bytes for one in stored.values())},
            "weight_map": {name: one.file for name, one in sorted(stored.items())}})


def _pickled(folder: Path) -> list[Path]:
    """The pickled files of the weights: those of the index, or the one there is."""
    if not folder.is_dir():
        raise refusal("folder", "an existing folder with pickled weights", str(folder), "Check the path.")
    if (folder / _INDEX).is_file():
        names = checkpoints.read_object(folder / _INDEX).get("weight_map")
        files = sorted({folder / str(name) for name in names.values()}) if isinstance(names, dict) else []
    else:
        files = [path for path in (folder / "pytorch_model.bin",) if path.is_file()]
    for path in files:
        if not path.is_file():
            raise refusal(f"{folder.name}/{path.name}", f"there, as {_INDEX} says", "no such file",
                          "Copy it again from where the model came from.")
    if not files:
        raise refusal(f"{folder.name}", f"a folder with pytorch_model.bin, or {_INDEX} and its files",
                      sorted(path.name for path in folder.iterdir())[:5],
                      "Copy the index of pieces from where they came from; rename one whole file to pytorch_model.bin.")
    return files


def _tensors_in(path: Path) -> dict[str, torch.Tensor]:
    name = f"{path.parent.name}/{path.name}"
    try:
        try:
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # of before torch 1.6: no archive that could be mapped
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refusal(name, "tensors and nothing else", str(error).splitlines()[0],
                      "It would run code: do not open it. Ask its authors for safetensors.") from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise refusal(name, "a file that torch.save wrote", f"{type(error).__name__}: {error}",
                      "Copy it again from where the model came from.") from error
    if not isinstance(held, dict) or not all(isinstance(one, torch.Tensor) for one in held.values()):
        raise refusal(name, "tensors by name", type(held).__name__,
                      "Save its state_dict() alone as pytorch_model.bin.")
    return held


def _write(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """The tensors under the file's name once it is whole; two that share memory are both written out."""
    partial = _partial(path)
    size = sum(one.numel() * one.itemsize for one in tensors.values())
    seen: set[int] = set()
    apart = {}
    for name, one in tensors.items():
        shared = one.untyped_storage().data_ptr() in seen
        seen.add(one.untyped_storage().data_ptr())
        apart[name] = one.clone(memory_format=torch.contiguous_format) if shared else one.contiguous()
    try:
        with needs_room(path.parent, path.name, size, "Then convert again: what is written stays."):
            save_file(apart, partial, metadata={"format": "pt"})
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _new_name(name: str) -> str:
    return name.replace("pytorch_model", "model", 1).removesuffix(".bin") + ".safetensors"
