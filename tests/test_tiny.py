"""The embedded base, its world, its clinic and its exam: what they promise to every lesson."""

import json
import shutil
from collections.abc import Iterator
from itertools import chain, islice

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftkit import pretrain
from ftkit.errors import Refusal
from ftkit.tiny import base, clinic, clinic_rules, corpus, docstrings, exam, phrasings, world
from ftkit.tiny import tokenizer as tiny_tokenizer
from ftkit.tiny.words import CATEGORIES, LANGUAGES, RIDDLES


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(base.folder())


def documents_of(provenance: dict) -> Iterator:
    library = docstrings.read()
    made = [corpus.documents(provenance["seed"] + number, library, stage["review"])
            for number, stage in enumerate(provenance["stages"])]
    return chain.from_iterable(islice(one, many) for one, many in zip(made, provenance["documents"], strict=True))


GAMES = tuple(template.split("{0}")[0] for family in ("copy", "reverse", "first", "last", "how_many")
              for templates in phrasings.QUESTIONS[family].values() for template in templates)


def sentences_of(documents: Iterator) -> Iterator[str]:
    """All texts but the word games, where words drawn at random from a list stand side by side."""
    for kind, texts in documents:
        if kind != corpus.QUESTIONS:
            yield from texts
        else:
            yield from (text for asked, answer in zip(texts[::2], texts[1::2], strict=True)
                        if not asked.startswith(GAMES) for text in (asked, answer))


@pytest.fixture(scope="module")
def pretraining_text() -> list[str]:
    """Every text that the shipped base was trained on, generated again from its recorded recipe."""
    provenance = json.loads((base.folder() / base.PROVENANCE).read_text("utf-8"))
    texts = [text for _, texts in documents_of(provenance) for text in texts]
    return texts + list(corpus.tokenizer_texts(provenance["seed"], docstrings.read()))


def test_the_base_loads_like_any_checkpoint_and_computes_in_float32():
    model = AutoModelForCausalLM.from_pretrained(base.folder())
    assert type(model).__name__ == "Qwen2ForCausalLM"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.config.num_hidden_layers == 8 and model.config.hidden_size >= 192
    assert model.config.num_attention_heads == model.config.num_key_value_heads
    assert model.num_parameters() <= 6_000_000
    assert model.model.layers[0].self_attn.q_proj.bias is not None


def test_the_weights_are_small_enough_for_a_repository():
    assert (base.folder() / "model.safetensors").stat().st_size <= 12_000_000


def test_the_tokenizer_gives_back_any_text(tokenizer):
    for text in ["Hello,  world 123\n\n x", "发烧三天，喉咙痛。", "鑫 𠮷 é ñ", "def f(x):\n    return x\n\n\n  \ty"]:
        assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_pad_and_end_of_turn_are_tokens_of_their_own(tokenizer):
    assert len({tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id}) == 3
    assert len(tokenizer) == tiny_tokenizer.VOCABULARY


def test_pretraining_writes_turns_as_the_chat_template_does(tokenizer):
    documents = [(corpus.QUESTIONS, ["What is 2 plus 3?", "5", "草是什么颜色？", "绿色"])]
    ids, weights = next(pretrain.encoded(iter(documents), tokenizer))
    roles = ["user", "assistant"] * 2
    messages = [{"role": role, "content": text} for role, text in zip(roles, documents[0][1], strict=True)]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert ids[1:] == tokenizer(text).input_ids
    trained = tokenizer.decode([token for token, weight in zip(ids, weights, strict=True) if weight == 1.0])
    assert trained == "5<|im_end|>绿色<|im_end|>"


def test_no_exam_question_is_in_the_pretraining_text(pretraining_text):
    seen = set(pretraining_text)
    assert [item["question"] for item in exam.general_exam() if item["question"] in seen] == []


def test_no_held_out_docstring_is_in_the_pretraining_text(pretraining_text):
    assert set(exam.held_out_docstrings()).isdisjoint(pretraining_text)


def test_no_clinic_text_is_in_the_pretraining_text(pretraining_text):
    names = [condition[language] for condition in clinic_rules.conditions() for language in LANGUAGES]
    phrases = [phrase for pair in clinic_rules.SYMPTOMS.values() for phrase in pair if " " in phrase]
    terms = [text for language in LANGUAGES for entry in clinic_rules.GLOSSARY[language] for text in entry]
    labels = [line.split("{")[0] for form in clinic_rules.ANSWER.values() for line in form.split("\n")]
    advice = [text for condition in clinic_rules.conditions() for text in condition["advice"].values()]
    provenance = json.loads((base.folder() / base.PROVENANCE).read_text("utf-8"))
    sentences = "\n".join(sentences_of(documents_of(provenance)))
    assert [needle for needle in names + phrases + terms + labels + advice if needle in sentences] == []
    records = {record[field] for split in clinic.SPLITS for record in clinic.records(split)
               for field in ("input", "output") if record[field]}
    assert records.isdisjoint(pretraining_text)


def test_the_shipped_corpus_hash_is_that_of_the_text_generated_again(pretraining_text):
    provenance = json.loads((base.folder() / base.PROVENANCE).read_text("utf-8"))
    if provenance["interpreter"] != docstrings.interpreter():
        pytest.skip(f"the base was built on Python {provenance['interpreter']}, whose docstrings are others")
    assert corpus.fingerprint(documents_of(provenance)) == provenance["corpus_sha256"]


def test_test_combinations_are_absent_from_the_other_splits():
    made = {split: {frozenset(record["symptoms"]) for record in clinic.records(split) if record["kind"] == "triage"}
            for split in clinic.SPLITS}
    for other in ("train", "held_out"):
        clashes = [(a, b) for a in made["test"] for b in made[other] if a <= b or b <= a]
        assert clashes == []


