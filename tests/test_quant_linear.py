"""A linear layer that holds codes: what it computes, what it keeps, how it is saved, and how it goes into a model."""

import copy
import io

import bitsandbytes
import pytest
import torch
from safetensors.torch import load, save
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, Qwen2Config

from ftkit import targets
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_, merge_
from ftkit.lora.config import LoraConfig
from ftkit.quant.blocks import dequantise, quantise
from ftkit.quant.linear import QuantisedLinear, model_bytes, quantise_, quantised_layers, quantised_linear

IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))


def a_linear(bias=True, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Linear(96, 40, bias=bias).to(dtype)


def a_model(tied=False):
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config).eval()


def x_of(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)).to(dtype)


# --- the layer ---


@pytest.mark.parametrize("data_type", ["nf4", "fp4", "int4", "int8"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_and_gradient_are_those_of_a_plain_layer_with_the_dequantised_weight(data_type, bias, dtype):
    linear = a_linear(bias, dtype)
    layer = quantised_linear(linear, data_type, block_size=32, double=True)
    x, plain_x = x_of(2, 5, 96, dtype=dtype).requires_grad_(), x_of(2, 5, 96, dtype=dtype).requires_grad_()
    weight = dequantise(quantise(linear.weight, data_type, 32, double=True))
    y, plain_y = layer(x), nn.functional.linear(plain_x, weight, linear.bias)
    assert torch.equal(y, plain_y) and y.dtype == dtype
    y.square().sum().backward()
    plain_y.square().sum().backward()
    torch.testing.assert_close(x.grad, plain_x.grad, rtol=1e-6, atol=1e-6)  # the same product in another order
    assert not layer.weight.requires_grad and layer.weight.grad is None
    if bias:
        torch.testing.assert_close(layer.bias.grad, linear.bias.grad)


@pytest.mark.parametrize("bias", [True, False])
def test_gradients_agree_with_finite_differences(bias):
    layer = quantised_linear(a_linear(bias)).double()
    parameters = [layer.bias] if bias else []
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x_of(3, 96, dtype=torch.float64).requires_grad_(),
                                                             *parameters))


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_output_and_gradient_are_those_of_bitsandbytes(double, kind):
    torch.manual_seed(0)
    linear = nn.Linear(128, 40)  # whole blocks a row: else its AVX-512 kernel (0.50.2) takes wrong scales
    theirs = bitsandbytes.nn.Linear4bit(128, 40, quant_type=kind, compress_statistics=double,
                                        compute_dtype=torch.float32)
    theirs.load_state_dict(linear.state_dict())
    theirs = theirs.to("cpu")
    if theirs.weight.quant_state is None:  # on a CPU it quantises when it is moved
        theirs.weight = theirs.weight._quantize("cpu")
    ours, x, their_x = quantised_linear(linear, kind, 64, double), x_of(7, 128).requires_grad_(), x_of(7, 128)
    assert torch.equal(ours.weight, theirs.weight.data)
    y, their_y = ours(x), theirs(their_x.requires_grad_())
    torch.testing.assert_close(y, their_y, rtol=1e-6, atol=1e-6)
    y.square().sum().backward()
    their_y.square().sum().backward()
    torch.testing.assert_close(x.grad, their_x.grad, rtol=1e-6, atol=1e-6)


def test_no_weight_in_floating_point_is_kept_for_the_backward_pass():
    layer, kept = quantised_linear(a_linear()), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        y = layer(x_of(3, 96).requires_grad_())
    kept_for_later = y.grad_fn.make.__self__.quantised  # the layer's own codes
    held = [each for each in [kept_for_later.packed, kept_for_later.scales] if each.numel() > 1000]
    assert kept == [] and all(each.dtype == torch.uint8 for each in held)


def test_the_result_lives_under_autocast_in_its_type_and_the_gradient_in_that_of_the_input():
    layer, x = quantised_linear(a_linear()), x_of(3, 96).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16 and x.grad.dtype == torch.float32
    plain = quantised_linear(a_linear())(x_of(3, 96))
    torch.testing.assert_close(y.float(), plain, rtol=3e-2, atol=3e-2)  # bfloat16 has three figures


def test_activation_checkpointing_gives_the_same_gradient():
    layer, x, again = quantised_linear(a_linear()), x_of(3, 96).requires_grad_(), x_of(3, 96).requires_grad_()
    layer(x).square().sum().backward()
    checkpoint(layer, again, use_reentrant=False).square().sum().backward()
    assert torch.equal(x.grad, again.grad)


def test_half_and_to_change_neither_codes_nor_scales():
    layer = quantised_linear(a_linear(), double=True)
    before = dequantise(layer.quantised)
    for change in (torch.float16, torch.bfloat16, "cpu", torch.float64):
        layer.to(change)
        assert torch.equal(dequantise(layer.quantised), before)
        assert layer.scale_scales.dtype == layer.offset.dtype == torch.float32
    assert layer.bias.dtype == torch.float64


