"""What a checkpoint takes, from its headers: held against the loaded model; too little memory or disk is refused."""

import shutil
from collections import namedtuple

import pytest
import torch
from safetensors.torch import save_file

from ftkit import footprint, hub
from ftkit.errors import Refusal
from ftkit.tiny import base

HIDDEN = 128  # width of the random checkpoints


def held_bytes(model):
    """Of the loaded model's weights, the scales of 4-bit layers included, their codebooks (shared in effect) not."""
    found = {id(one): one.numel() * one.itemsize for one in model.parameters()}
    for module in model.modules():
        if state := getattr(getattr(module, "weight", None), "quant_state", None):
            found[id(module)] = sum(one.numel() * one.itemsize for one in (state.absmax, state.state2.absmax))
    return sum(found.values())


@pytest.mark.parametrize("family", ["qwen2", "llama", "mistral", "phi3", "falcon", "gpt_neox", "qwen3", "mixtral"])
@pytest.mark.filterwarnings("ignore:.*of the numbers of mixtral stay as they are")
@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_the_bytes_foretold_are_those_of_the_loaded_model(tmp_path, family, quantization, random_checkpoint):
    folder = random_checkpoint(tmp_path / family, family)
    dtype = torch.bfloat16 if quantization else torch.float32
    foretold = footprint.loaded(folder, dtype, quantization)
    model, _ = hub.load_model(folder, device="cpu", dtype="stored" if quantization else "auto",
                              quantization=quantization)
    # scales of scales are rounded up to whole blocks of 256, and biases of 4-bit layers are float32: under 1 %
    assert foretold.weight_bytes == pytest.approx(held_bytes(model), rel=0 if quantization is None else 0.01)
    assert foretold.passing_bytes == (2 * 2 * HIDDEN * foretold_width(model) if quantization else 0)


def foretold_width(model):
    """Numbers of the largest linear layer but the head, over the hidden width."""
    head = model.get_output_embeddings()
    return max(one.in_features * one.out_features for one in model.modules()
               if isinstance(one, torch.nn.Linear) and one is not head) // HIDDEN


def test_what_is_left_unquantised_counts_in_full(tmp_path, random_checkpoint):
    folder = random_checkpoint(tmp_path / "model", "qwen2")
    every, some, none = (footprint.loaded(folder, None, *asked).weight_bytes
                         for asked in (("nf4",), ("nf4", ["mlp"]), (None,)))
    assert every < some < none
    mlp = 2 * 3 * 128 * 256
    assert some - every == round(mlp * (2 - footprint.BYTES_A_WEIGHT["nf4"]))
    assert footprint.loaded(folder, None, "int8").weight_bytes > every


def test_an_unknown_quantisation_is_refused(tmp_path, random_checkpoint):
    with pytest.raises(Refusal, match="quantization must be one of None, nf4, fp4, int8, got 'nf5'. Did you mean nf4"):
        footprint.loaded(random_checkpoint(tmp_path / "model", "qwen2"), None, "nf5")


def test_the_stored_type_is_that_of_most_numbers(tmp_path, random_checkpoint):
    assert footprint.stored_dtype(base.folder()) == torch.bfloat16
    assert footprint.stored_dtype(random_checkpoint(tmp_path / "half", "qwen2", "float16")) == torch.float16
    (tmp_path / "codes").mkdir()
    save_file({"codes": torch.zeros(4, dtype=torch.uint8)}, tmp_path / "codes" / "model.safetensors")
    with pytest.raises(Refusal, match="codes: weights must be stored as one of F64, .*It may be quantised already"):
        footprint.stored_dtype(tmp_path / "codes")


@pytest.mark.parametrize(("stored", "left"), [("bfloat16", torch.bfloat16), ("float16", torch.bfloat16),
                                              ("float32", torch.float32)])
def test_embeddings_and_head_stay_as_stored_beside_4_bit_layers_that_compute_in_float32(
        tmp_path, stored, left, random_checkpoint):
    model, _ = hub.load_model(random_checkpoint(tmp_path / "model", "qwen2", stored), device="cpu", dtype="stored",
                              quantization="nf4")
    assert model.get_input_embeddings().weight.dtype == model.get_output_embeddings().weight.dtype == left
    layer = model.model.layers[0].self_attn.q_proj
    assert layer.compute_dtype == layer.bias.dtype == torch.float32
    before = {name: one.clone() for name, one in model.state_dict().items()}
    model(torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(one, before[name]) and one.dtype == before[name].dtype
               for name, one in model.state_dict().items())


def test_too_little_memory_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, random_checkpoint):
    folder = random_checkpoint(tmp_path / "model", "qwen2")
    monkeypatch.setattr(footprint, "free_memory_bytes", lambda device: 2**20 - 2**19)
    monkeypatch.setattr(hub, "load_weights", None)  # calling it would be another error
    with pytest.raises(Refusal, match=r"free memory must be .* MiB or more to load model, of which .* stay taken, got "
                                      r"'512 KiB'. Close other programs, .*ftkit plan says"):
        hub.load_model(folder, device="cpu", dtype="float32")


def test_too_little_disk_is_refused_with_the_numbers(tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(3 * 2**30))
    footprint.refuse_small_disk(tmp_path / "new" / "folder", "the shards", 2 * 2**30)
    with pytest.raises(Refusal, match="free disk space for folder must be 15.0 GiB or more for the shards, got "
                                      "'3.00 GiB'. Free some space"):
        footprint.refuse_small_disk(tmp_path / "new" / "folder", "the shards", 15 * 2**30)


def test_a_container_leaves_no_more_than_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(footprint, "_CGROUP", tmp_path)
    whole = footprint.free_memory_bytes()
    assert whole > 10 * 2**20
    for name, text in (("memory.max", "8000000\n"), ("memory.current", "5000000\n"),
                       ("memory.stat", "anon 1\ninactive_file 1000000\n")):
        (tmp_path / name).write_text(text)
    assert footprint.free_memory_bytes() == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert footprint.free_memory_bytes() > 10 * 2**20
