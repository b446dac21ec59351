"""One fine-tuning, from a few settings to its scores: what a sweep, a lesson or a widget runs again and again.

Knows nothing about grids, processes, notebooks or widgets.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ftkit import methods
from ftkit.device import resident_peak_gib
from ftkit.errors import refusal, unknown
from ftkit.evaluate.answers import answers
from ftkit.evaluate.perplexity import record_losses
from ftkit.hub import EMBEDDED, load_model, model_hash
from ftkit.material import Material, drawn, material
from ftkit.merge.checking import largest_difference, logits_of
from ftkit.merge.merging import WAYS, merged
from ftkit.quantization import check_kind, stored_bytes
from ftkit.runs import Run, open_run
from ftkit.tiny import clinic, exam
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

ANSWER_TOKENS = 64
CURVE_POINTS = 8  # of the held-out loss over a training
SCORES = ("held_out", "all", "merged")
ABOUT_THE_BASE = {"quantization": "", "double_quant": True, "unquantised": ()}  # settings that came later than cards


@dataclass(frozen=True)
class Trial:
    """Everything that decides one fine-tuning.

    Args:
        method: a name that `methods.prepare` knows.
        settings: the method's own, such as rank or alpha; what is left out has the method's default.
        learning_rate: the highest of the schedule; 0.0 takes the method's default.
        max_steps: optimizer steps, 1 or more.
        batch_size: records of a step.
        records: so many, drawn by the seed; 0 takes all.
        seed: of the records drawn, their order, dropout and what a method begins with.
        model: the embedded base, a folder, or a hub name.
        data: a file, a folder or a hub name; empty takes the clinic.
        columns: which column plays which part; empty goes by the usual names.
        quantization: what the base is stored in, as for `hub.load_model`; empty takes what the method needs.
        double_quant: as there.
        unquantised: as there.

    Raises:
        Refusal: a number is out of range, or an unknown quantization.
    """

    method: str = "lora"
    settings: Mapping = field(default_factory=dict)
    learning_rate: float = 0.0
    max_steps: int = 160
    batch_size: int = 8
    records: int = 0
    seed: int = 0
    model: str = EMBEDDED
    data: str = ""
    columns: str = ""
    quantization: str = ""
    double_quant: bool = True
    unquantised: Sequence[str] = ()

    def __post_init__(self):
        if isinstance(self.records, bool) or not isinstance(self.records, int) or self.records < 0:
            raise refusal("records", "a whole number, 0 (all) or more", self.records)
        check_kind(self.quantization or None)
        self.config(self.learning_rate or 1.0)  # refuses what it would refuse at a default's rate

    def config(self, learning_rate: float) -> TrainConfig:
        """How it is trained, at a rate."""
        return TrainConfig(learning_rate=learning_rate, max_steps=self.max_steps, batch_size=self.batch_size,
                           eval_every=max(1, self.max_steps // CURVE_POINTS), seed=self.seed)


@dataclass
class Begun:
    """A trial whose model is ready to learn; made by `begin`."""

    trial: Trial
    material: Material
    prepared: methods.Prepared
    learning_rate: float
    trace: list[dict] = field(default_factory=list)
    step_cpu_s: list[float] = field(default_factory=list)

    def records(self, run: Run | None = None) -> Iterator[dict]:
        """One record a step while the model learns, as `train` gives them; kept in `trace` too."""
        examples = drawn(self.material.examples, self.trial.records, self.trial.seed)
        stream = train(self.prepared.model, examples, self.trial.config(self.learning_rate),
                       held_out=self.material.held_out, run=run, pad_id=self.material.pad_id)
        done = run.trace()[-1]["step"] if run is not None and run.trace() else 0
        began_s = time.process_time()
        for record in stream:
            self.trace.append(record)
            if record["held_out_loss"] is None and record["step"] > done:
                self.step_cpu_s.append(time.process_time() - began_s)
            yield record
            began_s = time.process_time()

    def metrics(self) -> dict:
        """What the training cost and where its losses went; no question is asked. Optimizer: two float32 a weight."""
        curve = [(one["step"], one["held_out_loss"]) for one in self.trace if one["held_out_loss"] is not None]
        last = self.trace[-CURVE_POINTS:]
        return {"held_out_loss": curve[-1][1], "loss": statistics.fmean(one["loss"] for one in last), "curve": curve,
                "trainable": self.prepared.trainable, "total": self.prepared.total,
                "saved_bytes": _saved_bytes(self.prepared), "optimizer_bytes": 8 * self.prepared.trainable,
                "step_cpu_s": statistics.median(self.step_cpu_s) if self.step_cpu_s else None,
                "train_s": self.trace[-1]["elapsed_s"], "train_tokens": sum(one["real_tokens"] for one in self.trace)}

    def scores(self, which: str = "held_out") -> dict:
        """The share of clinic questions answered right; with "all" the test split's and the general exam's, too; with
        "merged" that of the model with its adapter merged in each way, its loss, and how far its logits went.

        Nothing with records of one's own: the clinic's questions are not about them.
        """
        if not self.material.asked:
            return {}
        found = {"clinic": self._clinic(self.material.asked)["accuracy"]}
        if which == "all":
            test = self._clinic(clinic.records("test"))
            items = exam.general_exam()
            general = exam.score_exam(self._answers([item["question"] for item in items]), items)
            found |= {"test": test["accuracy"], "test_en": test["en"], "test_zh": test["zh"],
                      "general": general["accuracy"]}
        return found | (self._merged() if which == "merged" else {})

    def _merged(self) -> dict:
        """Of each way to merge: held-out loss, bytes, clinic score, and how far a logit went from the unmerged."""
        ids = torch.tensor([self.material.held_out[0].input_ids])
        unmerged, found = logits_of(self.prepared.model, ids), {}
        with TemporaryDirectory() as folder:
            methods.save(self.prepared, folder)
            for way in WAYS:
                adapted = methods.load(load_base(self.trial), folder).model
                plain = load_base(replace(self.trial, method="lora", quantization="")) if way == "original" else None
                one = merged(adapted, way, plain)
                sums, counts = record_losses(one, self.material.held_out)
                asked = answers(one, self.material.tokenizer, self.material.asked, ANSWER_TOKENS, batch_size=128)
                found |= {f"{way} loss": sum(sums) / sum(counts), f"{way} bytes": stored_bytes(one),
                          f"{way} clinic": clinic.score(asked, self.material.asked)["accuracy"],
                          f"{way} difference": largest_difference(logits_of(one, ids), unmerged)}
        return found

    def _clinic(self, asked: Sequence[dict]) -> dict:
        return clinic.score(self._answers(asked), asked)

    def _answers(self, prompts: Sequence) -> list[str]:
        return answers(self.prepared.model, self.material.tokenizer, prompts, ANSWER_TOKENS, batch_size=128)


def begin(trial: Trial) -> Begun:
    """The trial with its records read and its model prepared.

    Raises:
        Refusal: an unknown method or setting, no such model or data.
    """
    shared = material(trial.model, trial.data, trial.columns)
    model = load_base(trial)
    size = sum(parameter.numel() for parameter in model.parameters())
    seeded = {"seed": trial.seed} if "seed" in methods.defaults(trial.method) else {}
    prepared = methods.prepare(model, trial.method, **{**seeded, **trial.settings})
    rate = trial.learning_rate or methods.default_learning_rate(trial.method, size)
    return Begun(trial, shared, prepared, rate)


def load_base(trial: Trial):
    """The model that a trial begins with, stored as its method needs it or as the trial says.

    Raises:
        Refusal: no such model, or it cannot be stored so.
    """
    small = trial.model == EMBEDDED
    stored = trial.quantization or methods.BASE_OF.get(trial.method)
    model, _ = load_model(trial.model, device="cpu" if small else "auto", dtype="float32" if small else "auto",
                          quantization=stored, double_quant=trial.double_quant, unquantised=tuple(trial.unquantised))
    return model


def run_trial(out_dir: str = "", method: str = "lora", learning_rate: float = 0.0, max_steps: int = 160,
              batch_size: int = 8, records: int = 0, seed: int = 0, model: str = EMBEDDED, data: str = "",
              columns: str = "", score: str = "held_out", quantization: str = "", double_quant: bool = True,
              unquantised: Sequence[str] = (), **settings) -> dict:
    """The metrics of one trial; with a folder it is a run there, which goes on where it was killed.

    Args:
        out_dir: the run's folder; empty keeps nothing.
        score: "held_out"; "all" for the test split and the general exam besides; "merged" for the adapter merged in
            each way.
        settings: the method's own; see `Trial` for all else.

    Raises:
        Refusal: a setting is unknown or out of range, or the folder holds another run.
    """
    if score not in SCORES:
        raise refusal("score", " or ".join(SCORES), score)
    trial = Trial(method, settings, learning_rate, max_steps, batch_size, records, seed, model, data, columns,
                  quantization, double_quant, unquantised)
    begun = begin(trial)
    if not out_dir:
        return _measured(begun, None, score)
    with open_run(Path(out_dir), parameters_of(begun, score), name="trial", seed=seed,
                  data=list(begun.material.files), model=model_of(trial)) as run:
        if run.card.status == "done":
            return run.card.metrics
        return run.finish(_measured(begun, run, score)).metrics


def check_run_trial(out_dir: str = "", score: str = "held_out", **parameters) -> None:
    """Nothing, if `run_trial` takes these; `ftkit sweep` asks before it runs anything.

    Raises:
        Refusal: a name is unknown, or a number is out of range.

    Example:
        >>> check_run_trial(method="lora", rank=4)
    """
    if score not in SCORES:
        raise refusal("score", " or ".join(SCORES), score)
    own = {name: value for name, value in parameters.items() if name in {one.name for one in fields(Trial)}}
    trial = Trial(**own)
    known = methods.defaults(trial.method)
    for name in parameters.keys() - own.keys() - known.keys():
        raise unknown(f"a setting of {trial.method}", name, [*known, *own])


def parameters_of(begun: Begun, score: str) -> dict:
    """What a card says of a trial: every setting but the seed, the defaults filled in; of the base's only others."""
    given = {name: value for name, value in asdict(begun.trial).items()
             if name != "seed" and (name not in ABOUT_THE_BASE or value not in (ABOUT_THE_BASE[name], []))}
    settings = {name: value for name, value in begun.prepared.settings.items()
                if name != "seed" or name in begun.trial.settings}
    return given | {"settings": settings, "learning_rate": begun.learning_rate, "score": score}


def model_of(trial: Trial) -> dict:
    """Name and SHA-256 of the model that a trial begins with."""
    return {"name": Path(trial.model).name, "sha256": model_hash(trial.model)}


def _measured(begun: Begun, run: Run | None, score: str) -> dict:
    before_gib = resident_peak_gib()
    for _ in begun.records(run):
        pass
    peak_gib = resident_peak_gib()
    return begun.metrics() | {"peak_gib": peak_gib, "before_gib": before_gib} | begun.scores(score)


def _saved_bytes(prepared: methods.Prepared) -> int:
    """What it takes on the disk to keep what was trained."""
    with TemporaryDirectory() as folder:
        methods.save(prepared, folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
