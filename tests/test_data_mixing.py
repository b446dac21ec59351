"""General records in the share asked for, new questions out of old ones, and tiers from easy to hard."""

import random

import pytest

from ftkit.data.augment import augment, case, punctuation, synonyms, templates, through, typos
from ftkit.data.mixing import mix
from ftkit.data.tiers import length, tiers
from ftkit.errors import Refusal

DOMAIN = [{"text": f"domain {number}"} for number in range(90)]
GENERAL = [{"text": f"general {number}"} for number in range(30)]
ASKED = {"instruction": "发烧怎么办？What helps against a fever?", "input": "", "output": "休息。"}


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.1, 10), (0.25, 30)])
def test_the_share_is_of_the_result(share, count):
    mixed = mix(DOMAIN, GENERAL, share, seed=1)
    drawn = [record for record in mixed if record["source"] == "general"]
    assert len(drawn) == count and len(mixed) == 90 + count
    assert sorted(record["text"] for record in mixed if record["source"] == "domain") == sorted(
        record["text"] for record in DOMAIN)
    assert len({record["text"] for record in drawn}) == count
    assert mixed == mix(DOMAIN, GENERAL, share, seed=1) != mix(DOMAIN, GENERAL, share, seed=2)
    assert "source" not in DOMAIN[0]


def test_repetition_is_said_and_even():
    drawn = [record["text"] for record in mix(DOMAIN, GENERAL, 0.5, repeat=True) if record["source"] == "general"]
    assert len(drawn) == 90 and {drawn.count(text) for text in drawn} == {3}


@pytest.mark.parametrize(("general", "share", "words"), [
    (GENERAL, 1, "share must be from 0 up to but without 1, got 1."),
    (GENERAL, -0.1, "share must be from 0 up to but without 1, got -0.1."),
    ([], 0.1, r"general must be at least one record, got \[\]. Give general records, or take share=0."),
    (GENERAL, 0.5, "general must be at least 90 records for a share of 0.5, got 30. Give more, take a share of 0.25"),
])
def test_a_mixture_that_cannot_be_is_refused(general, share, words):
    with pytest.raises(Refusal, match=words):
        mix(DOMAIN, general, share)


def test_new_records_stand_behind_the_old_ones_and_say_where_they_are_from():
    made = augment([ASKED, ASKED | {"instruction": "q"}], {"typos": typos(0.5), "shout": through(str.upper)}, 4, seed=2)
    assert made[0] == ASKED | {"place": 0} and made[1]["place"] == 1
    assert all(record["how"] in ("typos", "shout") and record["from"] in (0, 1) for record in made[2:])
    assert all(record["output"] == "休息。" and "place" not in record for record in made[2:])
    texts = [record["instruction"] for record in made]
    assert len(set(texts)) == len(texts) > 3
    assert made == augment([ASKED, ASKED | {"instruction": "q"}],
                           {"shout": through(str.upper), "typos": typos(0.5)}, 4, seed=2)


def test_the_last_question_of_a_conversation_is_the_one_that_changes():
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
            {"role": "assistant", "content": "d"}]
    new = augment([{"messages": talk}], {"x": templates(["<{}>"])})[1]
    assert [turn["content"] for turn in new["messages"]] == ["a", "b", "<c>", "d"]
    assert talk[2]["content"] == "c"


def test_under_an_instruction_that_all_share_the_input_is_the_question_that_changes():
    records = [{"instruction": "Triage this visitor.", "input": f"I have had a fever for {day} days.", "output": "wait"}
               for day in range(50)]
    made = augment(records, {"politely": templates(["Please, {}"])})
    assert len(made) == 100 and made[53]["instruction"] == "Triage this visitor."
    assert made[53]["input"] == "Please, I have had a fever for 3 days." and records[3]["input"].startswith("I have")


def test_each_way_does_what_it_says():
    generator = random.Random(0)
    text = ASKED["instruction"]
    assert {templates(["请问：{}", "{}谢谢"])(text, generator) for _ in range(20)} == {f"请问：{text}", f"{text}谢谢"}
    made = {synonyms({"发烧": ["发热"], "fever": ["high temperature"]})(text, generator) for _ in range(40)}
    assert made == {f"{zh}怎么办？What helps against a {en}?" for zh in ("发烧", "发热") for en in (
        "fever", "high temperature")}
    assert synonyms({"a": ["b"]})("cat", generator) == "cat"
    assert {case()(text, generator) for _ in range(9)} == {text.lower(), text.upper()}
    assert {punctuation()("好？", generator) for _ in range(40)} == {"好？", "好?", "好"}
    numbers = "37.5度 2024 138"
    for _ in range(20):
        noisy = typos(1.0)(numbers, generator)
        assert [sign for sign in noisy if sign.isdigit()] == [sign for sign in numbers if sign.isdigit()]
    near = [typos(0.03)("x" * 1000, generator) for _ in range(20)]
    assert 0.9 < sum(map(len, near)) / 20_000 < 1.1


@pytest.mark.parametrize(("make", "words"), [
    (lambda: augment([ASKED], {}), r"ways must be functions by name, got \{\}."),
    (lambda: augment([ASKED], {"x": case()}, 0), "copies must be 1 or more, got 0."),
    (lambda: augment([{"text": "a"}], {"x": case()}), r"record must be one with an instruction or with messages, got"),
    (lambda: templates(["no place"]), r"patterns must be texts with \{\} once, where the question goes, got 'no"),
    (lambda: templates([]), r"patterns must be texts with \{\} once"),
    (lambda: synonyms({"a": "b"}), "table must be words with a list of synonyms each, such as"),
    (lambda: synonyms({}), "table must be words with a list of synonyms each"),
    (lambda: typos(0), "rate must be above 0 and at most 1, got 0."),
])
def test_augmenting_in_no_way_is_refused(make, words):
    with pytest.raises(Refusal, match=words):
        make()


def test_tiers_are_equal_in_size_and_rise_in_difficulty():
    records = [{"text": "x" * random.Random(seed).randrange(1, 50)} for seed in range(20)]
    made = tiers(records, count=3)
    assert [len(tier) for tier in made] == [6, 7, 7]
    assert all(max(map(length, easy)) <= min(map(length, hard)) for easy, hard in zip(made, made[1:], strict=False))
    assert sorted(map(length, sum(made, []))) == sorted(map(length, records))
    losses = [len(records) - place for place in range(20)]
    assert tiers(records, losses, 2) == [records[10:], records[:10]]
    assert tiers(records, lambda record: 0, 2) == [records[:10], records[10:]]


@pytest.mark.parametrize(("difficulty", "count", "words"), [
    (length, 0, "count must be between 1 and the number of records, 90, got 0."),
    (length, 91, "count must be between 1 and the number of records, 90, got 91."),
    ([1.0], 2, "difficulty must be one number for each of 90 records, got '1 numbers'."),
    ([float("nan")] * 90, 2, r"difficulty\[0\] must be a finite number, got nan. Leave that record out."),
])
def test_tiers_that_cannot_be_are_refused(difficulty, count, words):
    with pytest.raises(Refusal, match=words):
        tiers(DOMAIN, difficulty, count)
