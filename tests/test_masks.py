"""The mask inspector: what is shown carries loss, what is wrong is said, whatever made the ids and the labels."""

import copy
import html
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import BatchEncoding, ByT5Tokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerFast

from ftkit import batches, chat, hub
from ftkit.errors import Refusal
from ftkit.masks.faults import KINDS
from ftkit.masks.inspector import HEAD, TAIL, inspect
from ftkit.masks.pieces import pieces, visible

SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|header|>", "<|eot|>", "<turn>", "<end>", "[INST]",
           "[/INST]", "[UNK]"]
TURN = "{{ '<|im_start|>' + m.role + '\\n' }}"
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}" + TURN + "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|im_end|>' }}"
    "{% endgeneration %}{% else %}{{ m.content + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|header|>' + m.role + '<|header|>\\n\\n' + m.content | trim }}"
    "{{ '<|eot|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|header|>assistant<|header|>\\n\\n' }}{% endif %}"
)
MISTRAL = (  # the system text goes into the last user's turn; no generation prompt
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set told = messages[0].content + '\\n\\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set told = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}{{ '[INST] ' + (told if loop.last or (loop.length - loop.index == 1) "
    "else '') + m.content + '[/INST]' }}{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim }}"
    "{{ '<end>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\\n' }}{% endif %}"
)
THINKING = (  # an empty thought before the last answer, in the prompt, as Qwen3's template has it
    "{% for m in messages %}" + TURN + "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
TEMPLATES = {"qwen": QWEN, "llama": LLAMA, "mistral": MISTRAL, "gemma": GEMMA}
TALK = [{"role": "user", "content": "发烧 怎么办？"}, {"role": "assistant", "content": "多喝水。"},
        {"role": "user", "content": "And a cough?"}, {"role": "assistant", "content": "Rest,\nand  drink tea."}]
TEXTS = ["Be brief. 发烧怎么办？多喝水。And a cough? Rest, and drink tea. user assistant system model Q A : \n"] * 20


def byte_level(template=QWEN, **tokens):
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return wrapped(raw, template, **tokens)


def unigram(template=None):
    raw = Tokenizer(models.Unigram())
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    raw.train_from_iterator(TEXTS, trainers.UnigramTrainer(
        vocab_size=110, special_tokens=SPECIAL, show_progress=False, unk_token="[UNK]"))
    return wrapped(raw, template)


def byte_fallback(template=None):
    """As Llama 2 and Gemma have it: spaces become ▁, and a character out of the vocabulary three bytes."""
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    words = ["▁", "a", "b", "▁a", "\n"]
    raw = Tokenizer(models.BPE({token: place for place, token in enumerate([*SPECIAL, *bytes_, *words])},
                               [("▁", "a")], byte_fallback=True, unk_token="[UNK]"))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return wrapped(raw, template)


def word_piece(template=None):
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=False)
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    raw.train_from_iterator(TEXTS, trainers.WordPieceTrainer(
        vocab_size=160, special_tokens=SPECIAL, show_progress=False))
    return wrapped(raw, template)


def wrapped(raw, template, **tokens):
    settings = {"eos_token": "</s>", "bos_token": "<s>", "pad_token": "<pad>", "unk_token": "[UNK]"} | tokens
    return PreTrainedTokenizerFast(tokenizer_object=raw, additional_special_tokens=SPECIAL[3:-1],
                                   chat_template=template, **settings)


@pytest.fixture(scope="module")
def qwen():
    return byte_level(eos_token="<|im_end|>")


@pytest.fixture(scope="module")
def example(qwen):
    return chat.encode(TALK, qwen)


def kinds(view):
    return [problem.kind for problem in view.problems]


def text_of(page):
    """What a browser shows of the page."""
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", "", page, flags=re.DOTALL))


def without(labels, *places):
    return [-100 if place in {place % len(labels) for place in places} else label for place, label in enumerate(labels)]


# what is shown

def test_the_text_marks_what_carries_loss_and_counts_it_by_turn(qwen, example):
    first, second = [label != -100 for label in example.labels].index(True), example.input_ids
    assert str(inspect(example, qwen)).splitlines() == [
        f"record 0: {len(second)} tokens, {sum(label != -100 for label in example.labels)} with loss "
        f"({np.mean(np.array(example.labels) != -100):.0%}), by turn: "
        + str(inspect(example, qwen)).splitlines()[0].split("by turn: ")[1],
        "<|im_start|>system↵", "You help.<|im_end|>↵", "<|im_start|>user↵", "发烧 怎么办？<|im_end|>↵",
        "<|im_start|>assistant↵", "⟦多喝水。<|im_end|>⟧↵", "<|im_start|>user↵", "And a cough?<|im_end|>↵",
        "<|im_start|>assistant↵", "⟦Rest,↵", "and␣␣drink tea.<|im_end|>⟧↵", "",
        f"1 of 1 records shown; all have {len(second)} tokens, of which {sum(x != -100 for x in example.labels)} carry "
        f"loss ({np.mean(np.array(example.labels) != -100):.0%}).", "Nothing wrong was found with their labels."]
    assert f"at {first}–" in str(inspect(example, qwen)).splitlines()[0]


