"""The ledger: bytes live as long as something refers to them, and a graph keeps what torch's keeps."""

import pytest
import torch
from torch import nn

from ftkit.memory import layers, ops
from ftkit.memory.ledger import Leaf, Ledger, Storage, Tensor, backward, checkpointed, scratch

ROWS, WIDTH, WIDE = 64, 128, 512  # multiples of the allocator's granule, so that bytes compare exactly


def a_tensor(ledger, numel, trained=False, part="weights"):
    return Tensor(Storage(ledger, 4 * numel, part), numel, 4, Leaf(4 * numel) if trained else None)


def kept_by_torch(module, x):
    """Bytes that the graph of a module keeps, parameters and the input left out."""
    own, kept = {one.data_ptr() for one in (*module.parameters(), x)}, {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(x)
    return sum(size for place, size in kept.items() if place != out.untyped_storage().data_ptr())


def test_the_peak_is_the_highest_moment_with_its_parts():
    ledger = Ledger()
    held = a_tensor(ledger, 1024)
    ledger.where = ("forward", 3)
    passing = Storage(ledger, 512, "scratch")
    del passing
    ledger.where = ("backward", None)
    other = Storage(ledger, 100, "gradients")
    assert (ledger.live, ledger.peak) == (4096 + 512, 4096 + 512)  # 100 bytes take a granule
    assert ledger.peak_where == ("forward", 3) and ledger.at_peak["scratch"] == 512
    del held, other
    assert ledger.live == 0


@pytest.mark.parametrize(("trained", "needs"), [(True, True), (True, False), (False, True)])
def test_a_linear_layer_keeps_its_input_only_where_it_is_trained(trained, needs):
    ledger = Ledger()
    x = a_tensor(ledger, ROWS * WIDTH, needs, "activations")
    weight = a_tensor(ledger, WIDTH * WIDE, trained)
    y = ops.linear(ledger, x, weight, None, WIDE)
    assert y.numel == ROWS * WIDE
    before = ledger.live
    del x
    assert before - ledger.live == (0 if trained else 4 * ROWS * WIDTH)
    backward(ledger, y.edge, scratch(ledger, 4 * y.numel))
    if trained:
        assert ledger.by_part["gradients"] >= 4 * WIDTH * WIDE


@pytest.mark.parametrize("name", ["silu", "gelu", "relu", "tanh"])
def test_a_gated_mlp_keeps_what_torch_keeps(name):
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.up, self.down = (nn.Linear(*sizes, bias=False) for sizes in (
                (WIDTH, WIDE), (WIDTH, WIDE), (WIDE, WIDTH)))

        def forward(self, x):
            curve = getattr(nn.functional, name) if name != "tanh" else torch.tanh
            return self.down(curve(self.gate(x)) * self.up(x))

    expected = kept_by_torch(Gated(), torch.randn(ROWS, WIDTH))
    ledger = Ledger()
    x = a_tensor(ledger, ROWS * WIDTH)
    gate, up, down = (a_tensor(ledger, WIDTH * WIDE, True) for _ in range(3))
    before = ledger.live
    first = ops.activation(ledger, ops.linear(ledger, x, gate, None, WIDE), name)
    middle = ops.mul(ledger, first, ops.linear(ledger, x, up, None, WIDE))
    del first
    y = ops.linear(ledger, middle, down, None, WIDTH)
    del middle
    assert ledger.live - before - 4 * y.numel == expected


def test_a_norm_keeps_what_transformers_norm_keeps_in_half_precision():
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(WIDTH).to(torch.bfloat16)
    expected = kept_by_torch(norm, torch.randn(ROWS, WIDTH).to(torch.bfloat16).requires_grad_())
    ledger = Ledger()
    x = Tensor(Storage(ledger, 2 * ROWS * WIDTH, "activations"), ROWS * WIDTH, 2, Leaf(2 * ROWS * WIDTH))
    weight = Tensor(Storage(ledger, 2 * WIDTH, "weights"), WIDTH, 2, Leaf(2 * WIDTH))
    before = ledger.live
    y = layers.rms_norm(ledger, x, weight)
    granule = ledger.GRANULE  # one number a row takes whole granules here
    assert abs(ledger.live - before - 2 * y.numel - expected) <= granule


def test_lora_on_a_half_precision_layer_keeps_a_float32_copy_of_its_input_and_the_narrow_middle():
    from ftkit.lora.layers import LoRALayer

    layer = LoRALayer(nn.Linear(WIDTH, WIDE, bias=False).to(torch.bfloat16), 8, 16)
    expected = kept_by_torch(layer, torch.randn(ROWS, WIDTH).to(torch.bfloat16).requires_grad_())
    ledger = Ledger()
    x = Tensor(Storage(ledger, 2 * ROWS * WIDTH, "activations"), ROWS * WIDTH, 2, Leaf(2 * ROWS * WIDTH))
    weight = Tensor(Storage(ledger, 2 * WIDTH * WIDE, "weights"), WIDTH * WIDE, 2)
    factors = a_tensor(ledger, 8 * WIDTH, True), a_tensor(ledger, 8 * WIDE, True)
    matrix = layers.Matrix(weight, None, WIDE, factors=factors)
    before = ledger.live
    y = layers.linear(ledger, x, matrix)
    assert ledger.live - before - 2 * y.numel == expected == 4 * ROWS * WIDTH + 4 * ROWS * 8


def test_a_checkpointed_layer_keeps_its_input_alone_and_gives_the_same_gradients():
    kept, gradients = [], []
    for checkpointing in (False, True):
        ledger = Ledger()
        weight = a_tensor(ledger, WIDTH * WIDTH, True)

        def layer(x, ledger=ledger, weight=weight):
            return ops.activation(ledger, ops.linear(ledger, x, weight, None, WIDTH), "silu")

        x = a_tensor(ledger, ROWS * WIDTH, True, "activations")
        before = ledger.live
        y = checkpointed(ledger, layer, x) if checkpointing else layer(x)
        kept.append(ledger.live - before)
        backward(ledger, y.edge, scratch(ledger, 4 * y.numel))
        gradients.append((weight.edge.grad.size_bytes, x.edge.grad.size_bytes))
    assert kept[0] == 2 * kept[1] == 2 * 4 * ROWS * WIDTH
    assert gradients[0] == gradients[1] == (4 * WIDTH * WIDTH, 4 * ROWS * WIDTH)


def test_nothing_is_left_when_a_training_is_over():
    from ftkit.memory.building import built
    from ftkit.memory.models import model_named
    from ftkit.memory.passing import loss_of
    from ftkit.memory.setup import Setup

    ledger = Ledger()
    decoder = built(model_named("ftkit-tiny").shape, Setup("lora8bit", checkpointing=True), ledger)
    loss = loss_of(decoder)
    backward(ledger, loss.edge, scratch(ledger, 4))
    del loss
    assert {part for part, size in ledger.by_part.items() if size} == {"weights", "adapters", "gradients"}
    del decoder
    assert ledger.live == 0
