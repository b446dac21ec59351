"""The loss at label positions equals the plain one, and no sample sees another."""

import weakref

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    masking_utils,
)

from ftkit import losses
from ftkit.batches import collate, collate_packed
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_
from ftkit.lora.config import LoraConfig

SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
CONFIGS = {
    "qwen2": lambda: Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen2 untied": lambda: Qwen2Config(**SIZES, tie_word_embeddings=False),
    "llama": lambda: LlamaConfig(**SIZES, tie_word_embeddings=False),
    "gpt2": lambda: GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64,
                               resid_pdrop=0, embd_pdrop=0, attn_pdrop=0),
    "gemma2": lambda: Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=3.0, attn_logit_softcapping=None),
}


def a_model(kind="qwen2", attention=None):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind](), attn_implementation=attention)
    return model.train()


def examples(*lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        ids = torch.randint(1, 61, (length,), generator=generator).tolist()
        made.append((ids, [-100] * (length // 2) + ids[length // 2 :]))
    return made


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal_loss_and_gradients(model, batch):
    ours, n = losses.label_loss(model, batch)
    plain, n_plain = losses.plain_loss(model, batch)
    assert n == n_plain == batch.label_tokens
    # the same sums in another order: float32 keeps seven figures, gradients lose one to cancellation
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=0)
    got, want = gradients(model, ours), gradients(model, plain)
    assert got.keys() == want.keys() and got
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5 * float(want[name].abs().max() + 1e-6))


@pytest.mark.parametrize("kind", CONFIGS)
def test_loss_and_gradients_equal_those_with_all_logits(kind):
    assert_equal_loss_and_gradients(a_model(kind), collate(examples(9, 14, 5), pad_id=0))


def test_the_plain_loss_is_the_one_that_transformers_computes():
    model, batch = a_model(), collate(examples(9, 14, 5), pad_id=0)
    ours, n = losses.plain_loss(model, batch)
    theirs = model(input_ids=batch.input_ids, labels=batch.labels).loss
    torch.testing.assert_close(ours / n, theirs, rtol=1e-6, atol=0)  # one division apart


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["lm_head", "down_proj"]])
@pytest.mark.parametrize("wrap", ["ours", "peft"])
def test_an_adapted_model_has_the_same_loss_even_with_an_adapted_head(wrap, targets):
    model = a_model("qwen2 untied")
    if wrap == "ours":
        add_lora_(model, LoraConfig(rank=4, target_modules=targets), seed=0)
    else:
        model = get_peft_model(model, PeftConfig(r=4, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert_equal_loss_and_gradients(model, collate(examples(9, 14, 5), pad_id=0))


def test_a_trained_prompt_in_front_of_every_row_shifts_nothing():
    model = get_peft_model(a_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    assert_equal_loss_and_gradients(model, collate(examples(9, 14, 5), pad_id=0))


def test_a_model_inside_another_module_is_found_as_in_data_parallel_training():
    class Wrapped(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, **inputs):
            return self.module(**inputs)

    assert_equal_loss_and_gradients(Wrapped(a_model()), collate(examples(9, 14, 5), pad_id=0))


@pytest.mark.parametrize("hidden_head", ["called with a keyword", "not named"])
def test_a_head_that_cannot_be_narrowed_falls_back_to_all_logits(hidden_head, monkeypatch):
    model = a_model("qwen2 untied")
    if hidden_head == "not named":
        monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    else:
        monkeypatch.setattr(model, "lm_head", KeywordHead(model.lm_head))
        monkeypatch.setattr(model, "get_output_embeddings", lambda: model.lm_head.inner)
    assert_equal_loss_and_gradients(model, collate(examples(9, 14, 5), pad_id=0))


class KeywordHead(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, states):
        return self.inner(input=states)


def test_the_head_computes_logits_for_the_label_positions_alone_and_is_left_as_it_was():
    model, batch = a_model(), collate(examples(9, 14, 5), pad_id=0)
    seen = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    losses.label_loss(model, batch)
    assert seen == [(1, batch.label_tokens, 61)]
    assert model(input_ids=batch.input_ids).logits.shape == (3, 14, 61)


def test_the_head_is_left_as_it_was_when_the_model_fails():
    model, batch = a_model(), collate(examples(9), pad_id=0)
    with pytest.raises(RuntimeError, match="planted"):
        model.model.norm.register_forward_hook(lambda *_: (_ for _ in ()).throw(RuntimeError("planted")))
        losses.label_loss(model, batch)
    assert not model.lm_head._forward_pre_hooks


def test_under_autocast_the_loss_is_summed_in_float32():
    model, batch = a_model(), collate_packed([examples(9, 6), examples(11)], pad_id=0, seq_len=20)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = losses.label_loss(model, batch)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, losses.plain_loss(model, batch)[0], rtol=2e-2, atol=0)  # bfloat16: three figures


def test_token_losses_stand_at_their_tokens_and_add_up():
    model, batch = a_model(), collate(examples(9, 14, 5), pad_id=0)
    by_token = losses.token_losses(model, batch)
    logits = model(input_ids=batch.input_ids).logits.log_softmax(-1)
    assert (by_token != 0).equal(torch.cat([torch.zeros(3, 1, dtype=bool), batch.labels[:, 1:] >= 0], 1))
    want = -logits[1, 9, batch.labels[1, 10]]  # by hand: token 10 is predicted at place 9
    torch.testing.assert_close(by_token[1, 10], want, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(by_token.sum(), losses.label_loss(model, batch)[0], rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_right_padded_rows_need_no_attention_mask(kind):
    model, batch = a_model(kind), collate(examples(9, 14, 5), pad_id=0)
    real = torch.arange(14) < torch.tensor([[9], [14], [5]])
    bare = model(input_ids=batch.input_ids, use_cache=False).logits
    masked = model(input_ids=batch.input_ids, attention_mask=real.long(), use_cache=False).logits
    # another attention kernel adds in another order: float32 rounding and no more
    torch.testing.assert_close(bare[real], masked[real], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_no_mask_leads_to_causal_attention_without_building_one(kind, monkeypatch):
    calls = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(*inputs, **kwargs):
        calls.append((kwargs["attn_mask"], kwargs["is_causal"]))
        return attend(*inputs, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    monkeypatch.setattr(masking_utils, "_non_vmap_expansion_sdpa", None)  # what would build a mask
    losses.label_loss(a_model(kind), collate(examples(9, 14), pad_id=0))
    assert calls == [(None, True)] * 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_no_packed_sample_sees_another(kind, attention):
    model = a_model(kind, attention).eval()
    rows = [examples(7, 9, 6), examples(12, 8, seed=2)]
    before = losses.token_losses(model, collate_packed(rows, pad_id=0, seq_len=24))
    ids = [(token + 17) % 61 for token in rows[0][1][0]]
    rows[0][1] = (ids, [-100, *ids[1:]])  # every token of the middle sample is another one now
    after = losses.token_losses(model, collate_packed(rows, pad_id=0, seq_len=24))
    assert torch.equal(before[0, :7], after[0, :7]) and torch.equal(before[0, 16:], after[0, 16:])  # bit for bit
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[0, 7:16], after[0, 7:16])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "gpt2"])
def test_a_packed_sample_has_the_losses_it_has_alone(kind, attention):
    model, samples = a_model(kind, attention).eval(), examples(7, 9, 6)
    packed = losses.token_losses(model, collate_packed([samples], pad_id=0, seq_len=24))[0]
    alone = torch.cat([losses.token_losses(model, collate([sample], pad_id=0))[0] for sample in samples])
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-6)  # float32, in another order


def test_no_padded_sample_sees_another():
    model, samples = a_model().eval(), examples(7, 9, 6)
    before = losses.token_losses(model, collate(samples, pad_id=0))
    samples[1] = examples(9, seed=5)[0]
    after = losses.token_losses(model, collate(samples, pad_id=0))
    assert torch.equal(before[[0, 2]], after[[0, 2]]) and not torch.equal(before[1], after[1])


def test_what_fills_a_row_changes_nothing():
    model, samples = a_model().eval(), examples(7, 9, 6)
    assert torch.equal(*(losses.token_losses(model, collate(samples, pad_id=pad)) for pad in (0, 60)))
    rows = [samples, examples(12)]
    assert torch.equal(*(losses.token_losses(model, collate_packed(rows, pad, 24)) for pad in (0, 60)))


def test_a_batch_without_labels_is_refused():
    with pytest.raises(Refusal, match="labels must be at least one token that carries loss, got 'none in this batch'"):
        losses.label_loss(a_model(), collate([([1, 2], [-100, -100])], pad_id=0))


def test_packed_rows_wider_than_a_sliding_window_are_refused():
    config = MistralConfig(**SIZES, sliding_window=8)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(Refusal, match="seq_len of packed rows must be 8 or less, this model's sliding window, got 13"):
        losses.label_loss(model, collate_packed([examples(7, 6)], pad_id=0, seq_len=16))
    losses.label_loss(model, collate(examples(7, 12), pad_id=0))  # padded rows keep the window: transformers builds it


# --- few logits at a time ---


def assert_chunks_change_nothing(model, batch, most_logits):
    """Loss and gradients with so many logits at a time are those with all label positions at once."""
    chunked, n = losses.chunked_loss(model, batch, most_logits)
    whole, n_whole = losses.label_loss(model, batch)
    assert n == n_whole
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=0)  # the same sums in another order, in float32
    got, want = gradients(model, chunked / n), gradients(model, whole / n)
    assert got.keys() == want.keys() and got
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-5, atol=1e-5 * float(want[name].abs().max() + 1e-6))


