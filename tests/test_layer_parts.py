"""Attention and MLP of each layer are found in models of any family, by what they are called and hold."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
    Phi3Config,
    Qwen2Config,
)

from ftkit.errors import Refusal
from ftkit.layer_parts import LayerParts, parts_of

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def built(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(("config", "layer", "attention", "mlp"), [
    (LlamaConfig(**SIZES, intermediate_size=48), "model.layers.1", "self_attn", "mlp"),
    (Qwen2Config(**SIZES, intermediate_size=48), "model.layers.1", "self_attn", "mlp"),
    (Phi3Config(**SIZES, intermediate_size=48, pad_token_id=0), "model.layers.1", "self_attn", "mlp"),
    (GPT2Config(n_embd=32, n_layer=2, n_head=4), "transformer.h.1", "attn", "mlp"),
    (GPTNeoXConfig(**SIZES, intermediate_size=48), "gpt_neox.layers.1", "attention", "mlp"),
    (FalconConfig(**SIZES), "transformer.h.1", "self_attention", "mlp"),
    (OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32), "model.decoder.layers.1", "self_attn", "fc1 fc2"),
], ids=lambda value: value.model_type if hasattr(value, "model_type") else "")
def test_each_familys_parts_are_found(config, layer, attention, mlp):
    found = parts_of(built(config))
    assert len(found) == 2
    assert found[1] == LayerParts(layer, (f"{layer}.{attention}",), tuple(f"{layer}.{name}" for name in mlp.split()))


def test_the_parts_of_mixed_experts_are_found():
    config = AutoConfig.for_model("qwen2_moe", **SIZES, intermediate_size=48, num_experts=4, moe_intermediate_size=16,
                                  shared_expert_intermediate_size=16)
    assert parts_of(built(config))[0].mlp == ("model.layers.0.mlp",)


@pytest.mark.parametrize(("model", "words"), [
    (lambda: built(MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=2)),
     "backbone.layers.0 must be a layer with attention and an MLP, got 'mixer'. Name modules of it"),
    (lambda: nn.Linear(2, 2), "model must be one with a list of layers, got 'Linear'"),
])
def test_a_model_without_such_parts_is_refused(model, words):
    with pytest.raises(Refusal, match=words):
        parts_of(model())
