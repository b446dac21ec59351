"""What goes wrong outside the code: each has a defined outcome, a sentence, nothing lost, and a way on.

A killed process: test_kill.py.
"""

import errno
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import safetensors
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit import files
from ftkit.errors import Refusal
from ftkit.files import DiskFull
from ftkit.runs import open_run, read_card, read_trace
from ftkit.train import checkpoint
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner, Randomness, hash_of
from ftkit.train.loop import train

SOURCE = str(Path(__file__).parents[1] / "src")
TIMES = ("tokens_per_s", "peak_gib", "elapsed_s")
EXAMPLES = [([(start * 5 + 3 * step) % 32 for step in range(6 + start % 5)],) * 2 for start in range(20)]
CONFIG = TrainConfig(learning_rate=1e-2, max_steps=9, batch_size=4, checkpoint_every=3)
FULL = OSError(errno.ENOSPC, "No space left on device")


def model_of(seed=0):
    with Randomness(seed):
        torch.manual_seed(seed)
        return Qwen2ForCausalLM(Qwen2Config(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, max_position_embeddings=64, attention_dropout=0.3))


def opened(folder, config=CONFIG):
    return open_run(folder, asdict(config), name="try", seed=config.seed)


def without_times(records):
    return [{name: value for name, value in record.items() if name not in TIMES} for record in records]


@pytest.fixture(scope="module")
def whole():
    """The records and the weights of a training to which nothing happens."""
    model = model_of()
    return without_times(train(model, EXAMPLES, CONFIG)), hash_of(dict(model.named_parameters()))


def assert_goes_on(folder, whole):
    """Opened again, the run comes out as if nothing had happened."""
    model = model_of()
    with opened(folder) as run:
        assert without_times(train(model, EXAMPLES, CONFIG, run=run)) == whole[0] == without_times(read_trace(folder))
        run.finish()
    assert hash_of(dict(model.named_parameters())) == whole[1]
    assert read_card(folder).status == "done" and read_card(folder).error is None


def trained_until_refused(folder, kind=DiskFull):
    """The refusal, and how many records came before it."""
    seen = 0
    with pytest.raises(kind) as caught, opened(folder) as run:
        for _ in train(model_of(), EXAMPLES, CONFIG, run=run):
            seen += 1
    return str(caught.value), seen


# A full disk, as a function of the system says it


def full_at(monkeypatch, place, name, when):
    """Lets a function say that the disk is full whenever `when` is true of its arguments."""
    real = getattr(place, name)

    def stub(*arguments, **named):
        if when(*arguments, **named):
            raise OSError(*FULL.args)
        return real(*arguments, **named)

    monkeypatch.setattr(place, name, stub)


@pytest.mark.parametrize("place, name, when", [
    (checkpoint, "save_file", lambda tensors, path: "partial_6" in str(path) and "optimizer" in str(path)),
    (os, "fsync", lambda handle: ".partial_6" in os.readlink(f"/proc/self/fd/{handle}")),
    (checkpoint, "replace_folder", lambda partial, final: "partial_6" in str(partial)),
], ids=["while weights are written", "while they are brought to the disk", "while the folder gets its name"])
def test_a_full_disk_while_a_checkpoint_is_written(tmp_path, monkeypatch, whole, place, name, when):
    if name == "fsync" and not os.path.isdir("/proc/self/fd"):
        pytest.skip("the name behind a file handle is read from /proc")
    with monkeypatch.context() as patch:
        full_at(patch, place, name, when)
        words, seen = trained_until_refused(tmp_path)
    assert words.startswith(f"the disk of {tmp_path.name} must be one with room for the checkpoint of step 6 (0.0")
    assert "MiB free (No space left on device)'. Free some space. The run can be continued: open it again, and it " \
        "goes on from its last checkpoint." in words
    assert seen == 5 and len(read_trace(tmp_path)) == 6  # the record was written before the checkpoint
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step_00000000", "step_00000003"]  # nothing half-written
    card = read_card(tmp_path)
    assert card.status == "failed" and card.error == words
    assert_goes_on(tmp_path, whole)


