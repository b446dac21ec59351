"""What an answer to an exercise of lesson 00 is judged by. Knows nothing about the notebook around it."""

import math
import random
import statistics

import torch

from ftkit.course.cases import Case, Check, Hint

IGNORED = -100
_FLOAT32 = "float32 holds seven figures, and a sum may lose one or two of them"
_FLOAT64 = "float64 holds sixteen figures; an answer in another order loses a few of them"
_CHANCES = [0.1, 0.4, 0.05, 0.3, 0.15]
_LOGITS = [math.log(chance) + 2 for chance in _CHANCES]  # softmax gives the chances back, whatever is added


def _runners_up() -> list[Case]:
    def got(answer):
        pairs = [tuple(pair) for pair in answer(torch.tensor(_LOGITS), 3)]
        return [(int(token), round(float(chance), 4)) for token, chance in pairs]

    right = [(1, 0.4), (3, 0.3), (4, 0.15)]
    raw = [(token, round(_LOGITS[token], 4)) for token, _ in right]
    among = [(token, round(chance / 0.85, 4)) for token, chance in right]
    return [
        Case("the three likeliest of five", got, right, [
            Hint(raw, "These are logits, not chances: apply softmax over the vocabulary first."),
            Hint(among, "These chances add up to 1 among the three: apply softmax before you take the top k, so that "
                 "the rest of the vocabulary keeps its share."),
            Hint([(2, 0.05), (0, 0.1), (4, 0.15)], "These are the least likely ones: sort with the largest first."),
            Hint(right[::-1], "The right ones, upside down: the likeliest comes first."),
            Hint([(0, 0.1), (1, 0.4), (2, 0.05)], "These are the first k of the vocabulary: sort by chance first."),
            Hint([(0, 1.0), (0, 3.0), (0, 4.0)],
                 "A pair is (token id, chance), in this order."),
            Hint(TypeError, "Return a list of pairs (token id, chance): zip the ids with the chances."),
            Hint(lambda found: len(found) == 1, "That is the greedy choice alone: k of them are asked for."),
        ], tolerance=1e-3, reason="chances are compared to four places"),
        Case("k = 1 is the greedy choice", lambda answer: int(answer(torch.tensor(_LOGITS), 1)[0][0]), 1),
        Case("all of them add up to 1", lambda answer: sum(float(chance) for _, chance in
                                                           answer(torch.tensor(_LOGITS), 5)), 1.0, tolerance=1e-5,
             reason=_FLOAT32),
        Case("logits in the hundreds", lambda answer: [float(chance) for _, chance in
                                                       answer(torch.tensor([300.0, 302.0, 301.0]), 3)],
             _chances([300.0, 302.0, 301.0]), [
                 Hint(lambda got: any(math.isnan(one) for one in got), "exp of a large logit is infinite: softmax "
                      "takes off the largest one first, and that changes no chance."),
             ], tolerance=1e-5, reason=_FLOAT32),
        _of_a_vocabulary(),
    ]


def _chances(logits: list[float]) -> list[float]:
    """Softmax by hand, the likeliest first."""
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return sorted((power / sum(powers) for power in powers), reverse=True)


def _of_a_vocabulary() -> Case:
    draw = random.Random(0)
    logits = [draw.gauss(0, 3) for _ in range(500)]
    order = sorted(range(500), key=lambda token: -logits[token])[:20]
    return Case("20 of 500, drawn", lambda answer: list(map(list, answer(torch.tensor(logits), 20))),
                list(map(list, zip(order, _chances(logits), strict=False))), tolerance=1e-5, reason=_FLOAT32)


# Two questions and two answers; headers are what the template writes before a turn. Ids are made up, 9 ends a turn.
_END = 9
_TURNS = [("user", [1, 2], [11, 12, 13]), ("assistant", [1, 3], [21, 22]),
          ("user", [1, 2], [14]), ("assistant", [1, 3], [23, 24, 25])]