def test_the_page_shows_the_same_and_needs_no_program(qwen, example):
    view = inspect(example, qwen)
    page = view._repr_html_()
    assert "⟦多喝水。<|im_end|>⟧" in text_of(page) and page.count("<mark>") == 2
    assert "<script" not in page and "onclick" not in page and "http" not in page
    assert "border-bottom" in page and "⟦" in page  # never colour alone
    assert f'title="token {len(example.input_ids) - 2}"' in page
    assert len(page) < 8000


def test_nothing_in_a_text_is_obeyed_or_hidden(qwen):
    said = "<script>alert('x')</script>&amp;\u202e\u200b\x07\u3000⟦not a mark⟧ "
    view = inspect({"instruction": said, "output": said + "ok"}, qwen)
    for shown in (str(view), text_of(view._repr_html_())):
        assert r"&amp;\u202e\u200b\x07\u3000\u27e6not a mark\u27e7" in shown
        assert not {"\u202e", "\u200b", "\x07"} & set(shown) and shown.count("⟦") == 1
    assert "<script" not in view._repr_html_()


def test_white_space_is_seen_where_it_would_not_be():
    assert visible(" a b\t c  d \n\n e ") == "␣a b\\t c␣␣d␣↵↵␣e␣"
    assert visible("∅␣↵") == r"\u2205\u2423\u21b5" and visible("\ue000\0") == r"\x00\x00"


@pytest.mark.parametrize("make", [byte_level, unigram, byte_fallback, word_piece, lambda: ByT5Tokenizer()],
                         ids=["byte-level", "unigram", "byte fallback", "word piece", "python"])
def test_pieces_read_like_the_text_whatever_the_tokenizer(make):
    tokenizer = make()
    for text in ("Rest, and drink tea.", "a b a", "发烧怎么办？", "饕餮🙂a", "And  a cough?\nRest"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = pieces(ids, tokenizer)
        if any(piece.special for piece in found):
            continue  # characters that its vocabulary lacks
        assert "".join(piece.text for piece in found).lstrip() == tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False).lstrip()
        assert [piece.start for piece in found[1:]] == [piece.stop for piece in found[:-1]]
        assert (found[0].start, found[-1].stop) == (0, len(ids))


@pytest.mark.parametrize("make", [byte_level, byte_fallback, lambda: ByT5Tokenizer()],
                         ids=["byte-level", "byte fallback", "python"])
def test_a_character_of_several_tokens_stays_one(make):
    tokenizer = make()
    found = pieces(tokenizer("饕餮🙂", add_special_tokens=False)["input_ids"], tokenizer)
    assert [piece.text.strip() for piece in found] == ["饕", "餮", "🙂"]
    assert all(piece.stop - piece.start > 1 for piece in found)


def test_a_broken_character_and_an_unknown_id_are_shown_and_nothing_is_lost(qwen):
    ids = qwen("饕a")["input_ids"]
    found = pieces([*ids[:1], *ids[3:], 10**6, -7, qwen.eos_token_id], qwen)
    assert [piece.text for piece in found[-3:]] == ["[id 1000000]", "[id -7]", "<|im_end|>"]
    assert "\ufffd" in found[0].text and sum(piece.stop - piece.start for piece in found) == len(ids) - 2 + 3
    genuine = pieces(qwen("\ufffd\ufffd" * 9 + "b")["input_ids"], qwen)
    assert "".join(piece.text for piece in genuine) == "\ufffd\ufffd" * 9 + "b"


def test_a_long_record_loses_its_middle_and_says_how_much(qwen):
    record = {"instruction": "cough " * 300, "output": "tea " * 500}
    view = inspect(record, qwen)
    whole = chat.encode(record, qwen)
    left = len(whole.input_ids) - HEAD - TAIL
    trained = sum(label != -100 for label in whole.labels[HEAD:-TAIL])
    assert f" … {left} tokens left out, {trained} of them with loss … " in str(view)
    assert f"{left} tokens left out, {trained} of them" in text_of(view._repr_html_())
    assert len(str(view)) < 3000


