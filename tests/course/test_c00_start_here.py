"""Lesson 00: its own code agrees with the package, and what ships with it fits the kit.

Its exercises are tried in test_answers.
"""

import re
import statistics
from pathlib import Path

import nbformat

from ftkit import hub
from ftkit.course import page, recorded
from ftkit.course.solved import solved_notebook

STEM = "00_start_here"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"


def test_the_notebooks_greedy_answers_are_those_of_the_package(run, capsys):
    run(solved_notebook(NOTEBOOK, only={"setup", "parameters", "config", "agree"}))
    assert "greedy answers: this notebook and the package agree exactly" in capsys.readouterr().out


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
