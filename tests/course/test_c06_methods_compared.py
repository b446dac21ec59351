"""Lesson 06: its answers agree with the package and torch; what ships with it fits the kit."""

import importlib.util
import re
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from ftkit import hub, methods, targets
from ftkit.course import catalogue, page, recorded
from ftkit.files import read_json
from ftkit.lora.layers import LoRALayer

STEM = "06_methods_compared"
ROOT = Path(__file__).parents[2]
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
GRID = ROOT / "src" / "ftkit" / "course" / "assets" / "grids" / f"{STEM}.json"


def small(**changes):
    torch.manual_seed(0)
    settings = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 5,
                "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**(settings | changes))).eval()


# ---- the official answers beside what they stand for

@pytest.mark.parametrize(("name", "size", "method", "settings"), [
    ("bitfit", 0, "bitfit", {}),
    ("lora", 3, "lora", {"rank": 3}),
    ("pfeiffer", 5, "adapter", {"place": "pfeiffer", "bottleneck": 5}),
    ("houlsby", 5, "adapter", {"place": "houlsby", "bottleneck": 5}),
    ("prompt", 7, "prompt", {"virtual_tokens": 7}),
    ("prefix", 7, "prefix", {"virtual_tokens": 7}),
])
def test_the_numbers_of_the_exercise_are_those_that_the_package_trains(name, size, method, settings):
    counted = methods.prepare(small(), method, **settings).trainable
    assert catalogue.solution_value("06.1")(name, size, width=16, kv_width=8, inner=24, layers=5) == counted


@pytest.mark.parametrize("part", ["bottom", "top"])
def test_in_the_layers_the_exercise_freezes_what_the_package_freezes(part):
    network = methods.prepare(small(), "freeze", part=part, freeze_ratio=0.4).model
    left = catalogue.solution_value("06.2")([name for name, _ in network.named_parameters()], 0.4, part)
    assert {name for name in left if ".layers." in name} == set(targets.trainable(network))


def test_where_nothing_is_cut_off_the_adapter_beside_a_matrix_is_lora():
    block, x = nn.Linear(6, 6), torch.rand(3, 6)
    beside = catalogue.solution_value("06.3")(block, 6, 2, 1.5)
    with torch.no_grad():
        beside.down.weight.abs_()  # with x above 0 the relu lets everything through
        beside.up.weight.normal_()
    lora = LoRALayer(6, 6, rank=2, alpha=3)
    with torch.no_grad():
        lora.lora_A.copy_(beside.down.weight)
        lora.lora_B.copy_(beside.up.weight)
    torch.testing.assert_close(beside(x), block(x) + lora(x))


def test_a_padded_row_with_the_exercises_prompt_is_the_row_alone_with_the_packages():
    network = methods.prepare(small(), "prompt", virtual_tokens=3).model
    ids = torch.tensor([[1, 2, 3, 4, 5], [0, 0, 6, 7, 8]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    prompt = network.get_decoder().prompt.embedding
    with torch.no_grad():
        alone = network(input_ids=ids[1:, 2:]).logits
        wide, seen, _ = catalogue.solution_value("06.4")(network.get_input_embeddings()(ids), mask, ids.clone(), prompt)
        padded = small()(inputs_embeds=wide, attention_mask=seen).logits
    torch.testing.assert_close(padded[1:, -3:], alone, atol=1e-5, rtol=1e-4)  # positions shifted alike: rounding


def test_attention_with_a_prefix_is_the_exercises_mixture():
    draw = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(2, 3, 5, 8, generator=draw) for _ in range(3))
    prefix_key, prefix_value = (torch.randn(2, 3, 4, 8, generator=draw) for _ in range(2))
    share = catalogue.solution_value("06.5")(query, key, prefix_key)[..., None]
    mixed = share * F.scaled_dot_product_attention(query, prefix_key, prefix_value) \
        + (1 - share) * F.scaled_dot_product_attention(query, key, value, is_causal=True)
    seen = torch.ones(5, 9, dtype=torch.bool).tril(4)
    whole = F.scaled_dot_product_attention(query, torch.cat([prefix_key, key], 2), torch.cat([prefix_value, value], 2),
                                           attn_mask=seen)
    torch.testing.assert_close(mixed, whole, atol=1e-5, rtol=1e-4)  # two softmaxes for one


# ---- how the rates were found

@pytest.fixture(scope="module")
def tuning():
    spec = importlib.util.spec_from_file_location("tuning", ROOT / "benchmarks" / "tuning.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_out(tuning, rates, loss_at):
    """All runs (rate, seed) that a row takes, in rounds, and the rate it ends with."""
    losses, rounds = {}, []
    while todo := tuning.due(rates, (100, 101), losses):
        rounds.append(todo)
        losses |= {(rate, seed): loss_at(rate, seed) for rate, seed in todo}
    return rounds, tuning.best((100, 101), losses)


def test_all_rates_are_tried_once_and_the_best_two_twice(tuning):
    rounds, best = run_out(tuning, [1.0, 2.0, 4.0, 8.0], lambda rate, seed: abs(rate - 3.1) + (seed - 100) * (rate == 4))
    assert rounds == [[(1.0, 100), (2.0, 100), (4.0, 100), (8.0, 100)], [(2.0, 101), (4.0, 101)]]
    assert best == 2.0  # 4 was better with the first seed alone


@pytest.mark.parametrize(("lowest", "further"), [(20.0, [16.0, 32.0]), (0.4, [0.5, 0.25])])
def test_a_best_rate_at_an_end_brings_the_next_one_in(tuning, lowest, further):
    rounds, best = run_out(tuning, [1.0, 2.0, 4.0, 8.0], lambda rate, seed: abs(rate - lowest))
    assert [todo for (todo, *_), *_ in zip(rounds[1:-1], strict=False)] == [(rate, 100) for rate in further]
    assert best == further[0]


def test_the_search_for_a_rate_ends(tuning):
    rounds, best = run_out(tuning, [1.0, 2.0], lambda rate, seed: -rate)
    assert best == 16.0 and len(rounds) == 1 + tuning.MOST_OUTSIDE + 1
