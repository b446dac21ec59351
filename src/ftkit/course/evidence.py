"""Evidence that a training trained what it was meant to, and learned: a table of findings, or a failure.

Knows nothing about methods, lessons or how the training was done.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ftkit import targets
from ftkit.chat import IGNORED
from ftkit.course.exercise import CheckFailed
from ftkit.course.table import Table
from ftkit.errors import refusal
from ftkit.evaluate.intervals import paired_difference
from ftkit.train.learner import frozen_of, hash_of


@dataclass(frozen=True)
class Snapshot:
    """A prepared model before its training: copies of what is trained, a hash of everything else."""

    trained: dict[str, torch.Tensor]
    frozen_sha256: str


def snapshot(model: nn.Module) -> Snapshot:
    """What `learned` compares with; to be taken after the model was prepared and before it is trained."""
    trained = {name: one.detach().clone() for name, one in model.named_parameters() if one.requires_grad}
    return Snapshot(trained, hash_of(frozen_of(model)))


def learned(before: Snapshot, model: nn.Module, *, wanted: Collection[str], examples: Sequence, end_of_turn: int,
            losses_before: Sequence[float], losses_after: Sequence[float]) -> Table:
    """Five findings about a training, all of them good.

    Args:
        before: the model as it was.
        model: the same model, trained.
        wanted: names of the parameters that were to be trained.
        examples: what it was trained on, pairs (token ids, labels).
        end_of_turn: the token that ends an answer.
        losses_before: the loss on each held-out record before.
        losses_after: the same records' after.

    Raises:
        CheckFailed: one of the findings is bad; the table says which.
        Refusal: nothing was trained, or there are no examples.
    """
    if not before.trained or not examples:
        raise refusal("before", "a snapshot of a model with trainable weights, and examples", "nothing trained",
                      "Take it after methods.prepare.")
    findings = [_trained_set(model, wanted), _frozen(before, model), _moved(before, model),
                _end_in_loss(examples, end_of_turn), _held_out(losses_before, losses_after)]
    table = Table(["evidence of learning", "", "found"],
                  [[what, "yes" if good else "NO", found] for what, good, found in findings])
    if not all(good for _, good, _ in findings):
        raise CheckFailed(f"this training did not do what it was meant to:\n{table!r}")
    return table


def _trained_set(model: nn.Module, wanted: Collection[str]) -> tuple:
    names = set(targets.trainable(model))
    stray = sorted(names ^ set(wanted))
    found = f"{len(names)} tensors, {sum(targets.trainable(model).values()):,} numbers"
    if stray:
        found = f"{len(names)} tensors where {len(set(wanted))} were wanted; first to differ: {stray[0]}"
    return "exactly the wanted tensors were trained", not stray, found


def _frozen(before: Snapshot, model: nn.Module) -> tuple:
    now = hash_of(frozen_of(model))
    same = now == before.frozen_sha256
    return "all other tensors are what they were, bit for bit", same, \
        f"sha256 {now[:12]}… before and after" if same else f"sha256 {before.frozen_sha256[:12]}…, then {now[:12]}…"


def _moved(before: Snapshot, model: nn.Module) -> tuple:
    now = dict(model.named_parameters())
    moves = {name: float((now[name].detach() - old).norm()) for name, old in before.trained.items() if name in now}
    still = [name for name, move in moves.items() if not move > 0]
    found = f"not {still[0]}" if still else f"by {min(moves.values()):.3g} to {max(moves.values()):.3g} each (norm)"
    return "every trained tensor has moved", not still, found


def _end_in_loss(examples: Sequence, end_of_turn: int) -> tuple:
    inside = sum([label for label in labels if label != IGNORED][-1:] == [end_of_turn] for _, labels in examples)
    return "the end-of-turn token carries loss", inside == len(examples), f"in {inside} of {len(examples)} examples"


def _held_out(losses_before: Sequence[float], losses_after: Sequence[float]) -> tuple:
    change = paired_difference(losses_before, losses_after)
    return "held-out loss fell by more than chance", change.high < 0, \
        f"{change.value:+.3f} nats a token, between {change.low:+.3f} and {change.high:+.3f} ({change.n} records)"
