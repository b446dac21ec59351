"""A plan without a formula: the first steps of a model of any family counted, in the form that predictions have.

Knows nothing about cards and what fits on them.
"""

import warnings
from collections.abc import Mapping

from ftkit.errors import Refusal, refusal
from ftkit.memory.predict import Memory
from ftkit.memory.setup import Setup
from ftkit.meter.measuring import measure

PARTS = {"parameters": "weights", "buffers": "buffers", "gradients": "gradients", "optimizer": "optimizer",
         "activations": "activations", "inputs": "activations", "temporaries": "scratch"}
"""What the kinds that are counted are called in a plan: adapters are weights, attention and logits activations."""


def count_memory(config: Mapping, setup: Setup, way: str = "ours") -> Memory:
    """The memory that a training takes, counted on tensors without storage: about a second a layer.

    Args:
        config: of any language model that the installed transformers has code for.
        way: as `predict` takes it.

    Raises:
        Refusal: transformers has no code for it, or its code cannot be run without numbers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            found = measure(dict(config), setup, way=way)
    except Refusal:
        raise
    except Exception as error:  # each family's code has ways of its own to want numbers
        reason = f"Counting ended in {type(error).__name__}: {str(error).splitlines()[0]}"
        raise refusal("model_type", "one of the planner's families, or one whose steps can be counted",
                      config.get("model_type"), reason) from error
    parts = dict.fromkeys(PARTS.values(), 0)
    for kind, size in found.by.items():
        parts[PARTS[kind]] += size
    passes = {"step": "optimizer step", "recompute": "backward pass"}
    moment = f"{passes.get(found.phase, f'{found.phase} pass')}{f', in {found.place}' if found.place else ''}"
    return Memory(found.peak_bytes, moment, parts, found.phases, (), {"all types together": found.before_bytes},
                  found.trainable, found.total)
