"""One layer with a known answer: LoRA has to find a hidden update. Small enough for a whole grid in seconds.

Knows nothing about language models, sweeps or files.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ftkit.lora.layers import LoRALayer

WIDTH, RECORDS, NOISE = 48, 160, 0.3
STRENGTHS = (4.0, 2.0, 1.0, 0.5)  # of the hidden update's directions: its rank is 4


def fit(rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, learning_rate: float = 0.02,
        use_rslora: bool = False, steps: int = 40, seed: int = 0) -> dict:
    """What comes of a LoRA layer that learns a hidden update of rank 4 from noisy examples, with AdamW.

    Equation: y = (W + D)x + noise, D of rank 4; the loss is the mean square of what is missed, on fresh examples
    without noise, so that 0 would be perfect.

    Args:
        rank: of the layer's factors, 1 or more.
        alpha: above 0.
        dropout: 0 up to but not including 1.
        learning_rate: constant, above 0.
        use_rslora: divide alpha by √rank.
        steps: of the optimizer, each on all 160 examples; 0 or more.
        seed: of the hidden update, the examples and the factors.

    Returns:
        held_out_loss, loss (on the last step's examples, noise included), addition_norm and trainable.

    Raises:
        Refusal: a setting of the layer is out of range.

    Example:
        >>> fit(steps=0)["addition_norm"]
        0.0

    Taught in: 05_rank_alpha_dropout
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # dropout draws from the global generator
        torch.manual_seed(seed)
        layer, (x, y), (new_x, new_y) = _task(generator, rank, alpha, dropout, use_rslora)
        loss = _train_(layer, x, y, learning_rate, steps)
    with torch.no_grad():
        missed = F.mse_loss(layer.eval()(new_x), new_y).item()
        norm = layer.addition().norm().item()
    return {"held_out_loss": missed, "loss": loss, "addition_norm": norm, "trainable": 2 * WIDTH * rank}


def _task(generator: torch.Generator, rank: int, alpha: float, dropout: float, use_rslora: bool) -> tuple:
    """The layer to be trained, examples with noise, and fresh ones without."""
    base = nn.Linear(WIDTH, WIDTH, bias=False)
    left, right = (torch.randn(WIDTH, len(STRENGTHS), generator=generator) for _ in range(2))
    hidden = left * torch.tensor(STRENGTHS) @ right.t() / WIDTH
    with torch.no_grad():
        base.weight.copy_(torch.randn(WIDTH, WIDTH, generator=generator) / math.sqrt(WIDTH))
        whole = base.weight + hidden
        x, new_x = (torch.randn(RECORDS, WIDTH, generator=generator) for _ in range(2))
        y = x @ whole.t() + NOISE * torch.randn(RECORDS, WIDTH, generator=generator)
        new_y = new_x @ whole.t()
    return LoRALayer(base, rank, alpha, dropout, generator, use_rslora), (x, y), (new_x, new_y)


def _train_(layer: LoRALayer, x: torch.Tensor, y: torch.Tensor, learning_rate: float, steps: int) -> float:
    optimizer = torch.optim.AdamW([layer.lora_A, layer.lora_B], lr=learning_rate, weight_decay=0.0)
    loss = F.mse_loss(layer(x), y)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.mse_loss(layer(x), y)
        loss.backward()
        optimizer.step()
    return loss.item()
