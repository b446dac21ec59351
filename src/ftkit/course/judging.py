"""How an answer is judged, case by case, and the table that is said about it. Knows nothing about any one lesson."""

import html
import inspect
import traceback
from dataclasses import dataclass

from ftkit.course.arguments import ArgumentChanged, watched
from ftkit.course.cases import Case, Check, Rule
from ftkit.course.diagnosis import NOTHING, diagnosis
from ftkit.course.limits import OutOfTime, fresh, time_limit
from ftkit.course.results import same, shown
from ftkit.tables import aligned

CASE_LIMIT_S = 20.0
PASSED, FAILED, NOT_ATTEMPTED = "passed", "failed", "not attempted yet"
_TOO_MUCH = "Your code asks for more memory than there is: how large does something grow?"
_HEADERS = ["", "case", "want", "got", "hint"]


@dataclass(frozen=True)
class Row:
    """One case judged."""

    case: str
    want: str
    got: str
    hint: str
    passed: bool


@dataclass(frozen=True)
class Report:
    """What is said about an answer: a small table of case, want, got, hint; and a note where there is no table."""

    exercise: str
    title: str
    state: str
    rows: tuple[Row, ...] = ()
    note: str = ""

    def __repr__(self):
        head = "\n".join(filter(None, [f"{self.exercise} {self.title}: {self.state}", self.note]))
        return f"{head}\n{aligned(_HEADERS, self._cells())}" if self.rows else head

    def _repr_html_(self):
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in self._cells()]
        head = "".join(f"<th>{name}</th>" for name in _HEADERS)
        table = f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>" if lines else ""
        note = f"<p>{html.escape(self.note)}</p>" if self.note else ""
        return f"<p><b>{html.escape(f'{self.exercise} {self.title}')}</b>: {self.state}</p>{note}{table}"

    def _cells(self) -> list[list[str]]:
        return [["ok" if row.passed else "no", row.case, row.want, row.got, row.hint] for row in self.rows]


def grade(exercise: str, known: Check, answer: object, limit_s: float = CASE_LIMIT_S,
          to_first_failure: bool = False) -> Report:
    """The report on an answer, and nothing else: no record, no output, no exception, generators and dtype as before.

    An answer that is None or ..., or that raises NotImplementedError in every case, has not been attempted. A
    function that changes its arguments fails, unless its name ends in `_`.

    Args:
        exercise: its id, such as "00.1".
        known: its check.
        answer: the learner's function, class or value.
        limit_s: seconds for each case, see `limits.time_limit` for what it can end; behind a case that takes longer
            nothing more is tried.
        to_first_failure: try nothing behind the first case that fails.
    """
    if answer is None or answer is ...:
        return Report(exercise, known.title, NOT_ATTEMPTED)
    with fresh():
        cases = known.cases()
    rows, untouched = [], 0
    for case in cases:
        with fresh():
            row, got = _judge(case, known, answer, limit_s)
        rows.append(row)
        untouched += isinstance(got, NotImplementedError)
        if isinstance(got, OutOfTime) or (to_first_failure and not row.passed and untouched < len(rows)):
            break
    if untouched == len(cases):
        return Report(exercise, known.title, NOT_ATTEMPTED)
    return Report(exercise, known.title, PASSED if all(row.passed for row in rows) else FAILED, tuple(rows))


def _judge(case: Case, known: Check, answer: object, limit_s: float) -> tuple[Row, object]:
    returned, passed = [], False
    try:
        with time_limit(limit_s):
            got = case.got(watched(answer, known.answer, returned))
            passed = same(case.want, got, case.tolerance, case.same_dtype)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a learner's code does, sys.exit too, is to be shown, not to end the table
        got = error
    hint = "" if passed else _hint(case, known, answer, got, returned)
    want = case.want.words if isinstance(case.want, Rule) else shown(case.want)
    return Row(case.name, want, shown(got), hint, passed), got


def _hint(case: Case, known: Check, answer: object, got: object, returned: list) -> str:
    if isinstance(got, TypeError) and "not callable" in str(got) and not callable(answer):
        return f"`{known.answer}` is {shown(answer)} and no function: define it with `def`, and run that cell."
    if isinstance(got, Exception) and returned and returned[-1] is None:
        return NOTHING
    if "can't allocate memory" in str(got if isinstance(got, RuntimeError) else ""):  # torch's own words
        return _TOO_MUCH
    known_hint = next((hint.say for hint in case.hints if _fits(hint.when, got, case.tolerance)), "")
    if known_hint and not isinstance(got, ArgumentChanged):
        return known_hint
    if isinstance(got, BaseException):
        return _of_error(got, answer)
    return diagnosis(case.want, got, case.tolerance, case.same_dtype)


def _of_error(error: BaseException, answer: object) -> str:
    """What to say about code that stopped."""
    words = {NotImplementedError: "this part still raises NotImplementedError",
             OutOfTime: "Your code did not end: is there a loop that never does? No further case was tried.",
             SystemExit: "Your code ends the whole program here: return a value instead.",
             MemoryError: _TOO_MUCH,
             RecursionError: "Your function calls itself without end.",
             ArgumentChanged: "What comes in belongs to the caller: work on a copy."}
    for kind, said in words.items():
        if isinstance(error, kind):
            return said
    if isinstance(error, NameError) and getattr(error, "name", None):
        return f"`{error.name}` is not defined: run the cell that defines or imports it."
    code = getattr(inspect.unwrap(answer) if callable(answer) else answer, "__code__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__)
             if code and (frame.filename, frame.name) == (code.co_filename, code.co_name)]
    if lines:
        return f"The error comes from line {lines[-1] - code.co_firstlineno + 1} of `{code.co_name}`."
    if isinstance(error, TypeError) and "argument" in str(error):
        return "It takes other arguments than the exercise says."
    return ""


def _fits(when: object, got: object, tolerance: float) -> bool:
    if isinstance(when, type) and issubclass(when, BaseException):
        return isinstance(got, when)
    if isinstance(got, BaseException):
        return False
    try:
        return bool(when(got)) if callable(when) else same(when, got, tolerance)
    except Exception:  # a hint's test that can't read this result does not fit it
        return False
