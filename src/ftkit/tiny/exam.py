"""The general exam: everyday questions and docstrings that the embedded base never saw. It measures forgetting."""

import random

from ftkit.errors import refusal
from ftkit.tiny import docstrings, world
from ftkit.tiny.words import LANGUAGES

SEED = 7
OF_EACH = 10  # of each family in each language


def general_exam() -> list[dict]:
    """The held-out everyday questions, in a fixed order: `question`, `accepted` (answers), `language`, `family`.

    Example:
        >>> len(general_exam()) >= 300
        True
    """
    generator = random.Random(f"general exam {SEED}")
    items = []
    for family in world.FAMILIES:
        for language in LANGUAGES:
            items += _held_out(family, language, generator)
    return items


def score_exam(answers: list[str], items: list[dict]) -> dict:
    """How many answers are one of the accepted, white space at the ends aside.

    Args:
        answers: the generated answers, one for each item.
        items: as `general_exam` returns them.

    Returns:
        `accuracy` as a share of 1, `n`, `correct` as a list of bool, and `families`: the share by family.

    Raises:
        Refusal: the lists differ in length.
    """
    if len(answers) != len(items):
        raise refusal("answers", f"one for each of the {len(items)} questions", len(answers), "Answer every question.")
    correct = [answer.strip() in item["accepted"] for answer, item in zip(answers, items, strict=True)]
    by_family = {}
    for right, item in zip(correct, items, strict=True):
        by_family.setdefault(item["family"], []).append(right)
    return {"accuracy": sum(correct) / max(1, len(correct)), "n": len(correct), "correct": correct,
            "families": {family: sum(found) / len(found) for family, found in by_family.items()}}


def held_out_docstrings() -> list[str]:
    """Docstrings of this interpreter's standard library that pretraining left out, for bits per byte."""
    return [text for name, text in docstrings.read().items() if docstrings.held_out(name)]


def _held_out(family: str, language: str, generator: random.Random) -> list[dict]:
    found = {}
    for _ in range(5000):
        question = world.draw(family, language, generator)
        if question.held_out:
            found.setdefault(question.question, question)
        if len(found) == OF_EACH:
            break
    return [{"question": q.question, "accepted": [q.answer], "language": q.language, "family": family}
            for q in found.values()]
