import itertools
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit.errors import Refusal
from ftkit.files import DiskFull
from ftkit.runs import open_run
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Randomness
from ftkit.train.loop import train
from ftkit.train.watching import Questions, line_of, tell, to_tensorboard

SOURCE = str(Path(__file__).parents[1] / "src")
EXAMPLES = [([(start * 5 + 3 * step) % 32 for step in range(6 + start % 5)],) * 2 for start in range(20)]
CONFIG = TrainConfig(learning_rate=1e-2, max_steps=9, batch_size=4, checkpoint_every=3, eval_every="epoch")
QUESTIONS = Questions(["What is 2 + 3?", {"instruction": "发烧怎么办？", "output": "看医生。"}],
                      lambda model, prompts: [f"answer {place}" for place, _ in enumerate(prompts)])


def model_of():
    with Randomness(0):
        torch.manual_seed(0)
        return Qwen2ForCausalLM(Qwen2Config(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                                            num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64))


def records_of(steps):
    return [{"step": step, "epoch": 0, "loss": 1 / step, "held_out_loss": 1 / step if step % 5 == 0 else None,
             "learning_rate": 1e-3} for step in range(1, steps + 1)]


def events(folder):
    """By tag: the pairs (step, value) in a folder's event files."""
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    read.Reload()
    return {tag: [(one.step, one.value) for one in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


# TensorBoard


def test_each_number_of_a_record_is_a_scalar_and_texts_are_texts(tmp_path):
    given = [record | {"answers": ["five", "发烧"], "done": False} for record in records_of(10)]
    assert list(to_tensorboard(iter(given), tmp_path)) == given
    found = events(tmp_path)
    assert set(found) == {"epoch", "loss", "held_out_loss", "learning_rate"}
    assert [step for step, _ in found["loss"]] == list(range(1, 11))
    assert found["held_out_loss"] == [(5, pytest.approx(0.2)), (10, pytest.approx(0.1))]
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert read.Tags()["tensors"] == ["answers/text_summary"]
    assert "发烧" in read.Tensors("answers/text_summary")[0].tensor_proto.string_val[0].decode()


def test_a_resumed_training_writes_no_step_twice(tmp_path):
    for steps in (5, 9):
        with open_run(tmp_path / "run", asdict(CONFIG), name="try", seed=0) as run:
            watched = to_tensorboard(train(model_of(), EXAMPLES, CONFIG, held_out=EXAMPLES[:4], run=run), tmp_path)
            list(itertools.islice(watched, steps))
            watched.close()
    found = events(tmp_path)
    assert [step for step, _ in found["loss"]] == list(range(1, 10))
    assert [step for step, _ in found["held_out_loss"]] == [5, 9]


def test_files_that_are_not_its_own_stay(tmp_path):
    for name in ("events.out.tfevents.1.machine", "notes.txt"):
        (tmp_path / name).write_text("")
    list(to_tensorboard(records_of(2), tmp_path))
    list(to_tensorboard(records_of(2), tmp_path))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("end", ["exception", "break"])
def test_events_are_closed_when_a_training_ends_half_way(tmp_path, end):
    def records():
        yield from records_of(3)
        raise RuntimeError("half-way")

    watched = to_tensorboard(records(), tmp_path)
    if end == "exception":
        with pytest.raises(RuntimeError, match="half-way"):
            list(watched)
    else:
        list(itertools.islice(watched, 3))
        watched.close()
    assert [step for step, _ in events(tmp_path)["loss"]] == [1, 2, 3]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_after_a_kill_the_events_up_to_about_a_second_before_can_be_read(tmp_path):
    code = textwrap.dedent(f"""
        import time
        from ftkit.train.watching import to_tensorboard
        def records():
            for step in range(1, 10_000):
                yield {{"step": step, "loss": 1.0}}
        for record in to_tensorboard(records(), {str(tmp_path)!r}):
            time.sleep(0.05)
            print(record["step"], flush=True)
    """)
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, "PYTHONPATH": SOURCE}) as child:
        last = next(int(line) for line in child.stdout if int(line) == 60)
        child.kill()
    steps = [step for step, _ in events(tmp_path)["loss"]]
    assert steps == list(range(1, len(steps) + 1)) and last - len(steps) < 45, steps  # a second is twenty steps


