"""What bitsandbytes stores is what was asked for, comes back as the numbers it stands for, and is counted in bytes."""

import bitsandbytes
import pytest
import torch
from torch import nn

from ftkit import quantization
from ftkit.errors import Refusal
from ftkit.hub import load_model
from ftkit.quant.blocks import dequantise, quantise
from ftkit.quant.linear import quantised_linear

IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def plain():
    return load_model(device="cpu", dtype="float32")[0]


def stored(kind, **settings):
    return load_model(device="cpu", dtype="float32", quantization=kind, **settings)[0]


def kinds(model):
    return {path: quantization.kind_of(one) for path, one in model.named_modules() if isinstance(one, nn.Linear)}


@pytest.mark.parametrize("kind", quantization.KINDS)
def test_every_linear_layer_but_the_head_is_stored_so_and_computes_with_the_numbers_of_its_codes(kind, plain):
    model = stored(kind)
    assert {kind_of for path, kind_of in kinds(model).items() if path != "lm_head"} == {kind}
    assert quantization.kind_of(model.lm_head) == "" and model.lm_head.weight is model.get_input_embeddings().weight
    for path, layer in list(model.named_modules()):
        if quantization.kind_of(layer):
            numbers, exact = quantization.numbers_of(layer), plain.get_submodule(path).weight
            assert numbers.dtype == torch.float32 and numbers.shape == exact.shape
            assert 0 < (numbers - exact).abs().max() < 0.35 * exact.abs().max()
            plain_copy = nn.functional.linear(torch.eye(layer.in_features), numbers).T
            torch.testing.assert_close(numbers, plain_copy)
            out = layer.train()(torch.eye(layer.in_features)) - (0 if layer.bias is None else layer.bias)
            torch.testing.assert_close(out.T, numbers, rtol=1e-5, atol=1e-6)  # a product with ones, in float32
            break


@pytest.mark.parametrize(("kind", "double"), [("nf4", True), ("nf4", False), ("fp4", True)])
def test_4_bit_numbers_are_those_of_our_own_codes(kind, double, plain):
    layer = stored(kind, double_quant=double).model.layers[3].mlp.up_proj
    ours = quantise(plain.model.layers[3].mlp.up_proj.weight, kind, 64, double)
    assert layer.weight.quant_state.nested == double
    assert torch.equal(layer.weight.data, ours.packed)
    assert torch.equal(quantization.numbers_of(layer), dequantise(ours))


def test_int8_numbers_are_rounded_row_by_row(plain):
    layer, exact = stored("int8").model.layers[3].mlp.up_proj, plain.model.layers[3].mlp.up_proj.weight
    half = exact.half().float()  # bitsandbytes rounds to float16 first
    step = half.abs().amax(1, keepdim=True) / 127
    assert ((quantization.numbers_of(layer) - half).abs() <= 0.5001 * step).all()  # half a step, and float32's rounding
    layer(torch.ones(1, 192))  # moves the scales from the weight to the layer's state
    assert layer.weight.SCB is None and ((quantization.numbers_of(layer) - half).abs() <= 0.5001 * step).all()


def test_one_name_or_an_iterator_of_names_is_as_good_as_a_list_of_them():
    want = kinds(stored("nf4", unquantised=["mlp"]))
    assert kinds(stored("nf4", unquantised="mlp")) == kinds(stored("nf4", unquantised=iter(["mlp"]))) == want


@pytest.mark.parametrize(("unquantised", "left"), [
    (["mlp"], 24), (["self_attn"], 32), (["q_proj", "layers.0"], 7 + 7), (["model.layers.1.mlp.up_proj"], 1)])
def test_named_modules_and_the_head_stay_as_they_are(unquantised, left):
    found = kinds(stored("nf4", unquantised=unquantised))
    assert found["lm_head"] == "" and list(found.values()).count("") == left + 1
    assert all(any(f".{name}." in f".{path}." for name in unquantised) for path, kind in found.items()
               if not kind and path != "lm_head")


def test_bytes_are_counted_from_codes_scales_and_plain_tensors(plain):
    linear = sum(one.weight.numel() for path, one in plain.named_modules() if isinstance(one, nn.Linear)
                 and path != "lm_head")
    rest = sum(one.numel() for one in plain.parameters()) - linear
    rows = sum(one.out_features for path, one in plain.named_modules() if isinstance(one, nn.Linear)
               and path != "lm_head")
    assert quantization.stored_bytes(plain) == 4 * (linear + rest)
    assert quantization.stored_bytes(stored("nf4", double_quant=False)) == linear / 2 + linear / 64 * 4 + 4 * rest
    nested = sum(-(-one.weight.numel() // 64 // 256) for path, one in plain.named_modules()
                 if isinstance(one, nn.Linear) and path != "lm_head")
    assert quantization.stored_bytes(stored("nf4")) == linear / 2 + linear / 64 + 4 * nested + 4 * 56 + 4 * rest
    assert quantization.stored_bytes(stored("int8")) == linear + 4 * rows + 4 * rest


@pytest.mark.parametrize("kind", quantization.KINDS)
def test_other_numbers_are_stored_as_the_layers_own_were(kind):
    layer = stored(kind).model.layers[0].mlp.down_proj
    layer(torch.ones(1, 512))
    other = quantization.numbers_of(layer) * 2
    quantization.like_(layer, other)
    assert quantization.kind_of(layer) == kind
    torch.testing.assert_close(quantization.numbers_of(layer), other, rtol=2e-3, atol=1e-6)  # float16's, from int8
    y = layer.train()(torch.eye(512)).T
    torch.testing.assert_close(y, quantization.numbers_of(layer), rtol=1e-5, atol=1e-6)


def test_bits_are_those_of_bitsandbytes_layers_and_of_our_own():
    layers = [stored("nf4").model.layers[0].mlp.up_proj, stored("int8").model.layers[0].mlp.up_proj,
              quantised_linear(nn.Linear(64, 2), "nf4"), quantised_linear(nn.Linear(64, 2), "int8"), nn.Linear(2, 2),
              nn.ReLU(), bitsandbytes.nn.Linear4bit(64, 2, device="meta")]
    assert list(map(quantization.bits_of, layers)) == [4, 8, 4, 8, 0, 0, 0]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: stored("nf5"), "quantization must be one of None, nf4, fp4, int8, got 'nf5'. Did you mean nf4"),
    (lambda: stored("nf4", unquantised=["attn"]),
     "unquantised must be names of modules that hold linear layers, got 'attn'. This model has "),
    (lambda: stored("nf4", unquantised=["model"]), "unquantised must be names that leave a layer to quantise, got "
     r"\['model'\]. Load the model with quantization=None"),
    (lambda: quantization.numbers_of(nn.Linear(2, 2)), "module must be a linear layer of bitsandbytes, got 'Linear'"),
    (lambda: quantization.like_(nn.Linear(2, 2), torch.ones(2, 2)), "a linear layer of bitsandbytes, got 'Linear'")])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
