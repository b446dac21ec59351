"""The training loop: a generator that yields one record a step, and goes on where it was killed.

Knows nothing about where examples and models come from, what is plotted, or what an evaluation measures.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from ftkit.device import peak_gib, thread_count
from ftkit.errors import Refusal, refusal
from ftkit.files import DiskFull
from ftkit.runs import Run, scrub
from ftkit.train import checkpoint
from ftkit.train.config import EPOCH, TrainConfig
from ftkit.train.learner import Learner, Randomness, frozen_of, hash_of, ready_to_learn
from ftkit.train.order import Order, Step, held_out_order
from ftkit.train.schedule import rate, warmup_steps

FIELDS = ("step", "epoch", "loss", "held_out_loss", "learning_rate", "grad_norm", "real_tokens", "tokens_per_s",
          "peak_gib", "elapsed_s")
HERE = {"threads": None, "matmul_precision": None}  # of an identity: what no longer matters once a training is over
Evaluate = Callable[[nn.Module], dict]


@dataclass(frozen=True)
class Progress:
    """What a training knows about its own course, besides weights, optimizer and random generators."""

    step: int = 0
    real_tokens: int = 0
    elapsed_s: float = 0.0
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    finished: bool = False


def train(model: nn.Module, examples: Sequence, config: TrainConfig, *, held_out: Sequence | None = None,
          run: Run | None = None, evaluate: Evaluate | None = None, pad_id: int = 0) -> Iterator[dict]:
    """One record a step, while the model learns: a dict for the trace, for plots, for whoever watches.

    With a run folder, each record is in its trace, and checkpoints are written. A training that was killed goes on from
    the last one: records up to it are yielded again from the trace, and on a CPU all that follows is bit for bit what
    it would have been, times and memory aside. A finished one yields its records and puts its weights into the model.

    Args:
        model: a prepared causal language model; its trainable weights are changed in place, all else is left alone.
        examples: pairs (token ids, labels) as `chat.encode` makes them.
        held_out: examples for `held_out_loss`, measured as `eval_every` says, and after the last step.
        run: an opened run folder; None keeps nothing.
        evaluate: called with the model when the held-out loss is measured; what it returns goes into the record.
        pad_id: the token that fills rows; any id will do.

    Returns:
        An iterator over records with step, epoch, loss (mean over the step's label tokens), held_out_loss or None,
        learning_rate, grad_norm (before clipping), real_tokens, tokens_per_s, peak_gib, elapsed_s (of training alone,
        over all sessions), and the evaluation's results.

    Raises:
        Refusal: at once, for examples, settings or a model that don't fit; later, when the run folder holds another
            training, or when the loss is not finite (the run is then marked as failed, its checkpoints stay).

    Source: Loshchilov and Hutter 2019 for AdamW; Chen et al. 2023 for Lion; Prechelt 1998 for early stopping.

    Taught in: 01_why_finetune
    """
    order = Order(examples, config, pad_id)
    if config.patience is not None and held_out is None:
        raise refusal("held_out", "given together with patience", None, 
                      "Split some examples off, or set patience=None.")
    others = None if held_out is None else held_out_order(held_out, config.batch_size, pad_id)
    learner = Learner(model, config)
    return _Training(learner, order, others, config, run, evaluate).records()


class _Training:
    """The course of one training; its progress is replaced step by step."""

    def __init__(self, learner: Learner, order: Order, held_out: Order | None, config: TrainConfig, run: Run | None,
                 evaluate: Evaluate | None):
        self.learner, self.order, self.held_out = learner, order, held_out
        self.config, self.run, self.evaluate = config, run, evaluate
        self.progress, self.randomness = Progress(), Randomness(config.seed)
        self.best: dict[str, torch.Tensor] = {}
        self.warmup = warmup_steps(order.total_steps, config.warmup_steps, config.warmup_ratio)

    def records(self) -> Iterator[dict]:
        """All records; where the disk or the memory is too small, the run's card says so if it still can be written."""
        try:
            yield from self._records()
        except GeneratorExit:  # first: at the end of a program the names below may be gone
            raise
        except DiskFull as error:
            self._fail(error)
            raise
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate" in str(error)):
                raise
            refused = _no_memory(error, self.progress.step + 1, self.config)
            self._fail(refused)
            raise refused from error.with_traceback(None)  # whose frames hold what filled the memory

    def _records(self) -> Iterator[dict]:
        if self.run is not None:
            self.identity = self._identity()
            yield from self._resumed()
        if self.progress.finished:
            return
        kept = self.config.quantised_products == "kept"
        with ready_to_learn(self.learner.model, self.config.activation_checkpointing, kept):
            for step in self.order.steps(done=self.progress.step):
                yield self._one(step)
                if self.progress.finished:
                    return

    def _fail(self, error: Refusal) -> None:
        if self.run is not None and self.run.is_open:
            with suppress(DiskFull):  # the card then says "running": the folder can be opened again all the same
                self.run.fail(str(error))

    def _one(self, step: Step) -> dict:
        """One step, all that is due after it, and its record."""
        started_s = time.perf_counter()
        learning_rate = rate(step.number, self.order.total_steps, self.config.learning_rate, self.warmup,
                             self.config.schedule)
        with self.randomness:
            result = self.learner.step(self.order, step.rows, learning_rate)
        self._refuse_not_finite(step, result)
        step_s = time.perf_counter() - started_s
        self.progress = replace(self.progress, step=step.number,
                                real_tokens=self.progress.real_tokens + result["real_tokens"])
        held_out_loss, results = self._evaluated(step)
        self.progress = replace(self.progress, elapsed_s=self.progress.elapsed_s + time.perf_counter() - started_s)
        measured = (step.number, step.epoch, result["loss"], held_out_loss, learning_rate, result["grad_norm"],
                    result["real_tokens"], result["real_tokens"] / step_s, peak_gib(), self.progress.elapsed_s)
        record = dict(zip(FIELDS, measured, strict=True)) | results
        self._keep(record)
        return record

    def _evaluated(self, step: Step) -> tuple[float | None, dict]:
        every = self.config.eval_every
        due = step.ends_epoch if every == EPOCH else every is not None and step.number % every == 0
        if not due and step.number != self.order.total_steps:
            return None, {}
        with Randomness(self.config.seed + step.number):  # its own, so that it changes nothing that follows
            loss = self.learner.loss_on(self.held_out) if self.held_out is not None else None
            results = _checked(self.evaluate(self.learner.model)) if self.evaluate is not None else {}
        if loss is not None and self.config.patience is not None:
            self._note_gain(loss)
        return loss, results

    def _note_gain(self, loss: float) -> None:
        best = self.progress.best_loss
        if best is None or loss < best - self.config.min_delta:
            self.best = self.learner.weights()
            self.progress = replace(self.progress, best_loss=loss, best_step=self.progress.step, without_gain=0)
        else:
            self.progress = replace(self.progress, without_gain=self.progress.without_gain + 1)

    def _keep(self, record: dict) -> None:
        """Writes what is due: the record always, a checkpoint every so many steps, the end at the end."""
        stopped = self.config.patience is not None and self.progress.without_gain >= self.config.patience
        last = stopped or self.progress.step == self.order.total_steps
        if last:
            if self.best:
                self.learner.load_weights_(self.best)
            self.progress = replace(self.progress, finished=True)
        if self.run is None:
            return
        self.run.record(record)
        if last or (self.config.checkpoint_every and self.progress.step % self.config.checkpoint_every == 0):
            self._checkpoint()
        if last:
            self.run.note(self._metrics(record))

    def _metrics(self, record: dict) -> dict:
        best = {"best_step": self.progress.best_step, "best_held_out_loss": self.progress.best_loss}
        return {"steps": self.progress.step, "loss": record["loss"], "held_out_loss": record["held_out_loss"],
                "train_tokens": self.progress.real_tokens, "train_s": round(self.progress.elapsed_s, 3),
                "peak_gib": round(record["peak_gib"], 3), "weights_sha256": hash_of(self.learner.parameters),
                "stopped_early": self.progress.step < self.order.total_steps, **(best if self.best else {})}

    def _checkpoint(self) -> None:
        self.run.sync()
        state = {"progress": asdict(self.progress), "rng": _rng_to_json(self.randomness.state),
                 "scaler": self.learner.scaler_state()}
        checkpoint.write(self.run.folder, checkpoint.Snapshot(
            self.progress.step, self.identity, state, self.learner.parameters, self.learner.optimizer_tensors(),
            self.best))

    def _resumed(self) -> Iterator[dict]:
        """Goes back to the newest checkpoint; yields the records up to it."""
        snapshot = checkpoint.newest(self.run.folder)
        if snapshot is None:
            self._refuse_lost_checkpoints()
            self.run.cut_trace_(0)
            self._checkpoint()  # so that a restart begins with these weights, whatever the model has become since
            return
        progress = Progress(**snapshot.state["progress"])
        checkpoint.check_fits(snapshot, self.identity | (HERE if progress.finished else {}))
        records = self.run.trace() if progress.finished else self.run.cut_trace_(snapshot.step)
        records = [record for record in records if "step" in record]
        if [record["step"] for record in records] != list(range(1, snapshot.step + 1)):
            raise refusal(f"trace of run {self.run.folder.name}", f"one record for each step up to {snapshot.step}, as "
                          "its checkpoint", f"{len(records)} records", "Restore it or delete the run folder.")
        self.learner.restore_(snapshot.weights, snapshot.optimizer, snapshot.state["scaler"])
        self.randomness.state = _rng_from_json(snapshot.state["rng"])
        self.progress, self.best = progress, snapshot.best
        if progress.finished and self.run.is_open and "weights_sha256" not in self.run.card.metrics:
            self.run.note(self._metrics(records[-1]))  # it was killed right before this
        yield from records

    def _refuse_lost_checkpoints(self) -> None:
        """The first checkpoint is there before the first record, so records without one have lost theirs."""
        done = sum("step" in record for record in self.run.trace())
        if done:
            raise refusal(f"checkpoints of run {self.run.folder.name}", f"there, beside its trace of {done} records",
                          "none", "Put them back to go on, or choose another run folder to start again.")

    def _identity(self) -> dict:
        shapes = {name: list(one.shape) for name, one in self.learner.parameters.items()}
        on_cpu = self.learner.device.type == "cpu"
        return {"config": asdict(self.config), "trainable": shapes, "frozen": hash_of(frozen_of(self.learner.model)),
                "examples": self.order.fingerprint(),
                "held_out": self.held_out.fingerprint() if self.held_out is not None else None,
                "threads": thread_count() if on_cpu else None,
                "matmul_precision": self.learner.matmul_precision if on_cpu else None}

    def _refuse_not_finite(self, step: Step, result: dict) -> None:
        for name, value in (("loss", result["loss"]), ("grad_norm", result["grad_norm"])):
            if math.isfinite(value) or (name == "grad_norm" and self.config.precision == "fp16"):
                continue
            error = diverged(name, step.number, value, self.config)
            self._fail(error)
            raise error


def _checked(results: object) -> dict:
    """What an evaluation returned, as the trace will hold it, so that a resumed training yields the same."""
    if not isinstance(results, dict):
        raise refusal("what evaluate returns", "a dict of results", results, "Return for example {'accuracy': 0.9}.")
    taken = sorted(results.keys() & set(FIELDS))
    if taken:
        raise refusal("a result of evaluate", "named unlike the record's own fields", taken[0], "Give it another name.")
    return json.loads(json.dumps(scrub(results)))


def diverged(name: str, step: int, value: float, config: TrainConfig) -> Refusal:
    """The refusal of a loss or a norm that is not finite."""
    precision = "" if config.precision == "no" else f", or precision='no' (now {config.precision!r})"
    return refusal(f"{name} at step {step}", "finite", value, f"The weights are those before this step. Try a lower "
                   f"learning_rate (now {config.learning_rate:g}), a longer warm-up{precision}.")


def _no_memory(error: Exception, step: int, config: TrainConfig) -> Refusal:
    said = str(error).splitlines()[0].partition(". GPU")[0] if str(error) else "no memory"
    rows, ways = config.batch_size, ["a smaller seq_len"]
    if config.activation_checkpointing is not True:
        ways.insert(0, "activation_checkpointing=True")
    if rows > 1:
        ways.insert(0, f"batch_size={rows // 2} with accumulation={config.accumulation * 2}, which learns the same")
    return refusal(f"memory at step {step}", f"enough for micro-batches of {rows} rows", said,
                   f"Take {'; or '.join(ways)}. Other settings are another run, with a folder of its own.")


def _rng_to_json(state: dict) -> dict:
    kind, keys, *rest = state["numpy"]
    cuda = [one.numpy().tobytes().hex() for one in state["cuda"]] if "cuda" in state else None
    return {"python": state["python"], "numpy": [kind, keys.tolist(), *rest],
            "torch": state["torch"].numpy().tobytes().hex(), "cuda": cuda}


def _rng_from_json(stored: dict) -> dict:
    version, keys, gauss = stored["python"]
    state = {"python": (version, tuple(keys), gauss), "numpy": tuple(stored["numpy"]), "torch": _bytes(stored["torch"])}
    return state if stored["cuda"] is None else state | {"cuda": [_bytes(one) for one in stored["cuda"]]}


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