def test_records_with_a_fault_are_shown_first_and_others_on_demand(qwen, example):
    examples = [example] * 9
    examples[6] = chat.Example(example.input_ids, [-100] * len(example.labels))
    view = inspect(examples, qwen, show=2)
    assert view.shown == [0, 6] and view.count == 9
    assert view.problems[0][:3] == ("nothing trained", 1, 6)
    assert inspect(examples, qwen, show=[8]).shown == [8] and "record 8:" in str(inspect(examples, qwen, show=[8]))
    assert inspect(examples, qwen, show=0).shown == []


# what it takes

def test_every_form_of_the_same_data_gives_the_same_view(qwen, example):
    ids, labels = example
    mask = [int(label != -100) for label in labels]
    theirs = qwen.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    expected = str(inspect(example, qwen))
    for data in ([example], [[ids, labels]], {"input_ids": ids, "labels": labels},
                 {"input_ids": torch.tensor(ids), "labels": torch.tensor(labels)},
                 {"input_ids": np.array([ids]), "labels": np.array([labels]), "attention_mask": np.ones((1, len(ids)))},
                 BatchEncoding({"input_ids": [ids], "labels": [labels]}), theirs, [theirs],
                 {"input_ids": ids, "completion_mask": mask}, {"input_ids": ids, "assistant_masks": mask},
                 {"input_ids": ids, "completion_mask": [1] * len(ids), "assistant_masks": mask},
                 batches.collate([example], qwen.pad_token_id), TALK, {"messages": TALK}, [{"messages": TALK}]):
        assert str(inspect(data, qwen)) == expected


def test_data_sets_loaders_and_generators_are_read_row_by_row(qwen, example):
    from datasets import Dataset

    short = chat.encode({"instruction": "cough", "output": "tea"}, qwen)
    expected = str(inspect([example, short], qwen))
    rows = [{"input_ids": ids, "labels": labels} for ids, labels in (example, short)]
    assert str(inspect(Dataset.from_list(rows), qwen)) == expected
    assert str(inspect((row for row in rows), qwen)) == expected

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, place):
            return rows[place]

    assert str(inspect(Rows(), qwen)) == expected
    loader = torch.utils.data.DataLoader(
        [example, short], batch_size=2, collate_fn=lambda some: batches.collate(some, qwen.pad_token_id))
    view = inspect(loader, qwen)
    assert (view.count, view.tokens) == (2, len(example.input_ids) + len(short.input_ids)) and not view.problems


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("masked", [True, False])
def test_padding_is_counted_apart_on_either_side(qwen, example, side, masked):
    fill = 5
    pad = ([qwen.pad_token_id] * fill, [-100] * fill, [0] * fill)
    rows = [*example, [1] * len(example.labels)]
    rows = [[*a, *b] if side == "left" else [*b, *a] for a, b in zip(pad, rows, strict=True)]
    data = dict(zip(("input_ids", "labels", "attention_mask")[:2 + masked], rows, strict=False))
    view = inspect(data, qwen)
    assert view.tokens == len(example.labels) and not view.problems and "5 tokens of padding" in str(view)


def test_packed_rows_of_ours_are_shown_as_one_row_each(qwen, example):
    batch = batches.collate_packed([[example, example]], qwen.pad_token_id, 2 * len(example.labels))
    view = inspect(batch, qwen)
    assert view.count == 1 and view.trained == 2 * inspect(example, qwen).trained and not view.problems


