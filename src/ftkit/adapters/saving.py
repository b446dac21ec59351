"""A trained prompt or prefix to the files that peft reads, and back. Knows nothing about training."""

from pathlib import Path

import torch
from torch import nn

from ftkit import peft_layout
from ftkit.adapters.prefix import Prefix, put_prefix_, shape_of
from ftkit.adapters.prompt import put_prompt_
from ftkit.adapters.virtual import decoder_of, virtual_of
from ftkit.errors import refusal

PROMPT, PREFIX = "PROMPT_TUNING", "PREFIX_TUNING"
_COMMON = {"task_type": "CAUSAL_LM", "num_transformer_submodules": 1}


def save_virtual(model: nn.Module, folder: str | Path, base_name: str) -> Path:
    """The folder, holding the model's prompt or prefix in peft's layout: `PeftModel.from_pretrained` opens it.

    Of a prefix with a projection the keys and values are saved that it makes, and not the network, as peft does.

    Args:
        base_name: the base model's name, written into the config.

    Raises:
        Refusal: the model has neither.
    """
    tokens = virtual_of(model)
    if tokens is None:
        raise refusal("model", "one with a trained prompt or prefix", type(model).__name__)
    if isinstance(tokens, Prefix):
        tensor, width = tokens(), tokens.heads * tokens.head_dim
        settings = {"peft_type": PREFIX, "token_dim": width, "encoder_hidden_size": width, "num_layers": tokens.layers,
                    "num_attention_heads": tokens.heads}
    else:
        tensor, config = tokens.embedding, decoder_of(model).config
        settings = {"peft_type": PROMPT, "token_dim": tensor.shape[1], "num_layers": config.num_hidden_layers,
                    "num_attention_heads": config.num_attention_heads}
    settings |= _COMMON | {"num_virtual_tokens": len(tensor), "base_model_name_or_path": base_name}
    return peft_layout.write(folder, settings, {peft_layout.VIRTUAL: tensor})


def load_virtual_(model: nn.Module, folder: str | Path) -> nn.Module:
    """The model with the prompt or prefix saved in a folder, by `save_virtual` or by peft; all else is frozen.

    Raises:
        Refusal: the folder holds something else, or it was made for another model.
    """
    settings, tensor = peft_layout.read_virtual(folder, (PROMPT, PREFIX))
    if settings.get("num_transformer_submodules") not in (None, 1):
        raise refusal("num_transformer_submodules", "1", settings["num_transformer_submodules"],
                      "It is a prompt for an encoder-decoder: open it with peft.")
    decoder = decoder_of(model)
    table = decoder.get_input_embeddings()
    tensor = tensor.float().to(table.weight.device)
    if settings["peft_type"] == PROMPT:
        _refuse_misfit(tensor, table.embedding_dim)
        return put_prompt_(model, tensor)
    layers, heads, head_dim, dtype = shape_of(decoder)
    _refuse_misfit(tensor, layers * 2 * heads * head_dim)
    return put_prefix_(model, Prefix(tensor, layers, heads, head_dim, dtype))


def _refuse_misfit(tensor: torch.Tensor, width: int) -> None:
    if tensor.shape[1] != width:
        raise refusal(f"{peft_layout.VIRTUAL} in {peft_layout.TENSORS_NAME}", f"{width} numbers wide for this model",
                      tensor.shape[1], "Was it trained on another base model?")