def test_a_file_in_place_of_the_folder_is_refused_at_the_call(tmp_path):
    (tmp_path / "events").write_text("")
    with pytest.raises(Refusal, match=r"folder must be a folder, got 'the file events'\. Choose another place\."):
        to_tensorboard([], tmp_path / "events")


def test_a_full_disk_is_told_as_elsewhere(tmp_path, monkeypatch):
    from torch.utils.tensorboard import SummaryWriter

    def fails(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fails)
    with pytest.raises(DiskFull, match=r"room for the events of a step .*The training itself lost nothing\."):
        list(to_tensorboard(records_of(2), tmp_path))


# A line a second


def test_every_record_is_passed_on_and_about_one_a_second_is_told(monkeypatch):
    clock, said = itertools.count(0, 0.1), []
    monkeypatch.setattr("ftkit.train.watching.time.monotonic", lambda: next(clock))
    given = records_of(23)
    assert list(tell(given, said.append)) == given
    assert said[0].startswith("step 1  epoch 1  loss 1") and said[-1].startswith("step 23")
    steps = [int(line.split()[1]) for line in said]
    assert {5, 10, 15, 20} < set(steps) and len(steps) < 12  # evaluations always
    assert "held out 0.2" in said[steps.index(5)]


def test_with_no_pause_every_record_is_told_once_and_what_fails_last_is_told_too():
    said = []
    list(tell(records_of(3), said.append, every_s=0))
    assert [line[:6] for line in said] == ["step 1", "step 2", "step 3"]

    def records():
        yield from records_of(4)
        raise RuntimeError("half-way")

    said.clear()
    with pytest.raises(RuntimeError):
        list(tell(records(), said.append, every_s=1000))
    assert [line[:6] for line in said] == ["step 1", "step 4"]


def test_a_negative_pause_is_refused():
    with pytest.raises(Refusal, match=r"every_s must be 0 or more seconds, got -1\."):
        tell([], print, every_s=-1)
    assert line_of({"step": 1, "loss": 2.0}) == "step 1  loss 2"


# Questions


def test_questions_are_asked_after_each_epoch_and_stand_side_by_side(tmp_path):
    model = model_of()
    before = QUESTIONS(model)
    with open_run(tmp_path, asdict(CONFIG), name="try", seed=0) as run:
        list(itertools.islice(train(model, EXAMPLES, CONFIG, run=run, evaluate=QUESTIONS), 7))
    with open_run(tmp_path, asdict(CONFIG), name="try", seed=0) as run:
        trace = list(train(model_of(), EXAMPLES, CONFIG, run=run, evaluate=QUESTIONS))
    table = QUESTIONS.table(trace, before)
    assert list(table[0]) == ["question", "before", "step 5 (epoch 1)", "step 9 (epoch 2)"]
    assert [row["question"] for row in table] == ["What is 2 + 3?", "发烧怎么办？"]
    assert table[1]["step 9 (epoch 2)"] == "answer 1"
    assert list(QUESTIONS.table(trace)[0])[1] == "step 5 (epoch 1)"


def test_questions_go_together_with_another_evaluation_and_with_tensorboard(tmp_path):
    records = train(model_of(), EXAMPLES, CONFIG, evaluate=lambda model: QUESTIONS(model) | {"accuracy": 0.5})
    trace = list(to_tensorboard(tell(records, lambda line: None), tmp_path))
    assert trace[4]["accuracy"] == 0.5 and trace[4]["answers"] == ["answer 0", "answer 1"]
    assert events(tmp_path)["accuracy"] == [(5, 0.5), (9, 0.5)]


def test_a_prompt_is_shown_as_it_is_read():
    prompts = ["text", {"instruction": "Say", "input": "it"}, [{"role": "user", "content": "turn"}], [1, 2]]
    table = Questions(prompts, lambda model, given: ["a"] * len(given)).table([])
    assert [row["question"] for row in table] == ["text", "Say\nit", "turn", "[1, 2]"]


@pytest.mark.parametrize("prompts", [[], "What?", {"instruction": "What?"}])
def test_no_prompts_are_refused(prompts):
    with pytest.raises(Refusal, match=r"prompts must be a list of at least one prompt, got"):
        Questions(prompts, print)


@pytest.mark.parametrize("answers", [["one"], "ab"])
def test_another_number_of_answers_is_refused(answers):
    with pytest.raises(Refusal, match=r"what answer returns must be a list of 2 texts, one a prompt, got"):
        Questions(["a", "b"], lambda model, prompts: answers)(None)
