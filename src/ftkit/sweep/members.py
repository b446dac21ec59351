"""Who takes part in a fused training: an adapter, how it is trained, and on what. Knows nothing about the training."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ftkit import methods
from ftkit.errors import refusal
from ftkit.lora.adapter import add_lora_, lora_layers, remove_lora_
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding
from ftkit.sweep.side_by_side import Adapter
from ftkit.train.config import TrainConfig
from ftkit.trials import Trial, drawn, material


@dataclass(frozen=True)
class Member:
    """One of the trainings: its adapter, how it is trained, and on what.

    Args:
        lora: rank, alpha, dropout, target modules.
        train: learning rate, steps, batch size, schedule; its seed is that of order and dropout.
        examples: pairs (token ids, labels), as `chat.encode` makes them.
        held_out: for the held-out loss; None measures none.
        seed: of the adapter's start.

    Raises:
        Refusal: something that cannot be done side by side.
    """

    lora: LoraConfig
    train: TrainConfig
    examples: Sequence
    held_out: Sequence | None = None
    seed: int = 0

    def __post_init__(self):
        for name, config, wanted in (("precision", self.train, "no"), ("activation_checkpointing", self.train, False),
                                     ("patience", self.train, None), ("logits", self.train, "at_labels"),
                                     ("quantised_products", self.train, "as_built"), ("compiled", self.train, False),
                                     ("modules_to_save", self.lora, ())):
            if getattr(config, name) != wanted:
                raise refusal(name, f"{wanted!r} among fused members", getattr(config, name), "Train it alone.")
        if self.train.grouping == "packed":
            raise refusal("grouping", "one that does not pack rows, among fused members", "packed", "Take 'buckets'.")


def member_of(trial: Trial, model: nn.Module) -> Member:
    """A trial of LoRA as a member: the same training as `trials.begin` makes of it.

    Args:
        model: the trial's, for the learning rate that goes with its size.

    Raises:
        Refusal: a trial of another method, or no such data.
    """
    if trial.method != "lora":
        raise refusal("method", "'lora' for a fused member", trial.method, "Train it alone.")
    shared = material(trial.model, trial.data, trial.columns)
    size = sum(parameter.numel() for parameter in model.parameters())
    learning_rate = trial.learning_rate or methods.default_learning_rate("lora", size)
    settings = {name: value for name, value in trial.settings.items() if name != "seed"}
    examples = drawn(shared.examples, trial.records, trial.seed)
    return Member(LoraConfig(**settings), trial.config(learning_rate), examples, shared.held_out,
                  trial.settings.get("seed", trial.seed))


def adapter_of(model: nn.Module, member: Member) -> Adapter:
    """What `add_lora_` would put on the model for a member; the model is as it was, but frozen.

    Raises:
        Refusal: as `add_lora_` does; or a target is an embedding.
    """
    add_lora_(model, member.lora, member.seed)
    layers = lora_layers(model)
    remove_lora_(model)
    for path, layer in layers.items():
        if isinstance(layer, LoRAEmbedding):
            raise refusal("target_modules", "linear modules among fused members", path, "Train it alone.")
    return Adapter({path: (layer.lora_A.detach(), layer.lora_B.detach()) for path, layer in layers.items()},
                   {path: layer.scaling for path, layer in layers.items()}, member.lora.dropout)


def check(model: nn.Module, members: Sequence[Member]) -> None:
    """Nothing, if these members can be trained together on this model.

    Raises:
        Refusal: no members, members that differ in matmul_precision, or a model with dropout of its own.
    """
    if not members:
        raise refusal("members", "one or more", members)
    precisions = {one.train.matmul_precision for one in members}
    if len(precisions) > 1:
        raise refusal("matmul_precision", "the same for all fused members", sorted(precisions))
    dropped = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p]
    if dropped or getattr(getattr(model, "config", None), "attention_dropout", 0.0):
        raise refusal("model", "one without dropout of its own", dropped[0] if dropped else "attention_dropout",
                      "Members would share what it draws: set it to 0.")
