"""Exact and near duplicates: what is compared, what counts as near, and which record is kept.

Two records are near duplicates when their questions are alike *and* their answers are: the smallest of the Jaccard
similarities reaches the threshold. An instruction and its input are compared each by itself, and a system turn not at
all: what many records share makes none of them alike. The same question with another answer stays, and so does the
question of a template that asks about something else. Where what turns a sentence round differs, they are no duplicates
either: numbers (37.5 and 39.5 degrees), signs (A+ and A-), "not", left and right. What is missed: one word for another
in a long text (ibuprofen for naproxen), and a long template with a short place to fill in, all in one field.

MinHash and its index (datasketch) only say which pairs to look at; every pair is then decided by its true similarity.
The time grows as n log n where records differ. Where all are of one template, alike by half, most pairs are looked at.
Knows nothing about what the words mean.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from ftkit.data.records import compared, placed, question_and_answer
from ftkit.data.reports import Dropped, StepReport
from ftkit.data.workers import Workers
from ftkit.errors import refusal

WORDS, CHARACTERS = 2, 3  # in a shingle: of text in words, and of text in Chinese
BANDS, ROWS = 20, 6  # of an index: a pair alike by 0.8 is missed once in 440 times, (1 - 0.8**6) ** 20
FAR = 0.2  # signatures that agree this much less than the threshold are no pair: five deviations of 120 rows
_CHINESE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_SIGNS = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]+")
_TURNING = re.compile(r"\d+(?:[.,:]\d+)*|[二两三四五六七八九十百千]+|[不没无未非左右阴阳]|[+<>=#≤≥±]|(?<!\w)-(?=\d)|"
                      r"(?<=[a-z])-(?!\w)|(?<![a-z])(?:not?|never|without|left|right)(?![a-z])|n['’]t(?![a-z])",
                      re.IGNORECASE)


def exact_duplicates(records: list[dict]) -> tuple[list[dict], StepReport]:
    """The records without those that say what an earlier one says, white space aside; the first is kept.

    Returns: the records, and a report whose note counts the questions that stay more than once, with other answers.

    Example:
        >>> same = {"instruction": "Hot?", "output": "Rest."}
        >>> kept, report = exact_duplicates([same, {**same, "output": "Rest. "}, {**same, "output": "See a doctor."}])
        >>> len(kept), report.dropped[0].kept
        (2, 0)

    Taught in: 03_data
    """
    records = placed(records)
    first: dict[tuple[str, str], dict] = {}
    kept, dropped = [], []
    for record in records:
        key = tuple(" ".join(part.split()) for part in question_and_answer(record))
        original = first.setdefault(key, record)
        if original is record:
            kept.append(record)
        else:
            dropped.append(Dropped(record["place"], "exact duplicate", record, original["place"]))
    again = len(first) - len({question or answer for question, answer in first})
    return kept, StepReport("exact duplicates", len(records), len(kept), 0, dropped,
                            {"same question, other answer": again} if again else {})


def near_duplicates(records: list[dict], threshold: float = 0.8, same_numbers: bool = True, *,
                    workers: Workers | None = None) -> tuple[list[dict], StepReport]:
    """The records without those that are nearly the same as one that is kept.

    The longest are looked at first, of equals the earlier one; a record goes if it is near to one that was kept. So
    each that is dropped is within the threshold of one that stays, and the order of unrelated records changes nothing.

    Args:
        records: any; what is compared is said at the head of this module.
        threshold: the similarity from which two are duplicates, above 0 and at most 1.
        same_numbers: whether two with different numbers, signs, negations or sides in them are different whatever their
            similarity.
        workers: the pool to compute signatures in; None does it in this process.

    Raises:
        Refusal: the threshold is out of range.

    Taught in: 03_data
    """
    records = placed(records)
    parts = [compared(record) for record in records]
    order = sorted(range(len(records)), key=lambda number: (-sum(map(len, parts[number])), number))
    dropped: dict[int, Dropped] = {}
    index = _Index(parts, threshold, workers, same_numbers)
    for number in index.workers.counted("near duplicates", order):
        near = index.near(number)
        if near:
            similarity, other = max(near, key=lambda pair: (pair[0], -pair[1]))
            dropped[number] = Dropped(records[number]["place"], f"near duplicate: {similarity:.3f}", records[number],
                                      records[other]["place"])
        else:
            index.insert(number)
    kept = [record for number, record in enumerate(records) if number not in dropped]
    return kept, StepReport("near duplicates", len(records), len(kept), 0, [dropped[n] for n in sorted(dropped)])


def near_pairs(texts: Sequence[str | tuple[str, ...]], threshold: float = 0.8, *,
               workers: Workers | None = None) -> Iterator[tuple[int, int, float]]:
    """Every pair of texts that are alike: the two numbers, the smaller first, and their similarity.

    Args:
        texts: texts, or tuples of texts that must all be alike, part by part.
        threshold: the similarity to reach, above 0 and at most 1.
        workers: the pool to compute signatures in; None does it in this process.

    Raises:
        Refusal: the threshold is out of range.

    Example:
        >>> list(near_pairs(["Take it twice a day.", "What is asthma?", "take it TWICE a day"]))
        [(0, 2, 1.0)]

    Taught in: 03_data
    """
    index = _Index([text if isinstance(text, tuple) else (text,) for text in texts], threshold, workers)
    for number in index.workers.counted("near pairs", range(len(texts))):
        yield from ((other, number, similarity) for similarity, other in index.near(number))
        index.insert(number)


def clusters(texts: Sequence[str | tuple[str, ...]], threshold: float = 0.8, *,
             workers: Workers | None = None) -> list[int]:
    """For each text the number of the first text of its cluster: texts that are alike, or linked by texts that are.

    Raises:
        Refusal: the threshold is out of range.

    Example:
        >>> clusters(["Take it twice a day.", "What is asthma?", "take it TWICE a day"])
        [0, 1, 0]

    Taught in: 03_data
    """
    leader = list(range(len(texts)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = number = leader[leader[number]]
        return number

    for one, other, _ in near_pairs(texts, threshold, workers=workers):
        first, second = sorted((find(one), find(other)))
        leader[second] = first
    return [find(number) for number in range(len(texts))]


def shingles(text: str) -> frozenset[str]:
    """The overlapping pieces of a text: pairs of words, or triples of characters where it is Chinese.

    A text is Chinese if it has no fewer Chinese characters than words of other letters: a few of them behind an English
    answer don't cut it otherwise than its duplicate. Case, punctuation and spaces are left out. A text with fewer words
    or characters than a piece has is one piece, and one of signs alone is its own, so that short texts don't all become
    the same.

    Example:
        >>> sorted(shingles("Take it twice!")), sorted(shingles("发烧39度"))
        (['it twice', 'take it'], ['39度', '发烧3', '烧39'])
        >>> sorted(shingles("Take it twice! 谢谢"))
        ['it twice', 'take it', 'twice 谢谢']

    Taught in: 03_data
    """
    plain = text.casefold()
    chinese = len(_CHINESE.findall(plain))
    if chinese and chinese >= len(_WORD.findall(_CHINESE.sub(" ", plain))):
        units, size, glue = _SIGNS.sub("", plain), CHARACTERS, ""
    else:
        units, size, glue = _WORD.findall(plain), WORDS, " "
    if len(units) < size:
        whole = glue.join(units) or plain.strip()
        return frozenset([whole] if whole else [])
    return frozenset(glue.join(units[start:start + size]) for start in range(len(units) - size + 1))


def jaccard(one: frozenset | set, other: frozenset | set) -> float:
    """What two sets have in common, over all that is in either; two empty sets are the same.

    Equation: |A ∩ B| / |A ∪ B|

    Example:
        >>> jaccard({"a", "b"}, {"b", "c"})
        0.3333333333333333

    Taught in: 03_data
    """
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if one or other else 1.0


class _Index:
    """Signatures of all texts, and an index of those inserted so far, which finds what may be alike."""

    def __init__(self, parts: list[tuple[str, ...]], threshold: float, workers: Workers | None, same_numbers=False):
        import numpy
        from datasketch import MinHash, MinHashLSH

        if isinstance(threshold, str) or not 0 < threshold <= 1:
            raise refusal("threshold", "above 0 and at most 1", threshold, "Take 0.8 to begin with.")
        self.parts = [tuple(part for part in own if part) for own in parts]
        self.threshold, self.same_numbers = threshold, same_numbers
        self.workers = workers or Workers(1)
        signatures = list(self.workers.map("signatures", _signature, self.parts))
        self.signatures = numpy.array(signatures).reshape(-1, BANDS * ROWS)
        self.lsh = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self.minhash = MinHash(num_perm=BANDS * ROWS, seed=1)  # one for all: making each its own takes half the time

    def near(self, number: int) -> list[tuple[float, int]]:
        """Similarity and number of those inserted that are alike."""
        self.minhash.hashvalues = self.signatures[number]
        found = sorted(self.lsh.query(self.minhash))
        agreeing = (self.signatures[found] == self.signatures[number]).mean(axis=1) if found else ()
        own, near = self.parts[number], []
        for other in (other for other, share in zip(found, agreeing, strict=True) if share >= self.threshold - FAR):
            similarity = _similarity(own, self.parts[other])
            differ = self.same_numbers and _numbers(own) != _numbers(self.parts[other])
            if similarity >= self.threshold and not differ:
                near.append((similarity, other))
        return near

    def insert(self, number: int) -> None:
        self.minhash.hashvalues = self.signatures[number]
        self.lsh.insert(number, self.minhash, check_duplication=False)


_cached = lru_cache(maxsize=20_000)(shingles)


def _similarity(one: tuple[str, ...], other: tuple[str, ...]) -> float:
    if len(one) != len(other):
        return 0.0
    return min((jaccard(_cached(a), _cached(b)) for a, b in zip(one, other, strict=True)), default=1.0)


def _numbers(parts: tuple[str, ...]) -> list[str]:
    return sorted(_TURNING.findall("\n".join(parts).casefold()))


def _signature(parts: tuple[str, ...]):
    """The MinHash of all parts, band by band: in each band four rows of the question, two of the answer and the like.

    A band of one part alone would bring together all records of that answer, however many they are.
    """
    import numpy

    rows = {1: (ROWS,), 2: (ROWS - 2, 2)}.get(len(parts), (ROWS - 2, 1, 1))
    if not parts:
        return _rows("", BANDS * ROWS)
    hashed = [_rows(part, BANDS * count).reshape(BANDS, count) for part, count in zip(parts, rows, strict=False)]
    return numpy.hstack(hashed).reshape(-1)


def _rows(part: str, count: int):
    minhash = _minhash(count)
    minhash.clear()
    minhash.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles(part)])
    return minhash.hashvalues


@lru_cache(maxsize=8)
def _minhash(count: int):
    from datasketch import MinHash

    return MinHash(num_perm=count, seed=1)