def test_safetensors_own_words_for_a_full_disk_are_understood(tmp_path, monkeypatch, whole):
    error = safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    def fails(tensors, path):
        if "partial_3" in str(path):
            raise error
        safetensors.torch.save_file(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", fails)
        assert "room for the checkpoint of step 3" in trained_until_refused(tmp_path)[0]
    assert_goes_on(tmp_path, whole)


def test_another_error_of_the_disk_is_not_called_a_full_one(tmp_path, monkeypatch):
    def fails(tensors, path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", fails)
    with pytest.raises(PermissionError), opened(tmp_path) as run:
        list(train(model_of(), EXAMPLES, CONFIG, run=run))


def test_a_full_disk_while_a_record_is_written(tmp_path, monkeypatch, whole):
    real = files.append_whole

    class HalfFull:  # takes half of what it is given, then nothing
        def __init__(self, file):
            self.file, self.left = file, 40

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            if not self.left:
                raise OSError(*FULL.args)
            taken, self.left = content[: self.left], 0
            return self.file.write(taken)

    with monkeypatch.context() as patch:
        patch.setattr("ftkit.runs.append_whole", lambda file, content: real(
            HalfFull(file) if b'"step": 5,' in content else file, content))
        words, seen = trained_until_refused(tmp_path)
    assert "must be one with room for a record of the trace (0.00 MiB), got '" in words and "continued" in words
    assert seen == 4
    raw = (tmp_path / "trace.jsonl").read_bytes()
    assert raw.count(b"\n") == 4 and raw.endswith(b"\n")  # the half record is taken away again
    assert_goes_on(tmp_path, whole)


def test_a_full_disk_while_the_card_is_written(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle, real=os.fsync: real(handle))
        with opened(tmp_path) as run:
            list(train(model_of(), EXAMPLES, CONFIG, run=run))
            before = (tmp_path / "card.json").read_bytes()
            full_at(patch, os, "replace", lambda source, target: Path(target).name == "card.json")
            words = (r"room for card\.json \(0\.00 MiB\), got '.* MiB free \(No space left on device\)'\. Free some "
                     r"space\. Then do it again: what was there before is unchanged\.")
            with pytest.raises(DiskFull, match=words):
                run.finish({"accuracy": 1.0})
            assert (tmp_path / "card.json").read_bytes() == before
            assert [name for name in os.listdir(tmp_path) if name.endswith(".partial")] == []
    assert_goes_on(tmp_path, whole)


def test_if_even_the_card_finds_no_room_the_first_error_is_the_one_that_is_told_and_the_folder_is_free(
        tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        full_at(patch, checkpoint, "save_file", lambda tensors, path: "partial_3" in str(path))
        with pytest.raises(DiskFull, match="room for the checkpoint of step 3"), opened(tmp_path) as run:
            full_at(patch, os, "replace", lambda source, target: Path(target).name == "card.json")
            list(train(model_of(), EXAMPLES, CONFIG, run=run))
    assert not run.is_open and read_card(tmp_path).status == "running"
    assert_goes_on(tmp_path, whole)


def test_a_run_that_cannot_even_begin_on_a_full_disk_says_so(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        full_at(patch, os, "fsync", lambda handle: True)
        with pytest.raises(DiskFull, match=r"room for card\.json"):
            opened(tmp_path / "run")
    with monkeypatch.context() as patch:
        full_at(patch, Path, "mkdir", lambda folder, **_: folder.name == "other")
        with pytest.raises(DiskFull, match=r"the disk of other must be one with room for a run .*Then open it"):
            opened(tmp_path / "other")
    opened(tmp_path / "run").close()  # its lock was let go of


# A full disk, really


LIMITED = """
    import resource, sys
    from dataclasses import asdict
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import test_reliability as here
    from ftkit.files import DiskFull
    with here.opened(Path({folder!r})) as run:
        steps = here.train(here.model_of(), here.EXAMPLES, here.CONFIG, run=run)
        next(steps), next(steps)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))  # no file may grow beyond it from here on
        try:
            list(steps)
        except DiskFull as error:
            print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files")
@pytest.mark.parametrize("limit, what", [(8_000, "the checkpoint of step 3"), (300, "a record of the trace")])
def test_a_limit_on_the_size_of_files_is_met_as_a_full_disk_is(tmp_path, whole, limit, what):
    code = textwrap.dedent(LIMITED).format(tests=str(Path(__file__).parent), folder=str(tmp_path), limit=limit)
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True,
                           env={**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": str(torch.get_num_threads())})
    assert f"must be one with room for {what}" in child.stdout and "(File too large)" in child.stdout, child
    assert_goes_on(tmp_path, whole)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own of a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount") and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
                                                     capture_output=True)
    if not mount or mount.returncode:
        pytest.skip("mounting a file system of a megabyte takes rights that are not given here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_file_system_without_room_is_told_and_the_run_goes_on_once_there_is(small_disk, whole):
    folder, ballast = small_disk / "run", small_disk / "ballast"
    words = r"room for the checkpoint of step 3 \(0\.\d\d MiB\), got '0\.\d\d MiB free \(No space left on device\)'"
    with pytest.raises(DiskFull, match=words), opened(folder) as run:
        steps = train(model_of(), EXAMPLES, CONFIG, run=run)
        next(steps)
        free = shutil.disk_usage(small_disk).free
        ballast.write_bytes(b"0" * (free - 50_000))
        list(steps)
    assert sorted(os.listdir(folder / "checkpoints")) == ["step_00000000"]
    ballast.unlink()
    assert_goes_on(folder, whole)


# Checkpoints that are missing, damaged, or another model's


def stopped(folder, steps=7, seed=0):
    with opened(folder) as run:
        list(itertools.islice(train(model_of(seed), EXAMPLES, CONFIG, run=run), steps))


def test_a_checkpoint_with_a_missing_file_is_passed_over_for_the_one_before(tmp_path, whole):
    stopped(tmp_path)
    (tmp_path / "checkpoints" / "step_00000006" / "optimizer.safetensors").unlink()
    assert_goes_on(tmp_path, whole)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, whole):
    stopped(tmp_path)
    path = tmp_path / "checkpoints" / "step_00000006" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert_goes_on(tmp_path, whole)


def test_a_run_whose_checkpoints_are_all_gone_is_not_begun_anew_over_its_trace(tmp_path, whole):
    stopped(tmp_path)
    aside = tmp_path.with_name(f"{tmp_path.name}-aside")
    shutil.move(tmp_path / "checkpoints", aside)
    trace = (tmp_path / "trace.jsonl").read_bytes()
    with opened(tmp_path) as run, pytest.raises(
            Refusal, match=r"checkpoints of run .* must be there, beside its trace of 7 records, got 'none'\. Put them "
                           r"back to go on, or choose another run folder to start again\."):
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    assert (tmp_path / "trace.jsonl").read_bytes() == trace
    shutil.move(aside, tmp_path / "checkpoints")
    assert_goes_on(tmp_path, whole)


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_keeps_its_trace(tmp_path, whole):
    stopped(tmp_path)
    kept = tmp_path.with_name(f"{tmp_path.name}-kept")
    shutil.copytree(tmp_path / "checkpoints", kept)
    for path in (tmp_path / "checkpoints").glob("*/weights.safetensors"):
        os.truncate(path, 100)
    with opened(tmp_path) as run, pytest.raises(Refusal, match=r"must be whole, at least one of them, .*Put"):
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    assert len(read_trace(tmp_path)) == 7
    shutil.rmtree(tmp_path / "checkpoints")
    shutil.copytree(kept, tmp_path / "checkpoints")
    assert_goes_on(tmp_path, whole)


def test_a_checkpoint_of_another_model_is_refused_and_stays(tmp_path, whole):
    stopped(tmp_path)
    other = Qwen2ForCausalLM(Qwen2Config(vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64))
    words = (r"checkpoint of step 6 must be of this model, got 'one of another model'\. .* Prepare the model in the "
             r"same way, or choose another run folder\.")
    with opened(tmp_path) as run, pytest.raises(Refusal, match=words):
        list(train(other, EXAMPLES, CONFIG, run=run))
    assert_goes_on(tmp_path, whole)


# Two runs writing to one folder


HOLDING = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    import test_reliability as here
    with here.opened(Path({folder!r})) as run:
        steps = here.train(here.model_of(), here.EXAMPLES, here.CONFIG, run=run)
        next(steps), next(steps)
        print("two steps", flush=True)
        sys.stdin.readline()
        list(steps)
"""


def test_a_second_process_is_refused_the_folder_and_the_first_goes_on(tmp_path, whole):
    code = textwrap.dedent(HOLDING).format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True, env=environment) as first:
        assert first.stdout.readline() == "two steps\n"
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        words = (r"run folder .* must be written to by one process at a time, got 'one in use by process "
                 rf"{first.pid}'\. Wait for it, stop it, or choose another folder\.")
        with pytest.raises(Refusal, match=words):
            opened(tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        first.communicate("go on\n")
    assert first.returncode == 0
    assert_goes_on(tmp_path, whole)


# A loss that is no number


def test_a_nan_loss_stops_the_run_before_it_spoils_the_weights(tmp_path, whole):
    model = model_of()
    with opened(tmp_path) as run:
        steps = train(model, EXAMPLES, CONFIG, run=run)
        for _ in range(4):
            next(steps)
        before = Learner(model, CONFIG).weights()
        planted = model.lm_head.register_forward_hook(lambda module, given, result: result * math.nan)
        with pytest.raises(Refusal, match=r"loss at step 5 must be finite, got nan\. The weights are those before this "
                                          r"step\. Try a lower learning_rate \(now 0\.01\), a longer warm-up\."):
            next(steps)
    planted.remove()
    assert all(torch.equal(one, before[name]) for name, one in model.named_parameters())
    assert read_card(tmp_path).status == "failed" and "loss at step 5" in read_card(tmp_path).error
    assert [record["step"] for record in read_trace(tmp_path)] == [1, 2, 3, 4]
    assert all("NaN" not in line for line in (tmp_path / "trace.jsonl").read_text().splitlines())
    assert_goes_on(tmp_path, whole)


# No memory


@pytest.mark.parametrize("error, config, words", [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"), {},
     r"memory at step 3 must be enough for micro-batches of 4 rows, got 'CUDA out of memory\. Tried to allocate 2\.00 "
     r"GiB'\. Take batch_size=2 with accumulation=2, which learns the same; or activation_checkpointing=True; "
     r"or a smaller seq_len\."),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
     {"batch_size": 1, "activation_checkpointing": True}, r"micro-batches of 1 rows, .*\. Take a smaller seq_len\."),
    (MemoryError(), {}, r"got 'no memory'\. Take batch_size=2"),
])
def test_no_memory_is_told_with_what_would_fit_and_the_run_is_marked(tmp_path, monkeypatch, error, config, words):
    config, real, calls = replace(CONFIG, **config), Learner.step, itertools.count(1)

    def step(self, *arguments):
        if next(calls) == 3:
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(Learner, "step", step)
    with pytest.raises(Refusal, match=words), opened(tmp_path, config) as run:
        list(train(model_of(), EXAMPLES, config, run=run))
    assert read_card(tmp_path).error.startswith("memory at step 3") and len(read_trace(tmp_path)) == 2


def test_another_error_passes_as_it_is(tmp_path, monkeypatch):
    def step(self, *arguments):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(Learner, "step", step)
    with pytest.raises(RuntimeError, match="shapes differ"), opened(tmp_path) as run:
        list(train(model_of(), EXAMPLES, CONFIG, run=run))
    assert json.loads((tmp_path / "card.json").read_text())["error"] == "RuntimeError: shapes differ"
