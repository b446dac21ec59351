"""The official answers to the exercises of lesson 00, each as it stands in the notebook in place of its stub."""

import torch


def runners_up(logits, k):
    chances = logits.softmax(-1)
    best = chances.topk(k)
    return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))


def conversation_labels(turns, end_of_turn):
    ids, labels = [], []
    for role, header, content in turns:
        said = [*content, end_of_turn]
        ids += [*header, *said]
        labels += [-100] * len(header) + (said if role == "assistant" else [-100] * len(said))
    return ids, labels


def gain(before, after):
    changes = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64)
    mean, half = changes.mean(), 1.96 * changes.std() / len(changes) ** 0.5  # std divides by n - 1
    return mean.item(), (mean - half).item(), (mean + half).item()


EQUIVALENT = {
    "00.1": {
        "chances = logits.softmax(-1) -> chances = logits.softmax(-0)": "the logits have one dimension",
    },
    "00.3": {
        "changes = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64) -> "
        "changes = torch.tensor(after) - torch.tensor(before, dtype=torch.float64)":
            "whole numbers minus float64 are float64",
        "changes = torch.tensor(after, dtype=torch.float64) - torch.tensor(before, dtype=torch.float64) -> "
        "changes = torch.tensor(after, dtype=torch.float64) - torch.tensor(before)":
            "float64 minus whole numbers is float64",
    },
}
