"""Nine to one, the same for the same seed, and no question on both sides."""

import pytest

from ftkit.data.splitting import duplicate_prompts, split
from ftkit.errors import Refusal


def records(*asked):
    return [{"instruction": text, "input": "", "output": f"answer {place}"} for place, text in enumerate(asked)]


def asked(part):
    return [record["instruction"] for record in part]


def test_one_in_ten_is_held_out_in_the_old_order_and_nothing_is_lost():
    whole = records(*(f"q{n}" for n in range(200)))
    train, held_out = split(whole, seed=3)
    assert (len(train), len(held_out)) == (180, 20)
    assert sorted(train + held_out, key=whole.index) == whole
    assert train == [record for record in whole if record in train]


def test_the_seed_alone_decides_what_is_held_out():
    whole = records(*(f"q{n}" for n in range(100)))
    assert split(whole, seed=1) == split(list(whole), seed=1)
    assert split(whole, seed=1) != split(whole, seed=2)


@pytest.mark.parametrize("seed", range(20))
def test_records_that_ask_the_same_stay_on_one_side(seed):
    whole = records(*(f"q{n % 15}" for n in range(60)), "q1 ", " q2")
    train, held_out = split(whole, 0.2, seed)
    assert not {text.strip() for text in asked(train)} & {text.strip() for text in asked(held_out)}
    assert len(held_out) <= 12


def test_conversations_are_compared_by_all_that_comes_before_the_last_answer():
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "user", "content": "more"}, {"role": "assistant", "content": "b"}]
    other = [talk[0], {"role": "assistant", "content": "c"}, *talk[2:]]
    again = [*talk[:3], {"role": "assistant", "content": "d"}]
    assert duplicate_prompts([{"messages": talk}, {"messages": other}, {"messages": again}]) == 1
    plain = {"instruction": "q", "output": "a"}
    assert duplicate_prompts([plain, plain | {"system": "s"}]) == 0


@pytest.mark.parametrize(("texts", "share", "sizes"), [
    (["a", "b"], 0.1, (1, 1)),
    (["a", "b"], 0.9, (1, 1)),
    (["a"] * 5 + ["b"] * 3, 0.1, (5, 3)),
    (["a"] * 9 + ["b"], 0.1, (9, 1)),
])
def test_neither_side_is_ever_empty(texts, share, sizes):
    for seed in range(5):
        train, held_out = split(records(*texts), share, seed)
        assert (len(train), len(held_out)) == sizes


@pytest.mark.parametrize("share", [0, 1, -0.1, 10, float("nan")])
def test_a_share_outside_nought_to_one_is_refused(share):
    with pytest.raises(Refusal, match=f"held_out_share must be between 0 and 1, got {share}. Take 0.1 to begin with."):
        split(records("a", "b"), share)


@pytest.mark.parametrize(("texts", "count"), [([], 0), (["a"], 1), (["a", "a"], 1)])
def test_fewer_than_two_prompts_cannot_be_split(texts, count):
    with pytest.raises(Refusal, match=f"records must be at least two different prompts, to split them, got {count}."):
        split(records(*texts))


def test_each_value_of_a_field_is_held_out_in_the_same_share():
    whole = [record | {"kind": "abc"[min(place % 10, 2)]}
             for place, record in enumerate(records(*map(str, range(200))))]
    train, held_out = split(whole, 0.1, 1, stratify_by="kind")
    assert [sum(record["kind"] == kind for record in held_out) for kind in "abc"] == [2, 2, 16]
    assert sorted(train + held_out, key=whole.index) == whole
    by_function = split(whole, 0.1, 1, stratify_by=lambda record: record["kind"])
    assert by_function == (train, held_out)