@pytest.mark.parametrize("most_logits", [1, 61 * 5, 2**25], ids=["one position", "five positions", "all"])
@pytest.mark.parametrize("kind", ["qwen2", "qwen2 untied", "llama", "gpt2"])
def test_logits_in_chunks_have_the_loss_and_the_gradients_of_all_at_once(kind, most_logits):
    assert_chunks_change_nothing(a_model(kind), collate(examples(9, 14, 5), pad_id=0), most_logits)


@pytest.mark.parametrize("wrap", ["ours", "peft", "prompt"])
def test_chunks_of_an_adapted_model_have_the_same_loss_even_with_an_adapted_head(wrap):
    model, named = a_model("qwen2 untied"), ["lm_head", "down_proj"]
    if wrap == "ours":
        add_lora_(model, LoraConfig(rank=4, target_modules=named), seed=0)
    elif wrap == "peft":
        model = get_peft_model(model, PeftConfig(r=4, target_modules=named, task_type="CAUSAL_LM"))
    else:
        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    assert_chunks_change_nothing(model, collate(examples(9, 14, 5), pad_id=0), 61 * 4)


def test_in_chunks_no_more_logits_exist_than_allowed():
    model, batch, seen = a_model(), collate(examples(9, 14, 5), pad_id=0), []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.numel()))
    losses.chunked_loss(model, batch, most_logits=61 * 4)
    assert max(seen) == 61 * 4 and sum(seen) == 61 * (1 + batch.label_tokens)  # one more: how the model uses its head


