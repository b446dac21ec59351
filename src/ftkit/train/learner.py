"""A model and its optimizer: one optimizer step, a held-out loss, and all of their state. Knows nothing about files."""

import hashlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import nn

from ftkit import cpu, low_rank, segments
from ftkit.batches import Batch
from ftkit.compiled import compiled, refuse_without_compiler
from ftkit.device import restore_rng_, rng_state, seed_everything
from ftkit.errors import refusal
from ftkit.fused import fused
from ftkit.losses import chunked_loss, label_loss, plain_loss
from ftkit.train.config import TrainConfig, every
from ftkit.train.lion import Lion
from ftkit.train.order import Order

LOSSES = {"at_labels": label_loss, "chunked": chunked_loss, "all": plain_loss}


class Learner:
    """The trainable weights of a model, learning from micro-batches.

    Args:
        model: a causal language model of transformers, prepared: what is trained has `requires_grad`.
        config: optimizer, clipping and precision.

    Raises:
        Refusal: nothing is trainable, or the precision or activation checkpointing is not possible here.
    """

    def __init__(self, model: nn.Module, config: TrainConfig):
        self.model, self._config = model, config
        self.parameters = {name: one for name, one in model.named_parameters() if one.requires_grad}
        if not self.parameters:
            raise refusal("model", "one with trainable weights", "all frozen", "Prepare it with methods.prepare.")
        self.device = next(iter(self.parameters.values())).device
        cpu.reuse_freed_memory_()
        _check_possible(self.parameters, self.device, model, config)
        self.matmul_precision = matmul_precision(config, self.device)
        self._loss = LOSSES[config.logits]
        self._accelerator = _accelerator(config.precision, self.device)
        decayed = [one for one in self.parameters.values() if one.dim() > 1]
        others = [one for one in self.parameters.values() if one.dim() <= 1]
        self._bare = optimizer(decayed, others, config)
        self._optimizer = self._accelerator.prepare_optimizer(self._bare)

    def step(self, order: Order, micro_batches: list[list[int]], learning_rate: float) -> dict:
        """One optimizer step: loss (mean over the label tokens of all micro-batches), grad_norm, real_tokens.

        The gradients are those of one batch with all the rows: each micro-batch's sum of losses is divided by the label
        tokens of the whole step.
        """
        if not self.model.training:  # whoever watched may have put it into evaluation
            self.model.train()
        self._optimizer.zero_grad(set_to_none=True)  # an interrupted step may have left gradients behind
        for group in self._bare.param_groups:
            group["lr"] = learning_rate
        label_tokens = sum(order.labels_in(rows) for rows in micro_batches)
        loss, real_tokens = 0.0, 0
        for rows in micro_batches:
            batch = order.batch(rows).to(self.device)
            with self._fast(batch):
                with self._autocast():
                    part = self._loss(self.model, batch)[0] / label_tokens
                self._accelerator.backward(part)
            loss, real_tokens = loss + part.detach(), real_tokens + batch.real_tokens
        most = self._config.max_grad_norm or math.inf
        norm = self._accelerator.clip_grad_norm_(list(self.parameters.values()), most)
        loss, norm = float(loss), float(norm)
        if math.isfinite(loss) and (math.isfinite(norm) or self._config.precision == "fp16"):  # its scaler skips
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return {"loss": loss, "grad_norm": norm, "real_tokens": real_tokens}

    @torch.no_grad()
    def loss_on(self, held_out: Order) -> float:
        """The mean loss over all label tokens of other examples, without dropout."""
        self.model.eval()
        total, label_tokens = 0.0, 0
        for step in held_out.steps():
            for rows in step.rows:
                batch = held_out.batch(rows).to(self.device)
                with self._fast(batch), self._autocast():
                    part, count = self._loss(self.model, batch)
                total, label_tokens = total + float(part), label_tokens + count
        return total / label_tokens

    @contextmanager
    def _fast(self, batch: Batch) -> Iterator[None]:
        config, model = self._config, self.model
        with (cpu.matmul(self.matmul_precision), fused(model, *batch.input_ids.shape), low_rank.fewest_steps(),
              ExitStack() as chosen):
            if config.quantised_products != "as_built":
                chosen.enter_context(low_rank.over_codes())
            if config.packed_attention == segments.NAME:
                chosen.enter_context(segments.attending(model, batch))
            if config.compiled:
                chosen.enter_context(compiled(model))
            yield
        if self.device.type == "cpu":
            cpu.give_back_freed_memory_()

    def _autocast(self) -> torch.autocast:
        # not the accelerator's: it asks the process-wide state, wrong when two trainings take turns in one process
        mixed = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._config.precision)
        return torch.autocast(self.device.type, dtype=mixed, enabled=mixed is not None)

    def optimizer_tensors(self) -> dict[str, torch.Tensor]:
        """The optimizer's state by `<parameter>|<name>`; empty before the first step."""
        return {f"{name}|{kind}": tensor for name, one in self.parameters.items()
                for kind, tensor in self._bare.state.get(one, {}).items()}

    def scaler_state(self) -> dict:
        """The loss scale of fp16; empty in other precisions."""
        return self._accelerator.scaler.state_dict() if self._accelerator.scaler is not None else {}

    def restore_(self, weights: dict, optimizer: dict, scaler: dict) -> None:
        """Puts weights and optimizer back to what a checkpoint holds."""
        self.load_weights_(weights)
        self._bare.state.clear()
        for key, tensor in optimizer.items():
            name, _, kind = key.rpartition("|")
            one = self.parameters[name]
            self._bare.state[one][kind] = tensor.to(one.device)
        if scaler and self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(scaler)

    @torch.no_grad()
    def load_weights_(self, weights: dict[str, torch.Tensor]) -> None:
        """Copies trainable weights into the model."""
        for name, one in self.parameters.items():
            one.copy_(weights[name])

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the trainable weights."""
        return {name: one.detach().clone() for name, one in self.parameters.items()}


def optimizer(decayed: Sequence[nn.Parameter], others: Sequence[nn.Parameter], config: TrainConfig):
    """The optimizer of a config, with weight decay on the first parameters alone."""
    groups = [{"params": list(decayed), "weight_decay": config.weight_decay},
              {"params": list(others), "weight_decay": 0.0}]
    kind = Lion if config.optimizer == "lion" else partial(torch.optim.AdamW, fused=True)
    return kind([group for group in groups if group["params"]], lr=config.learning_rate)


def matmul_precision(config: TrainConfig, device: torch.device) -> str:
    """The precision of float32 products that a config means on a device."""
    auto = cpu.matmul_precision() if device.type == "cpu" else torch.get_float32_matmul_precision()
    return auto if config.matmul_precision == "auto" else config.matmul_precision


class Randomness:
    """Random generators of a training's own: in a `with`, Python, numpy and torch draw from them, afterwards from what
    they drew from before. So nobody who watches a training changes it, and a training changes nobody.

    Args:
        seed: where they start.
    """

    def __init__(self, seed: int):
        with _kept():
            seed_everything(seed)
            self.state = rng_state()

    def __enter__(self) -> None:
        self._outer = rng_state()
        restore_rng_(self.state)

    def __exit__(self, *error: object) -> None:
        self.state = rng_state()
        restore_rng_(self._outer)


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
        kept = {"context_fn": low_rank.kept_the_second_time} if keep_weights else {}
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False, **kept},
                                              every_n_layers=step)
        model.disable_input_require_grads()  # reentrant checkpoints alone need them: frozen layers would be passed, too
    try:
        yield
    finally:
        if not is_ending():  # a program that ends with an iterator half-way has taken torch apart already
            model.train(was_training)
            if switch:
                model.activation_checkpointing_disable()


def hash_of(tensors: dict[str, torch.Tensor]) -> str:
    """A hash of names, shapes, types and every byte, whatever the device."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def frozen_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of a model's state that are not trained; of tied ones the first name."""
    stored = model.state_dict(keep_vars=True)
    trained = {id(one) for one in model.parameters() if one.requires_grad}
    unique = {id(tensor): (name, tensor) for name, tensor in reversed(stored.items())
              if isinstance(tensor, torch.Tensor) and id(tensor) not in trained}
    return dict(unique.values())


