"""What an answer to an exercise of lesson 02 is judged by. Knows nothing about the notebook around it."""

import torch

from ftkit.course.cases import Case, Check, Hint, Rule
from ftkit.course.checks.lora_factors import (
    embedding_cases,
    gradient_cases,
    merged_cases,
    random_tensor,
    smaller_adapter_cases,
)

_COLUMNS = "They are no columns' own energies: take torch.linalg.svdvals."


_WHOLE = Rule("a whole number (int)", lambda got: type(got) is int)


def _largest_rank() -> list[Case]:
    two = [(4, 4), (8, 4)]  # 8 numbers a rank, and 12: 20 together
    return [
        Case("one layer of 4 x 6, 25 numbers", lambda answer: answer([(4, 6)], 25), 2, [
            Hint(1, "This counts the layer's own weights: A has rank x in numbers and B has out x rank."),
            Hint(3, "Round down: three ranks would need 30 numbers, more than the budget."),
            Hint(2.5, "A rank is a whole number: divide with //."),
            Hint(4, "This counts one side alone: A has rank x in numbers and B has out x rank."),
        ]),
        Case("two layers, 60 numbers", lambda answer: answer(list(two), 60), 3, [
            Hint(4, "Count every layer, not the first alone, and both sides of each."),
            Hint(5, "A has rank x in numbers and B has out x rank: count both sides of each layer."),
            Hint(1, "This counts the layers' own weights: a rank costs out + in numbers a layer."),
        ]),
        Case("exactly enough", lambda answer: answer(list(two), 40), 2, [
            Hint(1, "40 numbers are exactly two ranks: the budget itself may be used."),
        ]),
        Case("one number too few", lambda answer: answer(list(two), 39), 1),
        Case("sides of different length", lambda answer: answer([(8, 5), (4, 10)], 22), 0, [
            Hint(2, "This is what comes of the smaller sides alone: a rank costs out + in numbers a layer."),
            Hint(1, "Even one rank costs 27 numbers here: count both sides of each layer, and round down."),
        ]),
        Case("a budget for nothing", lambda answer: answer([(4, 6)], 9), 0, [
            Hint(1, "Not even rank 1 fits this budget: 0 is the answer then."),
        ]),
        Case("a budget for more than there is", lambda answer: answer(list(two), 10_000), 4, [
            Hint(500, "A rank above the smallest side of any layer adds nothing: BA has no more rank than that side."),
            Hint(8, "Take the smallest side of any layer, in or out."),
        ]),
        Case("a layer with few inputs", lambda answer: answer([(64, 64), (512, 3)], 10 ** 6), 3, [
            Hint(64, "Take the smallest side of any layer: the second one has 3 inputs."),
        ]),
        Case("a layer with few outputs", lambda answer: answer([(64, 64), (5, 512), (32, 32)], 10 ** 6), 5, [
            Hint(64, "Take the smallest side of any layer: the second one has 5 outputs."),
        ]),
        Case("one wide layer", lambda answer: answer([(512, 512)], 100_000), 97),
        Case("the kind of number", lambda answer: answer([(512, 512)], 100_000), _WHOLE),
        Case("the layers of a 7B", lambda answer: answer([(4096, 4096)] * 64, 4_194_304), 8),
    ]


