"""Whoever watches a training: generators that pass its records on, and questions asked at each evaluation.

Knows nothing about notebooks; nothing here prints, and nothing changes a record.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path

from torch import nn

from ftkit.errors import refusal
from ftkit.files import needs_room

SUFFIX = ".ftkit"  # of the event files that are ours
ANSWERS = "answers"
_FLUSH_S = 1


def to_tensorboard(records: Iterable[Mapping], folder: str | Path) -> Iterator[dict]:
    """The records, passed on; each number in them is a scalar in TensorBoard by then, each text a text.

    The folder holds one training: event files that this function wrote there before are replaced, and since a resumed
    training yields its earlier records again, no step is there twice. They are flushed every second, and closed when
    the records end, when nobody asks for more, and on an exception.

    Args:
        records: of `train`, or of another watcher.
        folder: made if it isn't there; show it with `tensorboard --logdir`.

    Raises:
        Refusal: the folder is a file.
        DiskFull: there is no room for the events.

    Taught in: 04_train_and_watch
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise refusal("folder", "a folder", f"the file {folder.name}", "Choose another place.")
    return _to_tensorboard(records, folder)


def _to_tensorboard(records: Iterable[Mapping], folder: Path) -> Iterator[dict]:
    from torch.utils.tensorboard import SummaryWriter

    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob(f"events.out.tfevents.*{SUFFIX}"):
        earlier.unlink()
    writer = SummaryWriter(folder, flush_secs=_FLUSH_S, filename_suffix=SUFFIX)
    try:
        for record in records:
            with needs_room(folder, "the events of a step", 0, "The training itself lost nothing."):
                _write(writer, record)
            yield record
    finally:
        writer.close()


def _write(writer, record: Mapping) -> None:
    for name, value in record.items():
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        if name == "step" or value is None or isinstance(value, bool):
            continue
        if isinstance(value, Real):
            writer.add_scalar(name, value, record["step"])
        elif texts and all(isinstance(text, str) for text in texts):
            writer.add_text(name, "\n".join(f"1. {text}" for text in texts), record["step"])


def tell(records: Iterable[Mapping], say: Callable[[str], object], every_s: float = 1.0) -> Iterator[dict]:
    """The records, passed on, while a line about them is said every second.

    The first record, each evaluation and the last record are always said.

    Args:
        records: of `train`, or of another watcher.
        say: called with a line; `print` in a notebook.
        every_s: seconds between lines at least; 0 says every record.

    Raises:
        Refusal: a negative time.

    Example:
        >>> list(tell([{"step": 1, "loss": 2.0}], print))
        step 1  loss 2
        [{'step': 1, 'loss': 2.0}]
    """
    if not every_s >= 0:
        raise refusal("every_s", "0 or more seconds", every_s)
    return _tell(records, say, every_s)


def _tell(records: Iterable[Mapping], say: Callable[[str], object], every_s: float) -> Iterator[dict]:
    said_s, unsaid = -float("inf"), None
    try:
        for record in records:
            unsaid = record
            if time.monotonic() - said_s >= every_s or record.get("held_out_loss") is not None:
                say(line_of(record))
                said_s, unsaid = time.monotonic(), None
            yield record
    finally:
        if unsaid is not None:
            say(line_of(unsaid))


def line_of(record: Mapping) -> str:
    """One line about a record: where it is, losses, speed.

    Example:
        >>> line_of({"step": 20, "epoch": 0, "loss": 0.51234, "held_out_loss": 0.6, "tokens_per_s": 5123.4})
        'step 20  epoch 1  loss 0.5123  held out 0.6  5123 tokens/s'
    """
    words = [f"step {record['step']}"] + ([f"epoch {record['epoch'] + 1}"] if "epoch" in record else [])
    words.append(f"loss {record['loss']:.4g}")
    if record.get("held_out_loss") is not None:
        words.append(f"held out {record['held_out_loss']:.4g}")
    if record.get("tokens_per_s") is not None:
        words.append(f"{record['tokens_per_s']:.0f} tokens/s")
    return "  ".join(words)


class Questions:
    """The same questions, asked at each evaluation; give it to `train` as `evaluate`.

    The answers are in the training's records, so they survive a kill with them.

    Args:
        prompts: what is asked, as `answer` takes it: texts, or records with an instruction.
        answer: (model, prompts) to a text for each prompt.

    Raises:
        Refusal: no prompts.

    Example:
        >>> questions = Questions(["What is 2 + 3?"], lambda model, prompts: ["5" for _ in prompts])
        >>> trace = [{"step": 1, "loss": 1.0}, {"step": 2, "epoch": 0, "loss": 0.5, **questions(None)}]
        >>> questions.table(trace)
        [{'question': 'What is 2 + 3?', 'step 2 (epoch 1)': '5'}]

    Taught in: 04_train_and_watch
    """

    def __init__(self, prompts: Sequence, answer: Callable[[nn.Module, Sequence], Sequence[str]]):
        if isinstance(prompts, str | Mapping) or not len(prompts):
            raise refusal("prompts", "a list of at least one prompt", prompts)
        self.prompts, self._answer = list(prompts), answer

    def __call__(self, model: nn.Module) -> dict:
        """The answers now, as an evaluation returns them.

        Raises:
            Refusal: `answer` returned another number of texts than there are prompts.
        """
        answers = self._answer(model, self.prompts)
        if isinstance(answers, str) or len(answers) != len(self.prompts):
            raise refusal("what answer returns", f"a list of {len(self.prompts)} texts, one a prompt", answers)
        return {ANSWERS: [str(one) for one in answers]}

    def table(self, trace: Iterable[Mapping], before: Mapping | None = None) -> list[dict]:
        """One row a question: the question, the answers before, then those of each evaluation in the trace.

        Args:
            trace: records of a training that had these questions as its evaluation, or part of it.
            before: what asking the untrained model returned; None leaves the column out.
        """
        columns = {"before": before[ANSWERS]} if before else {}
        for record in trace:
            if ANSWERS in record:
                epoch = f" (epoch {record['epoch'] + 1})" if "epoch" in record else ""
                columns[f"step {record['step']}{epoch}"] = record[ANSWERS]
        return [{"question": _text(prompt), **{name: answers[place] for name, answers in columns.items()}}
                for place, prompt in enumerate(self.prompts)]


def _text(prompt: object) -> str:
    """A prompt as it is read: a text, a record's fields but its answer, or the last turn of a conversation."""
    if isinstance(prompt, Mapping) and "content" not in prompt:
        return "\n".join(str(prompt[name]) for name in ("instruction", "input", "question") if prompt.get(name))
    if isinstance(prompt, Mapping):
        return str(prompt["content"])
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], Mapping):
        return _text(prompt[-1])
    return str(prompt)
