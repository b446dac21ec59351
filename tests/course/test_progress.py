"""The learner's progress file."""

import json
import multiprocessing
import re
from datetime import datetime
from pathlib import Path

import pytest

from ftkit.course import progress as module
from ftkit.course.progress import attempts, forget, home, progress, record, score
from ftkit.errors import Refusal
from ftkit.locks import Lock


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
                                     b'{"schema": 1, "lessons": {"98_shapes": 3}}', b"", b"\x00\x01\x02", b"null", b"3",
                                     b'{"schema": 1, "lessons": {"98_shapes": {"98.1": [1]}}}', b"[" * 100_000,
                                     b'{"schema": 1, "lessons": {"98_shapes": {"98.1": {"attempts": "two"}}}}',
                                     b'{"schema": 1, "lessons": {"98_shapes": {"98.1": {"passed": 1}}}}',
                                     b'{"schema": 1, "lessons": {"98_shapes": {"98.1": {"last": 5}}}}'])
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


# ---- when

def test_the_first_and_the_last_attempt_and_the_first_that_passed_are_kept(lesson, monkeypatch):
    moments = iter([f"2026-01-0{day}T12:00:00+00:00" for day in range(1, 6)])

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromisoformat(next(moments))

    monkeypatch.setattr(module, "datetime", Clock)
    for passed in (False, True, True, False):
        record(lesson, "98.1", passed)
    assert progress()[lesson]["98.1"] == {
        "attempts": 4, "first": "2026-01-01T12:00:00+00:00", "passed": False, "last": "2026-01-04T12:00:00+00:00",
        "first_passed": "2026-01-02T12:00:00+00:00"}


def test_a_file_of_an_earlier_kit_without_first_times_is_read_and_gone_on_with(lesson):
    home().mkdir()
    (home() / "progress.json").write_text(json.dumps({"schema": 1, "lessons": {lesson: {
        "98.1": {"attempts": 2, "passed": True, "last": "2026-01-01T12:00:00+00:00"}}}}))
    record(lesson, "98.1", True)
    assert attempts(lesson, "98.1") == 3 and score(lesson).passed == 1


def test_the_score_shows_each_exercise_with_state_and_time_and_is_data_for_the_runner(lesson):
    record(lesson, "98.1", True)
    shown = score(lesson)._repr_mimebundle_()
    assert shown["application/vnd.ftkit.score+json"] == {"passed": 1, "total": 2}
    lines = shown["text/plain"].splitlines()
    assert lines[0] == "98_shapes: 1 of 2 exercises" and lines[1].split() == ["exercise", "title", "state", "when"]
    assert re.fullmatch(r"98\.1 +Area of a rectangle +passed +\d{4}-\d\d-\d\d \d\d:\d\d", lines[2])
    assert re.fullmatch(r"98\.2 +A share +not attempted yet", lines[3])
    assert "<td" in shown["text/html"] and "not attempted yet" in shown["text/html"]
    record(lesson, "98.2", False)
    assert score(lesson).rows[1][2] == "not passed yet" and score(lesson).rows[1][3]


@pytest.mark.parametrize("moment", [None, "", "yesterday"])
def test_a_time_that_is_none_is_not_shown(moment):
    assert module.when(moment) == ""


# ---- where nothing can be written or read

def test_a_folder_in_the_files_place_is_set_aside(lesson, capsys):
    (home() / "progress.json").mkdir(parents=True)
    record(lesson, "98.1", True)
    assert "set aside as progress.json.broken and" in capsys.readouterr().out and score(lesson).passed == 1


def test_where_nothing_can_be_written_one_sentence_says_so_and_the_notebook_goes_on(lesson, capsys):
    home().write_text("a file where the folder is to be")
    for _ in range(3):
        record(lesson, "98.1", True)
        assert score(lesson).passed == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"progress.json can't be written \(.+\); attempts aren't kept, all else works.\n", said), said


def failing(*_, **__):
    raise PermissionError(13, "Permission denied")


def test_a_file_that_may_not_be_read_is_left_alone(lesson, capsys, monkeypatch):
    record(lesson, "98.1", True)
    monkeypatch.setattr(module, "read_json", failing)
    assert progress() == {} and progress() == {}
    said = capsys.readouterr().out
    assert said == "progress.json can't be read (Permission denied); what was answered before isn't shown.\n"
    monkeypatch.undo()
    assert list(home().glob("*.broken")) == []


def test_a_broken_file_that_cannot_be_moved_is_told(lesson, capsys, monkeypatch):
    home().mkdir()
    (home() / "progress.json").write_text("{")
    monkeypatch.setattr(Path, "replace", failing)
    assert progress() == {}
    assert "progress.json is broken and can't be set aside (Permission denied)." in capsys.readouterr().out


# ---- two at once

def work(folder, exercise, times):
    for _ in range(times):
        record("98_shapes", exercise, True, Path(folder))


def test_kernels_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(str(tmp_path), f"98.{number}", 25)) for number in (1, 1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    recorded = progress(tmp_path)["98_shapes"]
    assert (recorded["98.1"]["attempts"], recorded["98.2"]["attempts"]) == (50, 25)


def test_a_folder_that_stays_locked_is_waited_for_and_then_told(lesson, capsys, monkeypatch):
    def locked(folder):
        raise Refusal("in use")

    monkeypatch.setattr(module, "Lock", locked)
    monkeypatch.setattr(module, "LOCK_WAIT_S", 0.1)
    record(lesson, "98.1", True)
    assert "can't be written (another process keeps it locked)" in capsys.readouterr().out


def test_where_the_system_has_no_locks_it_is_written_without(lesson, monkeypatch):
    monkeypatch.setattr(module, "Lock", failing)
    record(lesson, "98.1", True)
    assert score(lesson).passed == 1


def test_the_lock_is_let_go(lesson):
    record(lesson, "98.1", True)
    Lock(home()).release()
