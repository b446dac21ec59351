"""The everyday world: questions with one right answer, and plain statements, in English and Chinese.

Each draw is held out or not by a hash of its content, so the general exam and the pretraining text come from one
generator and cannot share a question. Knows nothing about the clinic, tokens or models.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from ftkit.tiny import phrasings
from ftkit.tiny.words import (
    CATEGORIES,
    COLOURS,
    COUNTRY,
    DAYS,
    LANGUAGES,
    MONTHS,
    NAMES,
    NUMBERS,
    OPPOSITES,
    PLAIN_CHARACTERS,
    PLAIN_WORDS,
    RIDDLES,
    THINGS,
)

Book = dict[str, dict[str, list]]  # phrasings by family and language
HELD_OUT_ONE_IN = 12
LARGEST_NUMBER = 30


@dataclass(frozen=True)
class Question:
    """One question of the everyday world.

    `key` is what is held out: the content where it can be worked out (sums, lists, riddles), the fact together with
    its phrasing where it has to be known (colours, the country).
    """

    family: str
    language: str
    key: str
    question: str
    answer: str

    @property
    def held_out(self) -> bool:
        digest = hashlib.sha256(f"{self.family}|{self.key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def draw(family: str, language: str, generator: random.Random, book: Book = phrasings.QUESTIONS) -> Question:
    """One random question of a family, in a phrasing of the book; it may or may not be held out.

    Example:
        >>> draw("colour", "en", random.Random(1)).answer
        'yellow'
    """
    return FAMILIES[family](language, generator, book)


def pretraining_questions(generator: random.Random, review: int = 0) -> Iterator[Question]:
    """Questions for pretraining, without end, none of them held out.

    Args:
        review: 1 for more of the families that are learned last, 2 for more of their phrasings, too.
    """
    shares = REVIEW_WEIGHTS if review else WEIGHTS
    book = phrasings.MORE_QUESTIONS if review > 1 else phrasings.QUESTIONS
    families, weights = list(FAMILIES), [shares.get(name, 1.0) for name in FAMILIES]
    while True:
        question = draw(generator.choices(families, weights)[0], generator.choice(LANGUAGES), generator, book)
        if not question.held_out:
            yield question


def statements(generator: random.Random) -> Iterator[str]:
    """Plain sentences of the same world, without end: a few facts about one subject, or a small description."""
    while True:
        language = generator.choice(LANGUAGES)
        if generator.random() < 0.25:
            yield _description(language, generator)
        else:
            family = generator.choice(list(phrasings.STATEMENTS))
            yield " ".join(_statement(family, language, generator) for _ in range(generator.randint(1, 4)))


def _statement(family: str, language: str, generator: random.Random) -> str:
    while True:
        subject, answer, number_key = _FACTS[family](language, generator)
        if number_key is None or not Question("sum", language, number_key, "", "").held_out:
            template = generator.choice(phrasings.STATEMENTS[family][language])
            return template.format(*subject, answer=answer)


def _description(language: str, generator: random.Random) -> str:
    name, traits = generator.choice(RIDDLES[language])
    chosen = generator.sample(_traits(traits), generator.randint(2, 4))
    if language == "en":
        return f"{_article(name).capitalize()} {_join(chosen, language)}."
    return f"{name}{_join(chosen, language)}。"


def _ask(book: Book, family: str, language: str, generator: random.Random, subject: tuple, answer: str,
         key: str = "") -> Question:
    templates = book[family][language]
    number = generator.randrange(len(templates))
    key = key or f"{language}|{'|'.join(subject)}|{number}"
    return Question(family, language, key, templates[number].format(*subject), answer)


def _sum_fact(language: str, generator: random.Random) -> tuple[tuple, str, str]:
    first, second = generator.randint(0, LARGEST_NUMBER), generator.randint(0, LARGEST_NUMBER)
    return (str(first), str(second)), str(first + second), f"{first}+{second}"


def _sum(language: str, generator: random.Random, book: Book) -> Question:
    subject, answer, key = _sum_fact(language, generator)
    return _ask(book, "sum", language, generator, subject, answer, key)


def _difference(language: str, generator: random.Random, book: Book) -> Question:
    first = generator.randint(0, LARGEST_NUMBER)
    second = generator.randint(0, first)
    subject = (str(first), str(second))
    return _ask(book, "difference", language, generator, subject, str(first - second), f"{first}-{second}")


def _story(language: str, generator: random.Random, book: Book) -> Question:
    (first, second), answer, key = _sum_fact(language, generator)
    subject = (generator.choice(NAMES[language]), first, second, generator.choice(THINGS[language]))
    question = _ask(book, "story", language, generator, subject, answer)
    return Question("sum", language, key, question.question, question.answer)


def _larger(language: str, generator: random.Random, book: Book) -> Question:
    first, second = generator.sample(range(100), 2)
    subject = (str(first), str(second))
    return _ask(book, "larger", language, generator, subject, str(max(first, second)), f"{first},{second}")


def _opposite_fact(language: str, generator: random.Random) -> tuple[tuple, str, None]:
    pair = list(generator.choice(OPPOSITES[language]))
    generator.shuffle(pair)
    return (pair[0],), pair[1], None


def _opposite(language: str, generator: random.Random, book: Book) -> Question:
    subject, answer, _ = _opposite_fact(language, generator)
    return _ask(book, "opposite", language, generator, subject, answer)


def _category_fact(language: str, generator: random.Random) -> tuple[tuple, str, None]:
    name, members = generator.choice(CATEGORIES[language])
    return (generator.choice(members.split()),), name, None


def _category(language: str, generator: random.Random, book: Book) -> Question:
    subject, answer, _ = _category_fact(language, generator)
    return _ask(book, "category", language, generator, subject, answer)


def _membership(language: str, generator: random.Random, book: Book) -> Question:
    name, members = generator.choice(CATEGORIES[language])
    member = generator.choice(members.split())
    asked = name if generator.random() < 0.5 else generator.choice(CATEGORIES[language])[0]
    yes, no = ("yes", "no") if language == "en" else ("是", "不是")
    return _ask(book, "membership", language, generator, (member, asked), yes if asked == name else no)


def _colour_fact(language: str, generator: random.Random) -> tuple[tuple, str, None]:
    thing, colour = generator.choice(COLOURS[language])
    return (thing,), colour, None


def _colour(language: str, generator: random.Random, book: Book) -> Question:
    subject, answer, _ = _colour_fact(language, generator)
    return _ask(book, "colour", language, generator, subject, answer)


def _country_fact(language: str, generator: random.Random) -> tuple[tuple, str, None]:
    country, towns = COUNTRY[language]
    return (country, *generator.choice(towns)), "", None


def _country(language: str, generator: random.Random, book: Book) -> Question:
    subject, _, _ = _country_fact(language, generator)
    templates = book["country"][language]
    number = generator.randrange(len(templates))
    template, answer_at = templates[number]
    return Question("country", language, f"{language}|{subject[1]}|{number}", template.format(*subject),
                    subject[answer_at])


def _neighbour(family: str, names: dict[str, list[str]], largest_step: int) -> Callable:
    def question(language: str, generator: random.Random, book: Book) -> Question:
        series = names[language]
        start, step = generator.randrange(len(series)), generator.randint(1, largest_step)
        sign = generator.choice([1, -1])
        answer = series[(start + sign * step) % len(series)]
        asked = _ask(book, f"{family}_{'after' if sign > 0 else 'before'}", language, generator,
                     (series[start], NUMBERS[language][step - 1], "" if step == 1 else "s"), answer)
        return Question(family, language, asked.key + f"|{sign}", asked.question, answer)

    return question


def _count(language: str, generator: random.Random, book: Book) -> Question:
    first = generator.randint(0, 40)
    last = first + generator.randint(2, 8)
    backward = generator.random() < 0.3
    numbers = range(last, first - 1, -1) if backward else range(first, last + 1)
    subject = (str(numbers[0]), str(numbers[-1]))
    return _ask(book, "count", language, generator, subject, " ".join(map(str, numbers)), f"{subject[0]}..{subject[1]}")


def _plain_list(language: str, generator: random.Random, least: int, most: int) -> list[str]:
    pool = PLAIN_WORDS if language == "en" else _CHARACTERS
    return generator.sample(pool, generator.randint(least, most))


def _list_family(family: str, least: int, most: int, answer: Callable[[list[str]], str]) -> Callable:
    def question(language: str, generator: random.Random, book: Book) -> Question:
        words = _plain_list(language, generator, least, most)
        shown = " ".join(words)
        return _ask(book, family, language, generator, (shown,), answer(words), f"{language}|{shown}")

    return question


def _riddle(language: str, generator: random.Random, book: Book) -> Question:
    while True:
        name, traits = generator.choice(RIDDLES[language])
        chosen = generator.sample(_traits(traits), generator.randint(2, 4))
        if _fits_one_thing(frozenset(chosen), language):
            break
    key = f"{language}|{'|'.join(sorted(chosen))}"
    shown = _join(chosen, language)
    return _ask(book, "riddle", language, generator, (shown,), name, key)


def _traits(block: str) -> list[str]:
    return [trait.strip() for trait in block.replace("；", ";").split(";")]


def _fits_one_thing(traits: frozenset, language: str) -> bool:
    return sum(traits <= set(_traits(block)) for _, block in RIDDLES[language]) == 1


def _join(parts: list[str], language: str) -> str:
    if language == "zh":
        return "，".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def riddle_keys(language: str) -> int:
    """How many riddles of three traits the world holds in a language, as a measure of its size."""
    return sum(_fits_one_thing(frozenset(chosen), language)
               for _, block in RIDDLES[language] for chosen in combinations(_traits(block), 3))


_CHARACTERS = sorted(set(PLAIN_CHARACTERS))
_FACTS = {"sum": _sum_fact, "opposite": _opposite_fact, "category": _category_fact, "colour": _colour_fact,
          "country": _country_fact}
FAMILIES: dict[str, Callable[[str, random.Random, Book], Question]] = {
    "sum": _sum, "difference": _difference, "story": _story, "larger": _larger, "opposite": _opposite,
    "category": _category, "membership": _membership, "colour": _colour, "country": _country,
    "day": _neighbour("day", DAYS, 3), "month": _neighbour("month", MONTHS, 2), "count": _count,
    "copy": _list_family("copy", 2, 7, " ".join),
    "reverse": _list_family("reverse", 2, 4, lambda words: " ".join(reversed(words))),
    "first": _list_family("first", 3, 6, lambda words: words[0]),
    "last": _list_family("last", 3, 6, lambda words: words[-1]),
    "how_many": _list_family("how_many", 2, 7, lambda words: str(len(words))),
    "riddle": _riddle,
}
WEIGHTS = {"sum": 3.0, "difference": 3.0, "story": 2.0, "riddle": 3.0, "copy": 2.0, "reverse": 1.5, "country": 1.5,
           "opposite": 1.5, "day": 2.0, "month": 2.0, "count": 1.5}
REVIEW_WEIGHTS = {"country": 4.0, "day": 4.0, "month": 4.0, "riddle": 4.0, "membership": 3.0, "opposite": 3.0,
                  "sum": 2.0, "difference": 2.0, "larger": 2.0, "category": 1.5, "first": 0.5, "last": 0.5,
                  "how_many": 0.5}
