"""How an answer is judged and what is said about it."""

import pytest
import torch

from ftkit.course import catalogue
from ftkit.course.exercise import (
    FAILED,
    NOT_ATTEMPTED,
    PASSED,
    Case,
    Check,
    CheckFailed,
    agree,
    check,
    grade,
    guess,
    solution,
)
from ftkit.course.progress import attempts, score
from ftkit.errors import Refusal


def stub(width, height):
    raise NotImplementedError


def test_a_right_answer_passes_and_is_counted(lesson):
    report = check("98.1", lambda width, height: width * height)
    assert report.state == PASSED and all(row.passed for row in report.rows)
    assert repr(score(lesson)).splitlines()[0] == "98_shapes: 1 of 2 exercises"
    assert score(lesson)._repr_mimebundle_()["application/vnd.ftkit.score+json"] == {"passed": 1, "total": 2}


def test_a_wrong_answer_is_shown_with_what_was_wanted_what_came_and_a_hint(lesson):
    report = check("98.1", lambda width, height: width + height)
    assert report.state == FAILED
    assert repr(report).splitlines() == [
        "98.1 Area of a rectangle: failed",
        "    case      want           got  hint",
        "ok  a square  4              4",
        "no  a strip   10             7    You added the sides.",
        "no  any       an odd number  6",
    ]
    assert "<td>You added the sides.</td>" in report._repr_html_()
    assert score(lesson).passed == 0 and attempts(lesson, "98.1") == 1


@pytest.mark.parametrize(("answer", "hint"), [
    (lambda width: width, "It takes two arguments."),
    (lambda width, height: width * width * height, "Too large: what is multiplied twice?"),
    (lambda width, height: "ten", "A number is wanted, this is text."),
])
def test_a_hint_fits_by_value_by_kind_of_error_or_by_a_test(lesson, answer, hint):
    assert check("98.1", answer).rows[1].hint == hint


@pytest.mark.parametrize("answer", [stub, None, ...])
def test_an_untouched_stub_is_not_attempted_and_not_counted(lesson, answer):
    report = check("98.1", answer)
    assert repr(report) == "98.1 Area of a rectangle: not attempted yet"
    assert "not attempted yet" in report._repr_html_() and "<table>" not in report._repr_html_()
    assert attempts(lesson, "98.1") == 0


def test_an_answer_that_is_half_written_is_attempted(lesson):
    def half(width, height):
        if width != height:
            raise NotImplementedError
        return width * height

    report = check("98.1", half)
    assert report.state == FAILED and report.rows[1].hint == "this part still raises NotImplementedError"


def test_the_latest_answer_counts(lesson):
    check("98.2", 0.25)
    assert score(lesson).passed == 1
    check("98.2", 0.3)
    assert score(lesson).passed == 0
    check("98.2", None)
    assert attempts(lesson, "98.2") == 2


@pytest.mark.parametrize(("answer", "words"), [(None, "98.2 A share: not attempted yet"), (0.5, "0.25  0.5")])
def test_strict_raises_unless_the_answer_is_right(lesson, monkeypatch, answer, words):
    with pytest.raises(CheckFailed, match=words):
        check("98.2", answer, strict=True)
    monkeypatch.setenv("FTKIT_STRICT", "1")
    with pytest.raises(CheckFailed, match=words):
        check("98.2", answer)
    assert check("98.2", 0.25).state == PASSED


@pytest.mark.parametrize(("exercise", "words"), [
    ("98.3", "exercise must be one of 98.1, 98.2, got '98.3'. Did you mean"),
    ("97.1", "exercise must be one of .*98.1"),
    ("area", "exercise must be one of"),
])
def test_an_unknown_exercise_is_refused(lesson, exercise, words):
    with pytest.raises(Refusal, match=words):
        check(exercise, 1)


def test_grading_alone_records_nothing(lesson):
    known = Check("x", "X", 1, 1, lambda: [Case("value", lambda x: x, 1)])
    assert grade("98.1", known, 1).state == PASSED and grade("98.1", known, None).state == NOT_ATTEMPTED
    assert attempts(lesson, "98.1") == 0


def test_the_solution_is_shown_after_an_attempt_only(lesson, capsys):
    solution("98.1")
    assert capsys.readouterr().out == "Try 98.1 first: define area, run its check, then ask again.\n"
    check("98.1", lambda width, height: 0)
    solution("98.1")
    assert capsys.readouterr().out.splitlines() == [
        "import functools", "", "", "@functools.lru_cache", "def area(width, height):", "    return width * height"]
    assert check("98.1", catalogue.solution_value("98.1")).state == PASSED
    assert catalogue.solution_source("98.2") == "share = 1 / 4"


def test_a_class_is_shown_with_the_helpers_and_imports_it_needs(models_lesson, capsys):
    check("97.1", lambda width: None)
    solution("97.1")
    shown = capsys.readouterr().out
    assert shown.startswith("import torch\nfrom torch import nn\n\nTWO = 1 + 1\n\n\ndef filled(width):")
    assert "class Double(nn.Module):" in shown and "EQUIVALENT" not in shown
    assert check("97.1", catalogue.solution_value("97.1")).state == PASSED


def test_a_missing_solution_is_refused(lesson, monkeypatch):
    monkeypatch.setattr(catalogue, "with_needed", lambda source, name: None)
    with pytest.raises(Refusal, match="solution of 98.1 must be a definition of area in solutions/c98_shapes.py"):
        catalogue.solution_source("98.1")


def test_what_several_checks_share_is_no_lesson(lesson, tmp_path):
    (tmp_path / "checks" / "codes.py").write_text("")
    assert lesson in catalogue.lessons() and all(stem[:2].isdigit() for stem in catalogue.lessons())


def test_an_unknown_lesson_is_refused(lesson):
    with pytest.raises(Refusal, match="lesson must be one of .*98_shapes, got '98_shape'. Did you mean 98_shapes"):
        score("98_shape")


def test_two_computations_that_agree_are_said_to_and_two_that_do_not_stop_the_run(capsys):
    agree("logits", torch.ones(2), torch.ones(2))
    agree("loss", 1.0, 1.0 + 1e-9, tolerance=1e-6)
    assert capsys.readouterr().out.splitlines() == [
        "logits: this notebook and the package agree exactly", "loss: this notebook and the package agree within 1e-06"]
    with pytest.raises(CheckFailed, match="loss: this notebook and the package disagree: 1.0 against 2.0"):
        agree("loss", 1.0, 2.0, tolerance=1e-6)


def test_a_guess_is_shown_beside_what_was_measured(capsys):
    guess(10, 12)
    guess(None, 0.51234, "loss")
    assert capsys.readouterr().out == "you guessed 10, measured 12\nloss: no guess yet, measured 0.512\n"
