"""Exact and near duplicates, held against all pairs compared by hand."""

import itertools
import random

import pytest

from ftkit.data.duplicates import clusters, exact_duplicates, jaccard, near_duplicates, near_pairs, shingles
from ftkit.data.splitting import split
from ftkit.data.workers import Workers
from ftkit.errors import Refusal

LONG = "一名七十岁的女性患者出现了晕厥、不自主颤抖、情绪不稳等症状，请详细说明其手术治疗和术前准备。"
ENGLISH = "A woman of seventy fainted twice this morning and has been trembling ever since, what should be done first"


def pair(asked, told="多休息，多喝水，必要时到医院就诊检查。"):
    return {"instruction": asked, "input": "", "output": told}


def texts_for(generator, count):
    """Texts of both languages, among them many that were made from others by a small change."""
    chinese = "发烧头痛咳嗽怎么办患者女性男性治疗检查医院多休息喝水药物每天三次症状"
    words = "fever cough take the medicine twice a day with water and rest doctor says no yes".split()
    made = []
    for _ in range(count):
        if made and generator.random() < 0.5:
            text = list(generator.choice(made))
            for _ in range(generator.randrange(1, 4)):
                text[generator.randrange(len(text))] = generator.choice(chinese)
            made.append("".join(text))
        elif generator.random() < 0.5:
            made.append("".join(generator.choices(chinese, k=generator.randrange(1, 50))))
        else:
            made.append(" ".join(generator.choices(words, k=generator.randrange(1, 20))))
    return made


@pytest.mark.parametrize(("text", "pieces"), [
    ("Take it twice!", {"take it", "it twice"}),
    ("发烧怎么办？", {"发烧怎", "烧怎么", "怎么办"}),
    ("用COPD药", {"用co", "cop", "opd", "pd药"}),
    ("Take it twice! 谢谢", {"take it", "it twice", "twice 谢谢"}),
    ("是", {"是"}), ("否。", {"否"}), ("Yes", {"yes"}), ("？？", {"？？"}), ("", set()), ("  ", set()),
])
def test_shingles_are_pairs_of_words_or_triples_of_characters_and_short_texts_stay_apart(text, pieces):
    assert shingles(text) == pieces


def test_an_english_text_with_a_little_chinese_behind_it_stays_near_to_what_it_was():
    text = "It is a disease of the airways that comes and goes, mostly at night."
    assert clusters([text, text + "谢谢"]) == [0, 0]


def test_short_texts_do_not_collapse_into_one():
    short = ["是", "否", "好", "yes", "no", "？", "！", "1", "2", "a b", "b a"]
    assert clusters(short) == list(range(len(short)))
    assert len(near_duplicates([pair("问题", text) for text in short])[0]) == len(short)


