"""What is frozen is what the settings say, in models of any family, and stays the same bit for bit."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Qwen2Config

from ftkit import targets
from ftkit.errors import Refusal
from ftkit.freeze import FreezeConfig, freeze_
from ftkit.layer_places import frozen_count

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
FAMILIES = {
    "qwen2": (Qwen2Config(**SIZES, intermediate_size=48, num_key_value_heads=4, tie_word_embeddings=True),
              "model.layers"),
    "llama": (LlamaConfig(**SIZES, intermediate_size=48), "model.layers"),
    "gpt2": (GPT2Config(vocab_size=61, n_embd=32, n_layer=4, n_head=4), "transformer.h"),
    "gpt-neox": (GPTNeoXConfig(**SIZES, intermediate_size=48), "gpt_neox.layers"),
}
IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))


def a_model(family="qwen2"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(FAMILIES[family][0])


def trained(family="qwen2", **settings):
    """The names of what is trained."""
    return set(targets.trainable(freeze_(a_model(family), FreezeConfig(**settings))))


def under(family, *paths):
    stack = FAMILIES[family][1]
    return {name for name, _ in a_model(family).named_parameters()
            if any(name.startswith(f"{stack}.{path}.") for path in paths)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("settings", "layers"), [
    ({}, [3]), ({"freeze_ratio": 0.5}, [2, 3]), ({"part": "top", "freeze_ratio": 0.5}, [0, 1]),
    ({"part": "top", "freeze_ratio": 0.75}, [0]), ({"freeze_ratio": 0}, [0, 1, 2, 3]), ({"layers": 3}, [1, 2, 3]),
    ({"layers": 4}, [0, 1, 2, 3]),
])
def test_the_other_end_of_the_stack_is_trained_and_nothing_outside_it(family, settings, layers):
    assert trained(family, **settings) == under(family, *layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_embeddings_and_head_all_but_the_frozen_layers_is_trained(family):
    names = {name for name, _ in a_model(family).named_parameters()}
    assert trained(family, freeze_ratio=0.5, embeddings_and_head=True) == names - under(family, 0, 1)
    assert trained(family, freeze_ratio=1.0, embeddings_and_head=True) == names - under(family, 0, 1, 2, 3)


def test_a_tied_head_is_trained_with_the_embeddings():
    tied = freeze_(a_model("qwen2"), FreezeConfig(embeddings_and_head=True))
    assert tied.lm_head.weight is tied.model.embed_tokens.weight and tied.lm_head.weight.requires_grad
    untied = freeze_(a_model("llama"), FreezeConfig(embeddings_and_head=True))
    assert untied.lm_head.weight.requires_grad and untied.model.embed_tokens.weight.requires_grad
    assert not freeze_(a_model("llama"), FreezeConfig()).lm_head.weight.requires_grad


@pytest.mark.parametrize(("family", "attention"), [("qwen2", "self_attn"), ("llama", "self_attn"), ("gpt2", "attn"),
                                                   ("gpt-neox", "attention")])
def test_mlp_or_attention_is_frozen_in_all_layers_and_the_rest_of_them_is_trained(family, attention):
    inside = under(family, *range(4))
    assert trained(family, modules="mlp") == inside - under(family, *(f"{place}.mlp" for place in range(4)))
    assert trained(family, modules="attention") == inside - under(family, *(f"{p}.{attention}" for p in range(4)))


def test_modules_may_be_named_and_frozen_at_one_end_alone():
    inside = under("qwen2", *range(4))
    assert trained(modules=("q_proj", "v_proj")) == inside - {
        name for name in inside if "q_proj" in name or "v_proj" in name}
    assert trained(modules="mlp.up_proj", freeze_ratio=0.5) == inside - {
        f"model.layers.{place}.mlp.up_proj.weight" for place in (0, 1)}
    assert trained(modules=["mlp"], part="top", freeze_ratio=0.25) == inside - under("qwen2", "3.mlp")


def test_frozen_weights_are_the_same_bits_after_training_and_the_others_are_not():
    model = freeze_(a_model(), FreezeConfig(freeze_ratio=0.5, modules="mlp"))
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.1, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=IDS, use_cache=False).logits.logsumexp(-1).mean().backward()
        optimizer.step()
    for name, one in model.named_parameters():
        assert torch.equal(one, before[name]) != one.requires_grad, name


@pytest.mark.parametrize(("ratio", "layers", "frozen"), [(0.5, 8, 4), (0.5, 5, 3), (0.3, 32, 10), (0.7, 32, 22),
                                                         (1, 3, 3), (0, 3, 0), (0.1, 3, 0)])
def test_a_share_is_the_nearest_number_of_layers(ratio, layers, frozen):
    assert frozen_count(ratio, layers) == frozen


def test_the_settings_say_what_was_meant():
    assert FreezeConfig().freeze_ratio == 0.75
    assert FreezeConfig(modules="mlp") == FreezeConfig(modules=("mlp",), freeze_ratio=1.0)
    assert FreezeConfig(layers=2).freeze_ratio is None


@pytest.mark.parametrize(("call", "words"), [
    (lambda: FreezeConfig("middle"), "part must be 'bottom' or 'top', the end that is frozen, got 'middle'"),
    (lambda: FreezeConfig(freeze_ratio=1.5), "freeze_ratio must be a share, 0 to 1, got 1.5. Take 0.5"),
    (lambda: FreezeConfig(freeze_ratio=True), "freeze_ratio must be a share, 0 to 1, got True"),
    (lambda: FreezeConfig(embeddings_and_head=1), "embeddings_and_head must be True or False, got 1"),
    (lambda: FreezeConfig(layers=2, freeze_ratio=0.5), "layers must be left out beside freeze_ratio or modules, got 2"),
    (lambda: FreezeConfig(layers=2, modules="mlp"), "layers must be left out beside freeze_ratio or modules, got 2"),
    (lambda: trained(layers=5), "layers must be a whole number from 1 to 4, the layers of this model, got 5"),
    (lambda: trained(layers=True), "layers must be a whole number from 1 to 4, .*got True"),
    (lambda: trained(freeze_ratio=0.9), "freeze_ratio must be small enough for one of 4 layers to be trained, got 0.9"),
    (lambda: trained(modules="mpl"), "modules must be 'attention', 'mlp' or names of modules in the layers, got 'mpl'. "
                                     "A layer of this model has input_layernorm, mlp, mlp.act_fn"),
    (lambda: trained(modules="lm_head"), "names of modules in the layers, got 'lm_head'"),
    (lambda: freeze_(nn.Linear(2, 2), FreezeConfig()), "model must be one with a list of layers, got 'Linear'"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