@pytest.mark.parametrize(("data", "sentence"), [
    ([], "data must be at least one record, got 'none'."),
    (5, "data must be encoded examples, batches or records, got 5. Pass what chat.encode_all or the collator "),
    ("text", "data must be encoded examples, batches or records, got 'text'"),
    ({"input_ids": [1, 2]}, "data must be input_ids with labels, completion_mask or assistant_masks, got 'input_ids'. "
     "Without them every token is trained"),
    ({"input_ids": [1, 2], "labels": [1]}, "a row of the data must be token ids and as many labels, got '2 ids and 1 "),
    ({"input_ids": [1, 2], "labels": [1, 2], "attention_mask": [1]},
     "a row of the data must be token ids and as many attention_mask, got '2 ids and 1 attention_mask'. Labels and"),
    ({"input_ids": [1, 2], "completion_mask": [1]}, "as many completion_mask, got '2 ids and 1 completion_mask'"),
    ({"input_ids": [[1, 2], [3]], "labels": [[1, 2]]}, "a batch must be columns of equally many rows, got {'input"),
    ({"input_ids": [[1, 2]], "labels": [[1, 2], [3]]}, "a batch must be columns of equally many rows, got {'input"),
    ({"input_ids": [1.5], "labels": [1]}, r"input_ids of a row must be a list of whole numbers, got \[1.5\]. Pass"),
    ({"input_ids": ["a"], "labels": [1]}, r"input_ids of a row must be a list of whole numbers, got \['a'\]"),
    ({"input_ids": [1], "labels": [None]}, "labels of a row must be a list of whole numbers"),
    ({"input_ids": torch.tensor(3), "labels": torch.tensor(3)}, "input_ids of a row must be a list of whole numbers"),
    ([None], "data must be encoded examples, batches or records, got None"),
    ([{"prompt": "a", "completion": "b"}], "data must be encoded examples, batches or records, got {'prompt'"),
])
def test_what_is_no_encoded_data_is_refused(qwen, data, sentence):
    with pytest.raises(Refusal, match=sentence):
        inspect(data, qwen)


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"records": []}, r"records must be as many as there are rows \(1\), got 0. Leave out those that the encoder dr"),
    ({"show": -1}, "show must be a number of records, 0 or more, or a list of places, got -1."),
    ({"show": [1]}, "show must be places of records from 0 to 0, got 1."),
    ({"show": None}, "show must be a number of records, 0 or more, or a list of places, got None."),
    ({"show": "a"}, "show must be a number of records, 0 or more, or a list of places, got 'a'."),
    ({"seq_len": 0}, "seq_len must be 1 or more tokens, got 0. None keeps all."),
    ({"seq_len": -1}, "seq_len must be 1 or more tokens, got -1."),
    ({"seq_len": "5"}, "seq_len must be 1 or more tokens, got '5'."),
    ({"tokenizer": None}, "tokenizer must be the one that the ids were made with, got None. hub.load_model gives one."),
])
def test_settings_that_cannot_be_are_refused(qwen, example, settings, sentence):
    with pytest.raises(Refusal, match=sentence):
        inspect(example, **{"tokenizer": qwen, **settings})


# what is wrong

@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("system", [False, True])
def test_what_our_encoder_makes_is_found_right_for_every_family(family, system):
    tokenizer = byte_level(TEMPLATES[family])
    talk = ([{"role": "system", "content": "Be brief."}] if system and family != "gemma" else []) + TALK[:2]
    records = [talk, *([TALK] if not system else [])]
    examples, report = chat.encode_all(records, tokenizer)
    view = inspect(examples, tokenizer, records=records).check()
    assert report["dropped"] == 0 and view.count == len(records)
    assert str(inspect(records, tokenizer)) == str(view)
    trained = [record for record in str(view).split("record ")[1:]]
    assert all("⟦" in record and "多喝水。" in record.split("⟦")[1] for record in trained[:len(records)])


def test_an_answer_behind_an_empty_thought_and_one_with_its_thought_are_found_right():
    tokenizer = byte_level(THINKING)
    ids, labels = chat.encode(TALK[:2], tokenizer)
    assert not inspect((ids, labels), tokenizer, records=[TALK[:2]]).problems
    thought = next(place for place in range(len(ids)) if tokenizer.decode(ids[:place]).endswith("assistant\n"))
    assert not inspect((ids, [-100] * thought + ids[thought:-1] + [-100]), tokenizer).problems


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_collator_that_labels_everything_trains_the_prompt_in_every_family(family):
    tokenizer = byte_level(TEMPLATES[family])
    ids = chat.encode(TALK, tokenizer).input_ids
    batch = DataCollatorForLanguageModeling(tokenizer, mlm=False)([{"input_ids": ids}, {"input_ids": ids[:-4]}])
    assert "prompt trained" in kinds(inspect(batch, tokenizer))
    with pytest.raises(Refusal, match=r"record 0 must be trained on what the assistant says and on nothing else, got "
                       r"'loss on all \d+ tokens'. Set the labels of the prompt to -100. .prompt trained: 2 of 2 reco"):
        inspect(batch, tokenizer).check()


def test_the_collator_of_transformers_hides_the_end_token_where_pad_is_the_same_and_the_cause_is_named(qwen):
    tokenizer = copy.deepcopy(qwen)
    tokenizer.pad_token = tokenizer.eos_token
    rows = [{"input_ids": chat.encode(TALK[:many], tokenizer).input_ids} for many in (2, 4)]
    view = inspect(DataCollatorForLanguageModeling(tokenizer, mlm=False)(rows), tokenizer)
    assert kinds(view) == ["prompt trained", "end not trained"]
    assert re.search(r"got '“<\|im_end\|>” at token \d+ without loss'. The pad token is the same token, and the "
                     "collator hides every pad token", view.problems[1].sentence)
    ours = batches.collate([chat.encode(TALK[:many], tokenizer) for many in (2, 4)], tokenizer.pad_token_id)
    assert not inspect(ours, tokenizer).problems  # labels by place hide nothing


