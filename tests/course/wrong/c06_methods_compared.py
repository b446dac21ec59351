"""Wrong answers to the exercises of lesson 06, by exercise and by what their hint must say."""

_NUMBERS = """
def trained_numbers(method, size, width, kv_width, inner, layers):
    bottleneck = 2 * width * size + size + width
    in_a_layer = {"bitfit": width + 2 * kv_width,
                  "lora": size * (4 * width + 2 * (width + kv_width) + 3 * (width + inner)),
                  "pfeiffer": bottleneck, "houlsby": 2 * bottleneck, "prefix": 2 * size * kv_width}
    return size * width if method == "prompt" else layers * in_a_layer[method]
"""
_NAMES = """
import re
def left_to_train(names, share, part):
    layer_of = {name: re.search(r"\\.(\\d+)\\.", name) for name in names}
    layer_of = {name: int(found[1]) if found else None for name, found in layer_of.items()}
    count = 1 + max(layer for layer in layer_of.values() if layer is not None)
    frozen = round(share * count)
    first = next(place for place, name in enumerate(names) if layer_of[name] is not None)
    kept = []
    for place, name in enumerate(names):
        layer = layer_of[name]
        outside = (place > first) == (part == "bottom")
        inside = layer is not None and (layer >= frozen if part == "bottom" else layer < count - frozen)
        if outside if layer is None else inside:
            kept.append(name)
    return kept
"""
_BESIDE = """
import torch
from torch import nn
class Beside(nn.Module):
    def __init__(self, block, width, size, scale):
        super().__init__()
        self.block, self.scale = block.requires_grad_(False), scale
        self.down = nn.Linear(width, size, bias=False)
        self.up = nn.Linear(size, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.block(x) + self.scale * self.up(torch.relu(self.down(x)))
"""
_PROMPT = """
import torch
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
"""
_SHARE = """
import torch
def prefix_share(query, key, prefix_key):
    scale = query.shape[-1] ** -0.5
    width = query.shape[-2]
    later = torch.ones(width, width, dtype=torch.bool).triu(1)
    own = (query @ key.transpose(-1, -2) * scale).masked_fill(later, float("-inf"))
    prefix = query @ prefix_key.transpose(-1, -2) * scale
    return torch.sigmoid(prefix.logsumexp(-1) - own.logsumexp(-1))
"""
_FRONT = """
def unbeaten(rows):
    def beats(one, other):
        (costs, low, high), (other_costs, other_low, other_high) = rows[one], rows[other]
        return low > other_high and all(mine <= theirs for mine, theirs in zip(costs, other_costs))

    return [name for name in rows if not any(beats(rival, name) for rival in rows)]
"""
_RIGHT = {"06.1": _NUMBERS, "06.2": _NAMES, "06.3": _BESIDE, "06.4": _PROMPT, "06.5": _SHARE, "06.6": _FRONT}
_LAST = "torch.sigmoid(prefix.logsumexp(-1) - own.logsumexp(-1))"
_NUMBER = r're.search(r"\.(\d+)\.", name)'
_KEPT = "[name for name in rows if not any(beats(rival, name) for rival in rows)]"
_CHANGES = {  # of an answer that is right otherwise
    "06.1": {
        "all layers have biases": ("layers * in_a_layer[method]", "in_a_layer[method]"),
        "one number for each output": ('"bitfit": width + 2 * kv_width', '"bitfit": 3 * width'),
        "Only q, k and v have biases": ('"bitfit": width + 2 * kv_width',
                                        '"bitfit": 3 * width + 2 * kv_width + 2 * inner'),
        "each has its own": ('"bitfit": width + 2 * kv_width', '"bitfit": width'),
        "in front of the first layer alone": ("size * width if method", "layers * size * width if method"),
        "keys and values are the prefix's": ("size * width if method", "2 * size * width if method"),
        "as wide as an embedding": ("size * width if method", "size if method"),
        "as what k and v give": ('"prefix": 2 * size * kv_width', '"prefix": 2 * size * width'),
        "A key and a value for each token": ('"prefix": 2 * size * kv_width', '"prefix": size * kv_width'),
        "keys and values of its own": ("layers * in_a_layer[method]",
                                       "layers * in_a_layer[method] if method != 'prefix' else in_a_layer[method]"),
        "Both matrices have a bias": ("2 * width * size + size + width", "2 * width * size"),
        "The way up has a bias": ("2 * width * size + size + width", "2 * width * size + size"),
        "The way down has a bias": ("2 * width * size + size + width", "2 * width * size + width"),
        "two are Houlsby's": ('"pfeiffer": bottleneck', '"pfeiffer": 2 * bottleneck'),
        "two a layer": ('"houlsby": 2 * bottleneck', '"houlsby": bottleneck'),
        "k and v have kv_width outputs": ("2 * (width + kv_width)", "4 * width"),
        "gate, up and down as well": (" + 3 * (width + inner)", ""),
        "each side counts once": ('"lora": size', '"lora": 2 * size'),
        "Keys and values are narrower": ("2 * (width + kv_width)", "2 * (width + (kv_width if width < 5 else width))"),
        "ints stay ints": ("layers * in_a_layer[method]", "float(layers * in_a_layer[method])"),
    },
    "06.2": {
        "These are the frozen ones": ("return kept", "return [name for name in names if name not in kept]"),
        "Return a list": ("return kept", "return set(kept)"),
        "so are they. Left trainable": ("(place > first) == (part == \"bottom\")", "True"),
        "The final norm and the head stand behind": ("(place > first) == (part == \"bottom\")", "False"),
        "The head stands behind": ("return kept", "return [name for name in kept if 'head' not in name]"),
        "it is the one to freeze": ("layer >= frozen if", "layer < frozen if"),
        "Layers count by number": ("int(found[1]) if found", "int(found[1][0]) if found"),
        "A quarter of 12 is 3": ("round(share * count)", "round(share * count) + (count == 12)"),
        "28.999999999999996": ("round(share * count)", "int(share * count)"),
        "Round to the nearest": ("round(share * count)", "-int(-share * count // 1) + (count == 100)"),
        "even where no layer is": ("kept.append(name)", "kept.append(name)\n    if not frozen:\n        return names"),
        "with the *bottom* frozen": ("    layer_of = {name: re", "    part = 'bottom'\n    layer_of = {name: re"),
        "so are they.": ("(place > first) == (part == \"bottom\")", "place > first or part == 'top'"),
        "are trained with the bottom": ("(place > first) == (part == \"bottom\")",
                                        "place > first and part == 'bottom'"),
        "The share is what is frozen": ("layer < count - frozen", "layer < frozen"),
        "the highest layers are frozen": ("layer < count - frozen", "layer >= frozen"),
        "The layer is the *first* number": (_NUMBER, _NUMBER.replace('r"', 'r".*')),
        "between two dots; fc1": (_NUMBER, r're.search(r"(\d+)", name)'),
        "embeddings of positions": ("place > first)", "place > 0)"),
    },
    "06.3": {
        "the weights of `up` begin at zero": ("        nn.init.zeros_(self.up.weight)\n", ""),
        "neither ever gets a gradient": ("nn.init.zeros_(self.up.weight)",
                                         "nn.init.zeros_(self.up.weight), nn.init.zeros_(self.down.weight)"),
        "it reads the same x": ("return self.block(x) + self.scale * self.up(torch.relu(self.down(x)))",
                                "x = self.block(x)\n        return x + self.scale * self.up(torch.relu(self.down(x)))"),
        "The block's own output is missing": ("self.block(x) + ", ""),
        "The scale is missing": ("self.scale * ", ""),
        "belongs to the adapter alone": ("return self.block(x) + self.scale * self.up",
                                         "return self.scale * self.block(x) + self.up"),
        "not to x.": ("self.block(x) + ", "0 * self.block(x) + x + "),
        "x itself is not added": ("self.block(x) + ", "x + self.block(x) + "),
        "it would be LoRA": ("torch.relu(self.down(x))", "self.down(x)"),
        "without a bias": ("size, bias=False)", "size)"),
        "freeze it": ("block.requires_grad_(False)", "block"),
        "The scale is a fixed number": (", scale\n", ", nn.Parameter(torch.tensor(float(scale)))\n"),
        "no no_grad and no detach": ("        return self", "        with torch.no_grad():\n            return self"),
        "maps width to size": ("nn.init.zeros_(self.up.weight)", "self.down, self.up = self.up, self.down\n"
                               "        nn.init.zeros_(self.up.weight)"),
        "The gradient has to reach x": ("self.block(x) + ", "self.block(x).detach() + "),
        "Keep the block as an attribute": ("self.block, self.scale = block.requires_grad_(False), scale",
                                           "self.block, self.scale = (lambda x: block(x)), scale\n"
                                           "        block.requires_grad_(False)"),
        "are to be called `down` and `up`": ("self.up", "self.out"),
    },
    "06.4": {
        "Three results are wanted": (", wide_labels\n", "\n"),
        "the prompt goes behind the padding": ("start = width - int(mask[row].sum())", "start = 0"),
        "is masked out": ("wide_mask[row, start:] = 1", "wide_mask[row, start + count:] = 1"),
        "in its own order": ("] = prompt", "] = prompt.flip(0)"),
        "in front of the tokens": ("wide[row, start:start + count] = prompt\n        "
                                   "wide[row, start + count:] = embedded[row, start:]",
                                   "wide[row, width:] = prompt\n        "
                                   "wide[row, start:width] = embedded[row, start:]"),
        "no loss is IGNORED": ("-100", "0"),
        "The labels have moved away": ("wide_labels[row, start + count:] = labels[row, start:]",
                                       "wide_labels[row, start:width] = labels[row, start:]"),
        "by the prompt": ("return wide, wide_mask, wide_labels", "return wide, wide_mask[:, count:], wide_labels"),
        "each stays at its own token": ("return wide, wide_mask, wide_labels", "return wide, wide_mask, labels"),
        "No gradient comes back": ("] = prompt", "] = prompt.detach()"),
        "Every row has the prompt": ("] = prompt", "] = prompt if row == 0 else prompt.detach()"),
        "keeps it, whatever the prompt is stored in": ("return wide,", "return wide.float(),"),
        "Take each row's length from its mask": ("start = width - int(mask[row].sum())",
                                                 "start = int(mask.sum(1).max()) - int(mask[row].sum())"),
        "Mask and labels keep their types": ("return wide, wide_mask, wide_labels",
                                             "return wide, wide_mask.long(), wide_labels.long()"),
        "begin with zeros": ("wide = embedded.new_zeros(rows, width + count, hidden)",
                             "wide = embedded.new_full((rows, width + count, hidden), float('nan'))"),
    },
    "06.5": {
        "One share for each query": (_LAST, "torch.sigmoid(prefix.logsumexp(-1) - own.logsumexp(-1)).mean(-1)"),
        "this one sees all three": (".masked_fill(later, float(\"-inf\"))", ""),
        "That is the share of the tokens": (_LAST, "torch.sigmoid(own.logsumexp(-1) - prefix.logsumexp(-1))"),
        "A token sees itself": (".triu(1)", ".triu(0)"),
        "not a mean and not the largest": (_LAST, "torch.sigmoid(prefix.amax(-1) - own.amax(-1))"),
        "divide by the prefix *and* the tokens": (_LAST, "prefix.exp().sum(-1) / own.exp().sum(-1)"),
        "divided by the root of the head's width, here": ("** -0.5", "** 0.0"),
        "it is its root": ("** -0.5", "** -1.0"),
        "subtract the largest score first": (
            _LAST, "prefix.exp().sum(-1) / (prefix.exp().sum(-1) + own.exp().sum(-1))"),
        "a share of 0": (_LAST, _LAST + ".clamp(min=1e-3)"),
        "max of nothing is an error": (_LAST, _LAST + " + 0 * prefix.amax(-1)"),
        "No gradient comes back to the prefix": (_LAST, _LAST + ".detach()"),
    },
    "06.6": {
        "return the others": ("if not any", "if any"),
        "Return a list": (_KEPT, "set(" + _KEPT[1:-1] + ")"),
        "it is beaten": ("low > other_high", "low > other_low + 0.1 and low > other_high + 0.02"),
        "their intervals overlap: who": ("low > other_high", "low > other_low - 0.3"),
        "must lie *above*": ("low > other_high", "low >= other_high"),
        "may score better after all": ("low > other_high", "low > other_low"),
        "both.": (_KEPT, "[max(rows, key=lambda name: rows[name][1])]"),
        "at least that row is beaten": ("return low > other_high", "return False and low > other_high"),
        "cheaper in the second": ("all(mine <= theirs for mine, theirs in zip(costs, other_costs))",
                                  "costs[0] <= other_costs[0]"),
        "An equal cost is no advantage": ("mine <= theirs", "mine < theirs"),
        "Costs are of different kinds": ("all(mine <= theirs for mine, theirs in zip(costs, other_costs))",
                                         "sum(costs) <= sum(other_costs)"),
        "so nobody can say": ("mine <= theirs", "not mine > theirs"),
        "in which the rows were given": (_KEPT, "sorted(" + _KEPT + ")"),
    },
}
WRONG = {exercise: {hint: _RIGHT[exercise].replace(*change) for hint, change in changes.items()}
         for exercise, changes in _CHANGES.items()}
