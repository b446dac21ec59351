"""A model in training mode, whose layers compute their activations again in the backward pass where asked to.

Knows nothing about data, losses or optimizers.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ftkit import targets
from ftkit.low_rank import kept_the_second_time
from ftkit.train.config import every


@contextmanager
def ready_to_learn(model: nn.Module, recompute: bool | str, keep_weights: bool = False) -> Iterator[None]:
    """While open, a model is in training mode and, if asked to, computes its activations again in the backward pass.

    Afterwards both are as they were.

    Args:
        recompute: save memory that way: True in all layers, "every:3" in one of three, the first among them.
        keep_weights: keep the weights that a layer makes from codes when it is computed again, until it has passed its
            gradient on.
    """
    was_training, is_ending = model.training, sys.is_finalizing
    model.train()
    step = every(recompute)
    switch = step and not model.is_activation_checkpointing
    if switch:
        kept = {"context_fn": kept_the_second_time} if keep_weights else {}
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False, **kept})
        _leave_out_(model, step)
    try:
        yield
    finally:
        if not is_ending():  # a program that ends with an iterator half-way has taken torch apart already
            model.train(was_training)
            if switch:
                model.activation_checkpointing_disable()


def _leave_out_(model: nn.Module, step: int) -> None:
    for place, path in enumerate(targets.layers_of(model) if step > 1 else ()):
        if place % step:
            model.get_submodule(path).gradient_checkpointing = False  # transformers' own name