def _spread(content: bool, end: bool, header: bool = False, roles=("assistant",), last_alone=False) -> list[int]:
    """The labels of the conversation when only these parts of these turns carry loss."""
    labels = []
    for place, (role, head, said) in enumerate(_TURNS):
        trained = role in roles and (not last_alone or place == len(_TURNS) - 1)
        labels += [token if trained and header else IGNORED for token in head]
        labels += [token if trained and content else IGNORED for token in said]
        labels += [_END if trained and end else IGNORED]
    return labels


_RIGHT = _spread(content=True, end=True)
_ALL = _spread(content=True, end=True, header=True, roles=("user", "assistant"))
_WITHOUT_ENDS = [token for _, head, said in _TURNS for token in [*head, *said]]


def _labels() -> list[Case]:
    def labels_of(answer):
        return list(answer([(role, list(head), list(said)) for role, head, said in _TURNS], _END)[1])

    return [
        Case("token ids of the whole", lambda answer: list(answer(_TURNS, _END)[0]), _ALL, [
            Hint(_WITHOUT_ENDS, "The end-of-turn token is missing in the ids: every turn is header, content, "
                 "end_of_turn."),
            Hint([*_WITHOUT_ENDS, _END], "Each turn ends with the end-of-turn token, not the conversation alone."),
            Hint(lambda got: IGNORED in got, "-100 belongs in the labels; the model has to read every token."),
            Hint(TypeError, "Return two lists: the ids, then the labels."),
        ]),
        Case("labels of the whole", labels_of, _RIGHT, _label_hints()),
        Case("a single turn", lambda answer: list(answer([("assistant", [1, 3], [21])], _END)[1]),
             [IGNORED, IGNORED, 21, _END]),
        Case("two answers in a row, then nothing said",
             lambda answer: list(answer([("assistant", [1], [21]), ("assistant", [3], [22]), ("user", [1], []),
                                         ("assistant", [3], [])], _END)[1]),
             [IGNORED, 21, _END, IGNORED, 22, _END, IGNORED, IGNORED, IGNORED, _END], [
                 Hint([IGNORED, IGNORED, IGNORED, IGNORED, 22, _END, IGNORED, IGNORED, IGNORED, _END],
                      "Who speaks is said by the role, not by whose turn it would be."),
             ]),
        _drawn_conversation(),
    ]


def _drawn_conversation() -> Case:
    """Few token ids, so that the same ones stand in headers, in what is said, and at the end of a turn."""
    draw = random.Random(1)
    turns = [(draw.choice(["user", "assistant"]), draw.choices(range(6, 12), k=2),
              draw.choices(range(6, 12), k=draw.randint(0, 6))) for _ in range(12)]
    ids = [token for _, header, content in turns for token in (*header, *content, _END)]
    places = [(role, place) for role, header, content in turns for place in range(len(header) + len(content) + 1)]
    labels = [token if role == "assistant" and place >= 2 else IGNORED
              for token, (role, place) in zip(ids, places, strict=True)]
    return Case("12 turns, drawn", lambda answer: list(map(list, answer(turns, _END))), [ids, labels], [
        Hint(lambda got: got[0] == ids, "The same id may stand in a header, in what is said, and at an end: go by "
             "places, not by which token it is."),
    ])


def _label_hints() -> list[Hint]:
    every_end = [_END if token == _END else label for label, token in zip(_RIGHT, _ALL, strict=True)]
    return [
        Hint(_spread(True, False), "The end-of-turn token carries no loss here: a model trained on this never learns "
             "to stop."),
        Hint([*_spread(True, False)[:-1], _END], "Only the last answer learns to stop: each assistant turn ends with "
             "a label for end_of_turn."),
        Hint(_spread(True, True, last_alone=True), "Only the last answer is trained: every assistant turn carries "
             "loss."),
        Hint(_spread(True, True, header=True), "The header carries loss too: the template writes it, the model never "
             "has to."),
        Hint(_ALL, "Everything carries loss: the user's turns are given, not learned."),
        Hint(_spread(True, True, roles=("user",)), "The wrong side of the conversation: the assistant's turns are "
             "what is learned."),
        Hint(every_end, "The end of the user's turns carries loss as well: the model never writes it."),
        Hint([*_RIGHT[1:], IGNORED], "Shifted by one: labels[i] is the label of token i itself, the shift is made "
             "where the loss is computed."),
        Hint(lambda got: len(got) != len(_RIGHT), "There must be as many labels as ids: use -100 where there is no "
             "loss."),
        Hint(lambda got: 0 in got and IGNORED not in got, "0 is a token; a place without loss is marked -100."),
    ]