def test_pad_is_end_without_a_mask_and_only_the_answer_labelled(qwen):
    tokenizer = copy.deepcopy(qwen)
    tokenizer.pad_token = tokenizer.eos_token
    ids, labels = chat.encode(TALK[:2], tokenizer)
    ids, labels = ids[:-1], labels[:-1]  # no newline behind the end token
    end = tokenizer.eos_token_id
    masked = {"input_ids": [*ids, end, end], "labels": [*without(labels, -1), -100, -100]}
    view = inspect(masked, tokenizer)
    assert kinds(view) == ["end not trained"] and "The pad token is the same token" in view.problems[0].sentence
    trained = {"input_ids": [*ids, end, end], "labels": [*labels, end, end]}
    assert kinds(inspect(trained, tokenizer)) == ["padding trained"]


def test_an_end_token_without_loss_or_missing_is_told_apart(qwen):
    ids, labels = chat.encode(TALK[:2], qwen)
    hidden = inspect((ids, without(labels, -2)), qwen)
    assert kinds(hidden) == ["end not trained"]
    assert "trained on the token that ends each answer, got '“<|im_end|>” at token" in hidden.problems[0].sentence
    assert "Let its label be its id" in hidden.problems[0].sentence
    missing = inspect((ids[:-2], labels[:-2]), qwen)
    assert kinds(missing) == ["end not trained"] and "got 'none after “" in missing.problems[0].sentence
    first = inspect((ids := chat.encode(TALK, qwen)[0], without(chat.encode(TALK, qwen).labels, next(
        place for place in range(len(ids)) if ids[place] == qwen.eos_token_id
        and chat.encode(TALK, qwen).labels[place] != -100))), qwen)
    assert kinds(first) == ["end not trained"]  # of the first answer; the last one's is trained


def test_role_marks_and_user_turns_inside_the_trained_text_are_found(qwen, example):
    ids, labels = example
    start = next(place for place, label in enumerate(labels) if label != -100)
    everything_after = inspect((ids, [-100] * start + ids[start:]), qwen)
    assert kinds(everything_after) == ["prompt trained"]
    assert re.search("the role marks at token .* trained: “<|im_end|>↵<|im_start|>user", str(everything_after))
    asked = qwen("发烧 怎么办？<|im_end|>")["input_ids"]
    at = next(place for place in range(len(ids)) if ids[place:place + len(asked)] == asked)
    user = inspect((ids, [*[-100] * at, *asked, *labels[at + len(asked):]]), qwen)
    assert kinds(user) == ["prompt trained"]
    assert f"loss from token {at} on, where no answer begins: “发烧" in user.problems[0].sentence
    header = inspect((ids, [*labels[:start - 3], *ids[start - 3:start], *labels[start:]]), qwen)
    assert kinds(header) == ["prompt trained"]


def test_a_prompt_and_completion_without_the_template_is_not_taken_for_a_fault(qwen):
    ids = qwen("Q: cough?\nA: tea.<|im_end|>")["input_ids"]
    answer = len(qwen(" tea.<|im_end|>")["input_ids"])
    assert not inspect((ids, [-100] * (len(ids) - answer) + ids[-answer:]), qwen).problems


def test_an_answer_cut_off_is_found_by_its_record_by_seq_len_or_by_a_length_that_many_share(qwen):
    records = [{"instruction": "cough", "output": "tea " * many} for many in (30, 40, 3)]
    examples, _ = chat.encode_all(records, qwen, seq_len=50)
    for view in (inspect(examples, qwen), inspect(examples, qwen, seq_len=50), inspect(records, qwen, seq_len=50),
                 inspect(examples, qwen, records=records)):
        assert [problem[:3] for problem in view.problems] == [("answer cut off", 2, 0)]
        assert re.search(r"record 0 must be short enough to keep its answer whole, got 'one that ends at token 49 in "
                         r"“.*tea.*”'. Raise seq_len, or leave the record out", view.problems[0].sentence)
    assert kinds(inspect(examples[:1], qwen)) == ["end not trained"]  # one alone may lack its end for another reason


