"""Forward and backward of one adapted layer, ours beside peft's: the same base, factors, input and gradients.

    python benchmarks/lora_layer.py [--sizes 256 1024] [--ranks 4 64] [--tokens 128]

Two of ours: `plain`, the layer as it comes, which takes peft's steps and gives peft's bits; `fewest`, as it runs inside
`ftkit.train`. Each round times all three once, in a random order, and gives ratios of times that lie next to each
other; the figure is their median, with a 95 % interval from its order statistics. Prints a table and writes
benchmarks/results/lora_layer.json.
"""

import argparse
import math
import random
import statistics
import time

import results
import torch
from peft import LoraConfig as PeftConfig
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import nn

from ftkit import low_rank
from ftkit.lora.layers import LoRALayer
from ftkit.tables import aligned

SIZES, RANKS, TOKENS = (256, 512, 1024, 2048, 4096), (4, 8, 16, 64), 128
ALPHA, ROUND_S, FEWEST_ROUNDS, MOST_ROUNDS = 16, 8.0, 31, 301
GOALS = {256: "median ≤ 0.95", 1024: "upper end ≤ 1.03", 2048: "upper end ≤ 1.03", 4096: "upper end ≤ 1.03"}


def layers(size: int, rank: int) -> tuple[nn.Module, nn.Module]:
    """Our layer and peft's over the same frozen base, with the same factors."""
    base = nn.Linear(size, size)
    ours = LoRALayer(base, rank, ALPHA)
    nn.init.normal_(ours.lora_B)
    theirs = PeftLinear(base, "default", config=PeftConfig(r=rank, lora_alpha=ALPHA), r=rank, lora_alpha=ALPHA)
    base.requires_grad_(False)
    with torch.no_grad():
        theirs.lora_A["default"].weight.copy_(ours.lora_A)
        theirs.lora_B["default"].weight.copy_(ours.lora_B)
    return ours, theirs


def seconds(layer: nn.Module, x: torch.Tensor, gradient: torch.Tensor, repeats: int) -> float:
    """Time of so many forward and backward passes, gradients of the input included."""
    started = time.perf_counter()
    for _ in range(repeats):
        for parameter in layer.parameters():
            parameter.grad = None
        x.grad = None
        layer(x).backward(gradient)
    return time.perf_counter() - started


def compare(size: int, rank: int, tokens: int) -> dict:
    """Ratios of our times to peft's: median and 95 % interval, plain and in the fewest steps."""
    torch.manual_seed(0)
    ours, theirs = layers(size, rank)
    x, gradient = torch.randn(tokens, size, requires_grad=True), torch.randn(tokens, size)
    assert torch.equal(ours(x), theirs(x))
    seconds(theirs, x, gradient, 2)  # the first passes allocate
    once_s = seconds(theirs, x, gradient, 3) / 3
    repeats = max(1, round(0.004 / once_s))
    rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, round(ROUND_S / (3 * repeats * once_s))))
    ratios: dict[str, list[float]] = {"plain": [], "fewest": []}
    draw, peft_s = random.Random(0), []
    for _ in range(rounds):
        found = {}
        for arm in draw.sample(["peft", "plain", "fewest"], 3):
            with low_rank.fewest_steps() if arm == "fewest" else torch.enable_grad():
                found[arm] = seconds(theirs if arm == "peft" else ours, x, gradient, repeats) / repeats
        peft_s.append(found["peft"])
        for arm, held in ratios.items():
            held.append(found[arm] / found["peft"])
    return {"size": size, "rank": rank, "tokens": tokens, "rounds": rounds, "repeats": repeats,
            "peft_ms": statistics.median(peft_s) * 1e3,
            **{arm: dict(zip(("median", "low", "high"), median_interval(held), strict=True))
               for arm, held in ratios.items()}}


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """The median, and between which order statistics that of many more rounds lies in 95 of 100 cases."""
    ordered, half = sorted(values), 1.96 * math.sqrt(len(values)) / 2
    low, high = max(0, math.floor(len(values) / 2 - half)), min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return statistics.median(ordered), ordered[low], ordered[high]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--ranks", type=int, nargs="+", default=RANKS)
    parser.add_argument("--tokens", type=int, default=TOKENS)
    options = parser.parse_args()
    rows, shown = [], []
    for size in options.sizes:
        for rank in options.ranks:
            rows.append(row := compare(size, rank, options.tokens))
            shown.append([size, rank, f"{row['peft_ms']:.2f}",
                          *(f"{row[arm]['median']:.3f} [{row[arm]['low']:.3f}, {row[arm]['high']:.3f}]"
                            for arm in ("plain", "fewest")), row["rounds"], GOALS.get(size, "")])
            print(f"{size} x {size}, rank {rank}: plain {shown[-1][3]}, fewest steps {shown[-1][4]}", flush=True)
    print(aligned(["size", "rank", "peft ms", "plain / peft", "fewest steps / peft", "rounds", "goal of plain"], shown))
    print(results.write("lora_layer", {"threads": torch.get_num_threads(), "rows": rows}))


if __name__ == "__main__":
    main()
