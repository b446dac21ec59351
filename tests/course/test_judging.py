"""How an answer is judged, whatever it does."""

import math
import sys
import threading
import time
import warnings

import numpy
import pytest
import torch

from ftkit.course.arguments import ArgumentChanged, watched
from ftkit.course.cases import Case, Check, Hint
from ftkit.course.judging import FAILED, NOT_ATTEMPTED, PASSED, Report, Row, grade


def numbers():
    return [Case("sum", lambda total: total([1.0, 2.0]), 3.0, [Hint(TypeError, "It takes a list.")]),
            Case("of a tensor", lambda total: total(torch.tensor([1.0, 2.0])), 3.0)]


def judged(answer, cases=numbers, name="total", **how):
    return grade("98.1", Check(name, "A total", 1, 1, cases), answer, **how)


def hint_of(answer, **how):
    report = judged(answer, **how)
    assert report.state == FAILED, report
    return report.rows[0].hint


def undefined(values):
    return values + not_there  # noqa: F821


def deep(values):
    return deep(values)


def stops(values):
    values = list(values)
    return values[len(values)]


@pytest.mark.parametrize(("answer", "words"), [
    (5, "`total` is 5 and no function: define it with `def`, and run that cell."),
    (lambda values: None, "Your function returns nothing: is there a `return`?"),
    (undefined, "`not_there` is not defined: run the cell that defines or imports it."),
    (deep, "Your function calls itself without end."),
    (stops, "The error comes from line 3 of `stops`."),
    (lambda values: sys.exit(0), "Your code ends the whole program here: return a value instead."),
    (lambda values: [0] * 10 ** 13, "Your code asks for more memory than there is"),
    (max(3, 4), "`total` is 4 and no function"), (lambda: 3, "It takes a list."),
    (lambda values: values.clear() or 3.0, "What comes in belongs to the caller: work on a copy."),
])
def test_an_answer_that_stops_is_told_why(answer, words):
    assert words in hint_of(answer)


def test_nothing_returned_is_told_before_what_the_case_makes_of_it():
    def cases():
        return [Case("first", lambda answer: list(answer(1))[0], 1, [Hint(TypeError, "Return a list.")])]

    assert hint_of(lambda x: None, cases=cases) == "Your function returns nothing: is there a `return`?"
    assert hint_of(lambda x: 3, cases=cases) == "Return a list."


def test_too_many_arguments_are_told_where_no_hint_does():
    report = judged(max, lambda: [Case("one", lambda total: total(1, 2, nothing=3), 1)])
    assert report.rows[0].hint == "It takes other arguments than the exercise says."
    report = judged(max, lambda: [Case("one", lambda total: {}["key"], 1)])
    assert report.state == FAILED and report.rows[0].hint == ""


def test_an_endless_answer_ends_the_check_at_its_first_case():
    def endless(values):
        while True:
            pass

    started = time.monotonic()
    report = judged(endless, limit_s=0.2)
    assert report.state == FAILED and len(report.rows) == 1 and time.monotonic() - started < 5
    assert report.rows[0].got == "OutOfTime: not done after 0.2 s" and "Your code did not end" in report.rows[0].hint


def test_a_stopped_cell_stops():
    def interrupted(values):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(interrupted)


def test_an_answer_that_prints_and_warns_is_judged_like_any_other(capsys):
    def loud(values):
        print("here")
        warnings.warn("careful", stacklevel=1)
        return float(sum(values))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert judged(loud).state == PASSED
    assert "here" in capsys.readouterr().out


def test_an_answer_is_judged_the_same_in_another_thread():
    reports = []
    thread = threading.Thread(target=lambda: reports.append(judged(lambda values: float(sum(values)))))
    thread.start()
    thread.join()
    assert reports[0].state == PASSED