def test_a_prompt_that_fills_the_row_leaves_nothing_trained_and_the_length_it_takes_is_named(qwen):
    record = {"instruction": "cough " * 30, "output": "tea"}
    need = len(chat.prompt_ids(record, qwen)) + 1
    view = inspect([record], qwen, seq_len=20)
    assert view.problems[0].sentence == (f"record 0 must be long enough to reach its answer ({need} tokens or more), "
                                         "got 20. Raise seq_len, or shorten the prompt.")
    nothing = inspect(([1, 2, 3], [-100] * 3), qwen)
    assert nothing.problems[0].sentence == ("record 0 must be trained on at least one token, got 'the label -100 on "
                                            "all of 3'. Leave it out, or mend what sets its labels.")


@pytest.mark.parametrize(("shift", "which"), [(1, "next"), (-1, "previous")])
def test_labels_shifted_by_hand_are_recognised_as_such(qwen, example, shift, which):
    ids, labels = example
    moved = [*labels[1:], -100] if shift == 1 else [-100, *labels[:-1]]
    view = inspect((ids, moved), qwen)
    assert kinds(view) == ["labels shifted"]
    assert re.search(f"labelled at each token's own place, got .the {which} token's id at token", str(view))


def test_labels_that_are_other_ids_are_found(qwen, example):
    labels = list(example.labels)
    place = next(place for place, label in enumerate(labels) if label != -100)
    labels[place + 1] = 40
    view = inspect((example.input_ids, labels), qwen)
    assert kinds(view) == ["labels changed"] and f"label 40 on token {place + 1}" in view.problems[0].sentence


@pytest.mark.parametrize(("ids", "labels", "value"), [
    ([5, 6, 7], [-100, 6, 10**6], 10**6), ([5, 6, 7], [-100, -1, 7], -1), ([5, 10**6, 7], [-100, -100, 7], 10**6)])
def test_ids_outside_the_vocabulary_are_found_and_shown(qwen, ids, labels, value):
    view = inspect((ids, labels), qwen)
    assert view.problems[0].kind == "outside the vocabulary"
    rule = f"made of ids and labels from 0 to {len(qwen) - 1}, or -100 for a label without loss"
    assert f"{rule}, got {value}. " in str(view)


def test_padding_that_carries_loss_is_found(qwen, example):
    ids, labels = example
    pad = qwen.pad_token_id
    for data in ({"input_ids": [*ids, pad, pad], "labels": [*labels, pad, pad]},
                 {"input_ids": [*ids, pad, pad], "labels": [*labels, pad, pad],
                  "attention_mask": [*[1] * len(ids), 0, 0]}):
        view = inspect(data, qwen)
        assert kinds(view)[0] == "padding trained"
        assert "without loss on its padding, got '2 padding tokens trained'. Set their labels to -100." in str(view)


def test_labels_are_compared_with_what_the_record_takes_token_for_token(qwen, example):
    ids, labels = example
    places = [place for place, label in enumerate(labels) if label != -100]
    fewer = inspect((ids, without(labels, places[0])), qwen, records=[TALK])
    assert kinds(fewer) == ["unlike the record"] and "1 fewer (first at token" in fewer.problems[0].sentence
    more = inspect((ids, [*labels[:-1], ids[-1]]), qwen, records={"messages": TALK})
    assert kinds(more)[-1] == "unlike the record" and "1 more (first at token" in more.problems[0].sentence
    other = inspect(example, qwen, records=[TALK[2:]])
    assert kinds(other) == ["unlike the record"]
    assert "the same tokens as its record, got" in other.problems[0].sentence


def test_a_record_that_cannot_be_encoded_is_a_problem_and_the_others_are_judged(qwen):
    view = inspect([TALK, [{"role": "user", "content": "a"}]], qwen)
    assert [problem[:3] for problem in view.problems] == [("not encoded", 1, 1)]
    assert "record 1 cannot be encoded: record must be one with an answer to learn" in view.problems[0].sentence
    assert "record 1: cannot be encoded." in str(view) and "cannot be encoded" in text_of(view._repr_html_())


def test_check_names_the_first_problem_and_counts_the_others(qwen, example):
    ids, labels = example
    rows = [(ids, [-100] * len(ids)), (ids, without(labels, -2)), (ids, ids), (ids, labels)]
    with pytest.raises(Refusal, match=r"record 0 must be trained on at least one .* \(nothing trained: 1 of 4 records. "
                       "Also prompt trained: 1 of 4. Also end not trained: 1 of 4.\\)$"):
        inspect(rows, qwen).check()
    view = inspect(rows, qwen)
    assert kinds(view) == sorted(kinds(view), key=KINDS.index)
    for problem in view.problems:
        assert problem.sentence in str(view) and problem.sentence in text_of(view._repr_html_())


