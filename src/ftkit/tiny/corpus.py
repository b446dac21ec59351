"""The pretraining text of the embedded base, document by document: everyday questions, statements and docstrings.

It never holds a clinic record or a question of the general exam. Knows nothing about tokens or training.
"""

import hashlib
import json
import random
from collections.abc import Iterator

from ftkit.tiny import docstrings, world

QUESTIONS, STATEMENTS, DOCSTRING = "questions", "statements", "docstring"
SHARES = {QUESTIONS: 0.80, STATEMENTS: 0.08, DOCSTRING: 0.12}  # of the documents; docstrings are much the longest
MOST_TURNS = 3


def documents(seed: int, library: dict[str, str] | None = None,
              review: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Documents without end, as (kind, texts); questions come as question, answer, question, answer and so on.

    Args:
        seed: the same seed gives the same documents on the same interpreter version.
        library: docstrings by object name; those of the running interpreter where none are given.
        review: 1 for more of the questions that are learned last, 2 for more of their phrasings, too.
    """
    generator = random.Random(f"corpus {seed}")
    texts = _docstrings(library if library is not None else docstrings.read(), generator)
    questions, statements = world.pretraining_questions(generator, review), world.statements(generator)
    while True:
        kind = generator.choices(list(SHARES), list(SHARES.values()))[0]
        if kind == QUESTIONS:
            asked = [next(questions) for _ in range(generator.randint(1, MOST_TURNS))]
            yield kind, [text for question in asked for text in (question.question, question.answer)]
        else:
            yield kind, [next(statements if kind == STATEMENTS else texts)]


def tokenizer_texts(seed: int, library: dict[str, str], many: int = 30_000) -> Iterator[str]:
    """What the tokenizer is trained on: every docstring that is not held out, a sample of the rest, and the plain
    words and characters often enough to become pieces of their own."""
    yield from (text for name, text in library.items() if not docstrings.held_out(name))
    everyday = documents(seed, library)
    for _ in range(many):
        kind, texts = next(everyday)
        if kind != DOCSTRING:
            yield "\n".join(texts)
    for word in world.PLAIN_WORDS:
        yield f" {word}" * 40
        yield f"{word.capitalize()}\n" * 10
    yield from list(world.PLAIN_CHARACTERS) * 30


def fingerprint(documents: Iterator[tuple[str, list[str]]]) -> str:
    """The SHA-256 of the documents, in hex."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps(document, ensure_ascii=False).encode("utf-8"))
    return digest.hexdigest()


def _docstrings(library: dict[str, str], generator: random.Random) -> Iterator[str]:
    names = [name for name in library if not docstrings.held_out(name)]
    while True:  # one pass over all of them after the other, each in its own order
        for name in generator.sample(names, len(names)):
            yield library[name]
