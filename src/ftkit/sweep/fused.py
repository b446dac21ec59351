"""Many adapters on one frozen model, trained together: one pass of the model for all, each as if it were alone.

    members = [Member(LoraConfig(rank=rank), config, examples) for rank in (4, 8)]
    training = Fused(model, members)
    for record in training.records():
        print(record["member"], record["step"], record["loss"])

Knows nothing about run folders, grids or where examples come from.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ftkit import cpu
from ftkit import fused as fused_model
from ftkit.batches import Batch, below_each_other
from ftkit.device import peak_gib
from ftkit.errors import refusal, unknown
from ftkit.lora.adapter import add_lora_, lora_layers, remove_lora_
from ftkit.lora.saving import save_adapter
from ftkit.losses import token_losses
from ftkit.sweep.members import Member, adapter_of, check
from ftkit.sweep.side_by_side import Draws, Rows, grouped, open_paths
from ftkit.train.config import EPOCH
from ftkit.train.learner import matmul_precision, optimizer, ready_to_learn
from ftkit.train.loop import FIELDS, diverged
from ftkit.train.order import Order, Step, held_out_order
from ftkit.train.schedule import rate, warmup_steps


class Fused:
    """Trainings of several adapters that share each pass of their frozen model.

    Each step takes the next batch of every member, puts their rows below each other, and runs the model once. A
    member's low-rank paths see its own rows; its loss, clipping, optimizer, schedule and dropout are its own. So each
    computes what `train` would compute for it alone, rounding aside: products over more rows are added up in another
    order. A member that has its steps, or diverges, leaves the batch.

    What it saves is what a small batch leaves unused: with t0 the tokens whose computing would take as long as a step's
    fixed costs, N members of T tokens each take (N·T + t0)/(N·(T + t0)) of the time of N trainings.

    Between steps, and afterwards, the model is as it was, frozen.

    Args:
        model: a causal language model of transformers, without an adapter.
        members: two or more usually; one is possible.
        pad_id: the token that fills rows; any id will do.

    Raises:
        Refusal: no members, members that differ in matmul_precision, a target that is no linear module, a model with
            dropout of its own; and all that `add_lora_` and `train` refuse.

    Source: the idea of Ye et al. 2023, mLoRA, and of Chen et al. 2023, Punica, for training.

    Taught in: 05_rank_alpha_dropout
    """

    def __init__(self, model: nn.Module, members: Sequence[Member], pad_id: int = 0):
        self.model, self.members, self._pad_id = model, list(members), pad_id
        check(model, self.members)
        cpu.reuse_freed_memory_()
        self.failed: dict[int, str] = {}
        self._device = next(model.parameters()).device
        self._precision = matmul_precision(self.members[0].train, self._device)
        adapters = {number: adapter_of(model, one) for number, one in enumerate(self.members)}
        self._modules = {path: model.get_submodule(path) for one in adapters.values() for path in one.factors}
        self._groups = grouped(adapters, self._device, pad=self._device.type != "cpu")
        self._group_of = {number: group for group in self._groups for number in group.members}
        self._draws = {number: Draws(one.train.seed, self._device) for number, one in enumerate(self.members)}
        self._orders = [Order(one.examples, one.train, pad_id) for one in self.members]
        self._held_out = [None if one.held_out is None else held_out_order(one.held_out, one.train.batch_size, pad_id)
                          for one in self.members]
        self._optimizers = [optimizer([self._group_of[number].parameters[number]], [], one.train)
                            for number, one in enumerate(self.members)]
        self._courses = {number: order.steps() for number, order in enumerate(self._orders)}
        self._elapsed_s = 0.0

    def records(self) -> Iterator[dict]:
        """One record a member and step, as `train` yields them, with `member`, its number.

        elapsed_s, peak_gib and the time in tokens_per_s are of all members together. Called again, it goes on with the
        next step.
        """
        with ready_to_learn(self.model, recompute=False):
            while self._courses:
                following = {number: next(course, None) for number, course in self._courses.items()}
                steps = {number: step for number, step in following.items() if step is not None}
                self._keep_(steps)
                records = self._one(steps) if steps else []
                self._courses = {number: self._courses[number] for number in steps if number not in self.failed}
                yield from records

    def put_in_(self, member: int) -> nn.Module:
        """The model with a member's adapter as it is now, to score it; `remove_lora_` takes it out again.

        Raises:
            Refusal: no such member.
        """
        one = self._member(member)
        add_lora_(self.model, one.lora, one.seed)
        layers = lora_layers(self.model)
        with torch.no_grad():
            for path, (lora_A, lora_B) in self._group_of[member].factors(member).items():
                layers[path].lora_A.copy_(lora_A)
                layers[path].lora_B.copy_(lora_B)
        return self.model

    def save(self, member: int, folder: str | Path, base_name: str) -> Path:
        """The folder, holding a member's adapter as it is now in peft's layout.

        Args:
            base_name: the base model's name, written into the config.

        Raises:
            Refusal: no such member.
        """
        adapted = self.put_in_(member)
        try:
            return save_adapter(adapted, folder, base_name)
        finally:
            remove_lora_(self.model)

    def _member(self, number: int) -> Member:
        if number not in self._group_of:
            raise unknown("member", number, self._group_of)
        return self.members[number]

    def _refuse_adapted(self) -> None:
        if any(self.model.get_submodule(path) is not module for path, module in self._modules.items()):
            raise refusal("model", "as it was between steps", "one with a member's adapter put in",
                          "Take it out with remove_lora_ before the next step.")

    def _keep_(self, members: Mapping) -> None:
        for group in self._groups:
            left = [number for number in group.members if number in members]
            if left != group.members:
                group.keep_(left)
        self._groups = [group for group in self._groups if group.members]

    def _one(self, steps: Mapping[int, Step]) -> list[dict]:
        """One step of all members, and their records."""
        self._refuse_adapted()
        started_s = time.perf_counter()
        rates = {number: self._rate(number, step) for number, step in steps.items()}
        results = self._learn(steps, rates)
        step_s = time.perf_counter() - started_s
        held_out = self._evaluated({number: step for number, step in steps.items() if number not in self.failed})
        self._elapsed_s += time.perf_counter() - started_s
        records, peak = [], peak_gib()
        for number, (loss, norm, tokens) in results.items():
            if number not in self.failed:
                measured = (steps[number].number, steps[number].epoch, loss, held_out.get(number), rates[number], norm,
                            tokens, tokens / step_s, peak, self._elapsed_s)
                records.append({"member": number} | dict(zip(FIELDS, measured, strict=True)))
        return records

    def _rate(self, number: int, step: Step) -> float:
        config, total = self.members[number].train, self._orders[number].total_steps
        warmup = warmup_steps(total, config.warmup_steps, config.warmup_ratio)
        return rate(step.number, total, config.learning_rate, warmup, config.schedule)

    def _learn(self, steps: Mapping[int, Step], rates: Mapping[int, float]) -> dict[int, tuple[float, float, int]]:
        """Loss, gradient norm before clipping, and real tokens of each member, whose weights are moved."""
        losses, tokens = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0)
        labels = {number: sum(map(self._orders[number].labels_in, step.rows)) for number, step in steps.items()}
        for group in self._groups:
            group.grads.zero_()
        for turn in range(max(len(step.rows) for step in steps.values())):
            batches = {number: self._orders[number].batch(step.rows[turn])
                       for number, step in steps.items() if turn < len(step.rows)}
            parts = {number: part / labels[number] for number, part in self._losses(batches, backward=labels).items()}
            losses = {number: loss + parts.get(number, 0.0) for number, loss in losses.items()}
            tokens = {number: count + (batches[number].real_tokens if number in batches else 0)
                      for number, count in tokens.items()}
        norms = {number: self._clipped(number) for number in steps}
        values = torch.stack([*losses.values(), *norms.values()]).tolist()  # one wait for the device
        found = {}
        for place, number in enumerate(steps):
            found[number] = values[place], values[place + len(steps)], tokens[number]
            self._move_(number, steps[number].number, *found[number][:2], rates[number])
        return found

    def _move_(self, number: int, step: int, loss: float, norm: float, learning_rate: float) -> None:
        for name, value in (("loss", loss), ("grad_norm", norm)):
            if not math.isfinite(value):
                self.failed[number] = str(diverged(name, step, value, self.members[number].train))
                return
        for group in self._optimizers[number].param_groups:
            group["lr"] = learning_rate
        self._optimizers[number].step()

    def _clipped(self, number: int) -> torch.Tensor:
        most = self.members[number].train.max_grad_norm or math.inf
        return nn.utils.clip_grad_norm_([self._group_of[number].parameters[number]], most)

    def _evaluated(self, steps: Mapping[int, Step]) -> dict[int, float]:
        """The held-out loss of each member that is due, all measured together."""
        due = [number for number, step in steps.items()
               if self._held_out[number] is not None and self._is_due(number, step)]
        if not due:
            return {}
        courses = {number: [rows for step in self._held_out[number].steps() for rows in step.rows] for number in due}
        totals = dict.fromkeys(due, 0.0)
        self.model.eval()
        for turn in range(max(map(len, courses.values()))):
            batches = {number: self._held_out[number].batch(rows[turn])
                       for number, rows in courses.items() if turn < len(rows)}
            for number, part in self._losses(batches).items():
                totals[number] += part.double()
        self.model.train()
        return {number: float(total) / sum(self._held_out[number].label_tokens) for number, total in totals.items()}

    def _is_due(self, number: int, step: Step) -> bool:
        every, last = self.members[number].train.eval_every, step.number == self._orders[number].total_steps
        return last or (step.ends_epoch if every == EPOCH else every is not None and step.number % every == 0)

    def _losses(self, batches: Mapping[int, Batch], backward: Mapping[int, int] | None = None) -> dict:
        """The sum of losses of each member's batch; with numbers of labels the gradients are added up, too."""
        ordered = {number: batches[number] for group in self._groups for number in group.members if number in batches}
        rows = [Rows(number, *batch.input_ids.shape) for number, batch in ordered.items()]
        joined = below_each_other(list(ordered.values()), self._pad_id).to(self._device)
        draws = self._draws if backward else None
        with torch.set_grad_enabled(backward is not None), cpu.matmul(self._precision), fused_model.fused(
                self.model, *joined.input_ids.shape), open_paths(
                self._modules, self._groups, rows, joined.input_ids.shape[1], draws):
            losses = token_losses(self.model, joined).split([one.count for one in rows])
            sums = {one.member: own.sum() for one, own in zip(rows, losses, strict=True)}
            if backward:
                sum(part / backward[number] for number, part in sums.items()).backward()
        return {number: part.detach() for number, part in sums.items()}
