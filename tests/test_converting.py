"""Pickled weights to safetensors: the same tensors, no code run, one file at a time."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from ftkit import checkpoints, cli, hub
from ftkit.converting import convert
from ftkit.errors import Refusal


@pytest.fixture
def pickled(tmp_path, random_checkpoint):
    """A checkpoint as older ones are: two pickled pieces and their index."""
    folder = random_checkpoint(tmp_path / "old", "qwen2", "float32")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
    for file, inside in halves.items():
        torch.save({name: tensors[name] for name in inside}, folder / file)
    weight_map = {name: file for file, inside in halves.items() for name in inside}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder, tensors


def test_the_command_of_the_refusal_converts_pickled_weights(pickled, monkeypatch, capsys):
    folder, tensors = pickled
    with pytest.raises(Refusal, match="old must be weights stored as safetensors, got 'pytorch_model-00001.*Convert "
                                      f"them once, which runs none: ftkit convert '{folder}'") as refused:
        hub.find_model(folder)
    assert cli.main(str(refused.value).split("ftkit ")[-1].replace("'", "").split()) == 0
    assert "model-00002-of-00002.safetensors\nold can be loaded" in capsys.readouterr().out
    assert (folder / "pytorch_model-00001-of-00002.bin").is_file()
    assert checkpoints.check(folder) == folder
    written = {}
    for path in folder.glob("*.safetensors"):
        written |= load_file(path)
    assert written.keys() == tensors.keys()
    assert all(torch.equal(written[name], one) for name, one in tensors.items())
    assert hub.load_model(folder, device="cpu")[0].num_parameters()


def test_the_command_of_the_refusal_names_the_folder_as_it_is_reached_from_here(pickled, monkeypatch):
    monkeypatch.chdir(pickled[0].parents[1])
    with pytest.raises(Refusal, match=f"ftkit convert '{pickled[0].parent.name}/old'"):
        hub.find_model(pickled[0])


def test_of_a_name_on_the_hub_the_refusal_says_how_to_fetch_it_first():
    with pytest.raises(Refusal, match="hf download some/model --local-dir 'model', then ftkit convert 'model'"):
        checkpoints.check_names("some/model", {"config.json", "pytorch_model.bin"})


def test_a_conversion_that_was_stopped_goes_on_where_it_stopped(pickled):
    folder, tensors = pickled
    first = next(convert(folder))
    stamp = first.stat().st_mtime_ns
    assert not (folder / "model.safetensors.index.json").is_file()
    with pytest.raises(Refusal, match="old must be shards and their index, .*got 'model-00001-of-00002.safetensors with"
                                      "out it'. Copy the index too; after a conversion that was stopped, run ftkit"):
        hub.find_model(folder)
    (folder / ".model-00002-of-00002.safetensors.partial").write_bytes(b"half of it, as a kill leaves it")
    assert [path.name for path in convert(folder)] == [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
    assert first.stat().st_mtime_ns == stamp
    assert set(checkpoints.tensors(folder)) == set(tensors)
    assert not list(folder.glob(".*.partial"))


def test_a_conversion_that_fails_leaves_no_piece_behind(pickled, monkeypatch):
    folder, _ = pickled
    monkeypatch.setattr("ftkit.converting.save_file", lambda tensors, path, **_: path.write_bytes(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(convert(folder))
    assert not [path for path in folder.iterdir() if "safetensors" in path.name]


def test_tensors_that_share_memory_are_both_written(tmp_path):
    table = torch.arange(6.0).reshape(2, 3)
    torch.save({"embed": table, "head": table, "turned": table.t()}, tmp_path / "pytorch_model.bin")
    written = load_file(next(convert(tmp_path)))
    assert torch.equal(written["embed"], table) and torch.equal(written["head"], table)
    assert torch.equal(written["turned"], table.t())


def test_weights_of_before_torch_1_6_are_read_too(tmp_path):
    torch.save({"w": torch.ones(3)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(load_file(next(convert(tmp_path)))["w"], torch.ones(3))


class Harmful:
    """What unpickling it would run."""

    def __reduce__(self):
        return os.mkdir, ("it_ran",)


def cut(folder):
    torch.save({"w": torch.ones(100)}, folder / "pytorch_model.bin")
    (folder / "pytorch_model.bin").write_bytes((folder / "pytorch_model.bin").read_bytes()[:300])


def lost(folder):
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"w": "pytorch_model-00001-of-00001.bin"}}')


@pytest.mark.parametrize(("make", "sentence"), [
    (lambda folder: None, "must be a folder with pytorch_model.bin, or .*rename one whole file to pytorch_model.bin"),
    (lambda folder: torch.save({"w": torch.ones(2)}, folder / "pytorch_model-00001-of-00002.bin"),
     "with pytorch_model.bin, or pytorch_model.bin.index.json .*-00001-of-00002.bin'.. Copy the index of pieces from"),
    (lambda folder: (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"w": Harmful()})),
     "pytorch_model.bin must be tensors and nothing else, .*It would run code: do not open it"),
    (lambda folder: torch.save([torch.ones(2)], folder / "pytorch_model.bin"),
     "must be tensors by name, got 'list'. Save its state_dict"),
    (cut, "must be a file that torch.save wrote, got .*Copy it again"),
    (lost, "pytorch_model-00001-of-00001.bin must be there, as pytorch_model.bin.index.json says, got 'no such file'"),
])
def test_what_cannot_be_converted_is_refused_and_nothing_is_run(tmp_path, monkeypatch, make, sentence):
    folder = tmp_path / "old"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    make(folder)
    with pytest.raises(Refusal, match=sentence):
        list(convert(folder))
    assert not (tmp_path / "it_ran").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refusal, match="folder must be an existing folder with pickled weights, got"):
        list(convert(tmp_path / "nowhere"))