@pytest.mark.parametrize("seed", range(8))
def test_near_pairs_are_those_that_comparing_all_pairs_finds(seed):
    texts = texts_for(random.Random(seed), 120)
    sets = [shingles(text) for text in texts]
    for threshold in (0.8, 0.9, 1.0):
        want = {(i, j) for i, j in itertools.combinations(range(len(texts)), 2)
                if jaccard(sets[i], sets[j]) >= threshold}
        found = {(i, j): similarity for i, j, similarity in near_pairs(texts, threshold)}
        assert found.keys() <= want  # every one is verified
        assert len(want - found.keys()) <= max(1, len(want) // 100)  # one in 440 may be overlooked
        assert all(similarity == jaccard(sets[i], sets[j]) for (i, j), similarity in found.items())


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_the_connected_parts_of_the_near_pairs(seed):
    texts = texts_for(random.Random(seed), 100)
    found, leaders = list(near_pairs(texts)), clusters(texts)
    seen = {number: {number} for number in range(len(texts))}
    for one, other, _ in found:
        merged = seen[one] | seen[other]
        for number in merged:
            seen[number] = merged
    assert leaders == [min(seen[number]) for number in range(len(texts))]


@pytest.mark.parametrize(("one", "other", "stay"), [
    (pair(LONG), pair(LONG.replace("，", ",").replace("。", "")), 1),
    (pair(LONG), pair(LONG + "谢谢"), 1),
    (pair(ENGLISH), pair(ENGLISH.upper() + "?"), 1),
    (pair(ENGLISH, "Lie her down."), pair(ENGLISH + ", please?", "Lie her down!"), 1),
    (pair(LONG, "是的"), pair(LONG, "不是"), 2),
    (pair(LONG), pair(LONG, "先做检查，再由外科医生决定是否需要手术，术前八小时禁食。"), 2),
    (pair("患者体温37.5度，应该怎么办？请说明理由和具体的步骤。"),
     pair("患者体温39.5度，应该怎么办？请说明理由和具体的步骤。"), 2),
    (pair("患者出现头痛、发热，请分诊。"), pair("患者出现腹泻、呕吐，请分诊。"), 2),
    ({"text": LONG}, {"text": LONG + "谢谢"}, 1),
    ({"text": LONG}, pair(LONG, LONG), 2),
])
def test_two_are_near_when_question_and_answer_are_and_the_numbers_agree(one, other, stay):
    assert len(near_duplicates([one, other])[0]) == stay


def test_numbers_may_be_told_not_to_matter():
    two = [pair(LONG.replace("七十", "70")), pair(LONG.replace("七十", "71"))]
    assert len(near_duplicates(two)[0]) == 2
    assert len(near_duplicates(two, same_numbers=False)[0]) == 1


def test_of_near_duplicates_the_longest_stays_and_of_equals_the_first():
    kept, report = near_duplicates([pair(LONG), pair(LONG + "谢谢您"), pair(LONG + "谢谢"), pair("另一个问题")])
    assert [record["place"] for record in kept] == [1, 3]
    assert [(entry.place, entry.kept) for entry in report.dropped] == [(0, 1), (2, 1)]
    assert report.dropped[0].reason.startswith("near duplicate: 0.9")
    kept, _ = near_duplicates([pair(LONG + "好"), pair(LONG + "吧")])
    assert [record["place"] for record in kept] == [0]


@pytest.mark.parametrize("seed", range(5))
def test_every_dropped_record_is_near_one_that_stays_and_no_two_that_stay_are_near(seed):
    texts = texts_for(random.Random(seed), 150)
    kept, report = near_duplicates([{"text": text} for text in texts if text.strip()], same_numbers=False)
    by_place = {record["place"]: record["text"] for record in kept}
    for entry in report.dropped:
        similarity = jaccard(shingles(entry.record["text"]), shingles(by_place[entry.kept]))
        assert similarity >= 0.8 and entry.reason == f"near duplicate: {similarity:.3f}"
    assert not list(near_pairs(list(by_place.values())))


@pytest.mark.parametrize("seed", range(5))
def test_what_stays_does_not_depend_on_where_unrelated_records_stand(seed):
    generator = random.Random(seed)
    related = [{"text": LONG}, {"text": LONG + "谢"}, {"text": "谢" + LONG}]
    others = [{"text": f"{''.join(generator.choices('天地玄黄宇宙洪荒日月盈昃', k=30))}"} for _ in range(20)]
    order = related + others
    for _ in range(4):
        generator.shuffle(others)
        places = sorted(generator.sample(range(len(order)), 3))
        mixed = list(others)
        for place, record in zip(places, related, strict=True):
            mixed.insert(place, record)
        kept = [record["text"] for record in near_duplicates(mixed)[0]]
        assert [text for text in kept if "晕厥" in text] == [LONG + "谢"]


def test_exact_duplicates_are_the_same_question_and_answer_white_space_aside():
    talk = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    kept, report = exact_duplicates([pair("q", "a"), pair(" q", "a\n"), pair("q", "b"), talk, pair("Q", "a"),
                                     {"text": "a"}, {"text": "a "}])
    assert [record["place"] for record in kept] == [0, 2, 4, 5]
    assert [(entry.place, entry.kept, entry.reason) for entry in report.dropped] == [
        (1, 0, "exact duplicate"), (3, 0, "exact duplicate"), (6, 5, "exact duplicate")]
    assert report.notes == {"same question, other answer": 1}


def test_several_processes_find_the_same():
    texts = [{"text": text} for text in texts_for(random.Random(1), 2500) if text.strip()]
    alone = near_duplicates(texts)
    assert near_duplicates(texts, workers=Workers(2)) == alone


@pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(Refusal, match=f"threshold must be above 0 and at most 1, got {threshold}. Take 0.8"):
        near_duplicates([pair("a")], threshold)


def test_the_clinic_s_templates_are_not_taken_for_duplicates():
    from ftkit.tiny import clinic

    records = clinic.records("train")
    kept, _ = near_duplicates(records)
    assert len(kept) >= 0.99 * len(records)


@pytest.mark.parametrize("shape", ["fields", "messages"])
def test_an_instruction_that_all_share_makes_none_of_them_alike(shape):
    fixed = "Answer with one word out of: emergency, paediatrics, dermatology. Explain nothing, take the first. " * 2
    words = "chest pain rash cough knee fever ankle cut burn swollen dizzy ear tooth".split()
    asked = [" ".join(three) for three in itertools.combinations(words, 3)]
    records = [{"instruction": fixed, "input": text, "output": "emergency"} for text in asked]
    if shape == "messages":
        records = [{"messages": [{"role": "system", "content": fixed}, {"role": "user", "content": text},
                                 {"role": "assistant", "content": "emergency"}]} for text in asked]
    assert near_duplicates(records)[1].dropped == []
    assert [entry.kept for entry in near_duplicates([*records, records[3]])[1].dropped] == [3]
    train, held_out = split(records, near=0.8)
    assert (len(train), len(held_out)) == (257, 29)


@pytest.mark.parametrize(("one", "other"), [
    ("我对鸡蛋过敏的孩子明天能打流感疫苗吗", "我对鸡蛋过敏的孩子明天不能打流感疫苗吗"),
    ("右肺上叶有一个很小的磨玻璃结节怎么办才好呢", "左肺上叶有一个很小的磨玻璃结节怎么办才好呢"),
    ("肺部有一个三毫米大小的结节要不要手术呢", "肺部有一个八毫米大小的结节要不要手术呢"),
    ("Blood group A+ may give to whom", "Blood group A- may give to whom"), ("what is -5 + 3", "what is 5 - 3"),
    ("Is x > y here", "Is x < y here"), ("What is C++ for", "What is C# for"),
    ("This is a drug that children may take at night in the clinic",
     "This is a drug that children may not take at night in the clinic"),
])
def test_what_turns_a_sentence_round_keeps_two_apart(one, other):
    assert len(near_duplicates([pair(one, "阳"), pair(other, "阳")])[0]) == 2
    assert len(near_duplicates([pair(one, "阳"), pair(one + "。", "阳")])[0]) == 1
