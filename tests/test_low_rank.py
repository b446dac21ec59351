"""The hand-written low-rank product: its value, its gradients, and when an adapted layer takes it."""

import bitsandbytes
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ftkit import low_rank
from ftkit.hub import keep_codes_
from ftkit.lora.layers import LoRALayer
from ftkit.low_rank import low_rank_linear
from ftkit.quant.linear import quantised_linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("x_needs_gradient", [True, False])
def test_hand_written_gradients_agree_with_finite_differences(bias, x_needs_gradient):
    torch.manual_seed(0)
    x, weight, A, B = (torch.randn(*shape, dtype=torch.float64) for shape in [(2, 3, 5), (4, 5), (2, 5), (4, 2)])
    x.requires_grad_(x_needs_gradient)
    b = torch.randn(4, dtype=torch.float64) if bias else None

    def output(x, A, B):
        return low_rank_linear(x, weight, b, A, B, 0.7)

    assert torch.autograd.gradcheck(output, (x, A.requires_grad_(), B.requires_grad_()))


def test_the_hand_written_product_is_the_equation():
    torch.manual_seed(0)
    x, weight, b, A, B = (torch.randn(*shape, dtype=torch.float64) for shape in [(3, 5), (4, 5), (4,), (2, 5), (4, 2)])
    want = torch.stack([weight @ row + b + 0.7 * (B @ (A @ row)) for row in x])
    torch.testing.assert_close(low_rank_linear(x, weight, b, A, B, 0.7), want, rtol=1e-12, atol=1e-12)


@pytest.fixture
def fewest_steps():
    with low_rank.fewest_steps():
        yield


def test_it_is_open_only_inside_and_may_be_opened_twice():
    assert not low_rank.is_fewest_steps()
    with low_rank.fewest_steps(), low_rank.fewest_steps():
        assert low_rank.is_fewest_steps()
    with pytest.raises(KeyError), low_rank.fewest_steps():
        raise KeyError
    assert not low_rank.is_fewest_steps()


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_a_layer_in_the_fewest_steps_is_the_layer_but_for_rounding(kind):
    from transformers.pytorch_utils import Conv1D

    layer = LoRALayer(nn.Linear(48, 32) if kind == "linear" else Conv1D(32, 48), rank=4, alpha=6)
    nn.init.normal_(layer.lora_B)
    x, found = torch.randn(7, 48, requires_grad=True), []
    for fewest in (False, True):
        layer.zero_grad()
        x.grad = None
        with low_rank.fewest_steps() if fewest else torch.enable_grad():
            y = layer(x)
        y.square().sum().backward()
        found.append([y.detach(), x.grad, layer.lora_A.grad.clone(), layer.lora_B.grad.clone()])
    for plain, quick in zip(*found, strict=True):
        assert (plain - quick).abs().max() <= 3e-6 * plain.abs().max()  # float32, sums in another order


def test_a_layer_of_the_hand_written_product_has_no_gradient_for_the_frozen_input_or_weight(
        fewest_steps):
    layer = LoRALayer(nn.Linear(5, 4), rank=2, alpha=4)
    x = torch.randn(3, 5)
    layer(x).sum().backward()
    assert layer.base.weight.grad is None and layer.base.bias.grad is None and x.grad is None
    assert layer.lora_B.grad.abs().sum() > 0


@pytest.mark.parametrize("change", ["hook", "replaced forward", "trained bias", "autocast"])
def test_a_base_layer_that_is_more_than_a_plain_one_keeps_its_own_forward(
        fewest_steps, change):
    layer, x = LoRALayer(nn.Linear(5, 4), rank=2, alpha=4), torch.randn(3, 5)
    nn.init.normal_(layer.lora_B)
    want, calls = layer(x), []
    if change == "hook":
        layer.base.register_forward_hook(lambda *_: calls.append(1))
    elif change == "replaced forward":
        forward = layer.base.forward
        layer.base.forward = lambda x: (calls.append(1), forward(x))[1]
    elif change == "trained bias":
        layer.base.bias.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        got = layer(x)
    got.float().sum().backward()
    assert bool(calls) == (change in ("hook", "replaced forward"))
    assert (layer.base.bias.grad is not None) == (change == "trained bias")
    assert got.dtype == (torch.bfloat16 if change == "autocast" else torch.float32)
    torch.testing.assert_close(got.float(), want, rtol=3e-2 if change == "autocast" else 1e-5,
                               atol=3e-2 if change == "autocast" else 1e-6)  # bfloat16 has three figures, float32 seven


# --- over a weight in codes ---


def a_layer_over(kind, dtype=torch.float32, **changes):
    torch.manual_seed(0)
    linear = nn.Linear(128, 64).to(dtype)
    if kind == "bitsandbytes":
        base = bitsandbytes.nn.Linear4bit(128, 64, compute_dtype=dtype, quant_type="nf4")
        base.load_state_dict(linear.state_dict())
        base = keep_codes_(nn.Sequential(base.to("cpu")))[0]
    else:
        base = quantised_linear(linear, kind, double=True)
    layer = LoRALayer(base, **{"rank": 4, "alpha": 6} | changes)
    nn.init.normal_(layer.lora_B)
    return layer


