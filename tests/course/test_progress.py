"""The learner's progress file."""

import json
from pathlib import Path

import pytest

from ftkit.course.progress import attempts, forget, home, progress, record, score
from ftkit.errors import Refusal


def test_the_file_stands_where_the_variable_says_else_in_the_workspace_else_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FTKIT_HOME", str(tmp_path / "named"))
    assert home() == tmp_path / "named"
    monkeypatch.delenv("FTKIT_HOME")
    (tmp_path / "work" / ".ftkit").mkdir(parents=True)
    (tmp_path / "work" / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "work" / "deep")
    assert home() == tmp_path / "work" / ".ftkit"
    (tmp_path / "work" / ".ftkit").rmdir()
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
    assert home() == tmp_path / "me" / ".ftkit"


def test_attempts_are_kept_and_a_lesson_can_be_forgotten(lesson):
    record(lesson, "98.1", True)
    record(lesson, "98.1", True)
    record(lesson, "98.2", False)
    assert attempts(lesson, "98.1") == 2 and score(lesson).passed == 1
    assert progress()[lesson]["98.2"]["passed"] is False
    forget(lesson)
    forget("99_never_begun")
    assert progress() == {} and score(lesson).passed == 0


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": 1}', b'{"schema": 1, "lessons": []}', b"\xff\xfe\x00",
                                     b'{"schema": 1, "lessons": {"98_shapes": 3}}'])
def test_a_broken_file_is_set_aside_and_a_new_one_begun(lesson, capsys, content):
    home().mkdir()
    (home() / "progress.json").write_bytes(content)
    record(lesson, "98.1", True)
    assert "could not be read; it was set aside as progress.json.broken" in capsys.readouterr().out
    assert (home() / "progress.json.broken").read_bytes() == content
    assert json.loads((home() / "progress.json").read_text())["lessons"][lesson]["98.1"]["passed"]
    (home() / "progress.json").write_bytes(content)
    assert progress() == {} and (home() / "progress.json.broken-2").read_bytes() == content


def test_a_file_of_a_newer_kit_is_refused_and_left_alone(lesson):
    home().mkdir()
    (home() / "progress.json").write_text('{"schema": 2, "lessons": {}}')
    with pytest.raises(Refusal, match="progress.json must be of schema 1, got 2. A newer ftkit wrote it"):
        record(lesson, "98.1", True)
    assert json.loads((home() / "progress.json").read_text())["schema"] == 2
