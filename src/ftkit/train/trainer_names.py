"""A recipe in the names of transformers' TrainingArguments (or trl's SFTConfig) to numbers that can be checked.

Knows nothing about what is good about a recipe.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ftkit.errors import Refusal, nearest, refusal, unknown
from ftkit.train.config import EPOCH

DEFAULTS = {
    "num_train_epochs": 3.0, "max_steps": -1, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
    "dataloader_drop_last": False, "learning_rate": 5e-5, "lr_scheduler_type": "linear", "optim": "adamw_torch_fused",
    "warmup_steps": 0, "warmup_ratio": None, "save_strategy": "steps", "save_steps": 500, "eval_strategy": "no",
    "eval_steps": None, "logging_strategy": "steps", "logging_steps": 500, "load_best_model_at_end": False,
    "early_stopping_patience": None}
"""What transformers 5 takes where a recipe is silent; warmup_ratio is of transformers 4, early_stopping_patience of its
EarlyStoppingCallback. A test compares them with the library."""

RENAMED = {"evaluation_strategy": "eval_strategy", "per_gpu_train_batch_size": "per_device_train_batch_size"}
"""Older names, and what they are called now."""

KNOWN = frozenset("""
accelerator_config activation_checkpointing activation_checkpointing_kwargs adam_beta1 adam_beta2 adam_epsilon
auto_find_batch_size average_tokens_across_devices batch_eval_metrics bf16 bf16_full_eval data_seed
dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context dataloader_num_workers
dataloader_persistent_workers dataloader_pin_memory dataloader_prefetch_factor ddp_backend ddp_broadcast_buffers
ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph ddp_timeout debug deepspeed disable_tqdm do_eval
do_predict do_train enable_jit_checkpoint eval_accumulation_steps eval_delay eval_do_concat_batches
eval_on_start eval_steps eval_strategy eval_use_gather_object fp16 fp16_full_eval fsdp fsdp_config
full_determinism gradient_accumulation_steps gradient_checkpointing gradient_checkpointing_kwargs
greater_is_better hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy hub_token
ignore_data_skip include_for_metrics include_num_input_tokens_seen label_names label_smoothing_factor
learning_rate length_column_name liger_kernel_config load_best_model_at_end local_rank log_level
log_level_replica log_on_each_node logging_first_step logging_nan_inf_filter logging_steps logging_strategy
lr_scheduler_kwargs lr_scheduler_type max_grad_norm max_steps metric_for_best_model neftune_noise_alpha
num_train_epochs optim optim_args optim_target_modules output_dir parallelism_config per_device_eval_batch_size
per_device_train_batch_size prediction_loss_only project push_to_hub remove_unused_columns report_to
restore_callback_states_from_checkpoint resume_from_checkpoint run_name save_on_each_node save_only_model
save_steps save_strategy save_total_limit seed skip_memory_metrics tf32 torch_compile torch_compile_backend
torch_compile_mode torch_empty_cache_steps trackio_bucket_id trackio_space_id trackio_static_space_id
train_sampling_strategy use_cache use_cpu use_liger_kernel warmup_steps weight_decay
""".split())
"""All names of TrainingArguments, so that a misspelt one is not passed over in silence."""

KNOWN_TO_TRL = frozenset("""
activation_offloading assistant_only_loss chat_template_path completion_only_loss dataset_kwargs
dataset_num_proc dataset_text_field eos_token eval_packing loss_type max_length model_init_kwargs packing
packing_strategy pad_to_multiple_of pad_token padding_free router_aux_loss_coef shuffle_dataset truncation_mode
trust_remote_code
""".split())
"""What SFTConfig adds to them."""

KNOWN_BEFORE = frozenset("""
group_by_length no_cuda overwrite_output_dir logging_dir save_safetensors fp16_backend fp16_opt_level
half_precision_backend use_mps_device include_inputs_for_metrics include_tokens_per_second dispatch_batches
split_batches push_to_hub_model_id push_to_hub_organization push_to_hub_token torchdynamo ray_scope tpu_num_cores
tpu_metrics_debug past_index use_ipex jit_mode_eval sharded_ddp fsdp_min_num_params xpu_backend
use_legacy_prediction_loop fsdp_transformer_layer_cls_to_wrap early_stopping_threshold max_seq_length dataset_batch_size
""".split())
"""Names that recipes for older versions have, without weight here."""


@dataclass(frozen=True)
class Recipe:
    """What a recipe says about steps, in one set of words.

    Args:
        batch_size: records of a micro-batch, over all devices.
        accumulation: micro-batches of a step.
        epochs: None where `max_steps` decides.
        max_steps: None where `epochs` decides.
        save_every: steps, "epoch" or None.
        eval_every: likewise.
        patience: evaluations.
        notes: findings about the names themselves: level, what, why, remedy.
    """

    batch_size: int
    accumulation: int
    epochs: float | None
    max_steps: int | None
    warmup_steps: int | None
    warmup_ratio: float | None
    learning_rate: float
    optimizer: str
    save_every: int | str | None
    eval_every: int | str | None
    patience: int | None
    saves_at_end: bool
    evaluates_at_end: bool
    logging_steps: int | None = None
    drop_last: bool = False
    notes: tuple[tuple[str, str, str, str], ...] = ()


def recipe_of(given: Mapping, n_records: int, devices: int = 1) -> Recipe:
    """The recipe in a dict with names of TrainingArguments.

    Args:
        given: values as numbers or as text, as YAML reads "2e-4".
        n_records: examples of an epoch; shares of all steps are taken of it.
        devices: processes; a micro-batch is of so many times the rows.

    Raises:
        Refusal: not a dict, an unknown name (the nearest is offered), or a value that is no number where one belongs.
    """
    if not isinstance(given, Mapping):
        raise refusal("config", "a TrainConfig, or a dict with names of TrainingArguments", given)
    known = {*KNOWN, *KNOWN_TO_TRL, *KNOWN_BEFORE, *DEFAULTS, *RENAMED}
    for name in given:
        if name not in known:
            raise _unknown(name, known)
    values = DEFAULTS | {RENAMED.get(name, name): value for name, value in given.items()}
    batch = _number(values, "per_device_train_batch_size", 1) * devices
    accumulation = _number(values, "gradient_accumulation_steps", 1)
    max_steps = _number(values, "max_steps", -1)
    epochs = _number(values, "num_train_epochs", 0, whole=False)
    drops = _flag(values, "dataloader_drop_last")
    steps = max_steps if max_steps > 0 else max(1, math.ceil(
        epochs * math.ceil(max(1, (n_records // batch if drops else math.ceil(n_records / batch))) / accumulation)))
    warmup = _number(values, "warmup_steps", 0, whole=False)
    ratio = _number(values, "warmup_ratio", 0, whole=False) if values["warmup_ratio"] is not None else None
    as_share = 0 < warmup < 1
    patience = values["early_stopping_patience"]
    return Recipe(
        batch_size=batch, accumulation=accumulation, epochs=None if max_steps > 0 else epochs,
        max_steps=max_steps if max_steps > 0 else None,
        warmup_steps=None if as_share or (ratio and not warmup) else int(warmup),
        warmup_ratio=warmup if as_share else ratio if not warmup else None,
        learning_rate=_number(values, "learning_rate", 0, whole=False),
        optimizer="lion" if "lion" in str(values["optim"]).lower() else "adamw",
        save_every=_every(values, "save", steps), eval_every=_every(values, "eval", steps),
        patience=None if patience is None else _number(values, "early_stopping_patience", 1),
        saves_at_end=_strategy(values, "save") == "steps", evaluates_at_end=_strategy(values, "eval") == "steps",
        logging_steps=_every(values, "logging", steps) if _strategy(values, "logging") == "steps" else None,
        drop_last=drops, notes=tuple(_notes(given, values)))


def _notes(given: Mapping, values: Mapping):
    for old, new in RENAMED.items():
        if old in given:
            yield "warning", f"{old} is an older name.", "transformers 5 refuses it.", f"Write {new}."
    if "warmup_ratio" in given:
        yield "warning", "warmup_ratio is of transformers 4.", "transformers 5 has one name for both.", \
            f"Write warmup_steps={given['warmup_ratio']}: below 1 it is a share."
    if str(values["lr_scheduler_type"]).lower() == "constant" and (values["warmup_steps"] or values["warmup_ratio"]):
        yield "error", "There is no warm-up at all.", 'lr_scheduler_type="constant" leaves it out.', \
            'Take "constant_with_warmup".'
    if "max_steps" in given and "num_train_epochs" in given and _number(values, "max_steps", -1) > 0:
        yield "note", "num_train_epochs does nothing.", "max_steps comes before it.", "Leave one out."
    if _strategy(values, "eval") == "no" and "eval_steps" in given:
        yield "error", "eval_steps does nothing.", 'eval_strategy is "no".', 'Set eval_strategy="steps".'
    if _flag(values, "load_best_model_at_end") and _strategy(values, "eval") != _strategy(values, "save"):
        yield "error", "load_best_model_at_end is refused.", \
            "Evaluations and checkpoints come at different times.", "Give both the same strategy and steps."
    if values["early_stopping_patience"] is not None and not _flag(values, "load_best_model_at_end"):
        yield "warning", "The best weights are not loaded at the end.", \
            "Early stopping leaves the last ones in the model.", "Set load_best_model_at_end=True."


def _every(values: Mapping, name: str, steps: int) -> int | str | None:
    strategy = _strategy(values, name)
    if strategy != "steps":
        return EPOCH if strategy == "epoch" else None
    key = f"{name}_steps" if values.get(f"{name}_steps") is not None else "logging_steps"  # as transformers does
    every = _number(values, key, 0, whole=False)
    return max(1, math.ceil(every * steps) if every < 1 else int(every))


def _strategy(values: Mapping, name: str) -> str:
    given = values[f"{name}_strategy"]
    word = str(getattr(given, "value", given)).lower()
    word = "no" if given in (False, None) else word  # YAML reads a bare no as False
    if word not in ("no", "steps", "epoch", "best"):
        raise unknown(f"{name}_strategy", given, ("no", "steps", "epoch", "best"))
    return word


def _flag(values: Mapping, name: str) -> bool:
    return str(values[name]).lower() in ("true", "1")


def _number(values: Mapping, name: str, least: float, whole: bool = True) -> float:
    try:
        number = float(values[name])
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(values[name], bool) or not number >= least or not math.isfinite(number) or \
            whole and number != int(number):
        kind = "a whole number" if whole else "a number"
        raise refusal(name, f"{kind}, {least:g} or more", values[name])
    return int(number) if whole else number


def _unknown(name: object, known: set[str]) -> Refusal:
    near = nearest(str(name), known)
    hint = f"Did you mean {' or '.join(near)}?" if near else ""
    return refusal("a name in the recipe", "one of transformers' TrainingArguments", name, hint)
