"""Wrong answers to the exercises of lesson 00, by exercise and by what their hint must say."""

_MISTAKES = {
    "00.1": {
        "These are logits": "logits.topk(k)",
        "add up to 1 among the three": "(lambda top: (top.values.softmax(0), top.indices))(logits.topk(k))",
        "These are the least likely": "logits.softmax(0).topk(k, largest=False)",
        "upside down": "tuple(part.flip(0) for part in logits.softmax(0).topk(k))",
        "the first k of the vocabulary": "(logits.softmax(0)[:k], torch.arange(k))",
    },
    "00.2": {
        "The end-of-turn token carries no loss here": "ends=()",
        "Only the last answer learns to stop": "ends=(3,)",
        "Only the last answer is trained": "learned=(3,), ends=(3,)",
        "The header carries loss too": "headers=(1, 3)",
        "Everything carries loss": "learned=(0, 1, 2, 3), headers=(0, 1, 2, 3), ends=(0, 1, 2, 3)",
        "The wrong side of the conversation": "learned=(0, 2), ends=(0, 2)",
        "The end of the user's turns carries loss as well": "ends=(0, 1, 2, 3)",
        "Shifted by one": "shift=1",
        "There must be as many labels as ids": "cut=1",
        "0 is a token": "ignored=0",
        "Each turn ends with the end-of-turn token": "written=(3,)",
        "The end-of-turn token is missing in the ids": "written=()",
        "-100 belongs in the labels": "masked=True",
    },
    "00.3": {
        "The sign is turned round": "around(-d.mean(), 1.96 * d.std() / n ** 0.5)",
        "treats the two lists as different questions": "around(d.mean(), 1.96 * ((b.var() + a.var()) / n) ** 0.5)",
        "divides by n − 1": "around(d.mean(), 1.96 * d.std(unbiased=False) / n ** 0.5)",
        "how far single questions scatter": "around(d.mean(), 1.96 * d.std())",
        "holds 68 %": "around(d.mean(), d.std() / n ** 0.5)",
        "twice: once": "around(d.mean(), 1.96 * d.std() / n)",
        "percentage points": "around(100 * d.mean(), 196 * d.std() / n ** 0.5)",
        "Counts of questions": "(d.sum().item(), (d > 0).sum().item(), (d < 0).sum().item())",
    },
}
_BODIES = {
    "00.1": """
import torch
def runners_up(logits, k):
    values, indices = {}
    return list(zip(indices.tolist(), values.tolist()))
""",
    "00.2": """
def conversation_labels(turns, end_of_turn):
    return wrongly(turns, end_of_turn, {})
def wrongly(turns, end, learned=(1, 3), headers=(), ends=(1, 3), written=(0, 1, 2, 3), ignored=-100, shift=0, cut=0,
            masked=False):
    ids, labels = [], []
    for place, (role, header, content) in enumerate(turns):
        ids += header + content + [end] * (place in written)
        labels += header if place in headers else [ignored] * len(header)
        labels += content if place in learned else [ignored] * len(content)
        labels += [end if place in ends else ignored]
    if masked:
        ids = labels
    return ids, labels[shift:len(labels) - cut] + [ignored] * shift
""",
    "00.3": """
import torch
def gain(before, after):
    b, a = torch.tensor(before).double(), torch.tensor(after).double()
    d, n = a - b, len(before)
    return {}
def around(middle, half):
    return float(middle), float(middle - half), float(middle + half)
""",
}

WRONG = {exercise: {hint: _BODIES[exercise].replace("{}", mistake) for hint, mistake in mistakes.items()}
         for exercise, mistakes in _MISTAKES.items()}
WRONG["00.1"] |= {
    "Return a list of pairs": "def runners_up(logits, k):\n    return int(logits.argmax())\n",
    "the greedy choice alone": "def runners_up(logits, k):\n    return [(int(logits.argmax()), 0.4)]\n",
    "A pair is (token id, chance)": """
def runners_up(logits, k):
    best = logits.softmax(-1).topk(k)
    return list(zip(best.values.tolist(), best.indices.tolist()))
""",
}
WRONG["00.2"]["Your function returns nothing"] = "def conversation_labels(turns, end_of_turn):\n    turns.copy()\n"
WRONG["00.3"]["The lists hold numbers, not a tensor"] = "def gain(before, after):\n    return after - before\n"
WRONG["00.1"]["exp of a large logit is infinite"] = """
def runners_up(logits, k):
    chances = logits.exp() / logits.exp().sum()
    best = chances.topk(k)
    return list(zip(best.indices.tolist(), best.values.tolist()))
"""
WRONG["00.2"] |= {
    "Who speaks is said by the role": """
def conversation_labels(turns, end_of_turn):
    ids, labels = [], []
    for place, (role, header, content) in enumerate(turns):
        answers = (place % 2 == 1) == (turns[-1][0] == "assistant" and len(turns) % 2 == 0) or len(turns) == 1
        ids += [*header, *content, end_of_turn]
        labels += [-100] * len(header) + ([*content, end_of_turn] if answers else [-100] * (len(content) + 1))
    return ids, labels
""",
    "go by places, not by which token it is": """
def conversation_labels(turns, end_of_turn):
    ids = [token for _, header, content in turns for token in (*header, *content, end_of_turn)]
    labels = []
    for role, header, content in turns:
        for token in (*header, *content, end_of_turn):
            labels.append(token if role == "assistant" and token not in header else -100)
    return ids, labels
""",
}
WRONG["00.3"]["Leave the ends as they are"] = """
import statistics
def gain(before, after):
    changes = [now - was for was, now in zip(before, after)]
    middle, half = statistics.mean(changes), 1.96 * statistics.stdev(changes) / len(changes) ** 0.5
    return middle, max(-1, middle - half), min(1, middle + half)
"""
