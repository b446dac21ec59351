"""Lesson 00: its answers are right, its wrong answers get their hints, and what ships with it fits the kit."""

import re
import statistics
from pathlib import Path

import nbformat
import pytest

from ftkit import hub
from ftkit.course import catalogue, page, recorded
from ftkit.course.exercise import FAILED, NOT_ATTEMPTED, PASSED, grade
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook

STEM = "00_start_here"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"

WRONG = {
    "00.1": {
        "These are logits": "logits.topk(k)",
        "add up to 1 among the three": "(lambda top: (top.values.softmax(0), top.indices))(logits.topk(k))",
        "These are the least likely": "logits.softmax(0).topk(k, largest=False)",
        "upside down": "tuple(part.flip(0) for part in logits.softmax(0).topk(k))",
        "the first k of the vocabulary": "(logits.softmax(0)[:k], torch.arange(k))",
    },
    "00.2": {
        "The end-of-turn token carries no loss here": "ends=()",
        "Only the last answer learns to stop": "ends=(3,)",
        "Only the last answer is trained": "learned=(3,), ends=(3,)",
        "The header carries loss too": "headers=(1, 3)",
        "Everything carries loss": "learned=(0, 1, 2, 3), headers=(0, 1, 2, 3), ends=(0, 1, 2, 3)",
        "The wrong side of the conversation": "learned=(0, 2), ends=(0, 2)",
        "The end of the user's turns carries loss as well": "ends=(0, 1, 2, 3)",
        "Shifted by one": "shift=1",
        "There must be as many labels as ids": "cut=1",
        "0 is a token": "ignored=0",
        "Each turn ends with the end-of-turn token": "written=(3,)",
        "The end-of-turn token is missing in the ids": "written=()",
        "-100 belongs in the labels": "masked=True",
    },
    "00.3": {
        "The sign is turned round": "around(-d.mean(), 1.96 * d.std() / n ** 0.5)",
        "treats the two lists as different questions": "around(d.mean(), 1.96 * ((b.var() + a.var()) / n) ** 0.5)",
        "divides by n − 1": "around(d.mean(), 1.96 * d.std(unbiased=False) / n ** 0.5)",
        "how far single questions scatter": "around(d.mean(), 1.96 * d.std())",
        "holds 68 %": "around(d.mean(), d.std() / n ** 0.5)",
        "twice: once": "around(d.mean(), 1.96 * d.std() / n)",
        "percentage points": "around(100 * d.mean(), 196 * d.std() / n ** 0.5)",
        "Counts of questions": "(d.sum().item(), (d > 0).sum().item(), (d < 0).sum().item())",
    },
}
BODIES = {
    "00.1": """
import torch
def runners_up(logits, k):
    values, indices = {}
    return list(zip(indices.tolist(), values.tolist()))
""",
    "00.2": """
def conversation_labels(turns, end_of_turn):
    return wrongly(turns, end_of_turn, {})
def wrongly(turns, end, learned=(1, 3), headers=(), ends=(1, 3), written=(0, 1, 2, 3), ignored=-100, shift=0, cut=0,
            masked=False):
    ids, labels = [], []
    for place, (role, header, content) in enumerate(turns):
        ids += header + content + [end] * (place in written)
        labels += header if place in headers else [ignored] * len(header)
        labels += content if place in learned else [ignored] * len(content)
        labels += [end if place in ends else ignored]
    if masked:
        ids = labels
    return ids, labels[shift:len(labels) - cut] + [ignored] * shift
""",
    "00.3": """
import torch
def gain(before, after):
    b, a = torch.tensor(before).double(), torch.tensor(after).double()
    d, n = a - b, len(before)
    return {}
def around(middle, half):
    return float(middle), float(middle - half), float(middle + half)
""",
}
OTHER_WRONG = [
    ("00.1", lambda logits, k: int(logits.argmax()), "Return a list of pairs"),
    ("00.1", lambda logits, k: [(int(logits.argmax()), 0.4)], "the greedy choice alone"),
    ("00.1", lambda logits, k: [(p, i) for i, p in catalogue.solution_value("00.1")(logits, k)],
     "A pair is (token id, chance)"),
    ("00.2", lambda turns, end: None, "Return two lists"),
    ("00.3", lambda before, after: after - before, "The lists hold numbers, not a tensor"),
]


def graded(exercise, answer):
    return grade(exercise, catalogue.find_check(exercise)[1], answer)


def hints(report):
    return " | ".join(row.hint for row in report.rows)


@pytest.mark.parametrize("exercise", sorted(WRONG))
def test_the_official_answer_passes(exercise):
    assert graded(exercise, catalogue.solution_value(exercise)).state == PASSED


@pytest.mark.parametrize("exercise", sorted(WRONG))
def test_an_untouched_stub_is_not_attempted(exercise):
    def stub(*arguments):
        raise NotImplementedError

    assert graded(exercise, stub).state == NOT_ATTEMPTED


EACH_MISTAKE = [(exercise, hint, mistake) for exercise, mistakes in WRONG.items() for hint, mistake in mistakes.items()]


@pytest.mark.parametrize(("exercise", "hint", "mistake"), EACH_MISTAKE)
def test_a_known_wrong_answer_gets_its_own_hint(exercise, hint, mistake):
    namespace = {}
    exec(BODIES[exercise].replace("{}", mistake), namespace)
    report = graded(exercise, namespace[catalogue.find_check(exercise)[1].answer])
    assert report.state == FAILED and hint in hints(report), report


@pytest.mark.parametrize(("exercise", "answer", "hint"), OTHER_WRONG)
def test_an_answer_of_another_kind_gets_its_own_hint(exercise, answer, hint):
    report = graded(exercise, answer)
    assert report.state == FAILED and hint in hints(report), report


def test_the_solved_notebook_agrees_with_the_package_and_passes_every_check(run, capsys):
    run(solved_notebook(NOTEBOOK, only=NEEDED_TAGS))
    assert "greedy answers: this notebook and the package agree exactly" in capsys.readouterr().out
    assert (score(STEM).passed, score(STEM).total) == (3, 3)


@pytest.mark.parametrize("exercise", sorted(WRONG))
def test_a_wrong_answer_in_the_notebook_fails_its_check(run, exercise):
    source = BODIES[exercise].replace("{}", next(iter(WRONG[exercise].values())))
    kept = [tag for tag in NEEDED_TAGS if tag != "agree"]  # the agreement does not depend on the answers
    run(solved_notebook(NOTEBOOK, only=kept, answers={exercise: source}))
    assert (score(STEM).passed, score(STEM).total) == (2, 3)


def test_the_shipped_cards_are_of_the_shipped_base_and_of_five_seeds():
    cards = recorded.shipped(STEM, "first_finetune")
    assert {card.model["sha256"] for card in cards} == {hub.model_hash()}
    assert sorted(card.seed for card in cards) == [0, 1, 2, 3, 4]


def test_the_default_run_reached_the_lessons_own_target_with_every_seed():
    config = next(cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.id == "config")
    share, most_s = map(float, re.search(r"TARGET_SHARE, TARGET_S = ([\d.]+), ([\d.]+)", config).groups())
    cards = recorded.shipped(STEM, "first_finetune")
    assert min(recorded.values(cards, "clinic_after")) >= share
    assert statistics.median(recorded.values(cards, "train_s")) <= most_s  # seconds are the machine's too
    assert max(recorded.values(cards, "clinic_before")) <= 0.2


def test_the_figures_on_the_page_are_those_of_the_cards():
    assert not page.refresh(ROOT / "lessons" / f"{STEM}.md", check=True)
