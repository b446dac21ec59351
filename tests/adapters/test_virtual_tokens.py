"""A trained prompt and a trained prefix compute what peft's do, wherever a model is called from."""

import copy

import pytest
import torch
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    Qwen2Config,
    Qwen3Config,
    T5Config,
    T5ForConditionalGeneration,
)

from ftkit import low_rank, targets
from ftkit.adapters.prefix import PrefixConfig, add_prefix_, prefix_of
from ftkit.adapters.prompt import PromptConfig, add_prompt_, prompt_of
from ftkit.adapters.saving import load_virtual_, save_virtual
from ftkit.batches import collate, collate_packed
from ftkit.errors import Refusal
from ftkit.evaluate.answers import continue_ids
from ftkit.evaluate.perplexity import context_length
from ftkit.fused import fused
from ftkit.losses import label_loss, plain_loss, token_losses

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
         "max_position_embeddings": 128}
MODERN = SIZES | {"intermediate_size": 48, "num_key_value_heads": 2}
FAMILIES = {
    "qwen2": Qwen2Config(**MODERN, tie_word_embeddings=True), "llama": LlamaConfig(**MODERN),
    "qwen3": Qwen3Config(**MODERN, head_dim=16), "gemma2": Gemma2Config(**MODERN, head_dim=8, sliding_window=64),
    "gpt2": GPT2Config(vocab_size=61, n_embd=32, n_layer=3, n_head=4, n_positions=128),
    "gpt-neox": GPTNeoXConfig(**SIZES, intermediate_size=48),
}
EXAMPLES = [([1 + (7 * row + place) % 60 for place in range(9 + row)],
             [-100] * 3 + [1 + place for place in range(6 + row)]) for row in range(4)]
IDS = torch.randint(1, 61, (3, 11), generator=torch.Generator().manual_seed(4))
KINDS = ("prompt", "prefix")
TOKENS = 5
CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32, added up in another order


def a_model(family="qwen2", **changes):
    torch.manual_seed(0)
    config = copy.deepcopy(FAMILIES[family])
    for name, value in changes.items():
        setattr(config, name, value)
    return AutoModelForCausalLM.from_config(config).eval()


def ours(kind, family="qwen2", start="random", seed=3, **settings):
    model = a_model(family)
    if kind == "prompt":
        return add_prompt_(model, PromptConfig(TOKENS, start), seed)
    return add_prefix_(model, PrefixConfig(TOKENS, start, **settings), seed)


def theirs(kind, family="qwen2", **settings):
    config = (PromptTuningConfig if kind == "prompt" else PrefixTuningConfig)(
        task_type="CAUSAL_LM", num_virtual_tokens=TOKENS, **settings)
    return get_peft_model(a_model(family), config).eval()


def trained_of(model):
    return (prompt_of(model) or prefix_of(model)).embedding


def a_pair(kind, family="qwen2"):
    """Our model and peft's, with the same numbers."""
    one, other = ours(kind, family), theirs(kind, family)
    with torch.no_grad():
        other.prompt_encoder["default"].embedding.weight.copy_(trained_of(one))
    return one, other


