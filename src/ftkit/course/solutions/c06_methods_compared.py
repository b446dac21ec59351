"""The official answers to the exercises of lesson 06, each as it stands in the notebook in place of its stub."""

import re

import torch
from torch import nn


def trained_numbers(method, size, width, kv_width, inner, layers):
    bottleneck = 2 * width * size + size + width
    in_a_layer = {
        "bitfit": width + 2 * kv_width,
        "lora": size * (2 * (width + width) + 2 * (width + kv_width) + 3 * (width + inner)),  # q, o; k, v; the MLP
        "pfeiffer": bottleneck,
        "houlsby": 2 * bottleneck,
        "prefix": 2 * size * kv_width,
    }
    return size * width if method == "prompt" else layers * in_a_layer[method]


def left_to_train(names, share, part):
    layer_of = {}
    for name in names:
        number = re.search(r"\.(\d+)\.", name)
        layer_of[name] = int(number[1]) if number else None
    count = 1 + max(layer for layer in layer_of.values() if layer is not None)
    frozen = round(share * count)
    first = next(place for place, name in enumerate(names) if layer_of[name] is not None)
    kept = []
    for place, name in enumerate(names):
        layer = layer_of[name]
        if layer is None:
            trained = (place > first) == (part == "bottom")
        else:
            trained = layer >= frozen if part == "bottom" else layer < count - frozen
        if trained:
            kept.append(name)
    return kept


def unbeaten(rows):
    def beats(one, other):
        (costs, low, _), (other_costs, _, other_high) = rows[one], rows[other]
        return low > other_high and all(mine <= theirs for mine, theirs in zip(costs, other_costs, strict=True))

    return [name for name in rows if not any(beats(rival, name) for rival in rows)]


class Beside(nn.Module):
    def __init__(self, block, width, size, scale):
        super().__init__()
        self.block, self.scale = block.requires_grad_(False), scale
        self.down = nn.Linear(width, size, bias=False)
        self.up = nn.Linear(size, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.block(x) + self.scale * self.up(torch.relu(self.down(x)))


def with_prompt(embedded, mask, labels, prompt):
    rows, width, hidden = embedded.shape
    count = len(prompt)
    wide = embedded.new_zeros(rows, width + count, hidden)
    wide_mask, wide_labels = mask.new_zeros(rows, width + count), labels.new_full((rows, width + count), -100)
    for row in range(rows):
        start = width - int(mask[row].sum())
        wide[row, start:start + count] = prompt
        wide[row, start + count:] = embedded[row, start:]
        wide_mask[row, start:] = 1
        wide_labels[row, start + count:] = labels[row, start:]
    return wide, wide_mask, wide_labels


def prefix_share(query, key, prefix_key):
    scale = query.shape[-1] ** -0.5
    own = query @ key.transpose(-1, -2) * scale
    width = query.shape[-2]
    later = torch.ones(width, width, dtype=torch.bool, device=query.device).triu(1)
    own = own.masked_fill(later, float("-inf"))
    prefix = query @ prefix_key.transpose(-1, -2) * scale
    return torch.sigmoid(prefix.logsumexp(-1) - own.logsumexp(-1))


EQUIVALENT = {
    "06.2": {
        "trained = (place > first) == (part == 'bottom') -> trained = -((place > first) == (part == 'bottom'))":
            "-True is as true as True",
        "trained = (place > first) == (part == 'bottom') -> trained = (place >= first) == (part == 'bottom')":
            "the name at first has a layer",
        "trained = layer >= frozen if part == 'bottom' else layer < count - frozen -> "
        "trained = -(layer >= frozen if part == 'bottom' else layer < count - frozen)": "-True is as true as True",
    },
    "06.4": {
        "wide = embedded.new_zeros(rows, width + count, hidden) -> "
        "wide = -embedded.new_zeros(rows, width + count, hidden)": "-0 is 0",
    },
    "06.5": {
        "scale = query.shape[-1] ** (-0.5) -> scale = key.shape[-1] ** (-0.5)": "a key is as wide as a query",
        "own = query @ key.transpose(-1, -2) * scale -> own = query @ key.transpose(-1, 2) * scale":
            "of four dimensions, the last but one is number 2",
        "width = query.shape[-2] -> width = key.shape[-2]": "there are as many keys as queries",
        "width = query.shape[-2] -> width = query.shape[2]": "of four dimensions, the last but one is number 2",
        "later = torch.ones(width, width, dtype=torch.bool, device=query.device).triu(1) -> "
        "later = torch.ones(width, width, dtype=torch.bool).triu(1)": "checks run on the CPU",
        "later = torch.ones(width, width, dtype=torch.bool, device=query.device).triu(1) -> "
        "later = torch.ones(width, width, dtype=torch.bool, device=key.device).triu(1)": "both stand on one device",
        "prefix = query @ prefix_key.transpose(-1, -2) * scale -> "
        "prefix = query @ prefix_key.transpose(-1, 2) * scale": "of four dimensions, the last but one is number 2",
    },
    "06.6": {
        "return low > other_high and all((mine <= theirs for mine, theirs in zip(costs, other_costs, strict=True))) -> "
        "return -(low > other_high and all((mine <= theirs for mine, theirs in zip(costs, other_costs, strict=True))))":
            "-True is as true as True",
    },
}
