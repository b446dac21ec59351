"""Cases for an answer that finds what is wrong with an encoded record. Knows nothing about a notebook."""

import random

from ftkit.course.cases import Case, Hint

PROMPT, END = [1, 20, 21, 2], 9
GOOD = (PROMPT + [5, 6, END], [-100] * 4 + [5, 6, END])
ASKED = {  # name: ids, labels, and the faults in the order of the text
    "nothing wrong": (*GOOD, []),
    "another prompt": ([1, 20, 22, 2, 5, 6, END], GOOD[1], ["prompt differs"]),
    "no label": (GOOD[0], [-100] * 7, ["nothing trained"]),
    "the prompt is trained": (GOOD[0], list(GOOD[0]), ["prompt trained"]),
    "the end is not trained": (GOOD[0], [-100] * 4 + [5, 6, -100], ["end not trained"]),
    "shifted labels": (GOOD[0], [-100] * 4 + [6, END, END], ["wrong labels"]),
    "two things at once": (GOOD[0], [-100] * 3 + [2, 5, 6, -100], ["prompt trained", "end not trained"]),
    "all of it": ([1, 20], [20, 4], ["prompt differs", "wrong labels", "prompt trained", "end not trained"]),
    "nothing trained, another prompt": ([1, 20, 22], [-100] * 3, ["prompt differs", "nothing trained"]),
    "the prompt in another order": ([1, 21, 20, 2, 5, 6, END], GOOD[1], ["prompt differs"]),
    "something in front of the prompt": ([0, *PROMPT, 5, END], [-100] * 5 + [5, END], ["prompt differs"]),
    "a wrong last label": (GOOD[0], [-100] * 4 + [5, 6, 7], ["wrong labels", "end not trained"]),
    "padding behind": (PROMPT + [5, END, 0, 0], [-100] * 4 + [5, END, -100, -100], []),
}
SAID = {
    "nothing wrong": [Hint(["end not trained"], "The last place that is trained counts, and what its label is.")],
    "another prompt": [Hint([], "The record has to begin with the ids that the model is given when it is asked: "
                            "prompt_ids.")],
    "no label": [Hint(lambda got: got == [] or isinstance(got, Exception), "-100 says: no loss here. None is left."),
                 Hint(["nothing trained", "end not trained"], "Where nothing is trained, nothing more is said of "
                      "labels."),
                 Hint(IndexError, "There is no last trained place where nothing is trained: look first.")],
    "the prompt is trained": [Hint([], "Places before len(prompt_ids) are the prompt's: no label there.")],
    "the end is not trained": [Hint([], "The last label that is trained has to be end_id.")],
    "shifted labels": [Hint([], "Where a place is trained its label is the id at that place: the model shifts by "
                            "itself.")],
    "two things at once": [Hint(["prompt trained"], "All faults, not the first alone."),
                           Hint(["end not trained"], "All faults, not the last alone."),
                           Hint(["end not trained", "prompt trained"], "In the order of the text.")],
    "the prompt in another order": [Hint([], "The same ids in the same order: compare place by place.")],
    "something in front of the prompt": [Hint([], "The record has to begin with prompt_ids, at its first place.")],
    "a wrong last label": [Hint(["wrong labels"], "The last label has to be end_id, whatever the id at its place is."),
                           Hint(["end not trained"], "Every label that is trained is compared, the last one, too.")],
    "padding behind": [Hint(["end not trained"], "Padding carries no loss: look at the last place that is trained, not "
                            "at the last place.")],
}


def faults() -> list[Case]:
    """Each fault alone, several at once, and drawn records judged by their own making."""
    made = [Case(name, _given(ids, labels), want, SAID.get(name, ())) for name, (ids, labels, want) in ASKED.items()]
    return [*made, *(_drawn(seed) for seed in range(6)),
            Case("an end inside the answer", _given(PROMPT + [5, END, 6], [-100] * 4 + [5, END, 6]),
                 ["end not trained"], [Hint([], "end_id has to be the last label that is trained, not one of them.")])]


def _given(ids, labels, prompt=None):
    return lambda answer: answer(list(ids), list(labels), list(PROMPT if prompt is None else prompt), END)


def _drawn(seed: int) -> Case:
    drawn = random.Random(f"records {seed}")
    prompt = [drawn.randint(10, 99) for _ in range(drawn.randint(1, 6))]
    answer = [drawn.randint(10, 99) for _ in range(drawn.randint(1, 6))] + [END]
    ids, labels, want = prompt + answer, [-100] * len(prompt) + answer, []
    if drawn.random() < 0.5:
        labels[len(prompt) - 1], want = prompt[-1], ["prompt trained"]
    if drawn.random() < 0.5:
        labels[-1], want = -100, [*want, "end not trained"]
        if all(label == -100 for label in labels):
            want = ["nothing trained"]
    return Case(f"a drawn record, {seed}", _given(ids, labels, prompt), want)
