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
        if isinstance(error, ImportError):  # of what a quantised checkpoint needs, or code that comes with one
            raise refusal(folder.name, "a checkpoint whose packages are installed", str(error),
                          "Install what it names, or take a checkpoint that does without.") from error
        raise refusal(f"{folder.name}: weights", "what config.json describes",
                      _misfit(folder, settings, error) or f"{type(error).__name__}: {error}",
                      "Copy config.json and the weights again from the same source.") from error
    if stopped:
        raise KeyboardInterrupt(f"loading {folder.name} was stopped; nothing of it is left in memory")
    if report["missing_keys"]:
        raise refusal(f"{folder.name}: weights", "complete", f"{len(report['missing_keys'])} tensors missing, first "
                      f"{min(report['missing_keys'])}", "They would be random: copy the checkpoint again.")
    if getattr(model.config, "rescale_every", 0):  # RWKV divides weights while it evaluates: codes, and what is merged,
        model.config.rescale_every = 0  # would not come through it; float16 alone needs it
    return _settle_biases_(model)


def shape_alone(folder: Path, trust_remote_code: bool = False):
    """The model that a folder's config describes, on the meta device: names and shapes, no weights.

    Raises:
        Refusal: transformers cannot build it.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except Exception as error:  # a config, and code that comes with it, may raise anything
        raise refusal(f"{folder.name}/config.json", "one that a model can be built from",
                      f"{type(error).__name__}: {error}", "Copy it again from where the weights came from.") from error


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


def _misfit(folder: Path, settings: dict, error: Exception) -> str:
    """The first tensor whose shape is another in the files than in the model, in words; empty for other errors."""
    if "mismatched_sizes" not in str(error):  # what transformers says then, in a table of its log
        return ""
    described = shape_alone(folder, settings.get("trust_remote_code", False)).state_dict()
    for name, one in sorted(checkpoints.tensors(folder).items()):
        if name in described and tuple(described[name].shape) != one.shape:
            return f"{name} of shape {tuple(described[name].shape)}, stored as {one.shape}"
    return ""


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
