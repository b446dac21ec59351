"""Writes that are whole or not there, hashes against hashlib, and text in the encodings of the learners' files."""

import hashlib
import json
import os
import shutil

import pytest

from ftkit import files
from ftkit.errors import Refusal

TEXT = '{"问题": "发烧怎么办？一一一一", "answer": "rest"}\n' * 3


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert files.write_atomic(path, "发烧") == path
    files.write_atomic(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path, monkeypatch):
    path = files.write_atomic(tmp_path / "a.txt", "old")

    def fails(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_json_comes_back_as_it_was_written(tmp_path):
    value = {"名字": [1, 2.5, None, "ü"]}
    path = files.write_json(tmp_path / "a.json", value)
    assert files.read_json(path) == value == json.loads(path.read_text("utf-8"))
    assert "名字" in path.read_text("utf-8")


@pytest.mark.parametrize(("content", "sentence"), [
    (None, "file must be a readable JSON file, got .*a.json'. Check the path."),
    (b"", "a.json must be valid JSON, got 'Expecting value at line 1, column 1'. Mend or delete the file."),
    (b'{"a":\n 1 2}', "a.json must be valid JSON, got .* at line 2, column 4"),
    (b"\xff\xfe", "a.json must be valid JSON in UTF-8, got .'utf-8' codec can't decode byte"),
    (b"[" * 100_000, "a.json must be valid JSON in UTF-8, got 'maximum recursion depth"),
])
def test_a_json_file_that_cannot_be_read_is_refused(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(Refusal, match=sentence):
        files.read_json(tmp_path / "a.json")


def folder_with(path, content):
    path.mkdir()
    for place in range(3):
        (path / f"{place}.txt").write_text(content)
    return path


def contents(path):
    return [file.read_text() for file in sorted(path.iterdir())]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    final = folder_with(tmp_path / "step", "old")
    for name in ("first", "second"):
        assert files.replace_folder(folder_with(tmp_path / "partial", name), final) == final
        assert contents(final) == [name] * 3
    assert [item.name for item in tmp_path.iterdir()] == ["step"]


@pytest.mark.parametrize("step", range(4))
def test_a_folder_is_whole_wherever_a_kill_falls(tmp_path, monkeypatch, step):
    """Each file system call in turn is the last one: what is left under either name is complete."""
    final, partial = folder_with(tmp_path / "step", "old"), folder_with(tmp_path / "partial", "new")
    folder_with(tmp_path / ".step.old", "left by an earlier kill")
    calls = []

    class Killed(BaseException):
        pass

    def counted(function, halfway):
        def call(*arguments, **settings):
            calls.append(function)
            if len(calls) == step + 1:
                halfway(*arguments)
                raise Killed
            return function(*arguments, **settings)
        return call

    monkeypatch.setattr(os, "replace", counted(os.replace, lambda *paths: None))
    monkeypatch.setattr(shutil, "rmtree", counted(shutil.rmtree, lambda path, **_: (path / "0.txt").unlink()))
    with pytest.raises(Killed):
        files.replace_folder(partial, final)
    monkeypatch.undo()
    assert contents(final if final.exists() else partial) in (["old"] * 3, ["new"] * 3)
    if partial.exists():
        files.replace_folder(partial, final)
    assert contents(final) == ["new"] * 3


def test_the_hash_is_sha256_of_the_bytes(tmp_path):
    raw = TEXT.encode()
    path = files.write_atomic(tmp_path / "a", raw)
    assert files.sha256(path) == files.sha256(str(path)) == files.sha256(raw) == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_read_in_every_encoding_that_is_promised(tmp_path, encoding):
    path = files.write_atomic(tmp_path / "a.txt", TEXT.encode(encoding))
    assert files.read_text(path) == (TEXT, encoding)


def test_plain_ascii_and_nothing_at_all_are_utf8():
    assert files.decode(b"plain") == ("plain", "utf-8")
    assert files.decode(b"") == ("", "utf-8")


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
        files.decode(raw, "a.txt")


def test_a_missing_text_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="file must be an existing file, got .*none.txt'. Check the path."):
        files.read_text(tmp_path / "none.txt")


CHINESE = "question,answer\n发烧怎么办？,“多喝水”，并且休息。\n头痛呢,好好休息\n"
TRADITIONAL = "question,answer\n發燒怎麼辦？,請多喝水，並且測量體溫，若持續不退請就醫。\n頭痛呢？,好好休息\n"
ENGLISH = "question,answer\n“What’s a café?”,It’s a place – with crème brûlée – for €5 or £4…\nNaïve?,Yes\n"


@pytest.mark.parametrize(("text", "written_as", "known_as"), [
    (CHINESE, "gb18030", "gb18030"), (CHINESE, "gbk", "gb18030"), (TRADITIONAL, "gb18030", "gb18030"),
    (TRADITIONAL, "big5", "big5hkscs"), (TRADITIONAL, "cp950", "big5hkscs"), (ENGLISH, "cp1252", "cp1252"),
    ("q,a\nWhat is it?,It’s fine.\n", "cp1252", "cp1252"), ("q,a\nfever?,39°C ± 0.5\n", "cp1252", "cp1252"),
    ("Frage,Antwort\nWas hilft gegen Übelkeit?,Größere Mengen Tee für den Magen\n", "cp1252", "cp1252"),
    ("Où est l’hôpital ?,Là-bas à côté du théâtre. Été déjà passé\n", "cp1252", "cp1252"),
    ('{"问":"男"}', "gbk", "gb18030"), ('{"問":"頭痛"}', "big5", "big5hkscs"),
    ("发烧了怎么办？", "utf-16-le", "utf-16-le"),
    ("Take “阿司匹林” 100mg 一天三次", "gbk", "gb18030"), ("发烧😀了", "gb18030", "gb18030"),
    (CHINESE, "utf-32", "utf-32"), (ENGLISH, "utf-16", "utf-16"),
])
def test_an_encoding_is_known_by_what_the_text_says_in_it(text, written_as, known_as):
    assert files.decode(text.encode(written_as)) == (text, known_as)


def test_the_real_medical_records_are_known_in_every_encoding_that_holds_them():
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with the real data")
    from pathlib import Path

    text = (Path(folder) / "huatuo_llama_data.json").read_text("utf-8")
    for encoding in ("gb18030", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"):
        assert files.decode(text.encode(encoding)) == (text, encoding)


@pytest.mark.parametrize("cut", [b"\x81", b"\xff\xff"])
def test_a_chinese_file_with_a_few_bad_bytes_is_refused_with_the_line(cut):
    raw = CHINESE.encode("gb18030") * 20
    place = raw.index(b"\n", 500)
    with pytest.raises(Refusal, match=f"a.csv, line {raw.count(10, 0, place) + 1} must be GB18030 like the rest"):
        files.decode(raw[:place] + cut + raw[place:], "a.csv")