def _spectrum(sizes: list[float], rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """A matrix with these singular values, in directions that are no rows and no columns."""
    left = torch.linalg.qr(random_tensor(rows, rows, seed=seed, dtype=torch.float64))[0][:, :len(sizes)]
    right = torch.linalg.qr(random_tensor(columns, columns, seed=seed + 1, dtype=torch.float64))[0][:, :len(sizes)]
    return (left * torch.tensor(sizes, dtype=torch.float64)) @ right.T


def _hard_updates() -> list[Case]:
    turned = [6.0, 3.0, 2.0, 1.0]  # energies 36, 9, 4, 1 of 50
    return [
        Case("a share of the whole", lambda answer: answer(_spectrum([3.0] * 8, 9, 8), 0.55), 5, [
            Hint(1, "Take the share of the whole matrix, not of its largest singular value, which is an eighth."),
            Hint(8, "All eight singular values are alike here, and five of them hold 62 %: you counted how many values "
                    "are large, or added too many."),
            Hint(6, "One too many: five of eight are 62 %, and four are 50 %."),
            Hint(4, "One too few: four of eight are 50 %."),
        ]),
        Case("all directions are needed", lambda answer: answer(torch.eye(3), 0.9), 3, [
            Hint(2, "Two of three hold 67 %: go on to the last one."),
            Hint(0, "Two of three hold 67 %: the loop has to reach the last one."),
            Hint(4, "There are three directions: one too many."),
        ]),
        Case("a little above a half", lambda answer: answer(torch.eye(4), 0.50005), 3),
        Case("no diagonal", lambda answer: answer(torch.tensor([[0.0, 3.0], [4.0, 0.0]]), 0.6), 1, [
            Hint(0, "This update is not zero, only its first entry is: ask all entries."),
        ]),
        Case("a small update", lambda answer: answer(1e-5 * _spectrum(turned, 6, 6).float(), 0.89), 2, [
            Hint(0, "A small update is not zero: compare with zero itself."),
        ]),
        Case("the kind of number", lambda answer: answer(torch.eye(4), 0.3), _WHOLE, [
            Hint(lambda got: True, "Turn it into a whole number with int."),
        ]),
        Case("a long tail", lambda answer: answer(_spectrum([10.0] + [1.0] * 150, 200, 160), 0.999), 151, [
            Hint(lambda got: 148 <= got <= 150, "One too few: 0.999 needs the whole tail here."),
        ]),
        Case("an update of zeros", lambda answer: answer(torch.zeros(3, 2), 0.9), 0, [
            Hint(1, "An update of zeros has no energy at all: rank 0 holds all of it."),
            Hint(lambda got: got != 0, "An update of zeros has no energy: answer 0 before dividing by it."),
        ]),
    ]


def _rank_for_energy() -> list[Case]:
    diagonal = torch.diag(torch.tensor([1.0, 4.0, 2.0, 2.0]))  # energies 16, 4, 4, 1 of 25
    turned = [6.0, 3.0, 2.0, 1.0]  # energies 36, 9, 4, 1 of 50
    return [
        Case("16 of 25 are enough", lambda answer: answer(diagonal.clone(), 0.6), 1, [
            Hint(2, "Energy is the square of a singular value: 4² alone is 16 of 25. Or one too many: the rank at "
                    "which the share is reached counts."),
            Hint(0, "One too few: places count from 0, ranks from 1."),
            Hint(lambda got: got in (3, 4), "The largest, 16 of 25, is enough. This adds the smallest first."),
        ]),
        Case("two are needed", lambda answer: answer(diagonal.clone(), 0.7), 2, [
            Hint(3, "One too many, or the diagonal is not the singular values: they come largest first."),
            Hint(1, "One too few: the rank whose energy reaches the share counts."),
            Hint(0, "One too few: places count from 0, ranks from 1."),
        ]),
        Case("directions that are no columns", lambda answer: answer(_spectrum(turned, 7, 5), 0.89), 2, [
            Hint(3, "Energy is the square of a singular value: 36, 9, 4 and 1 of 50 here."),
            Hint(1, "36 of 50 are 72 %: add up until the share is reached."),
            Hint(lambda got: got in (4, 5), "The energies are 36, 9, 4 and 1 of 50 here, largest first. " + _COLUMNS),
        ]),
        Case("exactly reached", lambda answer: answer(torch.eye(4), 0.5), 2, [
            Hint(3, "One too many: two of four hold exactly half, and half is what is asked for."),
        ]),
        Case("more columns than rows, float32", lambda answer: answer(_spectrum(turned, 5, 40).float(), 0.95), 3),
        *_hard_updates(),
    ]


_PATHS = ["embed", "layers.0.attn.q_proj", "layers.0.mlp.up_proj", "layers.9.attn.q_proj", "layers.9.mlp.up_proj",
          "layers.10.attn.q_proj", "layers.10.mlp.up_proj", "layers.10.q_proj.norm", "q_proj"]


_REFUSED = Rule("a ValueError", lambda got: str(got).startswith("ValueError"))


_Q_LAST = ["layers.9.attn.q_proj", "layers.10.attn.q_proj"]


def _tried(names: list[str], k: int, paths: list[str] = _PATHS):
    return lambda answer: answer(list(paths), list(names), k)


def _refused(names: list[str]):
    def got(answer):
        try:
            return answer(list(_PATHS), names, 2)
        except ValueError as error:
            return f"ValueError: {error}"
    return got


_ODD_PATHS = ["2.up", "encoder.layers.3.experts.7.up", "encoder.layers.12.experts.0.up", "encoder.layers.4.h9.up",
              "encoder.layers.12.experts.0Xup", "h99.up"]


def _odd_requests() -> list[Case]:
    return [
        Case("numbers in odd places", _tried(["up"], 2, _ODD_PATHS), [_ODD_PATHS[2], _ODD_PATHS[3]], [
            Hint(_ODD_PATHS[3:1:-1], "Keep the paths in the order of the model, whatever their layers' numbers."),
            Hint(lambda got: "h99.up" in got or _ODD_PATHS[2] not in got, "The layer is the first part of a path that "
                 "is a number as a whole: h99 is none, and in layers.12.experts.0 it is 12."),
            Hint(lambda got: _ODD_PATHS[3] not in got, "Of layers 2, 3, 4 and 12 the last two are 4 and 12."),
        ]),
        Case("a dot is a dot", _tried(["0.up"], 1, _ODD_PATHS), [_ODD_PATHS[2]], [
            Hint(lambda got: _ODD_PATHS[4] in got, "In a regular expression a dot is any character: compare texts."),
        ]),
        Case("a path called by two names", _tried(["q_proj", "attn.q_proj"], 1), _Q_LAST[1:], [
            Hint(_Q_LAST[1:] * 2, "A path that fits two names is still one path."),
        ]),
        Case("a part that is no name", _refused(["attn"]), _REFUSED, [
            Hint(lambda got: isinstance(got, list), "No path ends with 'attn': ValueError is wanted."),
        ]),
        Case("part of a name", _refused(["proj"]), _REFUSED, [
            Hint(lambda got: isinstance(got, list), "'proj' is no name of a module here: ValueError is wanted."),
        ]),
        Case("k is 0", _tried(["q_proj"], 0), [], [
            Hint(["layers.0.attn.q_proj", *_Q_LAST], "k = 0 asks for no layer, and layers[-0:] is all of them."),
            Hint(lambda got: len(got) > 0, "k = 0 asks for no layer."),
        ]),
        Case("more than there are", _tried(["q_proj"], 5), ["layers.0.attn.q_proj", *_Q_LAST], [
            Hint(lambda got: len(got) < 3, "A model with fewer than k layers has all its layers among the last k. (A "
                 "slice that begins below 0 counts from the end.)"),
            Hint(Exception, "A model with fewer than k layers has all its layers among the last k."),
        ]),
        Case("a name that is not there", _refused(["q_proj", "wqkv"]), Rule(
            "a ValueError that says wqkv", lambda got: str(got).startswith("ValueError") and "wqkv" in got), [
            Hint(lambda got: isinstance(got, list), "A name that no module has is mostly a mistake: raise ValueError "
                 "and say which."),
        ]),
    ]


def _in_last_layers() -> list[Case]:
    return [
        Case("q_proj in the last two", _tried(["q_proj"], 2), _Q_LAST, [
            Hint([*_Q_LAST, "layers.10.q_proj.norm"], "A name that stands in the middle of a path is not the module's: "
                 "compare the end of the path."),
            Hint([*_Q_LAST, "q_proj"], "A module that stands in no layer is in none of the last ones."),
            Hint(["layers.0.attn.q_proj", "layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes "
                 "before 9. (Or these are the first layers, or a number has one digit for you.)"),
            Hint(["layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes before 9."),
        ]),
        Case("in the last one", _tried(["q_proj"], 1), _Q_LAST[1:], [
            Hint(["layers.9.attn.q_proj"], "Compare layers as numbers: as text, 10 comes before 9."),
            Hint(["layers.0.attn.q_proj"], "These are the first layers: the last ones have the highest numbers."),
        ]),
        Case("two names", _tried(["up_proj", "q_proj"], 1), _PATHS[5:7], [
            Hint(_PATHS[6:4:-1], "Keep the paths in the order of the model: go through the paths, not the names."),
        ]),
        Case("a longer name", _tried(["attn.q_proj"], 3), ["layers.0.attn.q_proj", *_Q_LAST]),
        *_odd_requests(),
        Case("all names there", _tried(["embed"], 2), []),
        Case("every second layer has it", _tried(["v"], 2, ["b.1.v", "b.2.w", "b.3.v", "b.4.w"]), ["b.3.v"], [
            Hint(["b.1.v", "b.3.v"], "The last layers are those of the model, whether they have the module or not."),
        ]),
    ]


CHECKS = {
    "02.1": Check("rank_for_energy", "The rank that holds a share of an update", 1, 7, _rank_for_energy),
    "02.2": Check("largest_rank", "The largest rank for a budget", 1, 5, _largest_rank),
    "02.3": Check("in_last_layers", "Targets in the last layers alone", 2, 10, _in_last_layers),
    "02.4": Check("embedding_with_lora", "LoRA on an embedding", 3, 9, embedding_cases),
    "02.5": Check("merged", "Merging into any layout", 3, 8, merged_cases),
    "02.6": Check("lora_gradients", "The gradients by hand", 4, 12, gradient_cases),
    "02.7": Check("smaller_adapter", "An adapter of lower rank, without the large matrix", 5, 18,
                  smaller_adapter_cases),
}
