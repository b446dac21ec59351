"""The trainings that `gpu_7b.py` measures: which settings each has, and how ours and the usual stack run them."""

import gc
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from random_models import DTYPE, product_flops
from torch import nn

from ftkit import compiled, frozen_codes, methods, targets
from ftkit.batches import packed_rows
from ftkit.lora.adapter import lora_layers, remove_lora_
from ftkit.tiny import base
from ftkit.train.config import TrainConfig, every
from ftkit.train.loop import train
from ftkit.units import GIB

RANK, ALPHA, LEARNING_RATE = 16, 32, 1e-3
MIXED_ROWS = 14  # of mixed lengths, a 64th to an eighth of a step's tokens, make one step
FIRST_STEPS, STEPS = 3, 6  # not timed, which allocate and compile; and timed
ALPHABET = 64  # of a vocabulary so many tokens are used, each decided by the one before: a loss that can fall at once
OURS, USUAL, TRL = "ftkit", "transformers.Trainer + peft + bitsandbytes", "trl.SFTTrainer + peft + bitsandbytes"
STAND_IN = "transformers.Trainer + peft, our 4-bit layers"  # where bitsandbytes is missing


AGAIN, NEVER, DOCUMENTED = "all layers computed again", "none computed again", "as documented"


@dataclass(frozen=True)
class Arm:
    """One training to measure.

    Args:
        group: "headline", "alone", "together" or "agreement".
        name: of the row.
        settings: of `TrainConfig`; of the usual stack only `activation_checkpointing`.
        stack: whose training it is.
        row_tokens: all examples are as long as this; None for examples of mixed lengths.
    """

    group: str
    name: str
    settings: dict = field(default_factory=dict)
    stack: str = OURS
    row_tokens: int | None = None


PLAIN = {"activation_checkpointing": True}
PACKED = {"grouping": "packed", "batch_size": 1}
SEGMENTS = {"packed_attention": "by_segment"}
FEWEST, KEPT = {"quantised_products": "fewest"}, {"quantised_products": "kept"}
COMPILED, CHUNKED = {"compiled": True}, {"logits": "chunked"}
SECOND, NONE = {"activation_checkpointing": "every:2"}, {"activation_checkpointing": False}
FAST = PLAIN | PACKED | SEGMENTS | KEPT | COMPILED | CHUNKED


def one_row(tokens: int) -> str:
    """The name of a training on single rows."""
    return f"one row of {tokens:,} tokens"


def headline(memory_tokens: int) -> list[Arm]:
    """What the goals are about, and the usual stacks beside it."""
    return [Arm("headline", one_row(memory_tokens), FAST | FEWEST, row_tokens=memory_tokens),
            Arm("headline", AGAIN, FAST),
            Arm("headline", NEVER, FAST | NONE),
            Arm("headline", f"as it comes, {AGAIN}", PLAIN),
            *(Arm("headline", DOCUMENTED, PLAIN, stack) for stack in (USUAL, TRL)),
            *(Arm("headline", f"{DOCUMENTED}, {NEVER}", NONE, stack) for stack in (USUAL, TRL))]


def ladder() -> list[Arm]:
    """From our training as it comes: the changes one after the other, and then each alone."""
    together, rungs = [Arm("together", "logits at every position", PLAIN | {"logits": "all"})], PLAIN
    for name, change in (("logits at label positions", {}), ("packed, attention by segment", PACKED | SEGMENTS),
                         ("one product by hand, LoRA in 16 bits", FEWEST), ("weights kept when computed again", KEPT),
                         ("small parts compiled", COMPILED), ("logits in chunks", CHUNKED),
                         ("every second layer computed again", SECOND), (NEVER, NONE)):
        rungs = rungs | change
        together.append(Arm("together", name, rungs))
    alone = [Arm("alone", name, PLAIN | change) for name, change in (
        ("packed with a mask", PACKED), ("packed, attention by segment", PACKED | SEGMENTS),
        ("one product by hand, LoRA in 16 bits", FEWEST), ("the same, weights kept when computed again", KEPT),
        ("small parts compiled", COMPILED), ("logits in chunks", CHUNKED),
        ("every second layer computed again", SECOND), (NEVER, NONE))]
    return together + alone


def agreeing() -> list[Arm]:
    """One step each on the same packed rows, for the differences in loss and norm of the gradient."""
    base = PLAIN | PACKED
    return [Arm("agreement", name, base | change) for name, change in (
        ("plain", {}), ("attention by segment", SEGMENTS), ("one product by hand", FEWEST), ("weights kept", KEPT),
        ("small parts compiled", COMPILED), ("logits in chunks", CHUNKED), ("every second layer", SECOND),
        ("all together", FAST))]


