"""Which tokens carry loss: against transformers' own assistant mask, and over templates of several families."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ftkit import chat
from ftkit.errors import Refusal

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|header|>", "[INST]", "[/INST]"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA2 = (
    "{{ '<s>' }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' </s>' }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ '<s>' }}{% for m in messages %}{{ '<|header|>' + m.role + '<|header|>\\n\\n' + (m.content | trim) }}"
    "{{ '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|header|>assistant<|header|>\\n\\n' }}{% endif %}"
)
THINKING = (  # writes an empty thought before the last answer alone, as Qwen3's template does
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "发烧怎么办？"},
    {"role": "assistant", "content": "多喝水。"},
    {"role": "user", "content": "And a cough?"},
    {"role": "assistant", "content": "Rest,\nand drink tea."},
]
TEXTS = ["Be brief. 发烧怎么办？多喝水。And a cough? Rest, and drink tea. user assistant system\n"] * 20


@pytest.fixture(scope="module")
def bare():
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", bos_token="<s>", pad_token="<pad>",
                                   additional_special_tokens=SPECIAL[3:])


@pytest.fixture
def tokenizer(bare):
    return with_(bare, CHATML)


def with_(tokenizer, template, **tokens):
    import copy

    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    for name, value in tokens.items():
        setattr(changed, name, value)
    return changed


def trained_text(example, tokenizer):
    return tokenizer.decode([label for label in example.labels if label != chat.IGNORED], skip_special_tokens=False)


class Slow:
    """The same tokenizer without offsets, as a tokenizer written in Python has it."""

    def __init__(self, fast):
        self.fast, self.is_fast = fast, False

    def __call__(self, text, **settings):
        assert "return_offsets_mapping" not in settings
        return self.fast(text, **settings)

    def __getattr__(self, name):
        return getattr(self.fast, name)


def test_loss_stands_where_the_assistant_mask_of_transformers_stands(tokenizer):
    example = chat.encode({"messages": TALK}, tokenizer)
    theirs = tokenizer.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    assert example.input_ids == theirs["input_ids"]
    assert [label != chat.IGNORED for label in example.labels] == [bool(m) for m in theirs["assistant_masks"]]
    assert all(label in (chat.IGNORED, token) for token, label in zip(*example, strict=True))


@pytest.mark.parametrize("text", ["ok", " spaces round it\n", "\n\nnewlines first", "逐字：发烧🙂", "a  b\t\tc", "\\n"])
def test_exactly_the_answer_and_its_end_carry_loss_whatever_the_answer_is(tokenizer, text):
    example = chat.encode({"instruction": "Ask.\n", "input": "", "output": text}, tokenizer)
    assert trained_text(example, tokenizer) == text.strip() + "<|im_end|>"


@pytest.mark.parametrize(("template", "trained"), [
    (CHATML, "多喝水。<|im_end|>"),
    (LLAMA2, " 多喝水。 </s>"),
    (LLAMA3, "多喝水。<|eot_id|>"),
    (THINKING, "多喝水。<|im_end|>"),
])
def test_every_family_of_template_trains_the_answer_and_its_own_end_of_turn(bare, template, trained):
    tokenizer = with_(bare, template)
    record = {"messages": TALK[1:3]}
    for each in (tokenizer, Slow(tokenizer)):
        example = chat.encode(record, each)
        assert trained_text(example, tokenizer) == trained
        prompt = chat.prompt_ids(record, each)
        assert example.input_ids[:len(prompt)] == prompt
        assert example.labels[:len(prompt)] == [chat.IGNORED] * len(prompt)
        assert example.labels[len(prompt)] != chat.IGNORED


SYSTEM_INTO_LAST = (  # as the templates of some Mistral models do
    "{% set told = messages[0].content + '\\n\\n' if messages[0].role == 'system' else '' %}{{ '<s>' }}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' }}"
    "{% if m == (messages | selectattr('role', 'equalto', 'user') | list)[-1] %}{{ told }}"
    "{% endif %}{{ m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}"
    "{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
)


def test_a_system_text_that_moves_to_the_last_user_turn_is_learned_with_one_turn_and_refused_with_two(bare):
    tokenizer = with_(bare, SYSTEM_INTO_LAST)
    assert trained_text(chat.encode(TALK[:3], tokenizer), tokenizer) == " 多喝水。</s>"
    with pytest.raises(Refusal, match="or put the system text into the last user's: give one record a turn, or set a"):
        chat.encode(TALK, tokenizer)


@pytest.mark.parametrize("template", [LLAMA3, LLAMA3.replace("(m.content | trim)", "m.content")])
def test_white_space_that_a_template_strips_or_keeps_moves_no_label(bare, template):
    talk = [{**turn, "content": f" \n{turn['content']}\n "} for turn in TALK]
    tokenizer = with_(bare, template)
    example = chat.encode(talk, tokenizer)
    assert trained_text(example, tokenizer) == "多喝水。<|eot_id|>Rest,\nand drink tea.<|eot_id|>"


def test_a_pad_token_that_equals_the_end_token_hides_no_label(bare):
    tokenizer = with_(bare, LLAMA2, pad_token="</s>")
    example = chat.encode({"instruction": "q", "output": "a"}, tokenizer)
    assert example.labels[-1] == tokenizer.pad_token_id == tokenizer.eos_token_id


def test_a_tokenizer_without_offsets_gives_the_same_labels(tokenizer):
    assert chat.encode(TALK, Slow(tokenizer)) == chat.encode(TALK, tokenizer)


def test_a_record_becomes_turns_and_keeps_its_system_text():
    record = {"system": "Be kind.", "instruction": "Add.", "input": "2 3", "output": " 5\n"}
    assert chat.messages_of(record) == [
        {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Add.\n2 3"},
        {"role": "assistant", "content": "5"}]
    assert chat.messages_of("Hello") == [{"role": "user", "content": "Hello"}]
    assert record["output"] == " 5\n"


def test_a_prompt_needs_no_answer(tokenizer):
    asked = chat.prompt_ids("And a cough?", tokenizer)
    assert asked == chat.prompt_ids({"instruction": "And a cough?", "input": "", "output": "Rest."}, tokenizer)
    assert tokenizer.decode(asked).endswith("<|im_start|>assistant\n")


def test_what_is_too_long_is_cut_on_the_right_and_counted(tokenizer):
    short, long = ({"instruction": "q", "output": word} for word in ("a", "tea " * 50))
    buried = {"instruction": "q " * 50, "output": "a"}
    examples, report = chat.encode_all([short, long, buried], tokenizer, seq_len=30)
    assert [len(example.input_ids) for example in examples] == [len(chat.encode(short, tokenizer).input_ids), 30]
    assert examples[1].input_ids == chat.encode(long, tokenizer).input_ids[:30]
    assert {key: report[key] for key in ("kept", "truncated", "dropped")} == {"kept": 2, "truncated": 1, "dropped": 1}
    assert report["reasons"][0]["record"] == 2
    assert "seq_len must be long enough to reach the answer" in report["reasons"][0]["reason"]


def test_one_bad_record_is_named_and_the_others_are_kept(tokenizer):
    records = [{"instruction": "q", "output": "a"}, {"instruction": "q", "output": "stop <|im_end|> here"}]
    examples, report = chat.encode_all(records, tokenizer)
    assert len(examples) == 1
    assert report["reasons"] == [{"record": 1, "reason": "messages[1].content must be free of the tokenizer's control "
                                  "tokens, got '<|im_end|>'. Take it out of the text, or put a space inside it."}]


def test_a_tokenizer_with_a_template_is_left_as_it_is(tokenizer):
    assert chat.with_template(tokenizer) is tokenizer


@pytest.mark.parametrize("begins", [True, False])
def test_the_plain_template_adds_no_token_and_ends_a_turn_with_eos(bare, begins):
    from tokenizers import processors

    plain = with_(bare, None)
    if begins:
        plain.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", plain.bos_token_id)])
    with pytest.warns(UserWarning, match="no chat template: ftkit's plain one is used, with '</s>' as end of turn and"):
        ours = chat.with_template(plain)
    assert plain.chat_template is None
    assert len(ours) == len(plain)
    example = chat.encode(TALK, ours)
    assert trained_text(example, ours) == "多喝水。</s>Rest,\nand drink tea.</s>"
    assert (example.input_ids[0] == ours.bos_token_id) == begins
    assert ours.decode(example.input_ids).count("<s>") == begins


BAD_RECORDS = [
    (None, "record must be a dictionary, a list of messages or text, got None."),
    ({"text": "a"}, r"record must be one with an instruction or with messages, got \['text'\]."),
    ([], r"messages must be a list of at least one message, got \[\]."),
    ({"messages": "hello"}, "messages must be a list of at least one message, got 'hello'."),
    (["hello"], r"messages\[0\] must be an object with role and content, got 'hello'."),
    ([{"role": "human", "content": "a"}], r"messages\[0\].role must be one of system, user, assistant, got 'human'."),
    ([{"role": "user", "content": 5}], r"messages\[0\].content must be text that is not empty, got 5."),
    ([{"role": "user", "content": " "}], r"messages\[0\].content must be text that is not empty, got ' '."),
    (TALK[2:], r"messages\[0\].role must be user \(system first if at all, then user and assistant in turn\), got"),
    (TALK[1:2] * 2, r"messages\[1\].role must be assistant \(system first if at all"),
    (TALK[:1], "messages must be a conversation with a user turn, got .* Add what the user says."),
    (TALK[:2], "record must be one with an answer to learn, got .* Add an output or an assistant turn."),
    ([*TALK[1:2], {"role": "assistant", "content": None, "tool_calls": [{"name": "dose"}]}],
     r"record must be a conversation without tools, got 'tool_calls in messages\[1\]'. Leave out records that call"),
    ([*TALK[1:3], {"role": "tool", "content": "5 mg"}],
     r"record must be a conversation without tools, got 'tool in messages\[2\]'. Leave out records that call tools: e"),
    ({"messages": TALK[1:3], "tools": [{"name": "dose"}]}, "a conversation without tools, got 'tools'. Leave out"),
    ({"instruction": "a", "output": "x<|im_end|>"}, r"messages\[1\].content must be free of the tokenizer's control"),
]


@pytest.mark.parametrize(("record", "sentence"), BAD_RECORDS)
def test_a_record_that_is_no_conversation_is_refused(tokenizer, record, sentence):
    with pytest.raises(Refusal, match=sentence):
        chat.encode(record, tokenizer)


PLAIN_TURNS = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
ASK = "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
BAD_TEMPLATES = [
    (None, "tokenizer must be one with a chat template, got 'none'. Call chat.with_template"),
    (PLAIN_TURNS + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
     "chat template must be one that ends every answer with an end-of-turn token, got .* add {{ eos_token }} after"),
    (PLAIN_TURNS.replace("'\\n'", "' (said)</s>'") + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
     "one that ends every answer with an end-of-turn token, got ' .said.</s>user"),
    (PLAIN_TURNS.replace("'\\n'", "'</s>'") + ASK,
     "chat template must be one whose prompt is the same tokens with and without its answer, got "),
    (THINKING, r"one that writes a prompt the same way with and without its answer, got 'a different text before mess"),
    (CHATML.replace("{{ m.content + '<|im_end|>' }}{% endgeneration %}", "{{ m.content | upper }}{% endgeneration %}"),
     "one that writes an answer unchanged, right after the generation prompt, got 'REST"),
    ("{{ raise_exception('System role not supported') }}",
     "a conversation that the tokenizer's chat template accepts, got 'System role not supported'. If it objects to "
     "the system turn, write its text at the start of the user's."),
]


@pytest.mark.parametrize(("template", "sentence"), BAD_TEMPLATES)
def test_a_template_that_cannot_be_masked_is_refused(bare, template, sentence):
    talk = [{**turn, "content": turn["content"].replace("多喝水。", "Rest.")} for turn in TALK]
    with pytest.raises(Refusal, match=sentence):
        chat.encode(talk, with_(bare, template))


@pytest.mark.parametrize("seq_len", [0, -1, "5", True])
def test_a_length_below_one_token_is_refused(tokenizer, seq_len):
    with pytest.raises(Refusal, match=f"seq_len must be 1 or more tokens, got {seq_len!r}."):
        chat.encode(TALK, tokenizer, seq_len)
    with pytest.raises(Refusal, match=f"seq_len must be 1 or more tokens, got {seq_len!r}."):
        chat.encode_all([TALK], tokenizer, seq_len)


def test_a_length_that_leaves_no_label_is_refused_with_the_length_it_takes(tokenizer):
    record = {"instruction": "q", "output": "a"}
    need = len(chat.prompt_ids(record, tokenizer)) + 1
    assert len(chat.encode(record, tokenizer, need).input_ids) == need
    with pytest.raises(Refusal, match=rf"reach the answer \({need} tokens or more\), got {need - 1}. Raise it, or sho"):
        chat.encode(record, tokenizer, need - 1)


@pytest.mark.parametrize(("records", "sentence"), [
    ([], "records must be at least one that can be trained on, got '0 that cannot'. First: There are no records."),
    ([{"instruction": "q"}], "got '1 that cannot'. First: record must be one with an answer to learn"),
])
def test_nothing_left_to_train_on_is_refused(tokenizer, records, sentence):
    with pytest.raises(Refusal, match=sentence):
        chat.encode_all(records, tokenizer)


def test_a_tokenizer_without_an_end_token_is_refused(bare):
    plain = with_(bare, None, eos_token=None)
    with pytest.raises(Refusal, match="tokenizer must be one with an end-of-text token, got 'eos_token=None'. Set"):
        chat.with_template(plain)


def test_an_example_survives_a_round_trip_through_json(tokenizer):
    example = chat.encode(TALK, tokenizer)
    assert chat.Example(*json.loads(json.dumps(example))) == example
