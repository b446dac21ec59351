"""The Lion optimizer: a sign for each weight instead of a size. Knows nothing about models or schedules."""

from collections.abc import Callable, Iterable

import torch

from ftkit.errors import refusal


class Lion(torch.optim.Optimizer):
    """An optimizer that moves every weight by the learning rate, up or down, and keeps one tensor a weight.

    Equation: w ← w·(1 − lr·λ) − lr·sign(β₁m + (1−β₁)g), then m ← β₂m + (1−β₂)g, with the gradient g.

    Every step has the full size, whatever the gradient's, so its learning rate is 3 to 10 times lower than AdamW's, and
    the weight decay as much higher for the same effect (section 5 of the paper).

    Args:
        params: parameters, or groups of them.
        lr: the learning rate, above 0.
        betas: β₁, of the direction taken, and β₂, of the average kept; each from 0 to below 1.
        weight_decay: λ, decoupled from the gradient, 0 or more.

    Raises:
        Refusal: a number out of range.

    Source: Chen et al. 2023 (arXiv 2302.06675), Algorithm 2.

    Taught in: 04_train_and_watch
    """

    def __init__(self, params: Iterable, lr: float = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0):
        for name, value in (("betas[0]", betas[0]), ("betas[1]", betas[1])):
            if not 0 <= value < 1:
                raise refusal(name, "from 0 to below 1", value, "Take betas=(0.9, 0.99).")
        for name, value in (("lr", lr), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise refusal(name, "0 or more", value)
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """One step; weights without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in (one for one in group["params"] if one.grad is not None):
                state = self.state[weight]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weight)
                direction = state["exp_avg"].lerp(weight.grad, 1 - beta1).sign_()
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=group["lr"])
                state["exp_avg"].lerp_(weight.grad, 1 - beta2)
        return loss