def examples_of(vocabulary: int, step_tokens: int, row_tokens: int | None) -> list[tuple[list[int], list[int]]]:
    """Examples whose second half carries loss, all of one length or of mixed ones, which fill packed rows well."""
    draw = random.Random(0)
    tokens = draw.sample(range(1, vocabulary), ALPHABET)
    if row_tokens:
        return [_example(draw, tokens, row_tokens) for _ in range(8)]
    shortest, longest = step_tokens // 64, step_tokens // 8
    lengths = [draw.randrange(shortest, longest) for _ in range(4 * MIXED_ROWS)]
    full = [row for row in packed_rows(lengths, step_tokens) if sum(lengths[one] for one in row) >= 0.95 * step_tokens]
    return [_example(draw, tokens, lengths[one]) for row in full for one in row]


def _example(draw: random.Random, tokens: Sequence[int], length: int) -> tuple[list[int], list[int]]:
    state, ids = draw.randrange(len(tokens)), []
    for _ in range(length):
        ids.append(tokens[state])
        state = (5 * state + 3) % len(tokens)
    return ids, [-100] * (length // 2) + ids[length // 2:]


def measure(model: nn.Module, arm: Arm, step_tokens: int, flops_per_s: float, steps: int = STEPS) -> dict:
    """What a training takes and whether its loss falls; the model carries no adapter afterwards."""
    examples = examples_of(model.config.vocab_size, step_tokens, arm.row_tokens)
    on_gpu = next(model.parameters()).is_cuda
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    if arm.stack == OURS:
        records = _ours(model, arm, examples, step_tokens, FIRST_STEPS + steps)
    elif arm.stack in (USUAL, TRL):
        records = _usual(model, arm, examples, FIRST_STEPS + steps)
    else:  # bitsandbytes decodes in one pass over memory, so our layers are compiled to
        with frozen_codes.decoding_by(compiled.decoder()):
            records = _usual(model, arm, examples, FIRST_STEPS + steps)
    timed = records[FIRST_STEPS:]
    tokens, step_s = (statistics.mean(record[name] for record in timed) for name in ("real_tokens", "step_s"))
    rates = [record["real_tokens"] / record["step_s"] for record in timed]
    everywhere = arm.stack != OURS or arm.settings.get("logits") == "all"
    labels = sum(label >= 0 for _, found in examples for label in found) / sum(len(ids) for ids, _ in examples)
    again = every(arm.settings.get("activation_checkpointing", False))
    layers = model.config.num_hidden_layers
    passes = 2 + (math.ceil(layers / again) / layers if again else 0)
    flops = product_flops(model.config, tokens, tokens * (1 if everywhere else labels), passes)
    return {"tokens_per_s": tokens / step_s, "spread": [min(rates), max(rates)], "tokens_a_step": tokens,
            "step_s": step_s, "first_steps_s": [record["step_s"] for record in records[:FIRST_STEPS]],
            "matmul_share": flops / step_s / flops_per_s,
            "peak_allocated_gib": torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
            "peak_reserved_gib": torch.cuda.max_memory_reserved() / GIB if on_gpu else None,
            "loss": [record["loss"] for record in records], "grad_norm": [record["grad_norm"] for record in records]}


def agreement(model: nn.Module, arm: Arm, step_tokens: int) -> dict:
    """Loss and norm of the gradient of one step."""
    examples = examples_of(model.config.vocab_size, step_tokens, None)
    record = _ours(model, arm, examples, step_tokens, 1)[0]
    return {"loss": record["loss"], "grad_norm": record["grad_norm"]}


def cleaned_(model: nn.Module | None) -> None:
    """The model without an adapter, whatever a training that failed has left, and the memory that nobody holds given
    back; without a model the latter alone."""
    if model is not None and lora_layers(model):
        remove_lora_(model)
    if model is not None:
        model.zero_grad(set_to_none=True)
    gc.collect()  # a Trainer and what it holds refer to each other
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _ours(model: nn.Module, arm: Arm, examples: Sequence, step_tokens: int, steps: int) -> list[dict]:
    packed = arm.settings.get("grouping") == "packed"
    chosen = {"batch_size": 1 if arm.row_tokens else MIXED_ROWS} | arm.settings
    config = TrainConfig(learning_rate=LEARNING_RATE, max_steps=steps, schedule="constant",
                         seq_len=(arm.row_tokens or step_tokens) if packed else None, **chosen)
    methods.prepare(model, "qlora", rank=RANK, alpha=ALPHA, target_modules="all-linear")
    before_s, records = time.perf_counter(), []
    for record in train(model, examples, config):
        now_s = time.perf_counter()
        records.append(record | {"step_s": now_s - before_s})
        before_s = now_s
    remove_lora_(model)
    return records


def _usual(model: nn.Module, arm: Arm, examples: Sequence, steps: int) -> list[dict]:
    """As the documentation of peft and transformers, or of trl, has it: rows padded by the collator, paged AdamW in 8
    bits, bf16."""
    from peft import LoraConfig

    again, on_gpu, tokens = arm.settings["activation_checkpointing"], next(model.parameters()).is_cuda, []
    watch = _watch(on_gpu)
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    try:
        with tempfile.TemporaryDirectory() as folder:
            settings = _documented(folder, steps, again, on_gpu, paged=on_gpu and arm.stack != STAND_IN)
            data = [{"input_ids": ids, "labels": labels} for ids, labels in examples]
            make = _by_trl if arm.stack == TRL else _by_transformers
            trainer = make(model, adapter, settings, data, lambda rows: _padded(rows, tokens), watch)
            trainer.train()
    finally:
        _bare_(model)
    logged, stamps = [entry for entry in trainer.state.log_history if "grad_norm" in entry], watch.stamps
    return [{"loss": entry["loss"], "grad_norm": entry["grad_norm"], "real_tokens": count, "step_s": after - one}
            for entry, count, one, after in zip(logged, tokens, stamps, stamps[1:], strict=False)]


def _documented(folder: str, steps: int, again: bool, on_gpu: bool, paged: bool) -> dict:
    """The arguments of both trainers."""
    return {"output_dir": folder, "per_device_train_batch_size": MIXED_ROWS, "max_steps": steps, "bf16": True,
            "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant", "gradient_checkpointing": again,
            "logging_steps": 1, "optim": "paged_adamw_8bit" if paged else "adamw_torch", "save_strategy": "no",
            "report_to": "none", "disable_tqdm": True, "use_cpu": not on_gpu, "remove_unused_columns": False}


def _by_transformers(model: nn.Module, adapter, settings: dict, data: list[dict], collator, watch):
    from peft import get_peft_model, prepare_model_for_kbit_training
    from transformers import Trainer, TrainingArguments

    prepared = prepare_model_for_kbit_training(model, use_gradient_checkpointing=settings["gradient_checkpointing"])
    return Trainer(get_peft_model(prepared, adapter), TrainingArguments(**settings), train_dataset=data,
                   data_collator=collator, callbacks=[watch])


def _by_trl(model: nn.Module, adapter, settings: dict, data: list[dict], collator, watch):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(**settings, max_length=None, dataset_kwargs={"skip_prepare_dataset": True})
    tokenizer = AutoTokenizer.from_pretrained(base.folder())  # asked for, though the data are tokens: any will do
    return SFTTrainer(model, config, train_dataset=Dataset.from_list(data), data_collator=collator, callbacks=[watch],
                      processing_class=tokenizer, peft_config=adapter)


def _bare_(model: nn.Module) -> None:
    """Takes out what peft and a trainer put into a model, and casts back what they had cast, which loses nothing."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            targets.replace_(model, path, module.get_base_layer())
    vars(model).pop("peft_config", None)
    model.gradient_checkpointing_disable()
    if hasattr(model, "_require_grads_hook"):
        model.disable_input_require_grads()
    for parameter in model.parameters():
        if parameter.dtype == torch.float32:
            parameter.data = parameter.data.to(DTYPE)


def _watch(on_gpu: bool):
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self):
            self.stamps: list[float] = []

        def on_step_begin(self, *_, **__):
            if not self.stamps:
                self.stamps.append(time.perf_counter())

        def on_step_end(self, *_, **__):
            if on_gpu:
                torch.cuda.synchronize()
            self.stamps.append(time.perf_counter())

    return Watch()


def _padded(rows: Sequence[dict], counts: list[int]) -> dict[str, torch.Tensor]:
    counts.append(sum(len(row["input_ids"]) for row in rows))
    width = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, value: int) -> torch.Tensor:
        return torch.tensor([row[name] + [value] * (width - len(row[name])) for row in rows])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in rows])
    return {"input_ids": filled("input_ids", 0), "labels": filled("labels", -100), "attention_mask": mask}
