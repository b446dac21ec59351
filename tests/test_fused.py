"""The fused parts compute what transformers' own do, to the rounding of float32, and are gone when not wanted."""

import pytest
import torch
from torch.autograd import gradcheck
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from ftkit import fused
from ftkit.batches import collate, collate_packed
from ftkit.losses import label_loss

SHAPE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 16,
         "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128}
EXAMPLES = [([1 + (7 * row + place) % 60 for place in range(9 + row)],
             [-100] * 3 + [1 + place for place in range(6 + row)]) for row in range(4)]


def model_of(config, **changes):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(**SHAPE | changes))
    for name, parameter in model.named_parameters():
        if "norm" in name:  # ones would hide a forgotten factor
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def loss_and_gradients(model, batch):
    model.zero_grad()
    loss, _ = label_loss(model, batch)
    loss.backward()
    return {"loss": loss.detach()} | {name: one.grad for name, one in model.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {"num_key_value_heads": 1}], ids=["plain", "grouped-query"])
@pytest.mark.parametrize("config", [LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config])
def test_every_family_gives_the_same_loss_and_gradients(config, changes):
    model, batch = model_of(config, **changes), collate(EXAMPLES, 0)
    plain = loss_and_gradients(model, batch)
    with fused.fused(model, *batch.input_ids.shape):
        ours = loss_and_gradients(model, batch)
    assert plain.keys() == ours.keys()
    for name, want in plain.items():
        assert (ours[name] - want).abs().max() <= 3e-6 * want.abs().max() + 1e-7, name  # sums in another order


def test_the_parts_are_really_taken(monkeypatch):
    model, batch, taken = model_of(Qwen2Config), collate(EXAMPLES, 0), []
    for name in ("rms_norm", "rotate", "causal_attention"):
        own = getattr(fused, name)
        monkeypatch.setattr(fused, name, lambda *given, own=own, name=name: taken.append(name) or own(*given))
    with fused.fused(model, *batch.input_ids.shape):
        label_loss(model, batch)
    assert {name: taken.count(name) for name in taken} == {"rms_norm": 5, "rotate": 4, "causal_attention": 2}
    taken.clear()
    label_loss(model, batch)
    assert not taken, "closed, but still in use"


def test_what_they_do_not_cover_runs_as_always(monkeypatch):
    packed = collate_packed([EXAMPLES[:2], EXAMPLES[2:]], 0, 40)
    monkeypatch.setattr(fused, "causal_attention", lambda *_: pytest.fail("packed rows have a mask"))
    model = model_of(Qwen2Config)
    want = label_loss(model, packed)[0]
    with fused.fused(model, *packed.input_ids.shape):
        assert label_loss(model, packed)[0].item() == pytest.approx(want.item(), rel=1e-6)
    half = model_of(Qwen2Config).to(torch.bfloat16)
    monkeypatch.setattr(fused, "rms_norm", lambda *_: pytest.fail("for float32 alone"))
    batch = collate(EXAMPLES, 0)
    want = label_loss(half, batch)[0]
    with fused.fused(half, *batch.input_ids.shape):
        assert label_loss(half, batch)[0].item() == pytest.approx(want.item(), rel=1e-4)  # by plain products now


def test_an_error_inside_leaves_nothing_behind():
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
    from transformers.models.qwen2 import modeling_qwen2

    before = modeling_qwen2.Qwen2RMSNorm.forward, modeling_qwen2.apply_rotary_pos_emb, ALL_ATTENTION_FUNCTIONS["sdpa"]
    with pytest.raises(ZeroDivisionError), fused.fused(model_of(Qwen2Config), 4, 16):
        assert modeling_qwen2.Qwen2RMSNorm.forward is not before[0]
        1 // 0  # noqa: B018
    assert before == (modeling_qwen2.Qwen2RMSNorm.forward, modeling_qwen2.apply_rotary_pos_emb,
                      ALL_ATTENTION_FUNCTIONS["sdpa"])


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)

    def drawn(*shape):
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    assert gradcheck(lambda x, w: fused.rms_norm(x, w, 1e-6), (drawn(2, 3, 4), drawn(4)))
    cos, sin = torch.randn(2, 1, 1, 3, 4, dtype=torch.float64)
    assert gradcheck(lambda x: fused.rotate(x, cos, sin), drawn(2, 2, 3, 4))
    assert gradcheck(lambda *qkv: fused.causal_attention(*qkv, 0.5), tuple(drawn(2, 2, 3, 4) for _ in range(3)))
