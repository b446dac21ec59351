"""The weights of a checked folder into a model of transformers, with a line now and then about how far it is.

Knows nothing about where the folder comes from, nor whether the model fits or may be run.
"""

import contextlib
from pathlib import Path

import torch

from ftkit import checkpoints
from ftkit.errors import refusal
from ftkit.progress import Lines


def load_weights(folder: Path, settings: dict):
    """The model in a checked folder, with lines about how far it is where that takes long.

    What is quantised is so one tensor at a time: the file is mapped, not read into memory. A load that is stopped
    leaves nothing behind.

    Args:
        settings: what `from_pretrained` of transformers is told besides.

    Raises:
        Refusal: the weights are not what the config describes, or memory ran out after all.
    """
    from transformers import AutoModelForCausalLM

    stopped = False
    try:
        with quiet(), _lines(folder), _plain_linear(folder):
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **settings)
    except KeyboardInterrupt:
        stopped = True  # and raised anew below: the frames of this one hold all that was loaded so far
    except Exception as error:  # the loader raises anything from KeyError to RuntimeError
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in str(error):
            raise refusal("memory", f"enough to load {folder.name}", str(error).partition("\n")[0] or "no memory",
                          "It was taken by others meanwhile: close other programs, or take a smaller model.") from None
        raise refusal(f"{folder.name}: weights", "what config.json describes", f"{type(error).__name__}: {error}",
                      "Copy config.json and the weights again from the same source.") from error
    if stopped:
        raise KeyboardInterrupt(f"loading {folder.name} was stopped; nothing of it is left in memory")
    if report["missing_keys"]:
        raise refusal(f"{folder.name}: weights", "complete", f"{len(report['missing_keys'])} tensors missing, first "
                      f"{min(report['missing_keys'])}", "They would be random: copy the checkpoint again.")
    return _settle_biases_(model)


@contextlib.contextmanager
def quiet():
    """No progress bars meanwhile: they fill a notebook."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _plain_linear(folder: Path):
    """While open, a Falcon is built of plain linear layers, which compute what its own do and can be quantised.

    Its own are a subclass, and transformers quantises the very class alone: the whole model would stay as it is.
    """
    if checkpoints.read_object(folder / "config.json")["model_type"] != "falcon":
        yield
        return
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own


def _settle_biases_(model):
    """The model with the biases of 4-bit layers in the type they compute in, as bitsandbytes casts them when used."""
    for module in model.modules():
        if getattr(module, "bias", None) is not None and hasattr(module, "compute_dtype"):
            module.bias.data = module.bias.data.to(module.compute_dtype)
    return model


@contextlib.contextmanager
def _lines(folder: Path):
    """While open, what transformers would show as a bar over the tensors of a checkpoint is a line now and then."""
    from transformers.utils import logging

    before = logging.set_tqdm_hook(lambda factory, given, named: (
        _told(given[0], folder) if named.get("desc") == "Loading weights" else factory(*given, **named)))
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)


def _told(items, folder: Path):
    """The items, which begin with a tensor's name, with a line now and then about the bytes that they make up."""
    stored, lines = checkpoints.tensors(folder), Lines(f"loading {folder.name}")
    files = sorted({one.file for one in stored.values()})
    total, done = sum(one.size_bytes for one in stored.values()), 0
    for item in items:
        yield item
        if one := stored.get(item[0]):  # a tensor that is renamed or cut up while loading counts as nothing
            done += one.size_bytes
            lines.reach(done / total, f"file {files.index(one.file) + 1} of {len(files)}")