def outcome(layer, x):
    layer.zero_grad()
    y = layer(x.detach().requires_grad_()) if not x.requires_grad else layer(x)
    y.float().square().sum().backward()
    return [y.detach(), x.grad, layer.lora_A.grad.clone(), layer.lora_B.grad.clone()]


@pytest.mark.parametrize("kind", ["nf4", "fp4", "int8", "bitsandbytes"])
def test_over_codes_a_layer_is_the_layer_but_for_rounding(kind):
    layer, found = a_layer_over(kind), []
    for fewest in (False, True):
        x = torch.randn(7, 128, generator=torch.Generator().manual_seed(1)).requires_grad_()
        with low_rank.over_codes() if fewest else torch.enable_grad():
            found.append(outcome(layer, x))
    for plain, quick in zip(*found, strict=True):
        assert (plain - quick).abs().max() <= 3e-6 * plain.abs().max()  # float32, sums in another order


@pytest.mark.parametrize("kind", ["nf4", "bitsandbytes"])
def test_over_codes_products_have_the_type_of_the_activations_and_gradients_that_of_the_factors(kind, monkeypatch):
    layer, seen = a_layer_over(kind, torch.bfloat16), []
    product = torch.nn.functional.linear
    x = torch.randn(7, 128, generator=torch.Generator().manual_seed(1)).bfloat16().requires_grad_()
    want = outcome(layer, x)
    x.grad = None
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *of: (seen.append({each.dtype for each in of[:2]}),
                                                                    product(*of))[1])
    with low_rank.over_codes():
        got = outcome(layer, x)
    assert seen == [{torch.bfloat16}] * 2
    assert got[0].dtype == torch.bfloat16 and got[2].dtype == got[3].dtype == torch.float32
    for plain, narrow in zip(want, got, strict=True):  # bfloat16 has three figures; the sums are of 64 to 128 numbers
        assert (plain.float() - narrow.float()).norm() <= 0.02 * plain.float().norm()


def counted(layer, monkeypatch):
    """A list that grows by one with each time the layer's weight is made from its codes."""
    made, make = [], layer.base.dequantised
    monkeypatch.setattr(layer.base, "dequantised", lambda dtype: (made.append(1), make(dtype))[1])
    return made


@pytest.mark.parametrize("kept, times", [(False, 3), (True, 2)])
def test_a_layer_computed_again_makes_its_weight_three_times_or_two_if_kept(kept, times, monkeypatch):
    layer, x = a_layer_over("nf4"), torch.randn(7, 128, requires_grad=True)
    made, found = counted(layer, monkeypatch), []
    context = {"context_fn": low_rank.kept_the_second_time} if kept else {}
    with low_rank.over_codes():
        checkpoint(layer, x, use_reentrant=False, **context).square().sum().backward()
        found = [x.grad, layer.lora_A.grad, layer.lora_B.grad]
        assert len(made) == times
    x.grad = None
    want = outcome(layer, x)[1:]
    for plain, again in zip(want, found, strict=True):
        assert (plain - again).abs().max() <= 3e-6 * plain.abs().max()  # float32, sums in another order


def test_without_recomputation_a_weight_is_made_twice_and_never_kept(monkeypatch):
    layer, x = a_layer_over("nf4"), torch.randn(7, 128, requires_grad=True)
    made, kept = counted(layer, monkeypatch), []
    with (low_rank.over_codes(),
          torch.autograd.graph.saved_tensors_hooks(lambda one: (kept.append(one.numel()), one)[1], lambda one: one)):
        layer(x).sum().backward()
    assert len(made) == 2 and 64 * 128 not in kept


@pytest.mark.parametrize("change", ["other compute type", "repacked", "dropout", "autocast", "not open"])
def test_over_codes_a_layer_that_is_more_keeps_its_own_forward(change, monkeypatch):
    layer, x, calls = a_layer_over("bitsandbytes", dropout=0.5 if change == "dropout" else 0.0), torch.randn(3, 128), []
    layer.base.register_buffer("unused", torch.zeros(1))
    forward = type(layer.base).forward
    monkeypatch.setattr(type(layer.base), "forward", lambda self, x: (calls.append(1), forward(self, x))[1])
    if change == "other compute type":
        layer.base.compute_dtype = torch.bfloat16
    if change == "repacked":
        monkeypatch.setattr(layer.base.weight.quant_state, "packing_format_for_cpu", True, raising=False)
        monkeypatch.setattr(bitsandbytes, "matmul_4bit", lambda x, weight, **_: torch.zeros(len(x), 64))
    with (low_rank.over_codes() if change != "not open" else torch.enable_grad(),
          torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast")):
        layer(x)
    assert calls