@pytest.mark.parametrize("seed", range(10))
def test_strata_that_are_too_small_for_a_record_of_their_own_share_out_what_is_left(seed):
    whole = [record | {"kind": place % 30} for place, record in enumerate(records(*map(str, range(150))))]
    train, held_out = split(whole, 0.1, seed, stratify_by="kind")
    assert len(held_out) == 15
    assert len({record["kind"] for record in held_out}) == 15


def test_a_group_is_not_torn_by_its_strata():
    whole = [record | {"kind": place % 2} for place, record in enumerate(records(*(f"q{n // 2}" for n in range(60))))]
    for seed in range(5):
        train, held_out = split(whole, 0.2, seed, stratify_by="kind")
        assert not set(asked(train)) & set(asked(held_out))


def test_what_asks_nearly_the_same_stays_on_one_side_when_asked_for():
    base = "一名{}岁的女性患者出现了晕厥、不自主颤抖、情绪不稳等症状，请详细说明其手术治疗和术前准备。"
    words = ["七十", "七十一", "七十二", "八十"]
    others = [f"{a}{b}{c}应该怎么办" for a in "天地玄黄" for b in "宇宙洪荒" for c in "日月盈昃"]
    whole = records(*(base.format(word) for word in words), *others)
    for seed in range(10):
        train, held_out = split(whole, 0.1, seed, near=0.8)
        assert len({record["instruction"] in asked(train) for record in whole[:4]}) == 1
    assert any(0 < sum("晕厥" in text for text in asked(split(whole, 0.5, seed)[1])) < 4 for seed in range(5))


def test_texts_alone_are_split_by_what_they_say():
    whole = [{"text": text} for text in ("a", "a ", "b", "c")]
    for seed in range(5):
        train, held_out = split(whole, 0.5, seed)
        assert len({record in train for record in whole[:2]}) == 1 and train and held_out


@pytest.mark.parametrize(("settings", "words"), [
    ({"stratify_by": "langage"}, "stratify_by must be a field of every record, or a function of a record, got 'lan"),
    ({"near": 2}, "threshold must be above 0 and at most 1, got 2."),
])
def test_what_cannot_be_stratified_or_compared_is_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        split(records("a", "b"), **settings)


def test_prompts_that_are_all_alike_cannot_be_split():
    with pytest.raises(Refusal, match="records must be at least two prompts less alike than 0.8, to split them"):
        split(records("发烧怎么办呢？", "发烧怎么办呢。"), near=0.8)


def test_a_dialogue_stays_with_those_that_go_on_from_it_and_with_itself_under_a_system_turn():
    words = "asthma fever cough rash burn cut fall tooth ear eye knee ankle back neck chest".split()
    records = []
    for word, other in zip(words, words[1:] + words[:1], strict=True):
        said = [f"what helps against {word}", f"{word} rest", f"and what of {other} then", "see a doctor"]
        talk = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, said, strict=True)]
        records += [{"messages": talk}, {"messages": talk[:2]},
                    {"messages": [{"role": "system", "content": "Be brief."}, *talk[:2]]}]
    train, held_out = split(records, 0.2, near=0.8)

    def first(part):
        return {next(turn["content"] for turn in record["messages"] if turn["role"] == "user") for record in part}

    assert len(held_out) == 9 and not first(train) & first(held_out)


def test_a_question_stays_with_itself_whether_it_is_the_instruction_or_the_input():
    words = "asthma fever cough rash burns cuts falls toothache earache redness".split()
    asked = [f"what helps against {word} at night" for word in words]
    records = [{"instruction": text, "input": "", "output": "rest"} for text in asked]
    records += [{"instruction": "Please answer the question below.", "input": text, "output": "rest"} for text in asked]
    train, held_out = split(records, 0.2, near=0.8)
    assert len(held_out) == 4 and not {r["input"] or r["instruction"] for r in train} & {
        r["input"] or r["instruction"] for r in held_out}
    same_input = [{"instruction": text, "input": "None", "output": "rest"} for text in asked]
    assert len(split(same_input, 0.2, near=0.8)[1]) == 2
