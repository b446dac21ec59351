import json
import os
from dataclasses import replace

import pytest
import torch

from ftkit.errors import Refusal
from ftkit.files import sha256
from ftkit.train import checkpoint
from ftkit.train.checkpoint import Snapshot, check_fits, newest, read, write

IDENTITY = {"config": {"learning_rate": 0.1, "seed": 0}, "trainable": {"a.weight": [2, 2], "b.weight": [3]},
            "frozen": "f0", "examples": "e0", "held_out": None, "threads": 2, "matmul_precision": "medium"}


def snapshot(step=3):
    weights = {"a.weight": torch.arange(4.0).view(2, 2) + step, "b.weight": torch.tensor([1, 2, 3]).bfloat16()}
    optimizer = {"a.weight|exp_avg": torch.ones(2, 2).t()}
    return Snapshot(step, IDENTITY, {"progress": {"step": step}}, weights, optimizer)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path):
    written = replace(snapshot(), best={"a.weight": torch.zeros(2, 2)})
    write(tmp_path, written)
    back = newest(tmp_path)
    assert (back.step, back.identity, back.state) == (3, IDENTITY, {"progress": {"step": 3}})
    assert all(same(getattr(back, part), getattr(written, part)) for part in ("weights", "optimizer", "best"))


def test_the_last_two_are_kept(tmp_path):
    for step in (0, 5, 10, 15):
        write(tmp_path, snapshot(step))
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step_00000010", "step_00000015"]
    assert newest(tmp_path).step == 15


def test_a_run_without_checkpoints_has_no_newest_one(tmp_path):
    assert newest(tmp_path) is None


def test_all_is_on_the_disk_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace_ = os.fsync, os.replace

    def noted_fsync(handle):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noted_replace(source, target):
        done.append("renamed")
        replace_(source, target)

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("the name behind a file handle is read from /proc")
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    folder = write(tmp_path, snapshot())
    before, after = done[: done.index("renamed")], done[done.index("renamed") + 1 :]
    assert set(before) == {path.name for path in folder.iterdir()} | {".partial_3"} and after == ["checkpoints"]


def test_leftovers_of_a_kill_are_taken_away(tmp_path):
    write(tmp_path, snapshot())
    for name in (".partial_6", ".step_00000000.old"):
        (tmp_path / "checkpoints" / name).mkdir()
    newest(tmp_path)
    assert os.listdir(tmp_path / "checkpoints") == ["step_00000003"]


def rewrite_state(folder, **changes):
    path = folder / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    rehash(folder)


def rehash(folder):
    hashes = {path.name: sha256(path) for path in folder.iterdir() if path.name != "hashes.json"}
    (folder / "hashes.json").write_text(json.dumps(hashes))


DAMAGE = [
    (lambda folder: os.truncate(folder / "weights.safetensors", 50),
     r"checkpoint step_00000003: weights\.safetensors must be the file that was written, got 'one that was changed or "
     r"cut short'\. Delete this checkpoint: the one before it is taken\."),
    (lambda folder: (folder / "optimizer.safetensors").unlink(),
     r"checkpoint step_00000003: optimizer\.safetensors must be the file that was written, got 'no such file'\."),
    (lambda folder: (folder / "state.json").write_text("{}"), r"state\.json must be the file that was written"),
    (lambda folder: (folder / "hashes.json").write_text("{"), r"hashes\.json must be valid JSON"),
    (lambda folder: (folder / "hashes.json").unlink(), r"file must be a readable JSON file"),
    (lambda folder: (folder / "hashes.json").write_text("[]"),
     r"checkpoint step_00000003: hashes\.json must be the hashes of weights\.safetensors, .*, got \[\]\."),
    (lambda folder: ((folder / "state.json").write_text("[1]"), rehash(folder)),
     r"checkpoint step_00000003: state\.json must be an object with a format, got \[1\]\."),
]


@pytest.mark.parametrize("damage, words", DAMAGE)
def test_a_damaged_checkpoint_is_refused(tmp_path, damage, words):
    folder = write(tmp_path, snapshot())
    damage(folder)
    with pytest.raises(Refusal, match=words):
        read(folder)
    with pytest.raises(Refusal, match=r"checkpoints of run .* must be whole, at least one of them, got .*Put a wh"):
        newest(tmp_path)


@pytest.mark.parametrize("damage, words", DAMAGE)
def test_the_one_before_a_damaged_checkpoint_is_taken(tmp_path, damage, words):
    write(tmp_path, snapshot(2))
    damage(write(tmp_path, snapshot(3)))
    assert newest(tmp_path).step == 2
    write(tmp_path, snapshot(3))  # and the damaged one is written over when its step comes again
    assert newest(tmp_path).step == 3


def test_a_checkpoint_of_a_newer_ftkit_is_refused_even_if_an_older_one_is_there(tmp_path):
    write(tmp_path, snapshot(2))
    rewrite_state(write(tmp_path, snapshot(3)), format=checkpoint.FORMAT + 1)
    with pytest.raises(Refusal, match=r"format must be 1 or less, got 2\. A newer ftkit wrote it: upgrade ftkit"):
        newest(tmp_path)


@pytest.mark.parametrize("changes, words", [
    ({"config": {"learning_rate": 0.2, "seed": 0}},
     r"checkpoint of step 3 must be made with learning_rate=0\.2, got 0\.1\. Choose another run folder"),
    ({"config": {"learning_rate": 0.1, "seed": 0, "new": 1}}, r"must be made with new=1, got None"),
    ({"trainable": {"a.weight": [2, 2]}},
     r"must be of this model, got 'one of another model'\. Only the checkpoint trains b\.weight\. Prepare"),
    ({"trainable": IDENTITY["trainable"] | {"c": [1]}}, r"another model'\. Only the model trains c\."),
    ({"trainable": {"a.weight": [2, 4], "b.weight": [3]}},
     r"got 'one of another model'\. a\.weight is \[2, 2\] there and \[2, 4\] here\."),
    ({"frozen": "f1"}, r"must be of this model, got 'one of another model: the frozen weights differ'\."),
    ({"examples": "e1"}, r"checkpoint of step 3 must be made on these examples, got 'one made on other data'\."),
    ({"held_out": "h1"}, r"must be made with these held-out examples, got 'one made on other data'\."),
    ({"threads": 1}, r"torch threads must be 2, as when this run began, got 1\. Another one changes the last bits\. "
                     r"Call torch\.set_num_threads\(2\), or set OMP_NUM_THREADS=2\."),
    ({"matmul_precision": "highest"}, r"matmul_precision must be medium, as when this run began, got 'highest'\. "
                                      r"Another one changes the last bits\. Set matmul_precision='medium'\."),
])
def test_a_checkpoint_of_another_training_is_refused(changes, words):
    with pytest.raises(Refusal, match=words):
        check_fits(snapshot(), IDENTITY | changes)


def test_a_checkpoint_of_the_same_training_fits_on_a_gpu_whatever_the_threads():
    check_fits(snapshot(), IDENTITY)
    check_fits(snapshot(), IDENTITY | {"threads": None})
