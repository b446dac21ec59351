"""Attention by segment: what attention with a mask computes, and no sample sees another."""

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from ftkit import losses, segments
from ftkit.batches import collate, collate_packed
from ftkit.errors import Refusal

SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
CONFIGS = {"qwen2": lambda: Qwen2Config(**SIZES), "llama": lambda: LlamaConfig(**SIZES),
           "mistral": lambda: MistralConfig(**SIZES, sliding_window=16),
           "qwen3": lambda: Qwen3Config(**SIZES, head_dim=16),
           "gpt_neox": lambda: GPTNeoXConfig(**{**SIZES, "num_key_value_heads": None}, attention_dropout=0.0,
                                             hidden_dropout=0.0),
           "gpt2": lambda: GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0,
                                      embd_pdrop=0, attn_pdrop=0)}


def a_model(config, attention=None):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).train()


def samples(*lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(1, 61, (length,), generator=generator).tolist() for length in lengths]
    return [(ids, list(ids)) for ids in drawn]


ROWS = [samples(7, 9, 6), samples(12, 4, seed=2)]


def loss_and_gradients(model, batch, by_segment):
    model.zero_grad()
    with segments.attending(model, batch) if by_segment else torch.enable_grad():
        loss, _ = losses.label_loss(model, batch)
        loss.backward()
    return loss.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("recompute", [False, True], ids=["", "computed again"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_and_gradients_are_those_with_a_mask(kind, recompute):
    model = a_model(CONFIGS[kind]())
    if kind == "mistral":  # its window is wider than any sample, but not than a row: a mask alone is refused there
        model.config.sliding_window = None
    if recompute:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    batch = collate_packed(ROWS, pad_id=0, seq_len=24)
    (want, slopes), (got, ours) = (loss_and_gradients(model, batch, one) for one in (False, True))
    torch.testing.assert_close(got, want, rtol=1e-6, atol=0)  # the same sums in another order, in float32
    for name, slope in slopes.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-4, atol=1e-5 * float(slope.abs().max() + 1e-6))


def test_no_sample_sees_another():
    model, rows = a_model(CONFIGS["qwen2"]()).eval(), [list(row) for row in ROWS]
    found = []
    for _ in range(2):
        batch = collate_packed(rows, pad_id=0, seq_len=24)
        with segments.attending(model, batch):
            found.append(losses.token_losses(model, batch))
        ids = [(token + 17) % 61 for token in rows[0][1][0]]
        rows[0][1] = (ids, ids)  # every token of the middle sample is another one now
    before, after = found
    assert torch.equal(before[0, :7], after[0, :7]) and torch.equal(before[0, 16:], after[0, 16:])  # bit for bit
    assert torch.equal(before[1], after[1]) and not torch.equal(before[0, 7:16], after[0, 7:16])


def test_no_more_pairs_are_computed_than_within_samples(monkeypatch):
    widths, attend = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention",
                        lambda query, *rest, **named: (widths.append(query.shape[2]), attend(query, *rest, **named))[1])
    model, batch = a_model(CONFIGS["llama"]()), collate_packed(ROWS, pad_id=0, seq_len=24)
    with segments.attending(model, batch):
        losses.label_loss(model, batch)
    assert widths == [7, 9, 6, 12, 4, 6] * 2  # two layers; the last is the second row's padding


def test_a_window_wider_than_every_sample_is_no_obstacle_and_a_narrower_one_is_refused():
    model, batch = a_model(CONFIGS["mistral"]()), collate_packed(ROWS, pad_id=0, seq_len=24)
    with segments.attending(model, batch):
        got = losses.label_loss(model, batch)[0]
    model.config.sliding_window = None
    torch.testing.assert_close(got, losses.label_loss(model, batch)[0], rtol=1e-6, atol=0)  # float32, in another order
    narrow = a_model(MistralConfig(**SIZES, sliding_window=8))
    words = (r"a packed sample must be 8 tokens or fewer, this model's sliding window, got 12\. Shorten it, or take "
             r"packed_attention='mask' with a smaller seq_len\.")
    with pytest.raises(Refusal, match=words), segments.attending(narrow, batch):
        pass


def test_rows_that_are_not_packed_are_attended_to_as_always():
    model, batch = a_model(CONFIGS["qwen2"]()), collate(samples(9, 14), pad_id=0)
    with segments.attending(model, batch):
        assert model.config._attn_implementation == "sdpa"
        got = losses.label_loss(model, batch)[0]
    assert torch.equal(got, losses.label_loss(model, batch)[0])


def test_afterwards_attention_is_what_it_was_even_after_an_error():
    model, batch = a_model(CONFIGS["qwen2"](), "eager"), collate_packed(ROWS, pad_id=0, seq_len=24)
    with pytest.raises(KeyError), segments.attending(model, batch):
        assert model.config._attn_implementation == "by_segment"
        raise KeyError
    assert model.config._attn_implementation == "eager"


def test_what_cannot_be_attended_to_by_segment_is_refused():
    batch = collate_packed(ROWS, pad_id=0, seq_len=24)
    falcon = a_model(FalconConfig(vocab_size=61, hidden_size=32, num_hidden_layers=1, num_attention_heads=4))
    capped = a_model(Gemma2Config(**SIZES, head_dim=8, attn_logit_softcapping=2.0), "eager")
    dropping = a_model(Qwen2Config(**SIZES, attention_dropout=0.5))
    prompted = get_peft_model(a_model(CONFIGS["qwen2"]()),
                              PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    for model, words in (
            (falcon, r"packed_attention must be 'mask' for a FalconForCausalLM, got 'by_segment'\. Its attention"),
            (capped, r"packed_attention must be 'mask' for a model with softcap in its attention, got 'by_segment'\."),
            (dropping, r"attention dropout must be 0 with packed_attention='by_segment', got 0\.5\. Take packed_atten"),
            (prompted, r"packed_attention must be 'mask' for a model with trained tokens in front of its rows, got")):
        with pytest.raises(Refusal, match=words), segments.attending(model, batch):
            losses.label_loss(model, batch)


def test_key_heads_may_be_fewer_and_scores_scaled():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(5, heads, 8, generator=generator, dtype=torch.float64) for heads in (4, 2, 2))
    out = segments.segment_attention(query, key, value, [2, 3], scaling=0.3)
    second = torch.softmax(0.3 * query[3:4, 1] @ key[2:4, 0].T, -1) @ value[2:4, 0]  # by hand: token 3, head 1
    torch.testing.assert_close(out[3, 1], second[0], rtol=1e-12, atol=1e-12)
    assert torch.equal(out[0, 0], value[0, 0]) and torch.equal(out[2, 3], value[2, 1])


def test_torchs_kernel_for_gpus_has_the_shapes_and_gradients_that_are_asked_of_it():
    query, key = (torch.empty(8, heads, 64, device="meta", dtype=torch.bfloat16, requires_grad=True)
                  for heads in (4, 2))
    out = segments._flash(query, key, key, [5, 3], 0.125)  # no GPU is needed to ask for shapes
    assert out.shape == query.shape
    assert [one.shape for one in torch.autograd.grad(out.sum(), (query, key))] == [query.shape, key.shape]