def own_places(logits):
    return logits[:, -IDS.shape[1]:]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_gradients_are_those_of_peft(kind, family):
    one, other = a_pair(kind, family)
    mine, want = one(input_ids=IDS).logits, own_places(other(input_ids=IDS).logits)
    assert mine.shape == (*IDS.shape, 61)
    torch.testing.assert_close(mine, want, **CLOSE)
    mine.logsumexp(-1).square().sum().backward()
    want.logsumexp(-1).square().sum().backward()
    gradient = other.prompt_encoder["default"].embedding.weight.grad
    assert gradient.abs().max() > 1e-3
    torch.testing.assert_close(trained_of(one).grad, gradient, rtol=1e-4, atol=1e-5 * gradient.abs().max().item())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_does_something_and_the_model_without_it_does_not(kind, family):
    assert not torch.allclose(ours(kind, family)(input_ids=IDS).logits, a_model(family)(input_ids=IDS).logits, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_at_the_labels_are_those_of_peft_in_the_training_loops_own_way(kind):
    one, other = a_pair(kind)
    batch = collate(EXAMPLES, 0)
    want, count = label_loss(other, batch)
    with fused(one, *batch.input_ids.shape), low_rank.fewest_steps():
        got, same = label_loss(one, batch)
    assert same == count
    torch.testing.assert_close(got, want, **CLOSE)
    torch.testing.assert_close(plain_loss(one, batch)[0], want, **CLOSE)
    torch.testing.assert_close(token_losses(one, batch).sum(), want, **CLOSE)
    got.backward()
    want.backward()
    torch.testing.assert_close(trained_of(one).grad, other.prompt_encoder["default"].embedding.weight.grad,
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trained_tokens_alone_are_trained(kind):
    model = ours(kind)
    assert list(targets.trainable(model)) == [f"model.{kind}.embedding"]
    label_loss(model, collate(EXAMPLES, 0))[0].backward()
    assert [name for name, one in model.named_parameters() if one.grad is not None] == [f"model.{kind}.embedding"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_padded_on_the_left_with_positions_give_what_they_give_alone(kind, family):
    model = ours(kind, family)
    alone = model(input_ids=IDS[:1, 4:]).logits
    ids = torch.cat([torch.zeros(1, 4, dtype=torch.long), IDS[:1, 4:]], 1)
    mask = (ids > 0).long()
    options = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    padded = model(input_ids=ids, attention_mask=mask, **options).logits[:, 4:]
    torch.testing.assert_close(padded, alone, **CLOSE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_examples_each_see_it_and_give_what_they_give_alone(kind, attention):
    model = ours(kind)
    model.set_attn_implementation(attention)
    batch = collate_packed([EXAMPLES[:2], EXAMPLES[2:]], 0, 40)
    # the first token of a packed example has no label
    want = sum(label_loss(model, collate([(ids, [-100, *labels[1:]])], 0))[0] for ids, labels in EXAMPLES)
    torch.testing.assert_close(label_loss(model, batch)[0], want, **CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_answers_with_a_cache_are_those_written_token_by_token_without_one(kind, family):
    model, prompts, written = ours(kind, family), [[5, 9, 2], [7, 7, 31, 8, 20], [44]], []
    for prompt in prompts:
        ids = list(prompt)
        for _ in range(6):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        written.append(ids[len(prompt):])
    stops = {written[0][2]}  # so that a row leaves the batch half-way
    cut = [tokens[: tokens.index(written[0][2])] if written[0][2] in tokens else tokens for tokens in written]
    assert continue_ids(model, prompts, 6, stops) == cut


@pytest.mark.parametrize("kind", KINDS)
def test_the_models_own_generate_writes_the_same(kind):
    model = ours(kind)
    alone = continue_ids(model, [IDS[0].tolist()], 6, set())[0]
    made = model.generate(IDS[:1], attention_mask=torch.ones(1, IDS.shape[1]), max_new_tokens=6, do_sample=False,
                          pad_token_id=0, eos_token_id=None)
    assert made[0, IDS.shape[1]:].tolist() == alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_the_model_has_tokens_of_its_own(kind):
    model = ours(kind)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(input_ids=IDS).logits, model(input_ids=IDS).logits)
    with torch.no_grad():
        trained_of(copied).mul_(2)
    assert not torch.allclose(copied(input_ids=IDS).logits, model(input_ids=IDS).logits, **CLOSE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_left_is_that_of_the_model_less_the_tokens(kind):
    assert context_length(ours(kind)) == 128 - TOKENS


@pytest.mark.parametrize("kind", KINDS)
def test_a_bfloat16_model_keeps_float32_tokens_and_answers_in_bfloat16(kind):
    model = a_model().to(torch.bfloat16)
    add = add_prompt_ if kind == "prompt" else add_prefix_
    add(model, PromptConfig(TOKENS) if kind == "prompt" else PrefixConfig(TOKENS))
    out = model(input_ids=IDS).logits
    assert (trained_of(model).dtype, out.dtype) == (torch.float32, torch.bfloat16)
    out.float().sum().backward()
    assert trained_of(model).grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_of_the_vocabulary_in_front_are_what_it_starts_as(kind):
    model = add_prompt_(a_model(), PromptConfig(3), ids=[8, 9]) if kind == "prompt" else add_prefix_(
        a_model(), PrefixConfig(3), ids=[8, 9])
    ids = torch.cat([torch.tensor([[8, 9, 8]]).expand(3, -1), IDS], 1)  # repeated, as peft does
    torch.testing.assert_close(model(input_ids=IDS).logits, a_model()(input_ids=ids).logits[:, 3:], **CLOSE)
    longer = add_prompt_(a_model(), PromptConfig(1), ids=[8, 9])
    assert torch.equal(prompt_of(longer).embedding[0], a_model().get_input_embeddings().weight[8])


def test_the_seed_decides_what_it_starts_as():
    for kind in KINDS:
        for start in ("vocab", "random"):
            first, again, other = (trained_of(ours(kind, start=start, seed=seed)) for seed in (1, 1, 2))
            assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_prefix_of_zeros_is_a_prefix_of_zeros():
    assert not trained_of(ours("prefix", start="zero")).any()
    assert not prefix_of(ours("prefix", start="zero", projection=7))().any()
    assert trained_of(ours("prefix", start="zero", projection=7)).any()


def test_a_prefix_with_a_projection_is_pefts():
    one, other = ours("prefix", projection=7), theirs("prefix", prefix_projection=True, encoder_hidden_size=7)
    encoder, prefix = other.prompt_encoder["default"], prefix_of(one)
    with torch.no_grad():
        encoder.embedding.weight.copy_(prefix.embedding)
        encoder.transform[0].load_state_dict(prefix.down.state_dict())
        encoder.transform[2].load_state_dict(prefix.up.state_dict())
    mine, want = one(input_ids=IDS).logits, own_places(other(input_ids=IDS).logits)
    torch.testing.assert_close(mine, want, **CLOSE)
    mine.logsumexp(-1).sum().backward()
    want.logsumexp(-1).sum().backward()
    torch.testing.assert_close(prefix.up.weight.grad, encoder.transform[2].weight.grad, rtol=1e-4, atol=1e-5)
    assert targets.counts(one)[0] == sum(one.numel() for one in encoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_gives_a_prompt_the_same_gradient_and_a_prefix_a_refusal(kind):
    plain, model = ours(kind).train(), ours(kind).train()
    model.activation_checkpointing_enable()
    if kind == "prefix":
        with pytest.raises(Refusal, match="activation_checkpointing must be False with a trained prefix, got True"):
            model(input_ids=IDS)
        assert model.eval()(input_ids=IDS).logits.isfinite().all()
        return
    for one in (plain, model):
        one(input_ids=IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
    torch.testing.assert_close(trained_of(model).grad, trained_of(plain).grad)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_opens_here_and_in_peft(tmp_path, kind, family):
    model = ours(kind, family)
    save_virtual(model, tmp_path, "some/base")
    loaded = load_virtual_(a_model(family), tmp_path)
    assert torch.equal(loaded(input_ids=IDS).logits, model(input_ids=IDS).logits)
    opened = PeftModel.from_pretrained(a_model(family), tmp_path).eval()
    torch.testing.assert_close(own_places(opened(input_ids=IDS).logits), model(input_ids=IDS).logits, **CLOSE)
    assert opened.peft_config["default"].base_model_name_or_path == "some/base"
    assert sum(one.numel() for one in load_file(tmp_path / "adapter_model.safetensors").values()) == trained_of(
        model).numel()


@pytest.mark.parametrize("settings", [{}, {"prefix_projection": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_saved_opens_here(tmp_path, kind, settings):
    other = theirs(kind, **(settings if kind == "prefix" else {}))
    other.save_pretrained(tmp_path)
    loaded = load_virtual_(a_model(), tmp_path)
    torch.testing.assert_close(loaded(input_ids=IDS).logits, own_places(other(input_ids=IDS).logits), **CLOSE)


def test_of_a_prefix_with_a_projection_the_keys_and_values_alone_are_saved(tmp_path):
    model = ours("prefix", projection=7)
    save_virtual(model, tmp_path, "base")
    loaded = load_virtual_(a_model(), tmp_path)
    torch.testing.assert_close(loaded(input_ids=IDS).logits, model(input_ids=IDS).logits, **CLOSE)
    assert prefix_of(loaded).down is None


def test_shapes_are_read_off_a_model_without_weights():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(FAMILIES["llama"])
    add_prefix_(model, PrefixConfig(10))
    assert targets.counts(model)[0] == 10 * 3 * 2 * 2 * 8  # tokens, layers, keys and values, heads, numbers of a key
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(FAMILIES["llama"])
    assert targets.counts(add_prompt_(model, PromptConfig(10)))[0] == 10 * 32


def a_t5():
    return T5ForConditionalGeneration(T5Config(vocab_size=61, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8))


def a_mamba():
    return AutoModelForCausalLM.from_config(MambaConfig(vocab_size=61, hidden_size=16, num_hidden_layers=2,
                                                        state_size=4))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: PromptConfig(0), "virtual_tokens must be a whole number, 1 or more, got 0. Take 16"),
    (lambda: PrefixConfig(True), "virtual_tokens must be a whole number, 1 or more, got True"),
    (lambda: PromptConfig(start="zero"), "start must be one of vocab, random, text, got 'zero'"),
    (lambda: PromptConfig(start="text"), "start_text must be given with start='text', and with no other, got ''"),
    (lambda: PrefixConfig(start_text="Hi"), "start_text must be given with start='text', and with no other, got 'Hi'"),
    (lambda: PrefixConfig(projection=-1), r"projection must be a whole number, 0 \(none\) or more, got -1"),
    (lambda: PrefixConfig(projection=4), "start must be random or zero with a projection, got 'vocab'. There is no"),
    (lambda: add_prompt_(torch.nn.Linear(2, 2), PromptConfig()),
     "model must be a causal language model of transformers, got 'Linear'"),
    (lambda: add_prefix_(a_t5(), PrefixConfig()), "model must be one that reads and writes in one stack, got "
                                                  "'T5ForConditionalGeneration, an encoder-decoder'"),
    (lambda: add_prefix_(a_mamba(), PrefixConfig()), "model must be one whose layers all keep keys and values of one"),
    (lambda: add_prompt_(ours("prompt"), PromptConfig()),
     "model must be one without virtual tokens, got 'one with a prompt'. Load it anew"),
    (lambda: add_prompt_(ours("prefix"), PromptConfig()), "one without virtual tokens, got 'one with a prefix'"),
    (lambda: add_prefix_(a_model(), PrefixConfig(start="text", start_text="Hi")),
     "ids must be given with start='text', the tokens of start_text, got None"),
    (lambda: add_prompt_(a_model(), PromptConfig(), ids=[]), "start_text must be one of at least one token"),
    (lambda: ours("prompt")(input_ids=IDS, position_ids=torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 7]])),
     "packed rows must be given with an attention mask, got 'positions that start anew, and none'"),
    (lambda: ours("prefix")(input_ids=IDS, attention_mask={"full_attention": None}),
     r"attention_mask must be a tensor \(rows, width\) or \(rows, 1, width, width\), got 'dict'"),
    (lambda: ours("prefix")(input_ids=IDS, attention_mask=torch.ones(3, 11, 11)), r"got \(3, 11, 11\)"),
    (lambda: save_virtual(a_model(), "x", "base"), "model must be one with a trained prompt or prefix, got 'Qwen2For"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def other_kind(folder):
    write(folder, '{"peft_type": "P_TUNING"}')


def two_submodules(folder):
    write(folder, '{"peft_type": "PROMPT_TUNING", "num_transformer_submodules": 2}')


def more_tensors(folder):
    save_file({"prompt_embeddings": torch.zeros(2, 32), "other": torch.zeros(2)}, folder / "adapter_model.safetensors")


def other_width(folder):
    save_file({"prompt_embeddings": torch.zeros(2, 33)}, folder / "adapter_model.safetensors")


def write(folder, text):
    (folder / "adapter_config.json").write_text(text)


@pytest.mark.parametrize(("spoil", "words"), [
    (other_kind, "peft_type in adapter_config.json must be PROMPT_TUNING or PREFIX_TUNING, got 'P_TUNING'"),
    (two_submodules, "num_transformer_submodules must be 1, got 2. It is a prompt for an encoder-decoder"),
    (more_tensors, "adapter_model.safetensors must be one matrix called prompt_embeddings, got 'other, prompt_emb"),
    (other_width, "prompt_embeddings in adapter_model.safetensors must be 32 numbers wide for this model, got 33"),
    (lambda folder: (folder / "adapter_config.json").unlink(), "adapter folder must be one that holds adapter_config"),
])
def test_a_strange_folder_is_refused(tmp_path, spoil, words):
    save_virtual(ours("prompt"), tmp_path, "base")
    spoil(tmp_path)
    with pytest.raises(Refusal, match=words):
        load_virtual_(a_model(), tmp_path)


def test_a_prefix_of_another_model_is_refused(tmp_path):
    save_virtual(ours("prefix"), tmp_path, "base")
    with pytest.raises(Refusal, match="must be 64 numbers wide for this model, got 96. Was it trained on another base"):
        load_virtual_(a_model(num_hidden_layers=2), tmp_path)
