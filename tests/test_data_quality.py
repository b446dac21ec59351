"""Each rule catches what it is for, and leaves what looks a little like it."""

import pytest

from ftkit.data.quality import Fault, Limits, fault, gibberish, language, quality, repetition
from ftkit.errors import Refusal

GOOD = [
    ("Is it a fever?", "Yes."), ("37.5度算发烧吗？", "是"), ("2+3=?", "5"), ("打招呼", "哈哈哈"),
    ("一名患者出现发热、皮肤感染等症状，应该如何治疗？", "建议口服抗生素，并且注意休息。"),
    ("繁體中文的問題，請問怎麼辦？", "請多喝水，並且測量體溫，若持續不退請就醫。"),
    ("Which drugs?", "Hydroxychloroquine, methotrexate and azathioprine."),
    ("What scans?", "MRI, CT, ECG, EEG, PET, SPECT"),
    ("Write a function.", "def add(a, b):\n    return a + b"), ("", "A page about nothing in particular."),
    ("List them.", "1. one\n2. two\n3. three\n4. four\n5. five\n6. six"),
    ("请问 COPD 患者能用 albuterol 吗？", "可以，按需使用，每次 2 喷，症状加重时及时就医。"),
]


@pytest.mark.parametrize(("question", "answer"), GOOD)
def test_a_good_record_breaks_no_rule(question, answer):
    assert fault(question, answer) is None


@pytest.mark.parametrize(("question", "answer", "rule"), [
    ("？", "a", "question too short"), ("q", "。。", "answer too short"), ("q", "x" * 20_001, "answer too long"),
    ("字" * 20_001, "a", "question too long"),
    ("怎么办？", "N/A", "placeholder"), ("怎么办？", "暂无", "placeholder"), ("q", "#REF!", "placeholder"),
    ("q", "a \ufffd b", "replacements"), ("锟斤拷锟斤拷怎么办", "多喝水", "replacements"),
    ("q", "哈" * 40, "repetition"), ("q", "the same the same the same the same the same the same", "repetition"),
    ("q", "asdkj qwhkz xzxcv bqhjk lqwzx vkjhq", "gibberish"), ("fjdksla fhdjska fdsjkal jkfds", "yes", "gibberish"),
    ("q", "患者发烧三天怎么办呢".encode().decode("gb18030", errors="ignore")[:14] * 1 + "鐨勬槸鍙戠儳", "gibberish"),
    ("q", "abc★☆★◆◇■□▲△▼▽◎●○★☆※→←↑↓", "signs"),
    ("What is asthma in small children?", "What is asthma, in small children?", "echo"),
    ("Bonjour, comment allez-vous aujourd'hui ?", "Je vais très bien, merci beaucoup, et vous-même ?", "language"),
    ("これはどういう意味ですか、教えてください。", "それは熱があるという意味です。病院へ行ってください。", "language"),
])
def test_a_bad_record_is_named_by_its_rule(question, answer, rule):
    found = fault(question, answer)
    assert found is not None and found.rule == rule


def test_values_are_given_with_the_rule():
    answer = "haha haha haha haha haha haha"
    assert fault("q", answer) == Fault("repetition", repetition(answer))
    assert fault("？", "a") == Fault("question too short", 0)
    kept, report = quality([{"instruction": "q", "output": "a \ufffd"}, {"instruction": "q", "output": "yes"}])
    assert [record["place"] for record in kept] == [1]
    assert (report.dropped[0].place, report.dropped[0].reason) == (0, "replacements: 1")
    assert report.reasons() == {"replacements": 1}


@pytest.mark.parametrize(("limits", "answer", "rule"), [
    (Limits(shortest_answer=50), "short", "answer too short"), (Limits(longest_answer=3), "four", "answer too long"),
    (Limits(languages=("zh",)), "This is an English sentence of a good length, and some more of it.", "language"),
])
def test_a_threshold_can_be_changed(limits, answer, rule):
    assert fault("q", answer, limits).rule == rule
    assert fault("q", answer) is None


@pytest.mark.parametrize(("question", "answer"), [
    ("把下面这句话翻译成法语：今天天气真好。", "Il fait très beau aujourd'hui, allons nous promener ensemble au parc."),
    ("Please translate this sentence into French for me.", "Il fait très beau aujourd'hui, allons nous promener."),
    ("请列举常见的致病细菌", "Staphylococcus aureus, Streptococcus pneumoniae, Escherichia coli, Klebsiella"),
])
def test_a_question_in_an_allowed_language_may_be_answered_in_another(question, answer):
    assert fault(question, answer) is None


def test_a_greeting_may_be_answered_by_itself():
    assert fault("你好", "你好！") is None


def test_without_languages_any_is_allowed():
    french = ("Bonjour, comment allez-vous aujourd'hui ?", "Je vais très bien, merci beaucoup, et vous-même ?")
    assert fault(*french) is not None and fault(*french, Limits(languages=())) is None


@pytest.mark.parametrize(("text", "code"), [("发烧怎么办", "zh"), ("What is a fever, and what helps against it?", "en"),
                                            ("これは日本語です", "ja"), ("Отдыхайте больше и пейте воду", "ru")])
def test_languages_are_told_apart(text, code):
    assert language(text)[0] == code


def test_short_and_ordinary_texts_are_neither_repetition_nor_gibberish():
    assert repetition("哈哈哈") == 0 and gibberish("xkcd") == 0
    assert gibberish("wo jintian toutong fashao xiexie nimen") < 0.2


@pytest.mark.parametrize(("settings", "words"), [
    ({"repetition": 1.5}, "repetition must be a share between 0 and 1, got 1.5."),
    ({"echo": -1}, "echo must be a number of 0 or more, got -1."),
    ({"shortest_answer": "3"}, "shortest_answer must be a number of 0 or more, got '3'."),
    ({"languages": "en"}, r"languages must be a list of codes such as \(\"en\", \"zh\"\), got 'en'."),
])
def test_a_threshold_that_makes_no_sense_is_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        Limits(**settings)