def test_in_chunks_nothing_of_the_chunk_before_is_there_any_more():
    model, seen = a_model("qwen2 untied"), []

    def look(module, inputs, output):
        assert not any(one() is not None for one in seen)
        seen.append(weakref.ref(output))

    model.lm_head.register_forward_hook(look)
    losses.chunked_loss(model, collate(examples(9, 14, 5), pad_id=0), most_logits=61 * 4)[0].backward()
    assert len(seen) > 3


def test_in_chunks_a_loss_without_gradients_keeps_none():
    model, batch = a_model(), collate(examples(9, 14), pad_id=0)
    with torch.no_grad():
        loss, _ = losses.chunked_loss(model, batch, 61 * 4)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, losses.label_loss(model, batch)[0], rtol=1e-6, atol=0)


def test_in_chunks_a_bfloat16_model_has_a_float32_loss_and_the_same_gradients():
    model, batch = a_model("qwen2 untied").to(torch.bfloat16), collate(examples(9, 14, 5), pad_id=0)
    (chunked, n), (whole, _) = losses.chunked_loss(model, batch, 61 * 5), losses.label_loss(model, batch)
    assert chunked.dtype == torch.float32
    torch.testing.assert_close(chunked, whole, rtol=1e-6, atol=0)  # the same bfloat16 logits, summed in float32
    got, want = gradients(model, chunked / n), gradients(model, whole / n)
    for name in want:  # rounded to bfloat16 once more on the way, a part in 256, and added up over the layers below
        assert (got[name] - want[name]).float().norm() <= 0.02 * want[name].float().norm(), name


@pytest.mark.parametrize("kind", ["capped", "called with a keyword", "not named"])
def test_chunks_are_refused_where_logits_are_more_than_the_heads(kind, monkeypatch):
    model = a_model("gemma2" if kind == "capped" else "qwen2 untied")
    if kind == "not named":
        monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    elif kind == "called with a keyword":
        monkeypatch.setattr(model, "lm_head", KeywordHead(model.lm_head))
        monkeypatch.setattr(model, "get_output_embeddings", lambda: model.lm_head.inner)
    words = (r"logits must be 'at_labels' for a (Gemma2|Qwen2)ForCausalLM, got 'chunked'\. Its logits are more than "
             r"what a head module makes of the states\.")
    with pytest.raises(Refusal, match=words):
        losses.chunked_loss(model, collate(examples(9), pad_id=0))
    assert not model.get_output_embeddings() or not model.get_output_embeddings()._forward_hooks
