"""The clinic: records of an invented triage desk to fine-tune on, and the score that is kept of them.

Fiction, and no medical advice. Nothing here is ever in the pretraining text. The test split holds symptom combinations
and phrasings that the other splits never show; knows nothing about models.
"""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import combinations

from ftkit.errors import refusal, unknown
from ftkit.tiny import clinic_rules as rules

SPLITS = ("train", "held_out", "test")
LANGUAGES = ("en", "zh")
SEED = 20
TEST_COMBINATIONS, HELD_OUT_COMBINATIONS = 6, 4  # of each condition
RED_FLAG_SHARE = 0.2
TRAIN_RECORDS, HELD_OUT_RECORDS, TEST_RECORDS = 3200, 192, 288  # triage records, both languages together


def records(split: str) -> list[dict]:
    """The clinic records of a split, in a fixed order.

    Each is `instruction`, `input`, `output`, `language`, `kind` (triage or glossary) and, for triage, `condition`,
    `urgency` and `symptoms`. The held-out split is for choosing settings; the test split is reported, never tuned on.

    Args:
        split: train, held_out or test.

    Raises:
        Refusal: no such split.

    Example:
        >>> records("test")[0]["output"].splitlines()[0]
        'Condition: marsh fever'
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    generator = random.Random(f"clinic {SEED} {split}")
    many = {"train": TRAIN_RECORDS, "held_out": HELD_OUT_RECORDS, "test": TEST_RECORDS}[split]
    triage = _triage(split, many, generator)
    if split == "train":
        triage += list(_glossary())
        generator.shuffle(triage)
    return triage


def score(answers: list[str], asked: list[dict]) -> dict:
    """How many triage answers name both the condition and the urgency exactly.

    Args:
        answers: the generated answers, one for each record; an answer that never ended is given as it is.
        asked: triage records, as `records` returns them.

    Returns:
        `accuracy`, `en` and `zh` as shares of 1, `n`, and `correct` as a list of bool.

    Raises:
        Refusal: the lists differ in length.
    """
    if len(answers) != len(asked):
        raise refusal("answers", f"one for each of the {len(asked)} records", len(answers), "Answer every record.")
    correct = [parse(answer, record["language"]) == (record["condition"], record["urgency"])
               for answer, record in zip(answers, asked, strict=True)]
    shares = {language: _share([right for right, record in zip(correct, asked, strict=True)
                                if record["language"] == language]) for language in LANGUAGES}
    return {"accuracy": _share(correct), **shares, "n": len(correct), "correct": correct}


def parse(answer: str, language: str) -> tuple[str, str] | None:
    """The condition and urgency an answer names in its first two lines; None when its form is another.

    Example:
        >>> parse("Condition: bell ear\\nUrgency: self-care\\nAdvice: ...", "en")
        ('bell ear', 'self-care')
    """
    lines = answer.strip().split("\n")
    labels = [line.split("{")[0] for line in rules.ANSWER[language].split("\n")[:2]]
    if len(lines) < 2 or not all(line.startswith(label) for line, label in zip(lines[:2], labels, strict=True)):
        return None
    return tuple(line[len(label):].strip() for line, label in zip(lines[:2], labels, strict=True))


def guessing_scores(asked: list[dict]) -> dict:
    """What guessing would score on these records: `chance` (any condition, any urgency) and `majority` (the commonest
    answer of the training split in each language)."""
    common = {}
    for language in LANGUAGES:
        counts = Counter((record["condition"], record["urgency"]) for record in records("train")
                         if record["kind"] == "triage" and record["language"] == language)
        common[language] = counts.most_common(1)[0][0]
    hits = [(record["condition"], record["urgency"]) == common[record["language"]] for record in asked]
    return {"chance": 1 / (len(rules.conditions()) * len(rules.URGENCIES["en"])), "majority": _share(hits)}


def combinations_of(split: str) -> dict[str, list[frozenset]]:
    """The symptom combinations of a split by English condition name; each tells its condition from all others.

    No combination of the test split is, contains or is contained in one of the other splits.
    """
    return {condition["en"]: _split_combinations(condition)[split] for condition in rules.conditions()}


def _split_combinations(condition: dict) -> dict[str, list[frozenset]]:
    generator = random.Random(f"combinations {SEED} {condition['en']}")
    fours, fives = ([frozenset(c) for c in combinations(condition["symptoms"], size) if _names_one(frozenset(c))]
                    for size in (4, 5))
    generator.shuffle(fours)
    test, rest = fours[:TEST_COMBINATIONS], fours[TEST_COMBINATIONS:]
    held_out, train = rest[:HELD_OUT_COMBINATIONS], rest[HELD_OUT_COMBINATIONS:]
    train = train + [five for five in fives if not any(four <= five for four in test + held_out)]
    return {"train": train, "held_out": held_out, "test": test}


def _names_one(symptoms: frozenset) -> bool:
    return sum(symptoms <= set(condition["symptoms"]) for condition in rules.conditions()) == 1


def _triage(split: str, many: int, generator: random.Random) -> list[dict]:
    conditions = rules.conditions()
    pools = [(condition, _split_combinations(condition)[split]) for condition in conditions]
    made, seen = [], set()
    while len(made) < many:
        condition, pool = pools[len(made) // 2 % len(pools)]  # every condition equally often, in both languages
        record = _record(split, condition, generator.choice(pool), LANGUAGES[len(made) % 2], generator)
        if record["input"] not in seen:
            seen.add(record["input"])
            made.append(record)
    return made


def _record(split: str, condition: dict, symptoms: frozenset, language: str, generator: random.Random) -> dict:
    column = LANGUAGES.index(language)
    forms = rules.FORMS[language]
    instruction, shown = generator.choice(forms[-rules.TEST_FORMS:] if split == "test" else forms[:-rules.TEST_FORMS])
    time = generator.choice(rules.TIMES[language])
    words = [rules.SYMPTOMS[name][column] for name in sorted(symptoms)]
    red_flag = generator.random() < RED_FLAG_SHARE
    if red_flag:
        words.append(rules.RED_FLAGS[generator.choice(sorted(rules.RED_FLAGS))][column])
    generator.shuffle(words)
    urgency = rules.URGENCIES[language][2 if red_flag else condition["urgency"]]
    text = shown.format(s=_listed(words, language), t=time)
    output = rules.ANSWER[language].format(c=condition[language], u=urgency, a=condition["advice"][language])
    return {"instruction": instruction, "input": text[0].upper() + text[1:], "output": output, "language": language,
            "kind": "triage", "condition": condition[language], "urgency": urgency, "symptoms": sorted(symptoms)}


def _glossary() -> Iterator[dict]:
    for language in LANGUAGES:
        for term, meaning in rules.GLOSSARY[language]:
            for form in rules.GLOSSARY_FORMS[language]:
                yield {"instruction": form.format(t=term), "input": "", "language": language, "kind": "glossary",
                       "output": rules.GLOSSARY_ANSWER[language].format(m=meaning)}


def _listed(words: list[str], language: str) -> str:
    if language == "zh":
        return "、".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _share(values: list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0
