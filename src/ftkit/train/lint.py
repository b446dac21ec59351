"""A recipe checked before it is run: how many steps there are, and what is never reached among them.

Knows nothing about models or data, only how many records there are. `trainer_names` reads a recipe for transformers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ftkit.errors import refusal, unknown
from ftkit.methods import ADAPTERS, LEARNING_RATES, SMALL_MODEL
from ftkit.train.config import EPOCH, TrainConfig
from ftkit.train.schedule import warmup_steps
from ftkit.train.trainer_names import Recipe, recipe_of

LEVELS = ("error", "warning", "note")
WINDOWS = {"full": (1e-6, 1e-4), "freeze": (1e-6, 2e-4), "bitfit": (5e-5, 2e-3), "adapter": (3e-5, 3e-3),
           "prefix": (5e-5, 1e-1), "prompt": (3e-3, 0.3), **dict.fromkeys(ADAPTERS, (2e-5, 2e-3))}
"""Learning rates in use for models above `methods.SMALL_MODEL`, by method, with AdamW. full and freeze: from 1e-6 (late
stages of alignment) to 5e-5 (Devlin et al. 2019, BERT) and twice that; Llama 2 and Alpaca have 2e-5. bitfit: Ben Zaken
et al. 2022 search 1e-4 to 1e-3, and twice to each side. adapter: Houlsby et al. 2019 search 3e-5 to 3e-3. prefix: from
5e-5 (Li and Liang 2021, behind a projection) to 3e-2 (peft's example) and three times that. prompt: 3e-2 in peft's
example and ten times that in Lester et al. 2021, with Adafactor; ten times to each side. lora, on whatever base: Hu et
al. 2022 and Dettmers et al. 2023 have 1e-4 to 2e-4; a factor of about ten to each side. Smaller models: a factor of ten
to each side of `methods.LEARNING_RATES`."""
LION_FACTORS = (0.1, 1 / 3)
"""Lion's window: AdamW's, its low end by the first and its high end by the second (Chen et al. 2023, section 5)."""
LONG_WARMUP = 0.5
FEW_STEPS = 30
MANY_EPOCHS = 10


@dataclass(frozen=True)
class Finding:
    """One thing that a recipe does not do, or does otherwise than it reads.

    Args:
        level: "error" (it cannot do what it says), "warning" or "note".
        what: what happens.
        why: the numbers.
        remedy: what to change.
    """

    level: str
    what: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.level}: {self.what} {self.why} {self.remedy}".rstrip()


@dataclass(frozen=True)
class Report:
    """A recipe in numbers, and what is wrong with it; as text: all of it.

    Args:
        steps: optimizer steps in all.
        steps_per_epoch: in one epoch.
        rows_per_step: records that make one step.
        warmup: steps of the warm-up.
        checkpoints: steps after which a checkpoint is written because it is due, not because training ends.
        evaluations: steps after which an evaluation is due, likewise.
        findings: errors first.
    """

    steps: int
    steps_per_epoch: int
    rows_per_step: int
    warmup: int
    checkpoints: tuple[int, ...]
    evaluations: tuple[int, ...]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        epochs = self.steps / self.steps_per_epoch
        lines = [f"{self.steps} steps of {self.rows_per_step} records, {self.steps_per_epoch} an epoch, {epochs:.3g} "
                 f"epochs", f"warm-up    {self.warmup} steps, {self.warmup / self.steps:.0%} of all",
                 f"checkpoint {_at(self.checkpoints)}", f"evaluation {_at(self.evaluations)}"]
        return "\n".join([*lines, *(str(one) for one in self.findings)] if self.findings
                         else [*lines, "nothing to complain about"])


def lint_recipe(config: TrainConfig | Mapping, n_records: int, *, method: str | None = None,
                total_parameters: int | None = None, devices: int = 1) -> Report:
    """What a recipe comes to on so many records, and what in it is never reached.

    Args:
        config: settings of ours, or a dict with names of transformers' TrainingArguments, as a recipe gives them; also
            `early_stopping_patience`, of its callback. Numbers may be text, as YAML reads "2e-4".
        n_records: examples to train on, 1 or more; with packing, the packed rows.
        method: a name that `methods.prepare` knows; None leaves the learning rate unjudged.
        total_parameters: of the model; None takes a large one.
        devices: processes that share the work, for recipes of transformers.

    Raises:
        Refusal: a number out of range, or a name or value that is none of transformers'.

    Example:
        >>> report = lint_recipe({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4,
        ...                       "num_train_epochs": 3, "warmup_steps": 100, "save_steps": 500}, 1000)
        >>> report.steps, report.warmup, report.checkpoints
        (189, 100, ())

    Taught in: 04_train_and_watch
    """
    for name, value in (("n_records", n_records), ("devices", devices)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise refusal(name, "a whole number, 1 or more", value)
    if method is not None and method not in WINDOWS:
        raise unknown("method", method, WINDOWS)
    recipe = _ours(config) if isinstance(config, TrainConfig) else recipe_of(config, n_records, devices)
    batches = n_records / recipe.batch_size
    micro_batches = max(1, math.floor(batches) if recipe.drop_last else math.ceil(batches))
    an_epoch = math.ceil(micro_batches / recipe.accumulation)
    steps = recipe.max_steps or max(1, math.ceil(recipe.epochs * an_epoch))
    warmup = warmup_steps(steps, recipe.warmup_steps, recipe.warmup_ratio)
    rules = (_length, _last_step, _warmup, _saving, _evaluating, _stopping, _rate)
    numbers = {"n": n_records, "micro_batches": micro_batches, "an_epoch": an_epoch, "steps": steps, "warmup": warmup,
               "evaluations": _due(recipe.eval_every, steps, an_epoch), "method": method, "total": total_parameters,
               "checkpoints": _due(recipe.save_every, steps, an_epoch)}
    found = [one for rule in rules for one in rule(recipe, numbers)] + [Finding(*one) for one in recipe.notes]
    return Report(steps, an_epoch, recipe.batch_size * recipe.accumulation, warmup, numbers["checkpoints"],
                  numbers["evaluations"], tuple(sorted(found, key=lambda one: LEVELS.index(one.level))))


def _ours(config: TrainConfig) -> Recipe:
    return Recipe(batch_size=config.batch_size, accumulation=config.accumulation, epochs=config.epochs,
                  max_steps=config.max_steps, warmup_steps=config.warmup_steps, warmup_ratio=config.warmup_ratio,
                  learning_rate=config.learning_rate, optimizer=config.optimizer, save_every=config.checkpoint_every,
                  eval_every=config.eval_every, patience=config.patience, saves_at_end=True, evaluates_at_end=True)


def _due(every: int | str | None, steps: int, an_epoch: int) -> tuple[int, ...]:
    if every is None:
        return ()
    return tuple(range(an_epoch if every == EPOCH else every, steps + 1, an_epoch if every == EPOCH else every))


def _length(recipe: Recipe, of: dict):
    rows, steps = recipe.batch_size * recipe.accumulation, of["steps"]
    if recipe.max_steps and steps * rows < of["n"] and steps < of["an_epoch"]:
        yield Finding("warning", "Not all records are seen.",
                      f"{steps} steps of {rows} take {steps * rows} of {of['n']}.",
                      f"One epoch is {of['an_epoch']} steps.")
    if steps < FEW_STEPS:
        yield Finding("warning", f"There are only {steps} steps.", f"A step takes {rows} records.",
                      "Take a smaller batch, less accumulation or more epochs.")
    if steps > MANY_EPOCHS * of["an_epoch"]:
        yield Finding("note", f"Each record is seen {steps / of['an_epoch']:.0f} times.", "That is much.",
                      "Watch the held-out loss.")
    if recipe.logging_steps and recipe.logging_steps > steps:
        yield Finding("warning", "No loss is ever logged before the end.", f"It is due every {recipe.logging_steps} "
                      f"steps, and there are {steps}.", "Set logging_steps=1, or a few.")


def _last_step(recipe: Recipe, of: dict):
    if recipe.accumulation > of["micro_batches"]:
        yield Finding("warning", "Accumulation is longer than an epoch.", f"An epoch has {of['micro_batches']} "
                      f"micro-batches, fewer than {recipe.accumulation}: every step is an epoch.",
                      "Take less accumulation.")
        return
    rest, last = of["n"] % (recipe.batch_size * recipe.accumulation), of["n"] % recipe.batch_size
    if recipe.drop_last and last:
        yield Finding("note", f"{last} records of each epoch are left out.", "dataloader_drop_last drops the last "
                      "micro-batch, which is not full.", "Leave it False.")
    elif rest:
        is_short = last and recipe.accumulation > 1
        short = f"; its last micro-batch holds {last} of {recipe.batch_size}" if is_short else ""
        yield Finding("note", "The last step of each epoch is smaller than the others.",
                      f"It takes {rest} of {recipe.batch_size * recipe.accumulation} records{short}.",
                      "That does no harm where the loss is a mean over tokens, as here.")


def _warmup(recipe: Recipe, of: dict):
    share, steps = of["warmup"] / of["steps"], of["steps"]
    if of["warmup"] >= steps:
        yield Finding("error", "The learning rate never gets past its warm-up.",
                      f"Warm-up takes {of['warmup']} steps, and there are {steps}.",
                      f"Take {max(1, steps // 10)} steps.")
    elif share > LONG_WARMUP:
        yield Finding("warning", f"Warm-up takes {share:.0%} of the training.", f"{of['warmup']} of {steps} steps.",
                      f"Take a tenth: {max(1, steps // 10)} steps.")


def _saving(recipe: Recipe, of: dict):
    if recipe.save_every and not of["checkpoints"]:
        end = " One is written at the end, when nothing can be lost any more." if recipe.saves_at_end else ""
        yield Finding("error", "No checkpoint is ever due.", f"Every {recipe.save_every} steps, and there are "
                      f"{of['steps']}.{end}", f"Take {max(1, of['steps'] // 5)}.")
    if not recipe.save_every:
        yield Finding("note", "No checkpoint is due while it trains.", "A kill takes it back to the start.",
                      f"Write one every {max(1, of['steps'] // 5)} steps.")


def _evaluating(recipe: Recipe, of: dict):
    if recipe.eval_every and not of["evaluations"]:
        every = "An epoch has" if recipe.eval_every == EPOCH else f"Every {recipe.eval_every} steps, and there are"
        yield Finding("warning", "No evaluation is ever due before the end.",
                      f"{every} {of['an_epoch'] if recipe.eval_every == EPOCH else of['steps']}.",
                      f"Take {max(1, of['steps'] // 10)} steps.")
    if not recipe.eval_every:
        when = "measured after the last step alone" if recipe.evaluates_at_end else "never measured"
        yield Finding("warning", f"Held-out loss is {when}.", "Overfitting cannot be seen while it trains.",
                      f"Evaluate every {max(1, of['steps'] // 10)} steps, or each epoch.")


def _stopping(recipe: Recipe, of: dict):
    if recipe.patience is None:
        return
    done = of["evaluations"]
    if not recipe.eval_every:
        yield Finding("error", "Early stopping can never act.", "There are no evaluations.", "Evaluate each epoch.")
    elif len(done) <= recipe.patience or done[recipe.patience] >= of["steps"]:
        yield Finding("error", "Early stopping can never act.",
                      f"It takes a best evaluation and {recipe.patience} after it, {recipe.patience + 1} in all, "
                      f"before the last step; {sum(step < of['steps'] for step in done)} are due.",
                      f"Evaluate every {max(1, of['steps'] // (recipe.patience + 2))} steps, or take less patience.")


def _rate(recipe: Recipe, of: dict):
    if of["method"] is None:
        return
    low, high = WINDOWS[of["method"]]
    if of["total"] is not None and of["total"] <= SMALL_MODEL:
        usual = LEARNING_RATES[of["method"]][0]
        low, high = usual / 10, usual * 10
    if recipe.optimizer == "lion":
        low, high = low * LION_FACTORS[0], high * LION_FACTORS[1]
    rate = recipe.learning_rate
    if not low <= rate <= high:
        side, likely = ("above", "the loss rises or jumps") if rate > high else ("below", "next to nothing is learned")
        yield Finding("warning", f"The learning rate {rate:g} is {side} what {of['method']} takes.",
                      f"In use are {low:.1g} to {high:.1g}; {likely}.", f"Begin with {math.sqrt(low * high):.1g}.")


def _at(steps: tuple[int, ...]) -> str:
    if not steps:
        return "none is due before the end"
    return f"due {len(steps)} times: at step " + ", ".join(map(str, steps[:3])) + (" ..." if len(steps) > 3 else "")
