"""What an answer to an exercise of lesson 01 is judged by. Knows nothing about the notebook around it."""

import math
import random
from fractions import Fraction

import torch

from ftkit.chat import IGNORED
from ftkit.course.cases import Case, Check, Hint

LN_2 = math.log(2)
_FLOAT32 = "float32 holds seven figures, and an answer may be written with its tensors"
_SUMS = "sums of float32 in another order differ in the last of their seven figures"
_FLOAT64 = "float64 holds sixteen figures; an answer in another order loses a few of them"


def _bits() -> list[Case]:
    """With a mean loss of 2·ln 2 a token is worth 2 bits, so the wanted values can be had by counting."""
    mean_loss = 2 * LN_2
    return [
        Case("8 tokens of 2 bits for 16 letters", lambda bits: bits(mean_loss, 8, "a" * 16), 1.0, [
            Hint(8 * mean_loss / 16, "These are nats: one bit is ln 2 nats, so divide by math.log(2)."),
            Hint(2 / 16, "Every token costs bits: multiply the mean loss by the number of tokens."),
            Hint(2.0, "These are bits per token: divide the bits of the whole text by its bytes."),
            Hint(2 ** 2.0, "This is the perplexity: bits are needed here, not how many choices they stand for."),
            Hint(16.0, "These are the bits of the whole text: divide by its bytes."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("9 tokens for 6 Chinese characters", lambda bits: bits(mean_loss, 9, "发烧已经两天"), 1.0, [
            Hint(3.0, "A Chinese character takes 3 bytes in UTF-8: count text.encode(\"utf-8\"), not the characters."),
        ], tolerance=1e-6, reason=_FLOAT32),
        Case("no loss at all", lambda bits: bits(0.0, 5, "abc"), 0.0, tolerance=1e-6, reason=_FLOAT32),
        Case("a text with spaces, a line break and an emoji", lambda bits: bits(LN_2, 3, " a é\n🤒 "), 3 / 11, [
            Hint(3 / 9, "Spaces and line breaks are bytes like any other: do not strip them."),
            Hint(3 / 7, "An accented letter takes 2 bytes in UTF-8, an emoji 4: count text.encode(\"utf-8\")."),
        ], tolerance=1e-6, reason=_FLOAT32),
    ]


_STORE = [{"input": "fever chills thirst", "condition": "marsh fever"},
          {"input": "fever chills", "condition": "marsh fever"},
          {"input": "fever rash", "condition": "copper rash"},
          {"input": "cough voice", "condition": "glass cough"},
          {"input": "fever chills sweat", "condition": "night drum"}]
_ASKED = "fever chills sweat"


def _common_words(one: str, other: str) -> float:
    """The share of words in common; written here so that an answer is judged without the notebook."""
    words, others = set(one.split()), set(other.split())
    return len(words & others) / len(words | others)


def _shots() -> list[Case]:
    def inputs(shots, k, store=None):
        return [record["input"] for record in shots(_ASKED, list(store or _STORE), k, _common_words)]

    near, second, third = "fever chills", "fever rash", "cough voice"
    return [
        Case("two examples", lambda shots: inputs(shots, 2), [near, second], [
            Hint([near, "fever chills thirst"], "Both are marsh fever: take one example a condition."),
            Hint([near], "One is missing: pass over what repeats a condition and go on looking, instead of cutting "
                 "the list to k first."),
            Hint([third, second], "These overlap least: sort with reverse=True."),
            Hint(lambda got: _ASKED in got, "The question itself is among the examples: that would give the answer "
                 "away. Leave out a record whose input is the question."),
            Hint([second, near], "Right ones, wrong order: the nearest comes first."),
        ]),
        Case("three examples", lambda shots: inputs(shots, 3), [near, second, third], [
            Hint([near, second], "Only two: the third condition overlaps little, and is still wanted."),
            Hint([near, "fever chills thirst", second], "Two of them are marsh fever: take one example a condition."),
        ]),
        Case("more than there are conditions", lambda shots: inputs(shots, 9, _STORE[:3]), [near, second], [
            Hint(IndexError, "There are fewer conditions than k: return those there are."),
        ]),
        Case("another way of comparing",
             lambda shots: [record["input"] for record in shots("ab", list(_LETTERS), 2, _common_letters)],
             ["ba", "abc"], [
                 Hint(lambda got: "ba" not in got, "Not everything that is quite alike is the question itself: leave "
                      "out the record whose input *is* the question, whatever their overlap."),
                 Hint(lambda got: "abc" not in got, "Only the question's own record is left out, not all others of its "
                      "condition."),
             ]),
        Case("none", lambda shots: shots(_ASKED, list(_STORE), 0, _common_words), []),
        _drawn_store(),
    ]


_LETTERS = [{"input": "ab", "condition": "two"}, {"input": "xyz", "condition": "three"},
            {"input": "abc", "condition": "two"}, {"input": "ba", "condition": "one"}]


def _common_letters(one: str, other: str) -> float:
    return len(set(one) & set(other)) / len(set(one) | set(other))


def _drawn_store() -> Case:
    """40 records of 8 conditions; the nearest of each condition is found condition by condition."""
    draw = random.Random(0)
    store = [{"input": f"case {number}", "condition": f"condition {draw.randint(1, 8)}"} for number in range(40)]
    near = {record["input"]: place for place, record in enumerate(draw.sample(store, 40))}
    asked = max(near, key=near.get)
    nearest = {}
    for record in store:
        best = nearest.get(record["condition"])
        if record["input"] != asked and (best is None or near[record["input"]] > near[best["input"]]):
            nearest[record["condition"]] = record
    want = sorted((record["input"] for record in nearest.values()), key=lambda one: -near[one])[:5]

    def alike(one: str, other: str) -> int:
        return near[other if one == asked else one]

    return Case("5 of 40, drawn", lambda shots: [record["input"] for record in shots(asked, list(store), 5, alike)],
                want)


def _logits(chances: list[list[float]]) -> torch.Tensor:
    """Logits over two tokens that give token 1 these chances; softmax of logarithms gives the chances back."""
    one = torch.tensor(chances)
    return torch.stack([1 - one, one], -1).log()  # (rows, width, 2)


def _record_mean() -> list[Case]:
    """Row 1 has one label, with chance 1/2; row 2 has three, each with chance 1/4."""
    logits = _logits([[0.8, 0.5, 0.9, 0.9], [0.25, 0.25, 0.25, 0.9]])
    labels = torch.tensor([[IGNORED, IGNORED, 1, IGNORED], [IGNORED, 1, 1, 1]])
    rows, all_tokens = [LN_2, 2 * LN_2], (LN_2 + 3 * 2 * LN_2) / 4
    unshifted = (-math.log(0.9) + (2 * -math.log(0.25) - math.log(0.9)) / 3) / 2
    shifted_twice = (-math.log(0.8) + 2 * LN_2) / 2
    return [
        Case("a short and a long answer", lambda loss: loss(logits, labels), sum(rows) / 2, [
            Hint(all_tokens, "This is the mean over tokens: the long answer counts three times as much. Take the mean "
                 "of each record first."),
            Hint(unshifted, "The logits at a place predict the next token: pair logits[:, :-1] with labels[:, 1:]."),
            Hint(shifted_twice, "Shifted twice: logits[:, :-1] already stands one place before labels[:, 1:]."),
            Hint(sum(rows), "This is the sum over records: divide by how many there are."),
            Hint((LN_2 + 6 * LN_2) / 2, "Divide each record's sum by its own number of label tokens."),
            Hint((LN_2 / 3 + 2 * LN_2) / 2, "Divide by the tokens that carry loss, not by the width of the row."),
            Hint(math.isnan, "A place without a label came in: leave out labels of -100 before taking means."),
            Hint(IndexError, "-100 is no token: leave those places out, or let cross_entropy ignore them."),
            Hint(RuntimeError, "-100 is no token: leave those places out, or let cross_entropy ignore them."),
        ], tolerance=1e-5, reason=_SUMS),
        Case("equally long answers", lambda loss: loss(logits[1:], labels[1:]), 2 * LN_2, tolerance=1e-5, reason=_SUMS),
        Case("a gradient comes back", _gradient_sum, 1.0, [
            Hint(0.0, "No gradient reaches the logits: compute with torch alone, without item() or detach()."),
        ]),
        Case("logits in the hundreds", lambda loss: loss(torch.tensor([[[0.0, 300.0, 0.0], [0.0, 0.0, 0.0]]]),
                                                         torch.tensor([[IGNORED, 0]])), 300.0, [
            Hint(lambda got: not math.isfinite(got), "exp of such a logit is infinite: take log_softmax or "
                 "cross_entropy, which never form it."),
        ], tolerance=1e-5, reason=_SUMS),
        _drawn_batch(),
    ]


def _drawn_batch() -> Case:
    """Labels from the first place on, which nothing predicts; the wanted loss is added up token by token."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 7, 11, generator=generator)
    labels = torch.randint(11, (5, 7), generator=generator)
    labels[torch.rand(5, 7, generator=generator) < 0.4] = IGNORED
    rows = []
    for row in range(5):
        losses = [float(logits[row, place - 1].double().exp().sum().log() - logits[row, place - 1, labels[row, place]])
                  for place in range(1, 7) if labels[row, place] != IGNORED]
        rows.append(sum(losses) / len(losses))
    return Case("5 records, drawn", lambda loss: loss(logits, labels), sum(rows) / 5, [
        Hint(lambda got: got > 0, "Is each row shifted for itself? The first label of a record has nothing before it."),
    ], tolerance=1e-5, reason=_SUMS)


def _gradient_sum(loss) -> float:
    logits = _logits([[0.5, 0.5, 0.5]]).requires_grad_()
    value = loss(logits, torch.tensor([[IGNORED, 1, 0]]))
    if not torch.is_tensor(value) or not value.requires_grad:
        return 0.0
    value.backward()
    return float(logits.grad.abs().sum() > 0)


def _sign_test() -> list[Case]:
    def chance(test, both: int, lost: int, gained: int, neither: int = 0):
        before = [1] * both + [1] * lost + [0] * gained + [0] * neither
        after = [1] * both + [0] * lost + [1] * gained + [0] * neither
        return test(before, after)

    return [
        Case("5 lost, none gained, 15 kept", lambda test: chance(test, 15, 5, 0), 2 / 32, [
            Hint(1 / 32, "This is one-sided: a gain as large would surprise as much, so double it."),
            Hint(lambda got: got < 1e-3, "Answers that stayed the same say nothing: count only those that changed."),
            Hint(5, "This is how many were lost: the chance of it is asked for."),
            Hint(2.0, "With k the larger side the sum is over nearly everything: take the smaller of lost and gained."),
            Hint(1.0, "With k the larger side the sum is over nearly everything: take the smaller of lost and gained."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("7 lost, 1 gained", lambda test: chance(test, 10, 7, 1, 3), 18 / 256, [
            Hint(16 / 256, "That is the chance of exactly this split: add all that are more one-sided."),
            Hint(9 / 256, "This is one-sided: a gain as large would surprise as much, so double it."),
            Hint(2 / 2 ** 6, "Gains and losses do not cancel: 8 answers changed, not 6."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("1 lost, 7 gained", lambda test: chance(test, 0, 1, 7), 18 / 256, [
            Hint(lambda got: got > 0.9, "Take the smaller of lost and gained: the test asks the same of both sides."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("2 lost, 2 gained", lambda test: chance(test, 4, 2, 2), 1.0, [
            Hint(lambda got: got > 1, "No chance is above 1: both sides share the middle, so cut it off with min."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("nothing changed", lambda test: chance(test, 5, 0, 0, 5), 1.0, [
            Hint(ZeroDivisionError, "Where nothing changed there is nothing to divide by: the answer is 1."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("11 lost, 4 gained", lambda test: chance(test, 3, 11, 4, 2), float(_two_sided(15, 4)), [
            Hint(lambda got: 0.02 < got < 0.11, "Near, and a rule of thumb: with few changes the sum over all splits "
                 "is needed."),
        ], tolerance=1e-9, reason=_FLOAT64),
        Case("1200 changes", lambda test: chance(test, 10, 640, 560), float(_two_sided(1200, 560)), [
            Hint(OverflowError, "Such numbers fit no float: divide whole numbers by each other, at the end."),
            Hint(0.0, "2 to the power of -1200 is 0 as a float: add up whole numbers, and divide at the end."),
        ], tolerance=1e-9, reason=_FLOAT64),
    ]


def _two_sided(changed: int, smaller: int) -> Fraction:
    """Exactly, from one split's chance to the next one's."""
    one, total = Fraction(1, 2 ** changed), Fraction(0)
    for k in range(smaller + 1):
        total += one
        one = one * (changed - k) / (k + 1)
    return min(Fraction(1), 2 * total)


CHECKS = {
    "01.1": Check("bits_per_byte_of", "Bits per byte from a mean loss", 1, 4, _bits),
    "01.2": Check("diverse_shots", "Near examples, one a condition", 2, 8, _shots),
    "01.3": Check("record_mean_loss", "A loss in which each record counts the same", 2, 8, _record_mean),
    "01.4": Check("sign_test", "Is a fall more than chance?", 3, 12, _sign_test),
}
