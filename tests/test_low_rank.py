"""The hand-written low-rank product: its value, its gradients, and when an adapted layer takes it."""

import pytest
import torch
from torch import nn

from ftkit import low_rank
from ftkit.lora.layers import LoRALayer
from ftkit.low_rank import low_rank_linear


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