def test_test_phrasings_are_absent_from_training():
    trained = {record["instruction"] for record in clinic.records("train")}
    assert trained.isdisjoint(record["instruction"] for record in clinic.records("test"))


def test_each_combination_names_one_condition():
    conditions = clinic_rules.conditions()
    for split in clinic.SPLITS:
        for name, pool in clinic.combinations_of(split).items():
            for symptoms in pool:
                assert [c["en"] for c in conditions if symptoms <= set(c["symptoms"])] == [name]


def test_the_clinic_is_large_bilingual_and_marked_as_fiction():
    everything = [record for split in clinic.SPLITS for record in clinic.records(split)]
    assert len(everything) >= 2000 and len(clinic_rules.conditions()) >= 16
    for record in everything:
        assert record["output"].endswith("(fiction)" if record["language"] == "en" else "虚构。")
    by_language = [record["language"] for record in clinic.records("test")]
    assert by_language.count("en") == by_language.count("zh")


def test_a_red_flag_makes_an_emergency_and_else_the_condition_decides():
    by_name = {condition[language]: condition for condition in clinic_rules.conditions() for language in LANGUAGES}
    flags = [words for pair in clinic_rules.RED_FLAGS.values() for words in pair]
    for record in clinic.records("test"):
        base_urgency = clinic_rules.URGENCIES[record["language"]][by_name[record["condition"]]["urgency"]]
        flagged = any(words in record["input"].lower() for words in flags)
        assert record["urgency"] == (clinic_rules.URGENCIES[record["language"]][2] if flagged else base_urgency)


def test_the_clinic_score_wants_condition_and_urgency_both():
    asked = [record for record in clinic.records("test")][:2]
    english, chinese = asked
    wrong_urgency = english["output"].replace(f"Urgency: {english['urgency']}", "Urgency: whenever")
    assert clinic.score([english["output"], chinese["output"]], asked)["accuracy"] == 1.0
    assert clinic.score([wrong_urgency, chinese["output"]], asked) | {"correct": 0} == {
        "accuracy": 0.5, "en": 0.0, "zh": 1.0, "n": 2, "correct": 0}
    assert clinic.score(["", "随便说说"], asked)["accuracy"] == 0.0


def test_guessing_scores_are_low():
    guesses = clinic.guessing_scores(clinic.records("test"))
    assert guesses["chance"] == pytest.approx(1 / 48) and guesses["majority"] < 0.15


def test_the_exam_covers_every_family_in_both_languages():
    items = exam.general_exam()
    assert len(items) >= 300
    assert {(item["family"], item["language"]) for item in items} == {
        (family, language) for family in world.FAMILIES for language in LANGUAGES}


def test_the_exam_score_counts_exact_answers_by_family():
    items = exam.general_exam()[:3]
    answers = [f" {items[0]['accepted'][0]}\n", "wrong", items[2]["accepted"][0]]
    assert exam.score_exam(answers, items)["correct"] == [True, False, True]
    with pytest.raises(Refusal, match="answers must be one for each of the 3 questions, got 1"):
        exam.score_exam([""], items)


def test_word_lists_have_no_member_in_two_categories():
    for language in LANGUAGES:
        members = [member for _, block in CATEGORIES[language] for member in block.split()]
        assert len(members) == len(set(members))
        assert all(len(world._traits(block)) == 6 for _, block in RIDDLES[language])


def test_the_world_is_the_same_for_the_same_seed():
    first, second = (list(islice(corpus.documents(3, {}), 0)) for _ in range(2))
    assert first == second
    library = {"a.b": "A docstring."}
    assert list(islice(corpus.documents(3, library), 50)) == list(islice(corpus.documents(3, library), 50))


@pytest.mark.parametrize(("damage", "words"), [
    (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors must be in the package, got 'no such"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "must be the file that was built"),
    (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json must be the file that was built"),
    (lambda folder: (folder / base.PROVENANCE).unlink(), "must be the record of the built base"),
    (lambda folder: (folder / base.PROVENANCE).write_text("[]"), "must be the record of the built base"),
    (lambda folder: (folder / base.PROVENANCE).write_text("{"), "must be the record of the built base"),
])
def test_damaged_assets_are_refused_and_the_sentence_says_how_to_rebuild(tmp_path, damage, words):
    copy = tmp_path / "base"
    shutil.copytree(base.folder(), copy)
    damage(copy)
    with pytest.raises(Refusal, match=words) as refused:
        base.folder(copy)
    assert "python -m ftkit.pretrain" in str(refused.value)


def test_an_unknown_split_and_a_short_list_of_answers_are_refused():
    with pytest.raises(Refusal, match="split must be one of train, held_out, test, got 'tset'. Did you mean test"):
        clinic.records("tset")
    with pytest.raises(Refusal, match="answers must be one for each of the 2 records, got 1"):
        clinic.score([""], clinic.records("test")[:2])


def test_pretraining_learns_and_its_stage_is_checked(tokenizer):
    with pytest.raises(Refusal, match="steps must be 1 or more, got 0"):
        pretrain.Stage(steps=0, learning_rate=4e-3)
    stage = pretrain.Stage(steps=6, learning_rate=4e-3, warmup_steps=2, tokens_per_step=1024, long_share=0.34)
    torch.manual_seed(0)
    model = pretrain.Qwen2ForCausalLM(pretrain.architecture())
    tokens = pretrain.encoded(corpus.documents(0, {"a": "A docstring of some length, for the test."}), tokenizer)
    losses = [record["loss"] for record in pretrain.train(model, tokens, stage)]
    assert losses[-1] < losses[0] - 0.5
