"""One way of writing the same text, and the same again for what is already written so."""

import random
import unicodedata

import pytest

from ftkit.data.normalising import normalise, normalised, repaired


@pytest.mark.parametrize(("text", "want"), [
    ("ＡＢＣ３７．５℃", "ABC37.5℃"),
    ("发烧，怎么办？（急！）：好；", "发烧，怎么办？（急！）：好；"),
    ("zhang＠example．com", "zhang@example.com"),
    ("10² m, ① and ½", "10² m, ① and ½"),
    ("e\u0301te\u0301", "été"),
    ("ﬁne ⼀⽇", "fine 一日"),
    ("a\u200bb\ufeffc\u00add\x00e\x07", "abcde"),
    ("a\u00a0b\u3000c\u2009d", "a b c d"),
    ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
    ("  padded \t ", "padded"),
    ("a\n\n\n\n\nb", "a\n\nb"),
    ("too   many    spaces", "too many spaces"),
    ("def f():\n    return 1", "def f():\n    return 1"),
    ("\u3000\u3000第一段。\n\u3000\u3000第二段。", "第一段。\n第二段。"),
    ("it\x92s \x93quoted\x94", "it’s “quoted”"),
    ("👨\u200d👩\u200d👧 می\u200cخواهم", "👨\u200d👩\u200d👧 می\u200cخواهم"),
    ("", ""),
])
def test_a_text_is_written_in_its_one_way(text, want):
    assert normalised(text) == want


@pytest.mark.parametrize("text", ["It’s 39℃ – see a doctor", "发烧怎么办？请多喝水。", "café crème", "体温°C"])
@pytest.mark.parametrize("times", [1, 2])
def test_text_decoded_with_the_wrong_encoding_is_repaired_when_all_of_it_can_be(text, times):
    mangled = text
    for _ in range(times):
        mangled = "".join(bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8d, 0x8f, 0x90, 0x9d) else chr(byte)
                          for byte in mangled.encode())
    assert repaired(mangled) == text
    assert normalised(mangled) == normalised(text)


@pytest.mark.parametrize("text", ["联通", "Ã", "naïve Â", "一名患者出现发热", "锟斤拷", "Übel § ÄÖ"])
def test_text_that_was_right_is_not_repaired(text):
    assert repaired(text) == text


def test_utf8_read_as_gb18030_is_repaired():
    assert repaired("发烧怎么办呢".encode().decode("gb18030")) == "发烧怎么办呢"


@pytest.mark.parametrize("seed", range(30))
def test_normalising_twice_is_normalising_once(seed):
    generator = random.Random(seed)
    odd = ("\u3000\u00a0\u200b\u200d\u200c\r\n\t \ufeff\x00\x07\x85\x92\u2028"
           "ＡＢ１．，！。？e\u0301⼀ﬁ²①Ã©â€™中文字a b鐨勬\u0300\ufe0f👨")
    for _ in range(60):
        text = "".join(generator.choices(odd, k=generator.randrange(1, 30)))
        once = normalised(text)
        assert normalised(once) == once, repr(text)
        assert unicodedata.is_normalized("NFC", once)


def test_a_record_left_without_words_is_dropped_and_others_keep_their_place():
    given = [{"instruction": "\u200b", "input": "", "output": "a"},
             {"instruction": "q", "input": "", "output": "\u3000"},
             {"instruction": "ｑ", "input": "", "output": "a", "id": 7}, {"text": "\u200b "}, {"text": "b\ufffd&nbsp;"},
             {"messages": [{"role": "user", "content": "ｈｉ"}, {"role": "assistant", "content": "ｙｏ"}]}]
    kept, report = normalise(given)
    assert kept == [{"instruction": "q", "input": "", "output": "a", "id": 7, "place": 2},
                    {"text": "b\ufffd&nbsp;", "place": 4},
                    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}],
                     "place": 5}]
    assert [(entry.place, entry.reason) for entry in report.dropped] == [
        (place, "nothing left after normalising") for place in (0, 1, 3)]
    assert (report.records_in, report.records_out, report.changed) == (6, 3, 2)
    assert report.notes == {"replacement characters": 1, "HTML entities": 1}
    assert given[2]["instruction"] == "ｑ"  # the argument is as it was
