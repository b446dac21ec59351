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
