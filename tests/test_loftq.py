"""LoftQ's codes and factors are the alternation of its paper, and stand nearer to the weight than codes alone."""

import pytest
import torch
from torch import nn

from ftkit import methods
from ftkit.errors import Refusal
from ftkit.hub import load_model
from ftkit.loftq import LoftqConfig, add_loftq_, loftq
from ftkit.lora.adapter import lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.quant.blocks import dequantise, quantise

WEIGHT = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))


def test_one_round_is_plain_nf4_and_the_best_approximation_of_what_it_lost():
    codes, lora_A, lora_B = loftq(WEIGHT, 8)
    plain = quantise(WEIGHT, double=True)
    assert torch.equal(codes.packed, plain.packed) and lora_A.shape == (8, 64) and lora_B.shape == (96, 8)
    lost = WEIGHT - dequantise(plain)
    sizes = torch.linalg.svdvals(lost)
    left = (lost - lora_B @ lora_A).norm()
    torch.testing.assert_close(left, sizes[8:].norm(), rtol=1e-4, atol=0.0)  # Eckart and Young; float32


def test_more_rounds_are_the_alternation_by_hand_and_end_no_further_from_the_weight():
    low = torch.zeros_like(WEIGHT)
    for _ in range(3):
        codes = quantise(WEIGHT - low, double=True)
        u, s, v = torch.svd(WEIGHT - dequantise(codes))
        low = u[:, :8] @ torch.diag(s[:8]) @ v[:, :8].T
    ours, lora_A, lora_B = loftq(WEIGHT, 8, LoftqConfig(iterations=3))
    torch.testing.assert_close(dequantise(ours) + lora_B @ lora_A, dequantise(codes) + low, rtol=0, atol=1e-4)
    errors = [(WEIGHT - dequantise(q) - b @ a).norm() for q, a, b in
              (loftq(WEIGHT, 8, LoftqConfig(iterations=rounds)) for rounds in (1, 5))]
    assert errors[1] < errors[0] < (WEIGHT - dequantise(quantise(WEIGHT, double=True))).norm()


def test_peft_begins_with_the_same_codes_and_factors():
    """peft's own LoftQ at one round, its 4-bit part through its pure Python quantiser, which needs no CUDA."""
    from peft.utils.loftq_utils import _low_rank_decomposition

    _, lora_A, lora_B = loftq(WEIGHT, 8)
    theirs = _low_rank_decomposition(WEIGHT - dequantise(quantise(WEIGHT, double=True)), reduced_rank=8)
    torch.testing.assert_close(lora_B @ lora_A, theirs["L"] @ theirs["R"], rtol=0, atol=1e-4)  # signs may differ


def test_a_model_begins_nearer_to_the_original_and_comes_back_from_its_files(tmp_path):
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    original = load_model(device="cpu", dtype="float32")[0]
    ours = methods.prepare(load_model(device="cpu", dtype="float32")[0], "loftq", rank=8, alpha=4, iterations=2)
    assert ours.settings["iterations"] == 2 and ours.trainable == 233_472
    weight = original.model.layers[2].mlp.up_proj.weight
    layer = lora_layers(ours.model)["model.layers.2.mlp.up_proj"]
    effective = dequantise(layer.base.quantised) + layer.addition()
    assert (effective - weight).norm() < (dequantise(quantise(weight, double=True)) - weight).norm()
    with torch.no_grad():
        logits = ours.model(input_ids=ids).logits
        methods.save(ours, tmp_path)
        again = methods.load(load_model(device="cpu", dtype="float32")[0], tmp_path)
        torch.testing.assert_close(again.model(input_ids=ids).logits, logits, rtol=0, atol=1e-4)
    assert (again.method, again.trainable, again.total) == ("loftq", ours.trainable, ours.total)


def small():
    return nn.ModuleDict({"up": nn.Linear(64, 64), "table": nn.Embedding(4, 64)})


@pytest.mark.parametrize(("call", "words"), [
    (lambda: LoftqConfig(iterations=0), "iterations must be a whole number, 1 or more, got 0"),
    (lambda: loftq(WEIGHT, 65), "rank must be at most 64, the weight's smaller width, got 65"),
    (lambda: add_loftq_(small(), LoraConfig(target_modules=("up", "table")), LoftqConfig()),
     "target_modules must be names of linear layers that are quantised, got 'table'. LoftQ begins an adapter with"),
    (lambda: methods.prepare(load_model(device="cpu", quantization="nf4")[0], "loftq"), "must be a plain nn.Linear")])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()
