"""How well answers agree with what is accepted: exact match, F1, BLEU, ROUGE and exams, in English and in Chinese.

Knows nothing about models: texts in, numbers out.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from ftkit.errors import refusal, unknown
from ftkit.evaluate.intervals import Estimate, mean

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_HAN}]|\d+(?:[.,:/]\d+)*|[^\W\d_{_HAN}]+|[^\W_]")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|(?<![\w.])[-+]?\.\d+")
_MINUS = dict.fromkeys(map(ord, "\u2212\u2013"), "-")  # the minus sign and the dash that stands for it


def normalise_answer(text: str) -> str:
    """The text without what does not make an answer another one: case, width, punctuation, extra space.

    A full-width letter or digit equals its plain one. Punctuation goes, except where it is part of a number: a sign, a
    decimal point, the colon of a time, a percent sign. Articles stay, since "a" may be the answer.

    Example:
        >>> normalise_answer(" “Self-care”，３.5％！")
        'self care 3.5%'
    """
    text = unicodedata.normalize("NFKC", text).translate(_MINUS).casefold()
    kept = [character if _counts(text, place) else " " for place, character in enumerate(text)]
    words = " ".join("".join(kept).split())
    return re.sub(rf"(?<=[{_HAN}]) (?=[{_HAN}])", "", words)  # a space between Chinese characters says nothing


def tokens_of(text: str) -> list[str]:
    """The words of a text after normalising; each Chinese character is one, and so is each number.

    Example:
        >>> tokens_of("Take 2.5 mg，每天")
        ['take', '2.5', 'mg', '每', '天']
    """
    return _TOKEN.findall(normalise_answer(text))


def exact_match(answer: str, accepted: str | Sequence[str]) -> float:
    """1 where the normalised answer equals an accepted one, else 0; an empty answer is never right.

    Example:
        >>> exact_match("Paris.", ["paris", "the city of Paris"])
        1.0
    """
    return _best(answer, accepted, _same_text)


def contains(answer: str, accepted: str | Sequence[str]) -> float:
    """1 where an accepted answer's words stand in the answer in one run, else 0.

    Example:
        >>> contains("I know it.", "no"), contains("No, I do not.", "no")
        (0.0, 1.0)
    """
    return _best(answer, accepted, _has_run)


def numeric(answer: str, accepted: str | Sequence[str]) -> float:
    """1 where the last number in the answer equals one that is accepted (to one part in a million), else 0.

    Example:
        >>> numeric("2 + 998 = 1,000.0", "1000")
        1.0
    """
    return _best(answer, accepted, _same_number)


def token_f1(answer: str, accepted: str | Sequence[str]) -> float:
    """The F1 of the answer's words against the accepted answer it agrees with best, 0 to 1; 0 for an empty answer.

    Equation: 2·|common| / (|answer| + |accepted|), words counted as often as they occur.

    Example:
        >>> token_f1("看医生", "去看医生")
        0.8571428571428571

    Source: Rajpurkar et al. 2016, SQuAD, section 6.1; Chinese by character.
    """
    return _best(answer, accepted, _f1)


SCORINGS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "exact": exact_match, "contains": contains, "numeric": numeric, "f1": token_f1}


def scoring(name: str) -> Callable[[str, Sequence[str]], float]:
    """The scoring function of that name: exact, contains, numeric or f1.

    Raises:
        Refusal: an unknown name.
    """
    if name not in SCORINGS:
        raise unknown("scoring", name, SCORINGS)
    return SCORINGS[name]


def exam_score(answers: Sequence[str], items: Sequence[dict],
               by: str | Callable[[str, Sequence[str]], float] = "exact") -> tuple[Estimate, list[float]]:
    """The mean score of an exam with its interval, and the score of each question.

    Args:
        answers: one text a question.
        items: the questions, each with `accepted`: a list of texts.
        by: a name (see `scoring`), or a function of an answer and its accepted ones that gives 0 to 1.

    Raises:
        Refusal: an unknown name, no items, more or fewer answers than items, an item without accepted answers, or a
            function that gives something else.

    Example:
        >>> exam_score(["4", "5"], [{"accepted": ["4", "four"]}, {"accepted": ["6"]}])[1]
        [1.0, 0.0]
    """
    score = scoring(by) if isinstance(by, str) else by
    _same_count(answers, items, "items")
    scores = []
    for place, (answer, item) in enumerate(zip(answers, items, strict=True)):
        accepted = item.get("accepted")
        if not isinstance(accepted, list | tuple) or not accepted:
            raise refusal(f"items[{place}].accepted", "a list of at least one text", accepted)
        value = score(answer, accepted)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise refusal("a scoring function's result", "a number from 0 to 1", value,
                          f"It was given the answer to question {place}.")
        scores.append(float(value))
    return mean(scores), scores


def bleu(answers: Sequence[str], references: Sequence[str]) -> float:
    """The corpus BLEU, 0 to 100, by sacrebleu; by Chinese characters where a reference has any.

    Raises:
        Refusal: no texts, or more or fewer answers than references.

    Source: Papineni et al. 2002; Post 2018 for the tokenizers ("13a", "zh").
    """
    from sacrebleu.metrics import BLEU

    _same_count(answers, references, "references")
    chinese = any(re.search(f"[{_HAN}]", reference) for reference in references)
    return BLEU(tokenize="zh" if chinese else "13a").corpus_score(list(answers), [list(references)]).score


def rouge(answers: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L, 0 to 1, by rouge-score with a tokenizer that keeps Chinese.

    The tokenizer that rouge-score comes with drops every Chinese character, so that all Chinese answers score 0.

    Raises:
        Refusal: no texts, or more or fewer answers than references.

    Source: Lin 2004.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _same_count(answers, references, "references")
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = RougeScorer(kinds, tokenizer=_Tokens())
    scored = [scorer.score(reference, answer) for answer, reference in zip(answers, references, strict=True)]
    return {kind: math.fsum(one[kind].fmeasure for one in scored) / len(scored) for kind in kinds}


class _Tokens:
    def tokenize(self, text: str) -> list[str]:
        return tokens_of(text)


def _counts(text: str, place: int) -> bool:
    character = text[place]
    if character.isspace() or unicodedata.category(character)[0] not in "PS":
        return True
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if character in "%°" or unicodedata.category(character) == "Sc":
        return before.isdecimal() or after.isdecimal()
    if character in "-+":
        return after.isdecimal() and not before.isalpha()
    return character in ".,:/*=<>^" and before.isdecimal() and after.isdecimal()


def _best(answer: str, accepted: str | Sequence[str], score: Callable[[str, str], float]) -> float:
    choices = [accepted] if isinstance(accepted, str) else list(accepted)
    if not choices or not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise refusal("accepted", "at least one text, none of them empty", accepted)
    if not isinstance(answer, str):
        raise refusal("answer", "text", answer)
    return max(float(score(answer, choice)) for choice in choices)


def _same_text(answer: str, accepted: str) -> bool:
    wanted = normalise_answer(accepted)
    return normalise_answer(answer) == wanted if wanted else answer.strip() == accepted.strip()  # "?" is an answer too


def _has_run(answer: str, accepted: str) -> bool:
    words, run = tokens_of(answer), tokens_of(accepted)
    if not run:
        return accepted.strip() in answer
    return any(words[at : at + len(run)] == run for at in range(len(words) - len(run) + 1))


def _same_number(answer: str, accepted: str) -> bool:
    mine, theirs = _last_number(answer), _last_number(accepted)
    if theirs is None:
        raise refusal("accepted", "a number for the scoring 'numeric'", accepted, "Take 'exact' for words.")
    return mine is not None and math.isclose(mine, theirs, rel_tol=1e-6, abs_tol=1e-12)


def _last_number(text: str) -> float | None:
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text).translate(_MINUS))
    return float(found[-1].replace(",", "")) if found else None


def _f1(answer: str, accepted: str) -> float:
    mine, theirs = Counter(tokens_of(answer)), Counter(tokens_of(accepted))
    together = mine.total() + theirs.total()
    return 2 * (mine & theirs).total() / together if together else float(answer.strip() == accepted.strip())


def _same_count(answers: Sequence[str], others: Sequence, name: str) -> None:
    if not len(answers) or len(answers) != len(others):
        raise refusal(name, f"one for each answer ({len(answers)}), at least one", f"{len(others)} {name}")
