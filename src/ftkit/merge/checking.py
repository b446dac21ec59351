"""A whole model to a folder, and what comes out when a fresh process loads it again.

    folder = save_model(model, tokenizer, "runs/merged")
    [again] = reload([Stored(str(folder))], ids)
    largest_difference(logits_of(model, ids), again.logits)

Knows nothing about how a model was merged or trained.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import load_file
from torch import nn

from ftkit.errors import refusal
from ftkit.files import read_json, replace_folder, write_json
from ftkit.footprint import refuse_small_disk
from ftkit.hub import EMBEDDED
from ftkit.loading import quiet
from ftkit.lora.adapter import lora_layers
from ftkit.merge.fresh import IDS, MADE, REQUEST
from ftkit.modes import evaluation_mode
from ftkit.quant.linear import quantised_layers
from ftkit.quantization import stored_bytes


@dataclass(frozen=True)
class Stored:
    """What a fresh process loads.

    Args:
        model: a folder, or a name as for `hub.load_model`.
        adapter: the folder of an adapter to put on it, by this kit or by peft; empty for none.
        quantization: as for `hub.load_model`.
        double_quant: as there.
        unquantised: as there.
        dtype: as there.
    """

    model: str = EMBEDDED
    adapter: str = ""
    quantization: str | None = None
    double_quant: bool = True
    unquantised: tuple[str, ...] = ()
    dtype: str = "auto"


@dataclass(frozen=True, eq=False)
class Reloaded:
    """What a fresh process made of it.

    Args:
        logits: (rows, tokens, vocabulary), float32.
        load_s: seconds to load model and adapter.
        template: the chat template that came with the tokenizer; empty without one.
    """

    logits: torch.Tensor
    load_s: float
    template: str


@torch.no_grad()
def logits_of(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """The logits of a model in evaluation mode, as float32 on the CPU; the model's mode stays what it was.

    Shapes: ids (rows, tokens), all of one length → (rows, tokens, vocabulary).
    """
    with evaluation_mode(model):
        return model(input_ids=ids.to(next(model.parameters()).device), use_cache=False).logits.float().cpu()


def largest_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference of two tensors of one shape: 0.0 for the same numbers.

    Raises:
        Refusal: their shapes differ, or a difference is no finite number.
    """
    if one.shape != other.shape:
        raise refusal("other", f"of shape {tuple(one.shape)}", tuple(other.shape), "Were both made from the same ids?")
    largest = (one.double() - other.double()).abs().max().item()
    if not largest < float("inf"):
        raise refusal("the difference", "finite", largest, "One of the models computes what is no number.")
    return largest


def save_model(model: nn.Module, tokenizer, folder: str | Path) -> Path:
    """The folder, holding the whole model, its tokenizer and chat template, as `hub.load_model` takes it.

    It is written aside and moved into place when it is complete: a kill leaves what was there before. A quantised model
    is stored in its codes.

    Raises:
        Refusal: the model still carries an adapter, whose factors would be stored under names that nothing reads; its
            layers are in this kit's own codes, which no loader reads; or the disk has no room for it.
    """
    if lora_layers(model):
        raise refusal("model", "one without an adapter", f"{len(lora_layers(model))} adapted layers",
                      "Merge it first, or save the adapter alone with methods.save.")
    if quantised_layers(model):
        raise refusal("model", "one that transformers loads", f"{len(quantised_layers(model))} layers in this kit's "
                      "own codes", "Dequantise it first, with merging.dequantise_.")
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a save that was killed: its files are not this model's
    refuse_small_disk(folder, "the model", stored_bytes(model))
    try:
        with quiet():
            model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return replace_folder(partial, folder)


def folder_bytes(folder: str | Path) -> int:
    """The bytes of a folder's files."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def reload(stored: Sequence[Stored], ids: torch.Tensor) -> list[Reloaded]:
    """What each computes in a fresh process, that has nothing but the files; on the CPU, one process for all.

    Shapes: ids (rows, tokens), all of one length.

    Raises:
        Refusal: one cannot be loaded; the sentence is that of the process.

    Taught in: 11_save_merge_switch
    """
    with TemporaryDirectory() as work:
        write_json(Path(work) / REQUEST, [asdict(one) for one in stored])
        write_json(Path(work) / IDS, ids.tolist())
        source = str(Path(__file__).parents[2])
        paths = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run([sys.executable, "-m", "ftkit.merge.fresh", work], capture_output=True, text=True,
                              env=os.environ | {"PYTHONPATH": paths})
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2].removeprefix("ftkit.errors.Refusal: ")
            raise refusal("stored", "what a fresh process can load", [one.model for one in stored], said)
        made = read_json(Path(work) / MADE)
        return [Reloaded(load_file(Path(work) / f"{place}.safetensors")["logits"].clone(), **one)
                for place, one in enumerate(made)]
