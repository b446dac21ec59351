"""Optimizer steps of a setup, as our own training takes them and as transformers' Trainer does.

Knows nothing about memory, nor about where a model comes from.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from ftkit.batches import Batch
from ftkit.memory.setup import Setup
from ftkit.train import learner
from ftkit.train.config import OPTIMIZERS, TrainConfig
from ftkit.train.learner import Learner, ready_to_learn
from ftkit.train.order import Order

RATE = 1e-4  # any will do: memory does not depend on it


def examples_of(setup: Setup) -> list[tuple[list[int], list[int]]]:
    """Rows of a setup's length with labels at the end of each, as many as the setup says; at least one a row."""
    rows, width = setup.batch_size, setup.seq_len
    counts = [setup.label_tokens // rows + (row < setup.label_tokens % rows) for row in range(rows)]
    counts = [max(1, count) for count in counts]
    return [([1] * width, [-100] * (width - count) + [1] * count) for count in counts]


def label_tokens(setup: Setup) -> int:
    """How many tokens of a micro-batch of `examples_of` carry loss."""
    return sum(label >= 0 for _, labels in examples_of(setup) for label in labels)


class OurSteps:
    """Steps of our own training: `train.Learner`, with an optimizer that it has not where the setup asks for one.

    Args:
        as_on_cuda: leave out what training does on a CPU alone.
    """

    def __init__(self, model: nn.Module, setup: Setup, as_on_cuda: bool):
        self._setup, self._order = setup, Order(examples_of(setup), _config(setup), pad_id=0)
        self._learner = _Learner(model, setup, as_on_cuda)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer as torch or bitsandbytes has it."""
        return self._learner.optimizer

    def take(self, count: int) -> None:
        """So many steps."""
        micro_batches = [list(range(self._setup.batch_size))] * self._setup.accumulation
        with ready_to_learn(self._learner.model, self._setup.checkpointing):
            for _ in range(count):
                self._learner.step(self._order, micro_batches, RATE)


class UsualSteps:
    """Steps as transformers' Trainer takes them: the model's own loss over all positions, clipping, the optimizer."""

    def __init__(self, model: nn.Module, setup: Setup):
        self._model, self._setup = model, setup
        self.parameters = [one for one in model.parameters() if one.requires_grad]
        self.optimizer = optimizer_of(self.parameters, setup) or learner.optimizer(self.parameters, [], _config(setup))

    def take(self, count: int) -> None:
        """So many steps."""
        with ready_to_learn(getattr(self._model, "module", self._model), self._setup.checkpointing):
            for _ in range(count):
                for _ in range(self._setup.accumulation):
                    self._backward()
                nn.utils.clip_grad_norm_(self.parameters, 1.0)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)

    def _backward(self) -> None:
        device, mixed = self.parameters[0].device, self._setup.mixed
        ids, labels = (torch.tensor(column, device=device) for column in zip(*examples_of(self._setup), strict=True))
        with torch.autocast(device.type, dtype=getattr(torch, mixed or "bfloat16"), enabled=mixed is not None):
            loss = self._model(input_ids=ids, labels=labels, use_cache=False).loss
        (loss / self._setup.accumulation).backward()


def make_state_(optimizer: torch.optim.Optimizer) -> None:
    """An optimizer's state is there as after a first step, which is taken on gradients of zero."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def optimizer_of(parameters: Sequence[nn.Parameter], setup: Setup) -> torch.optim.Optimizer | None:
    """The optimizer of a setup, None where it is one of our own training."""
    import bitsandbytes as bnb

    made = {"sgd": torch.optim.SGD, "adamw8bit": bnb.optim.AdamW8bit, "paged_adamw": bnb.optim.PagedAdamW,
            "paged_adamw8bit": bnb.optim.PagedAdamW8bit}.get(setup.optimizer)
    if made is None:
        return None
    with _disable_current_modes():  # its tables of codes are computed from numbers
        one = made([{"params": list(parameters)}], RATE)
    if hasattr(one, "name2qmap"):
        one.name2qmap = {name: table.clone() for name, table in one.name2qmap.items()}  # fake where tensors are
    return one


class _Learner(Learner):
    """The learner of our own training, with another optimizer where the setup asks for one that it does not offer."""

    def __init__(self, model: nn.Module, setup: Setup, as_on_cuda: bool):
        super().__init__(model, _config(setup))
        self._as_on_cuda, other = as_on_cuda, optimizer_of(list(self.parameters.values()), setup)
        if other is not None:
            self._bare, self._optimizer = other, self._accelerator.prepare_optimizer(other)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._bare

    @contextmanager
    def _fast(self, batch: Batch) -> Iterator[None]:
        shortcuts = patch.object(learner, "fused", lambda *_: nullcontext()) if self._as_on_cuda else nullcontext()
        with shortcuts, super()._fast(batch):  # they are for CPUs alone
            yield


def _config(setup: Setup) -> TrainConfig:
    mixed = "no" if setup.mixed is None else "bf16"  # of fp16 a CPU has none; it takes as many bytes
    return TrainConfig(RATE, max_steps=1, batch_size=setup.batch_size, accumulation=setup.accumulation, precision=mixed,
                       optimizer=setup.optimizer if setup.optimizer in OPTIMIZERS else OPTIMIZERS[0],
                       logits="at_labels" if setup.logits == "labels" else setup.logits,
                       activation_checkpointing=setup.checkpointing)
