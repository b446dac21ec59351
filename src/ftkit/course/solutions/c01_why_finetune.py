"""The official answers to the exercises of lesson 01, each as it stands in the notebook in place of its stub."""

import math

import torch.nn.functional as F

from ftkit.chat import IGNORED


def bits_per_byte_of(mean_loss, tokens, text):
    bits = mean_loss * tokens / math.log(2)
    return bits / len(text.encode("utf-8"))


def diverse_shots(asked, store, k, overlap):
    chosen = []
    for record in sorted(store, key=lambda record: overlap(asked, record["input"]), reverse=True):
        seen = {shot["condition"] for shot in chosen}
        if record["input"] != asked and record["condition"] not in seen and len(chosen) < k:
            chosen.append(record)
    return chosen


def record_mean_loss(logits, labels):
    targets = labels[:, 1:]  # (rows, width - 1)
    losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORED, reduction="none")
    carries = targets != IGNORED
    return (losses.sum(1) / carries.sum(1)).mean()


def sign_test(before, after):
    lost = sum(was and not now for was, now in zip(before, after, strict=True))
    gained = sum(now and not was for was, now in zip(before, after, strict=True))
    changed, smaller = lost + gained, min(lost, gained)
    one_side = sum(math.comb(changed, k) for k in range(smaller + 1)) / 2 ** changed
    return min(1.0, 2 * one_side)


EQUIVALENT = {
    "01.1": {
        "return bits / len(text.encode('utf-8')) -> return bits / len(text.encode())": "UTF-8 is what encode takes",
    },
    "01.2": {
        "for record in sorted(store, key=lambda record: overlap(asked, record['input']), reverse=True): -> "
        "for record in sorted(store, key=lambda record: overlap(record['input'], asked), reverse=True):":
            "how alike two texts are does not depend on which is named first",
    },
    "01.3": {
        "losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, ignore_index=IGNORED, reduction='none') -> "
        "losses = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction='none')":
            "-100 is what cross_entropy leaves out by itself",
        "return (losses.sum(1) / carries.sum(1)).mean() -> return (losses.sum(-1) / carries.sum(1)).mean()":
            "of two dimensions, 1 is the last",
        "return (losses.sum(1) / carries.sum(1)).mean() -> return (losses.sum(1) / carries.sum(-1)).mean()":
            "of two dimensions, 1 is the last",
    },
}
