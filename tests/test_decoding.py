"""Text in the encodings of the learners' files, and what a few bad bytes are."""

import os

import pytest

from ftkit import decoding
from ftkit.errors import Refusal

TEXT = '{"问题": "发烧怎么办？一一一一", "answer": "rest"}\n' * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_read_in_every_encoding_that_is_promised(encoding):
    assert decoding.decode(TEXT.encode(encoding)) == (TEXT, encoding)


def test_plain_ascii_and_nothing_at_all_are_utf8():
    assert decoding.decode(b"plain") == ("plain", "utf-8")
    assert decoding.decode(b"") == ("", "utf-8")


@pytest.mark.parametrize(("raw", "sentence"), [
    (b"caf\xe9, th\xe9, \xff",
     r"a.txt must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252, got b'caf.xe9, th.xe9, .xff'. Save"),
    (b"\xef\xbb\xbf\xff", "a.txt must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
    (b"\xff\xfe\x00\xd8", "a.txt must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
    (b"\x00\xd8\x00\xd8\x00", "a.txt must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
    (TEXT.encode() + b"\xe5\x8f", r"a.txt, line 4 must be UTF-8 like the rest of the file, got b'.xe5.x8f'. Delete or"),
    (TEXT.encode().replace(b"\xef", b"\xff", 1), "a.txt, line 1 must be UTF-8 like the rest of the file"),
])
def test_bytes_in_no_known_encoding_are_refused(raw, sentence):
    with pytest.raises(Refusal, match=sentence):
        decoding.decode(raw, "a.txt")


CHINESE = "question,answer\n发烧怎么办？,“多喝水”，并且休息。\n头痛呢,好好休息\n"
TRADITIONAL = "question,answer\n發燒怎麼辦？,請多喝水，並且測量體溫，若持續不退請就醫。\n頭痛呢？,好好休息\n"
ENGLISH = "question,answer\n“What’s a café?”,It’s a place – with crème brûlée – for €5 or £4…\nNaïve?,Yes\n"


@pytest.mark.parametrize(("text", "written_as", "known_as"), [
    (CHINESE, "gb18030", "gb18030"), (CHINESE, "gbk", "gb18030"), (TRADITIONAL, "gb18030", "gb18030"),
    (TRADITIONAL, "big5", "big5hkscs"), (TRADITIONAL, "cp950", "big5hkscs"), (ENGLISH, "cp1252", "cp1252"),
    ("q,a\nWhat is it?,It’s fine.\n", "cp1252", "cp1252"), ("q,a\nfever?,39°C ± 0.5\n", "cp1252", "cp1252"),
    ("Frage,Antwort\nWas hilft gegen Übelkeit?,Größere Mengen Tee für den Magen\n", "cp1252", "cp1252"),
    ("Où est l’hôpital ?,Là-bas à côté du théâtre. Été déjà passé\n", "cp1252", "cp1252"),
    ("q,a\n" + "What?,About 37 degrees.\n" * 50 + "Fever?,38 °C or more\n", "cp1252", "cp1252"),
    ("q,a\nHow much?,5 µg daily\n", "cp1252", "cp1252"),
    ('{"问":"男"}', "gbk", "gb18030"), ('{"問":"頭痛"}', "big5", "big5hkscs"),
    ("发烧了怎么办？", "utf-16-le", "utf-16-le"),
    ("Take “阿司匹林” 100mg 一天三次", "gbk", "gb18030"), ("发烧😀了", "gb18030", "gb18030"),
    (CHINESE, "utf-32", "utf-32"), (ENGLISH, "utf-16", "utf-16"),
])
def test_an_encoding_is_known_by_what_the_text_says_in_it(text, written_as, known_as):
    assert decoding.decode(text.encode(written_as)) == (text, known_as)


def test_the_real_medical_records_are_known_in_every_encoding_that_holds_them():
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with the real data")
    from pathlib import Path

    text = (Path(folder) / "huatuo_llama_data.json").read_text("utf-8")
    for encoding in ("gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        assert decoding.decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("cut", [b"\x81", b"\xff\xff"])
def test_a_chinese_file_with_a_few_bad_bytes_is_refused_with_the_line(cut):
    raw = CHINESE.encode("gb18030") * 20
    place = raw.index(b"\n", 500)
    with pytest.raises(Refusal, match=f"a.csv, line {raw.count(10, 0, place) + 1} must be GB18030 like the rest"):
        decoding.decode(raw[:place] + cut + raw[place:], "a.csv")


@pytest.mark.parametrize(("raw", "text", "encoding", "line"), [
    (TEXT.encode() + b"\xe5\x8f", TEXT + "\ufffd", "utf-8", "a.txt, line 4 must be UTF-8"),
    (("x" * 200 + "\n").encode() + b"bad \xff\xfe", "x" * 200 + "\nbad \ufffd\ufffd", "utf-8", "a.txt, line 2 must"),
    (TEXT.encode("utf-16")[:-1], TEXT[:-1] + "\ufffd", "utf-16", "must be UTF-16 like the rest"),
    (TEXT.encode("utf-8-sig") + b"\xff", TEXT + "\ufffd", "utf-8-sig", "must be UTF-8 like the rest"),
])
def test_a_text_with_a_few_bad_bytes_can_be_read_through(raw, text, encoding, line):
    got, known_as, fault = decoding.decode_through(raw, "a.txt")
    assert (got, known_as) == (text, encoding) and line in str(fault)
    assert decoding.decode_through(TEXT.encode()) == (TEXT, "utf-8", None)


PLAIN = "question,answer\n" + "What is a normal temperature?,About 37 degrees.\n" * 5
SIGNS = ("38 °C or more", "38°C", "38 ºC", "5 µg daily", "10 µL", "30 µmol/L", "±2", "±SD", "25 m²", "it’s fine",
         "10–20 mg", "€20", "£20", "½ tablet", "• one", "Tylenol® now", "5\u00a0mg", "wait…", "café", "2×5", "§ 5",
         "Ménière’s", "»quoted«", "¿Qué?", "20 mg·kg", "it´s", "Ägypten", "África", "égyptien", "Åland")


@pytest.mark.parametrize("said", SIGNS)
def test_one_western_sign_or_letter_in_an_english_file_is_not_taken_for_chinese(said):
    text = f"{PLAIN}q?,{said}\n"
    assert decoding.decode(text.encode("cp1252")) == (text, "cp1252")


SIMPLE = ("发烧", "头痛吗", "多喝水", "高血压怎么办", "体温37℃以上", "A和B", "维生素C≥5", "β受体", "他是北方人",
          "不能吃药")
OLD = ("頭痛", "發燒了", "高血壓怎麼辦", "請多喝水", "體溫37℃以上", "血型A和B", "男", "是", "不能吃藥", "好好休息")


@pytest.mark.parametrize(("texts", "written_as", "known_as"), [
    (SIMPLE, "gbk", "gb18030"), (OLD, "big5", "big5hkscs"), (OLD[:-4], "gbk", "gb18030")])
def test_a_few_chinese_characters_are_enough_alone_or_in_an_english_file(texts, written_as, known_as):
    for said in texts:
        for text in (said, f'{{"q":"{said}"}}', f"{PLAIN}q?,{said}\n"):
            assert decoding.decode(text.encode(written_as)) == (text, known_as)


@pytest.mark.parametrize(("text", "written_as", "named"), [
    ("감기에 걸렸을 때는 충분한 휴식을 취하고,물을 많이 마시는 것이 좋습니다\n", "euc_kr", "EUC-KR"),
    ("감기에 걸렸을 때는 충분한 휴식을 취하고,물을 많이 마시는 것이 좋습니다\n", "cp949", "EUC-KR"),
    ("風邪をひいたときはどうしますか,十分な休息と水分補給が大切です\n", "euc_jp", "EUC-JP"),
    ("アレルギーの場合は,かゆみをおさえる薬を使います\n", "euc_jp", "EUC-JP")])
def test_a_korean_or_japanese_file_is_refused_by_its_encoding_and_never_read_as_chinese(text, written_as, named):
    for many in (1, 5):
        with pytest.raises(Refusal, match=f"a.csv must be text in UTF-8, .* got 'text in {named}'. Save it as UTF-8"):
            decoding.decode((text * many).encode(written_as), "a.csv")
