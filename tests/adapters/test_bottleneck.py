"""Bottleneck adapters stand where they should, begin as nearly nothing, and are all that is trained."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, OPTConfig, Qwen2Config

from ftkit import targets
from ftkit.adapters.bottleneck import ACTIVATIONS, Bottleneck, BottleneckConfig, add_bottlenecks_, bottlenecks
from ftkit.batches import collate
from ftkit.errors import Refusal
from ftkit.losses import label_loss

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 64}
FAMILIES = {  # a family's config, its layers, its attention and its MLP
    "qwen2": (Qwen2Config(**SIZES, intermediate_size=48, num_key_value_heads=4), "model.layers", "self_attn", "mlp"),
    "llama": (LlamaConfig(**SIZES, intermediate_size=48), "model.layers", "self_attn", "mlp"),
    "gpt2": (GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.0),
             "transformer.h", "attn", "mlp"),
    "gpt-neox": (GPTNeoXConfig(**SIZES, intermediate_size=48), "gpt_neox.layers", "attention", "mlp"),
    "opt": (OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=32), "model.decoder.layers", "self_attn", "fc2"),
}
IDS = torch.randint(1, 61, (3, 11), generator=torch.Generator().manual_seed(4))
CONFIG = BottleneckConfig(bottleneck=4)


def a_model(family="qwen2"):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(FAMILIES[family][0]).eval()


def adapted(family="qwen2", seed=0, **settings):
    return add_bottlenecks_(a_model(family), BottleneckConfig(**{"bottleneck": 4, **settings}), seed)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_its_output_is_the_formula(activation):
    torch.manual_seed(0)
    layer, h = Bottleneck(8, BottleneckConfig(3, activation=activation, init_std=1.0)), torch.randn(2, 5, 8)
    by_hand = {"gelu": F.gelu, "relu": torch.relu, "silu": F.silu, "tanh": torch.tanh}[activation]
    want = h + by_hand(h @ layer.down.weight.T + layer.down.bias) @ layer.up.weight.T + layer.up.bias
    torch.testing.assert_close(layer(h), want)
    assert (layer.down.weight.shape, layer.up.weight.shape) == ((3, 8), (8, 3))


@pytest.mark.parametrize("place", ["houlsby", "pfeiffer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_stand_after_the_parts_of_each_layer(family, place):
    _, stack, attention, mlp = FAMILIES[family]
    parts = [mlp] if place == "pfeiffer" else [attention, mlp]
    model = adapted(family, place=place)
    assert set(bottlenecks(model)) == {f"{stack}.{layer}.{part}.adapter" for layer in range(2) for part in parts}
    assert {name.rpartition(".adapter.")[0] for name in targets.trainable(model)} == {
        f"{stack}.{layer}.{part}" for layer in range(2) for part in parts}
    of_one = 2 * 32 * 4 + 4 + 32
    assert targets.counts(model)[0] == 2 * len(parts) * of_one


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_starts_nearly_as_it_was_and_follows_its_adapters(family):
    before, model = logits(a_model(family)), adapted(family)
    torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-3)
    assert not torch.equal(logits(model), before)
    with torch.no_grad():
        for layer in bottlenecks(model).values():
            layer.up.weight.mul_(1000)
    assert (logits(model) - before).abs().max() > 0.01


def test_what_the_part_adds_is_adapted_before_it_is_added():
    model, seen = adapted(init_std=0.5, place="pfeiffer"), {}
    layer = model.model.layers[1]
    norm = layer.post_attention_layernorm
    norm.register_forward_hook(lambda _, given, out: seen.update(residual=given[0], normed=out))
    layer.register_forward_hook(lambda _, given, out: seen.update(out=out))
    logits(model)
    with torch.no_grad():
        plain = layer.mlp.forward(seen["normed"])  # not called, so without its hook
        want = seen["residual"] + layer.mlp.adapter(plain)
    torch.testing.assert_close(seen["out"], want)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_every_adapter_and_nothing_else(family):
    model = adapted(family)
    label_loss(model, collate([(IDS[0].tolist(), IDS[0].tolist())], 0))[0].backward()
    for name, one in model.named_parameters():
        assert (one.grad is not None) == (".adapter." in name), name
        assert one.grad is None or one.grad.abs().max() > 0, name


def test_the_seed_decides_the_weights_and_the_spread_is_the_one_asked_for():
    first, again, other = (adapted(seed=seed, bottleneck=32, init_std=0.02) for seed in (1, 1, 2))
    assert torch.equal(logits(first), logits(again)) and not torch.equal(logits(first), logits(other))
    weights = torch.cat([one.down.weight.flatten() for one in bottlenecks(first).values()])
    assert weights.abs().max() <= 0.04
    assert weights.std().item() == pytest.approx(0.02 * 0.88, rel=0.05)  # cut off at two spreads, 0.88 of it is left
    assert not any(one.down.bias.any() or one.up.bias.any() for one in bottlenecks(first).values())


def test_a_copy_has_adapters_of_its_own_and_a_bfloat16_base_keeps_its_type():
    model = adapted()
    copied, before = copy.deepcopy(model), logits(model)
    assert torch.equal(logits(copied), before)
    with torch.no_grad():
        bottlenecks(copied)["model.layers.0.mlp.adapter"].up.bias.add_(1)
    assert torch.equal(logits(model), before) and not torch.equal(logits(copied), before)
    half = add_bottlenecks_(a_model().to(torch.bfloat16), CONFIG)
    assert logits(half).dtype == torch.bfloat16
    assert {one.dtype for one in half.parameters() if one.requires_grad} == {torch.float32}


def test_activation_checkpointing_gives_the_same_gradient():
    plain, model = adapted().train(), adapted().train()
    model.activation_checkpointing_enable()
    for one in (plain, model):
        one(input_ids=IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
    for name, one in bottlenecks(plain).items():
        torch.testing.assert_close(bottlenecks(model)[name].down.weight.grad, one.down.weight.grad)


def test_counts_are_right_on_a_model_without_weights():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(FAMILIES["llama"][0])
    add_bottlenecks_(model, CONFIG)
    assert targets.counts(model)[0] == targets.counts(adapted("llama"))[0]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: BottleneckConfig(0), "bottleneck must be a whole number, 1 or more, got 0. Take 16"),
    (lambda: BottleneckConfig(place="both"), "place must be houlsby or pfeiffer, got 'both'"),
    (lambda: BottleneckConfig(activation="elu"), "activation must be one of gelu, relu, silu, tanh, got 'elu'"),
    (lambda: BottleneckConfig(init_std=0), "init_std must be a number above 0, got 0. Take 0.01: with zeros no"),
    (lambda: add_bottlenecks_(adapted(), CONFIG), "model must be one without adapters, got 'one with 4'. Load it anew"),
    (lambda: add_bottlenecks_(nn.Linear(2, 2), CONFIG),
     "model must be a language model of transformers, with hidden_size in its config, got 'Linear'"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