def test_generators_and_dtype_are_left_as_they_were_and_start_the_same_for_every_case():
    drawn = []

    def disturbing(values):
        drawn.append(torch.rand(1).item())
        torch.manual_seed(len(drawn))
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return float(sum(values))

    torch.manual_seed(3)
    wanted = torch.rand(1).item()
    torch.manual_seed(3)
    assert judged(disturbing).state == PASSED and drawn[0] == drawn[1]
    assert torch.rand(1).item() == wanted
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_cases_are_made_with_the_usual_dtype_whatever_the_notebook_has_set():
    torch.set_default_dtype(torch.float64)
    try:
        assert judged(torch.Tensor.sum, lambda: [Case("dtype", lambda total: str(torch.ones(1).dtype),
                                                      "torch.float32")]).state == PASSED
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_behind_the_first_failure_is_tried_where_that_is_enough():
    assert len(judged(lambda values: 0.0).rows) == 2
    assert len(judged(lambda values: 0.0, to_first_failure=True).rows) == 1
    assert judged(lambda values: (_ for _ in ()).throw(NotImplementedError()), to_first_failure=True).state \
        == NOT_ATTEMPTED


class Strange:
    """An answer, and a result, whose every use is an error."""

    def __repr__(self):
        raise RuntimeError("no")

    __eq__ = __call__ = __bool__ = __len__ = __repr__
    __hash__ = None


@pytest.mark.parametrize("answer", [Strange(), lambda values: Strange(), Strange, lambda values: [Strange()]])
def test_a_strange_answer_is_failed_and_shown_somehow(answer):
    report = judged(answer)
    assert report.state == FAILED and repr(report) and report._repr_html_()


def test_a_note_is_shown_with_the_state():
    report = Report("98.1", "A total", FAILED, (Row("sum", "3", "4", "", False),), "No cell <defines> it.")
    assert repr(report).splitlines()[:2] == ["98.1 A total: failed", "No cell <defines> it."]
    assert "No cell &lt;defines&gt; it." in report._repr_html_()


# ---- arguments

@pytest.mark.parametrize(("change", "given", "named"), [
    (lambda x: x.add_(1), torch.ones(2), "x"), (lambda rows: rows.append(3), [1, 2], "rows"),
    (lambda rows: rows[0].append(3), [[1], [2]], "rows"), (lambda one: one.pop("a"), {"a": 1}, "one"),
    (lambda x: x.sort(), [3, 1], "x"), (lambda x: x.resize_(4), torch.ones(2), "x"),
    (lambda x: x.__setitem__(0, 9), numpy.ones(3), "x"), (lambda pair: pair[0].zero_(), (torch.ones(2), 3), "pair"),
    (lambda x: x["a"].mul_(2), {"a": torch.ones(2)}, "x"),
])
def test_an_argument_that_is_changed_is_named_and_put_back(change, given, named):
    before = repr(given)
    with pytest.raises(ArgumentChanged, match=f"answer changes its argument {named}$"):
        watched(change, "answer", [])(given)
    assert repr(given) == before


def test_an_argument_is_put_back_after_an_error_too():
    def change(rows):
        rows.clear()
        raise ValueError("later")

    rows = [1, 2]
    with pytest.raises(ValueError, match="later"):
        watched(change, "answer", [])(rows)
    assert rows == [1, 2]


def test_named_arguments_and_functions_without_a_signature_are_named_somehow():
    with pytest.raises(ArgumentChanged, match="argument rows$"):
        watched(lambda **named: named["rows"].clear(), "answer", [])(rows=[1])
    with pytest.raises(ArgumentChanged, match="argument number 2$"):
        watched(lambda *rows: rows[1].clear(), "answer", [])([1], [2])


def test_what_is_meant_to_change_its_arguments_and_what_is_no_function_is_left_alone():
    def scale_(x):
        return x.mul_(2)

    model = torch.nn.Linear(1, 1)
    assert watched(scale_, "scale_", []) is scale_
    assert watched(model, "model", []) is model and watched(Strange, "Strange", []) is Strange
    assert watched(math.pi, "pi", []) == math.pi


def test_gradients_still_reach_what_was_given():
    x = torch.ones(3, requires_grad=True)
    watched(lambda x: (x * 2).sum(), "answer", [])(x).backward()
    assert x.grad.tolist() == [2.0] * 3
