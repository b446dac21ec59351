"""Perplexity and answers of small models, beside transformers' own loss and `generate`."""

import math

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PromptTuningConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    MambaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from ftkit.errors import Refusal
from ftkit.evaluate.answers import answers, continue_ids, stop_ids
from ftkit.evaluate.perplexity import bits_per_byte, perplexity, record_losses
from ftkit.lora.adapter import add_lora_
from ftkit.lora.config import LoraConfig
from ftkit.modes import evaluation_mode

SPECIAL = ["<|pad|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
SIZES = {"vocab_size": 260, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
         "bos_token_id": None, "eos_token_id": None}


def a_tokenizer():
    """One token a byte, a chat template with an end of turn."""
    vocabulary = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=SPECIAL[0], eos_token=SPECIAL[1],
                                        additional_special_tokens=SPECIAL[2:])
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def a_model(kind="qwen2", spread=0.2):
    """Weights spread so widely that what it says varies; float64, so that rounding decides no token."""
    torch.manual_seed(0)
    configs = {
        "qwen2": lambda: Qwen2Config(**SIZES, initializer_range=spread),
        "mistral": lambda: MistralConfig(**SIZES, initializer_range=spread, sliding_window=16),
        "mamba": lambda: MambaConfig(vocab_size=260, hidden_size=32, num_hidden_layers=2, state_size=4,
                                     initializer_range=spread, bos_token_id=None, eos_token_id=None),
        "gpt2": lambda: GPT2Config(vocab_size=260, n_embd=32, n_layer=2, n_head=4, n_positions=128,
                                   bos_token_id=None, eos_token_id=None, initializer_range=spread)}
    return AutoModelForCausalLM.from_config(configs[kind]()).double().train()


def uniform_model():
    model = a_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    return model


def prompts(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, 256, (int(length),), generator=generator).tolist()
            for length in torch.randint(2, 40, (n,), generator=generator)]