def test_nothing_that_was_given_is_changed(qwen, example):
    ids, labels = torch.tensor([example.input_ids]), torch.tensor([example.labels])
    before = ids.clone(), labels.clone()
    inspect({"input_ids": ids, "labels": labels}, qwen)
    assert torch.equal(ids, before[0]) and torch.equal(labels, before[1])


# the unknown token, and text to go on with

@pytest.mark.parametrize("make", [unigram, word_piece])
@pytest.mark.parametrize("family", ["qwen", "llama", "gemma"])
def test_an_end_without_loss_is_found_behind_an_unknown_character(make, family):
    tokenizer = make(TEMPLATES[family])
    records = [{"instruction": "cough?", "output": answer} for answer in (
        "drink\nthe tea", "Rest 😀 and drink", "多喝水 😀")]
    examples, _ = chat.encode_all(records, tokenizer)
    inspect(examples, tokenizer, records=records).check()
    bare = [chat.Example(ids, without(labels, max(place for place, label in enumerate(labels) if label != -100)))
            for ids, labels in examples]
    assert [(found.kind, found.records) for found in inspect(bare, tokenizer).problems] == [("end not trained", 3)]


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("make", [unigram, word_piece], ids=["unigram", "word piece"])
def test_a_character_that_the_vocabulary_lacks_is_no_role_mark_and_ends_nothing(make, family):
    tokenizer = make(TEMPLATES[family])
    records = [{"instruction": "And a cough?", "output": said} for said in
               ("Rest, 🙂 and drink tea.", "Rest,\nand drink tea 🙂", "🙂 饕餮")]
    examples, report = chat.encode_all(records, tokenizer)
    assert tokenizer.unk_token_id in examples[0].input_ids and not report["dropped"]
    assert not inspect(examples, tokenizer).problems and not inspect(examples, tokenizer, records=records).problems
    cut = [chat.Example(ids[:-1], labels[:-1]) for ids, labels in examples[1:2]]
    while tokenizer.unk_token_id != cut[0].input_ids[-1]:
        cut = [chat.Example(cut[0].input_ids[:-1], cut[0].labels[:-1])]
    if family == "llama":  # no line end behind the end of a turn, which would be an unknown token too
        assert kinds(inspect(cut, tokenizer)) == ["end not trained"]
    everything = [chat.Example(ids, ids) for ids, _ in examples]
    assert kinds(inspect(everything, tokenizer)) == ["prompt trained"]


@pytest.mark.parametrize("make", [byte_level, unigram, word_piece], ids=["byte-level", "unigram", "word piece"])
def test_text_for_continued_pretraining_is_trained_throughout_and_nothing_is_wrong_with_it(make):
    tokenizer = make(QWEN)
    texts = [{"text": "Rest, and drink tea."}, {"text": "发烧怎么办？多喝水。"}]
    ids = [tokenizer(record["text"])["input_ids"] for record in texts]
    view = inspect([{"input_ids": own, "labels": own} for own in ids], tokenizer).check()
    assert view.trained == view.tokens - len(texts)  # nothing predicts a row's first token
    assert str(inspect(texts, tokenizer).check()) == str(view)
    packed = [*ids[0], tokenizer.eos_token_id, *ids[1], tokenizer.eos_token_id]
    assert not inspect((packed, packed), tokenizer).problems


def test_text_without_a_template_is_said_to_be_text_by_its_records(qwen):
    tokenizer = byte_level(None)
    ids = tokenizer("Rest, and drink tea.")["input_ids"]
    assert kinds(inspect((ids, ids), tokenizer)) == ["prompt trained", "end not trained"]
    assert not inspect((ids, ids), tokenizer, records=[{"text": "Rest, and drink tea."}]).problems


def test_a_prompt_alone_that_is_trained_is_not_taken_for_text(qwen):
    ids = qwen("<|im_start|>user\nAnd a cough?<|im_end|>\n")["input_ids"]
    assert "prompt trained" in kinds(inspect((ids, ids), qwen))


def test_a_line_end_of_the_prompt_that_carries_loss_is_found(qwen, example):
    ids, labels = example
    start = next(place for place, label in enumerate(labels) if label != -100)
    assert qwen.decode(ids[start - 1]) == "\n"
    early = inspect((ids, [*labels[:start - 1], *ids[start - 1:start], *labels[start:]]), qwen)
    assert kinds(early) == ["prompt trained"]
    assert f"loss from token {start - 1} on, where no answer begins: “↵多" in early.problems[0].sentence