# The same ten questions before and after: six gained, one lost, three unchanged.
_BEFORE = [0, 0, 0, 0, 0, 0, 1, 1, 1, 0]
_AFTER = [1, 1, 1, 1, 1, 1, 0, 1, 1, 0]


def _gain() -> list[Case]:
    n = len(_BEFORE)
    changes = [now - was for was, now in zip(_BEFORE, _AFTER, strict=True)]
    mean = sum(changes) / n
    square = sum((change - mean) ** 2 for change in changes)
    error = math.sqrt(square / (n - 1) / n)
    unpaired = math.sqrt(sum(_variance(side) / n for side in (_BEFORE, _AFTER)))

    def around(half: float, middle: float = mean) -> list[float]:
        return [middle, middle - half, middle + half]

    return [
        Case("ten questions, 6 gained, 1 lost", lambda answer: list(answer(_BEFORE, _AFTER)), around(1.96 * error), [
            Hint(around(1.96 * error, -mean), "The sign is turned round: a gain is after minus before."),
            Hint(around(1.96 * unpaired), "That treats the two lists as different questions: take the difference of "
                 "each question first, then its spread."),
            Hint(around(1.96 * math.sqrt(square / n / n)), "The spread of a sample divides by n − 1."),
            Hint(around(1.96 * error * math.sqrt(n)), "That is how far single questions scatter: the mean of n "
                 "scatters √n times less."),
            Hint(around(error), "One standard error holds 68 %: 95 % takes 1.96 of them."),
            Hint(around(1.96 * error / math.sqrt(n)), "Divided by √n twice: once for the mean is enough."),
            Hint([100 * value for value in around(1.96 * error)], "These are percentage points: give shares of 1."),
            Hint([mean * n, 6, 1], "Counts of questions: give the mean change and its interval."),
            Hint(TypeError, "The lists hold numbers, not a tensor: turn them into one, or work through them in pairs."),
        ], tolerance=1e-5, reason=_FLOAT32),
        Case("nothing changed", lambda answer: list(answer([1, 0, 1, 0], [1, 0, 1, 0])), [0.0, 0.0, 0.0],
             tolerance=1e-9, reason=_FLOAT64),
        Case("a loss has a negative sign", lambda answer: answer([1, 1, 1, 0], [0, 0, 1, 0])[0], -0.5,
             tolerance=1e-9, reason=_FLOAT64),
        Case("an interval beyond 1", lambda answer: list(answer([0, 0, 0, 0], [1, 1, 1, 0])),
             [0.75, 0.75 - 0.49, 0.75 + 0.49], [
                 Hint(lambda got: max(got) == 1, "Leave the ends as they are, beyond 1 too: that shows that this "
                      "rule is rough for few questions."),
             ], tolerance=1e-5, reason=_FLOAT32),
        _drawn_exam(),
    ]


def _drawn_exam() -> Case:
    draw = random.Random(2)
    before, after = ([int(draw.random() < share) for _ in range(200)] for share in (0.3, 0.6))
    changes = [now - was for was, now in zip(before, after, strict=True)]
    middle, half = statistics.fmean(changes), 1.96 * statistics.stdev(changes) / math.sqrt(200)
    return Case("200 questions, drawn", lambda answer: list(answer(before, after)),
                [middle, middle - half, middle + half], tolerance=1e-5, reason=_FLOAT32)


def _variance(side: list[int]) -> float:
    mean = sum(side) / len(side)
    return sum((value - mean) ** 2 for value in side) / (len(side) - 1)


CHECKS = {
    "00.1": Check("runners_up", "What else could it have said?", 1, 4, _runners_up),
    "00.2": Check("conversation_labels", "Which tokens of a longer conversation carry loss", 2, 8, _labels),
    "00.3": Check("gain", "Is the gain more than chance?", 3, 10, _gain),
}
