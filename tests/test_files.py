"""Writes that are whole or not there, and hashes against hashlib."""

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