def examples(n):
    return [(ids, [-100] * (len(ids) // 2) + ids[len(ids) // 2 :]) for ids in prompts(n)]


# --- answers ---


def generated(model, prompt, max_new_tokens, stops):
    with evaluation_mode(model):
        ids = torch.tensor([prompt])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                             max_new_tokens=max_new_tokens, eos_token_id=sorted(stops) or None, pad_token_id=0)
    tokens = out[0, len(prompt) :].tolist()
    return tokens[:-1] if tokens[-1] in stops else tokens


@pytest.mark.parametrize("kind", ["qwen2", "mistral", "gpt2"])
def test_many_prompts_at_once_get_what_transformers_generates_for_each_alone(kind):
    model, asked, stops = a_model(kind), prompts(21), set(range(0, 260, 12))
    want = [generated(model, prompt, 12, stops) for prompt in asked]
    assert len({len(tokens) for tokens in want}) > 3  # some stop early, some late
    assert continue_ids(model, asked, 12, stops, batch_size=8) == want
    assert continue_ids(model, asked, 12, stops, batch_size=1) == want


def test_a_model_with_a_state_instead_of_keys_and_values_answers_as_it_generates():
    model, asked = a_model("mamba"), prompts(5)
    want = [generated(model, prompt, 6, set()) for prompt in asked]
    assert continue_ids(model, asked, 6, set()) == want and len({tuple(tokens) for tokens in want}) > 1
    first = want[0][3]
    assert continue_ids(model, asked[:1], 6, {first}) == [want[0][:want[0].index(first)]]


@pytest.mark.parametrize("wrap", ["ours", "peft"])
def test_an_adapted_model_answers_too(wrap):
    model = a_model()
    if wrap == "ours":
        add_lora_(model, LoraConfig(rank=2), seed=0)
    else:
        model = get_peft_model(model, PeftConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    asked = prompts(5)
    assert continue_ids(model, asked, 8, set()) == [generated(model, prompt, 8, set()) for prompt in asked]
    assert continue_ids(model, asked, 8, set()) != continue_ids(a_model(), asked, 8, set())


def test_a_penalty_in_the_models_own_generation_config_plays_no_part():
    model, asked = a_model(), prompts(3)
    want = continue_ids(model, asked, 8, set())
    model.generation_config.repetition_penalty = 5.0
    assert continue_ids(model, asked, 8, set()) == want


def test_answers_are_text_in_the_prompts_order_whatever_form_a_prompt_has():
    model, tokenizer = a_model(), a_tokenizer()
    text = "Where does it hurt? 哪里疼？"
    asked = [text, [{"role": "user", "content": text}], {"instruction": text, "input": "", "output": "unseen"},
             tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=True,
                                           add_generation_prompt=True, return_dict=False), "Why?"]
    got = answers(model, tokenizer, asked, max_new_tokens=6, batch_size=3)
    assert got[0] == got[1] == got[2] == got[3] != got[4]
    want = generated(model, asked[3], 6, stop_ids(model, tokenizer))
    assert got[0] == tokenizer.decode(want, skip_special_tokens=True).strip()


def test_an_answer_stops_at_the_end_of_turn_and_at_the_end_of_text():
    model, tokenizer = a_model(), a_tokenizer()
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert stop_ids(model, tokenizer) == set(ends)
    model.generation_config.eos_token_id = [7, 8]
    assert stop_ids(model, tokenizer) == {*ends, 7, 8}
    for end in ends:
        assert answers(always(end), tokenizer, ["Hello", "Hi there"]) == ["", ""]
    letter = tokenizer("a").input_ids[0]
    assert answers(always(letter), tokenizer, ["Hello"], max_new_tokens=5) == ["aaaaa"]


@pytest.mark.parametrize("template", [None, "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"])
def test_without_an_end_of_turn_the_end_of_text_alone_stops_an_answer(template):
    tokenizer = a_tokenizer()
    tokenizer.chat_template = template
    assert stop_ids(a_model(), tokenizer) == {tokenizer.eos_token_id}


def always(token):
    """A model that says the same token for ever."""
    model = a_model()
    torch.nn.init.zeros_(model.model.norm.weight)
    model.lm_head.bias = torch.nn.Parameter(torch.nn.functional.one_hot(torch.tensor(token), 260).double())
    return model


def test_an_answer_ends_where_the_models_context_does():
    assert [len(tokens) for tokens in continue_ids(a_model("gpt2"), [[5] * 120, [6] * 3], 20, set())] == [8, 20]


@pytest.mark.parametrize("work", [lambda model: continue_ids(model, [[5, 6]], 2, set()),
                                  lambda model: perplexity(model, examples(2))])
def test_evaluating_leaves_every_module_in_its_mode(work):
    model = a_model()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    work(model)
    assert [module.training for module in model.modules()] == before and torch.is_grad_enabled()


# --- perplexity ---


def test_perplexity_is_the_exponential_of_the_loss_per_label_token():
    model, made = a_model(), examples(9)
    made = [example for example in made if len(example[0]) > 3]
    estimate, means = perplexity(model, made, batch_size=4)
    with evaluation_mode(model):
        theirs = [float(model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss)
                  for ids, labels in made]
    assert means == pytest.approx(theirs, rel=1e-5)  # the loss is float32
    counts = [sum(label >= 0 for label in labels) for _, labels in made]
    whole = sum(loss * count for loss, count in zip(theirs, counts, strict=True)) / sum(counts)
    assert estimate.value == pytest.approx(math.exp(whole), rel=1e-5)
    assert estimate.low < estimate.value < estimate.high and estimate.n == len(made)


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity_and_its_bits_a_byte():
    estimate, _ = perplexity(uniform_model(), examples(9))
    assert estimate.value == pytest.approx(260, rel=1e-5) and estimate.high == pytest.approx(260, rel=1e-5)
    bits = bits_per_byte(uniform_model(), a_tokenizer(), ["plain", "中文 text"])
    assert bits.value == pytest.approx(math.log2(260), rel=1e-5)  # one token a byte


def test_batches_change_no_loss():
    model, made = a_model(), examples(9)
    one, many = record_losses(model, made, 1), record_losses(model, made, 16)
    assert one[0] == pytest.approx(many[0], rel=1e-5) and one[1] == many[1]  # the loss is float32


def test_a_long_text_is_read_in_windows_that_predict_every_token_once():
    model, tokenizer, text = a_model(), a_tokenizer(), "one two three four five"
    ids = [tokenizer.eos_token_id, *tokenizer(text).input_ids]
    total = 0.0
    with evaluation_mode(model):
        for start in range(0, len(ids) - 1, 7):  # by hand: windows of eight that share one token
            window = torch.tensor([ids[start : start + 8]])
            logs = model(input_ids=window).logits.log_softmax(-1)[0, :-1]
            total -= float(logs.gather(1, window[0, 1:, None]).sum())
    bits = bits_per_byte(model, tokenizer, [text, text], seq_len=8)
    assert bits.value == pytest.approx(total / math.log(2) / len(text), rel=1e-5)  # the loss is float32
    assert bits.n == 2


def test_a_text_longer_than_the_context_is_read_all_the_same():
    assert math.isfinite(bits_per_byte(a_model("gpt2"), a_tokenizer(), ["word " * 60]).value)


# --- refusals ---


def nameless():
    tokenizer = a_tokenizer()
    tokenizer.eos_token = None
    return tokenizer


def diverged():
    model = a_model()
    torch.nn.init.constant_(model.lm_head.weight, math.nan)
    return model


def with_a_trained_prompt():
    return get_peft_model(a_model(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: answers(a_model(), a_tokenizer(), []), r"prompts must be a list of at least one prompt, got \[\]"),
    (lambda: answers(a_model(), a_tokenizer(), "Hello"), "prompts must be a list of at least one prompt, got 'Hello'"),
    (lambda: answers(a_model(), a_tokenizer(), ["Hello"], max_new_tokens=0), "max_new_tokens must be 1 or more, got 0"),
    (lambda: continue_ids(a_model(), [[1]], 4, set(), batch_size=0), "batch_size must be 1 or more, got 0"),
    (lambda: continue_ids(a_model(), [[1], [2] * 128], 4, set()), r"prompts\[1\] must be 1 to 127 tokens, so that an "
                                                                  "answer fits .* of 128, got '128 tokens'. Short"),
    (lambda: continue_ids(a_model(), [[]], 4, set()), r"prompts\[0\] must be 1 to 127 tokens.*got '0 tokens'"),
    (lambda: continue_ids(with_a_trained_prompt(), [[1]], 4, set()), "model must be one without a trained prompt or "
                                                                     "prefix of peft's, got .*own generate"),
    (lambda: perplexity(a_model(), []), r"examples must be at least one, got \[\]. Is the held-out split empty"),
    (lambda: perplexity(a_model(), [([1, 2], [1, 2]), ([1, 2], [1, -100])]), "example 1 must be one with a token that"),
    (lambda: perplexity(diverged(), examples(2)), "the model's loss must be finite, got nan. The model has diverged"),
    (lambda: bits_per_byte(a_model(), a_tokenizer(), []), r"texts must be a list of at least one text, .*got \[\]"),
    (lambda: bits_per_byte(a_model(), a_tokenizer(), ["a", ""]), "texts must be a list of at least one text, none of"),
    (lambda: bits_per_byte(a_model(), a_tokenizer(), "text"), "texts must be a list of .*got 'text'"),
    (lambda: bits_per_byte(a_model(), nameless(), ["a"]), "tokenizer must be one with a begin-of-text or end-of-text"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
