"""A model's trained weights to a file, and back into a model that trains the same ones.

Knows nothing about methods: what is trained has `requires_grad`.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn

from ftkit.errors import refusal
from ftkit.files import write_atomic

TRAINED_NAME = "trained.safetensors"


def save_trained(model: nn.Module, folder: str | Path) -> Path:
    """The file in a folder that holds a model's trained weights by name, tied ones once."""
    trained = {name: parameter.detach().cpu().contiguous()
               for name, parameter in model.named_parameters() if parameter.requires_grad}
    path = Path(folder) / TRAINED_NAME
    write_atomic(path, to_bytes(trained, metadata={"format": "pt"}))
    return path


@torch.no_grad()
def load_trained_(model: nn.Module, folder: str | Path) -> nn.Module:
    """The model with the weights that `save_trained` wrote in place of those that it trains itself.

    Raises:
        Refusal: the file is absent or damaged, or holds other weights than this model trains.
    """
    try:
        trained = load_file(Path(folder) / TRAINED_NAME)
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
    return model