def test_a_layer_says_what_it_is():
    assert repr(quantised_linear(a_linear(), double=True)) == (
        "QuantisedLinear(in_features=96, out_features=40, bias=True, nf4, block_size=64, double quantisation)")


# --- saved, copied ---


@pytest.mark.parametrize("double", [False, True])
def test_a_state_dict_goes_through_a_file_of_tensors_and_back(double):
    saved = save(quantised_linear(a_linear(), "fp4", 32, double).state_dict())
    torch.manual_seed(5)
    other = quantised_linear(nn.Linear(96, 40), "fp4", 32, double)
    other.load_state_dict(load(saved))
    assert torch.equal(other(x_of(3, 96)), quantised_linear(a_linear(), "fp4", 32, double)(x_of(3, 96)))


def test_codes_with_another_meaning_are_not_loaded():
    other = quantised_linear(a_linear(), "nf4")
    with pytest.raises(Refusal, match=r"state_dict must be of a layer in \['nf4', 64, False.*got \['fp4', 64, False"):
        other.load_state_dict(quantised_linear(a_linear(), "fp4").state_dict())


def test_a_copy_and_a_pickle_compute_the_same_and_count_the_same():
    layer, stored = quantised_linear(a_linear()), io.BytesIO()
    torch.save(layer, stored)
    stored.seek(0)
    for other in (copy.deepcopy(layer), torch.load(stored, weights_only=False)):
        assert torch.equal(other(x_of(3, 96)), layer(x_of(3, 96)))
        assert targets.counts(other) == targets.counts(layer) == (40, 96 * 40 + 40)


# --- in a model ---


def test_a_model_is_quantised_but_for_its_head_embeddings_and_norms():
    model = quantise_(a_model(), double=True)
    assert len(quantised_layers(model)) == 2 * 7
    assert isinstance(model.lm_head, nn.Linear) and not isinstance(model.lm_head, QuantisedLinear)
    assert targets.counts(model)[1] == targets.counts(a_model())[1]


def test_named_modules_alone_are_quantised():
    model = quantise_(a_model(), target_modules=("q_proj", "down_proj"))
    assert {path.rpartition(".")[2] for path in quantised_layers(model)} == {"q_proj", "down_proj"}


def test_logits_of_a_quantised_model_are_those_with_dequantised_weights():
    model, plain = quantise_(a_model(), "int4", 32), a_model()
    with torch.no_grad():
        for path in quantised_layers(model):
            weight = plain.get_submodule(path).weight
            weight.copy_(dequantise(quantise(weight, "int4", 32)))
        assert torch.equal(model(input_ids=IDS).logits, plain(input_ids=IDS).logits)


def test_bytes_of_a_model_are_codes_scales_and_the_rest_once():
    model = a_model(tied=True)
    linear = sum(module.weight.numel() for path, module in model.named_modules() if path.endswith("_proj"))
    rest = 4 * (sum(each.numel() for each in model.parameters()) - linear)
    assert model_bytes(model) == rest + 4 * linear
    assert model_bytes(quantise_(model, block_size=64)) == rest + linear / 2 + 4 * linear / 64


def test_lora_trains_on_a_quantised_base_and_its_codes_stay_what_they_are():
    model = add_lora_(quantise_(a_model()), LoraConfig(rank=2))
    before = {path: layer.weight.clone() for path, layer in quantised_layers(model).items()}
    optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.5)
    losses = []
    for _ in range(8):
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(layer.weight, before[path]) for path, layer in quantised_layers(model).items())


def test_an_adapter_on_a_quantised_base_is_not_merged():
    model = add_lora_(quantise_(a_model()), LoraConfig(rank=2))
    with pytest.raises(Refusal, match="a layer with floating-point weights, got 'torch.uint8'"):
        merge_(model)


def twice():
    quantise_(quantise_(a_model()))


def tied():
    model = a_model(tied=True)
    quantise_(model, target_modules=("lm_head",))


def spoilt():
    model = a_model()
    model.model.layers[1].mlp.up_proj.weight.data[3, 5] = float("nan")
    try:
        quantise_(model)
    finally:
        assert not quantised_layers(model)  # nothing was replaced


@pytest.mark.parametrize(("call", "words"), [
    (twice, "model.layers.0.self_attn.q_proj: linear must be a plain nn.Linear, got 'QuantisedLinear'. It is quant"),
    (tied, "lm_head must be a layer with a weight of its own, got 'one shared with model.embed_tokens'. Leave it out"),
    (spoilt, r"model.layers.1.mlp.up_proj: tensor must be finite everywhere, got 'nan at \[3, 5\]'"),
    (lambda: quantise_(a_model(), "nf44"), "data_type must be one of"),
    (lambda: quantise_(a_model(), target_modules=("q_porj",)), "target_modules must be names that this model has"),
    (lambda: quantised_linear(nn.Conv1d(2, 2, 1)), "linear must be a plain nn.Linear, got 'Conv1d'"),
])
def test_what_cannot_be_replaced_is_refused_in_words(call, words):
    with pytest.raises(Refusal, match=words):
        call()