# tokenizers without a template, slow ones, and trl

def test_a_tokenizer_without_a_template_works_on_what_is_encoded_and_says_what_records_need(example):
    tokenizer = byte_level(None)
    ids = tokenizer("Q: cough\nA: tea</s>")["input_ids"]
    assert not inspect((ids, [-100] * (len(ids) - 2) + ids[-2:]), tokenizer).problems
    view = inspect({"instruction": "a", "output": "b"}, tokenizer)
    assert "tokenizer must be one with a chat template, got 'none'. Call chat.with_template(tokenizer)" in str(view)
    with pytest.warns(UserWarning, match="no chat template"):
        ours = chat.with_template(tokenizer)
    examples, _ = chat.encode_all([TALK], ours)
    assert not inspect(examples, ours, records=[TALK]).problems
    assert kinds(inspect((examples[0].input_ids, examples[0].input_ids), ours)) == ["prompt trained"]


def test_a_tokenizer_written_in_python_and_of_bytes_alone_is_readable():
    with pytest.warns(UserWarning, match="no chat template"):
        tokenizer = chat.with_template(ByT5Tokenizer())
    view = inspect({"instruction": "发烧怎么办？", "output": "多喝水。"}, tokenizer).check()
    assert "⟦多喝水。</s>⟧" in str(view) and "⟦多喝水。</s>⟧" in text_of(view._repr_html_())


@pytest.mark.parametrize("make", [unigram, byte_fallback, word_piece], ids=["unigram", "byte fallback", "word piece"])
def test_other_vocabularies_are_inspected_alike(make):
    tokenizer = make()
    ids = tokenizer("a a b</s>", add_special_tokens=False)["input_ids"]
    asked = len(tokenizer("a a", add_special_tokens=False)["input_ids"])
    view = inspect((ids, [-100] * asked + ids[asked:]), tokenizer)
    assert not view.problems and "⟦␣b</s>⟧" in str(view)
    assert kinds(inspect((ids, [-100] * asked + ids[asked:-1] + [-100]), tokenizer)) == ["end not trained"]


def test_the_embedded_tokenizer_and_its_clinic_are_found_right():
    from transformers import AutoTokenizer

    from ftkit.tiny import clinic

    tokenizer = AutoTokenizer.from_pretrained(hub.find_model())
    records = clinic.records("test")
    view = inspect(chat.encode_all(records, tokenizer)[0], tokenizer, records=records).check()
    assert view.count == len(records) and 0 < view.share < 1


@pytest.mark.parametrize(("settings", "found"), [
    ({"assistant_only_loss": True}, []), ({}, ["prompt trained"])], ids=["assistant only", "all"])
def test_what_trl_trains_is_shown_and_judged(tmp_path, settings, found):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = hub.load_model()
    tokenizer.chat_template = QWEN
    trainer = SFTTrainer(
        model, SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
                         per_device_train_batch_size=2, **settings),
        train_dataset=Dataset.from_list([{"messages": TALK}, {"messages": TALK[:2]}]), processing_class=tokenizer)
    view = inspect(next(iter(trainer.get_train_dataloader())), tokenizer)
    assert kinds(view) == kinds(inspect(trainer.train_dataset, tokenizer)) == found
    assert view.count == 2 and ("⟦多喝水。<|im_end|>⟧" in str(view)) == (not found)


def test_what_trl_makes_of_prompt_and_completion_trains_the_completion_alone(tmp_path):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = hub.load_model()
    rows = [{"prompt": TALK[:1], "completion": TALK[1:2]}]
    trainer = SFTTrainer(
        model, SFTConfig(output_dir=str(tmp_path), report_to=[], use_cpu=True, bf16=False, disable_tqdm=True,
                         completion_only_loss=True),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    view = inspect(trainer.train_dataset, tokenizer).check()
    assert "⟦多喝水。<|im_end|>↵⟧" in str(view)


def test_ten_thousand_records_take_a_few_seconds(qwen, example):
    ids, labels = example
    for rows in ([example] * 10_000, [(ids, without(labels, -2))] * 10_000):
        started = time.process_time()
        assert inspect(rows, qwen).count == 10_000
        assert time.process_time() - started < 10


def test_real_records_are_found_right():
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with real records")
    lines = (Path(folder) / "huatuo_llama_data.json").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines[:2000] if line.strip()]
    _, tokenizer = hub.load_model()
    view = inspect(records, tokenizer)
    assert not view.problems and view.count == len(records)