@contextmanager
def _kept() -> Iterator[None]:
    state = rng_state()
    try:
        yield
    finally:
        restore_rng_(state)


def _accelerator(precision: str, device: torch.device):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    held = AcceleratorState._shared_state  # one for the whole process, and it refuses a second precision or device
    if held and (held["_mixed_precision"], held["device"].type) != (precision, device.type):
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def _check_possible(parameters: dict, device: torch.device, model: nn.Module, config: TrainConfig) -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise refusal("WORLD_SIZE", "1", os.environ["WORLD_SIZE"], "Training is one process: start it as such.")
    halves = [name for name, one in parameters.items() if one.dtype == torch.float16]
    if config.precision == "fp16" and halves:
        raise refusal("trainable weights", "float32 with precision='fp16'", f"{halves[0]} in float16",
                      "Load the model with dtype='float32'.")
    if config.precision == "fp16" and device.type == "cpu":
        raise refusal("precision", "'no' or 'bf16' on a CPU", config.precision, "fp16 needs a GPU.")
    if config.activation_checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        raise refusal("activation_checkpointing", f"False for a {type(model).__name__}",
                      config.activation_checkpointing, "Only models of transformers can do it, and not all of them.")
    if config.packed_attention == segments.NAME:
        segments.check_exchangeable(model)
    if config.compiled:
        refuse_without_compiler(device)
