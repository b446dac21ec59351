"""Lesson 09: its answers agree with torch, bitsandbytes and the planner; what ships with it fits the kit."""

import statistics
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ftkit import hub
from ftkit.course import catalogue, page, recorded
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook
from ftkit.files import read_json
from ftkit.lora.layers import LoRALayer
from ftkit.memory import cost, fit
from ftkit.memory.counting import lora_parameters, weight_bytes
from ftkit.memory.gpus import gpu_named
from ftkit.memory.models import known_models, model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import Setup
from ftkit.notebooks.parameters import declared_parameters
from ftkit.units import GIB, bytes_to_words, count_to_words

STEM = "09_memory_and_cost"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
ERROR = ROOT / "benchmarks" / "results" / "memory_error.json"
OF_RANKS = ERROR.with_name("memory_ranks.json")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
SIZES = (8, 12, 16, 24, 40, 48, 80)
MODELS = ("llama-2-7b", "llama-2-13b", "llama-2-70b")
WAYS = {"full": Setup("full"), "LoRA": Setup("lora"), "QLoRA": Setup("qlora"),
        "QLoRA, checkpointing": Setup("qlora", checkpointing=True)}
JOBS = {"1 × 512": {}, "8 × 512": {"batch_size": 8}, "8 × 2,048": {"batch_size": 8, "seq_len": 2048},
        "8 × 2,048, checkpointing": {"batch_size": 8, "seq_len": 2048, "checkpointing": True}}
POINTS = ("full", "bottom half frozen", "BitFit", "adapter", "prefix", "prompt", "LoRA", "LoRA q+v",
          "LoRA, checkpointing", "QLoRA")


# ---- the answers are what the package and other libraries compute

@pytest.mark.parametrize("name", ["ftkit-tiny", "qwen2.5-0.5b", "llama-2-7b", "qwen2.5-7b", "qwen3-8b", "llama-3-8b"])
def test_the_numbers_of_the_exercise_are_those_of_the_planner(name):
    model = model_named(name)
    for modules in (ATTENTION, ("v_proj", "down_proj"), "all-linear"):
        listed = [*ATTENTION, "gate_proj", "up_proj", "down_proj"] if modules == "all-linear" else list(modules)
        assert catalogue.solution_value("09.1")(model.config, 8, listed) == lora_parameters(model.shape, 8, modules)


def adam_states(optimizer, leave_out):
    return sum(value.numel() * value.element_size() for state in optimizer.state.values()
               for name, value in state.items() if isinstance(value, torch.Tensor) and name not in leave_out)


def with_gradients(kind):
    parameters = [nn.Parameter(torch.ones(numbers, dtype=kind)) for numbers in (3000, 4096, 10_001)]
    for one in parameters:
        one.grad = torch.ones_like(one)
    return parameters


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_the_states_of_the_exercise_are_those_that_torch_makes(kind):
    parameters = with_gradients(kind)
    optimizer = torch.optim.AdamW(parameters)
    optimizer.step()
    triples = [(one.numel(), one.element_size(), True) for one in parameters]
    assert catalogue.solution_value("09.2")(triples, "adamw")[2] == adam_states(optimizer, {"step"})


def test_the_states_of_eight_bits_are_those_that_bitsandbytes_makes():
    import bitsandbytes

    parameters = with_gradients(torch.float32)
    optimizer = bitsandbytes.optim.AdamW8bit(parameters)
    for group, one in enumerate(parameters):  # its step needs a GPU on some platforms; the states are made before
        optimizer.init_state(optimizer.param_groups[0], one, 0, group)
    found = adam_states(optimizer, {"step", "qmap1", "qmap2", "unorm_vec"})
    triples = [(one.numel(), one.element_size(), True) for one in parameters]
    assert catalogue.solution_value("09.2")(triples, "adamw_8bit")[2] == found


def test_the_mlp_of_the_exercise_keeps_what_one_with_the_packages_lora_keeps():
    tokens, width, inner, rank = 6, 8, 20, 3
    gate, up, down = (LoRALayer(nn.Linear(*sides, bias=False).requires_grad_(False), rank=rank, alpha=4) for sides in (
        (width, inner), (width, inner), (inner, width)))
    own = {one.untyped_storage().data_ptr() for layer in (gate, up, down) for one in layer.parameters()}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    x = torch.rand(tokens, width, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        down(F.silu(gate(x)) * up(x))
    found = sum(one.untyped_storage().nbytes() for place, one in kept.items() if place not in own)
    kinds = dict.fromkeys(("gate", "up", "down"), "lora")
    assert catalogue.solution_value("09.3")(tokens, width, inner, kinds, rank, True) == found


def test_the_highest_moment_of_the_exercise_is_the_planners():
    memory = predict(model_named("qwen2.5-0.5b"), Setup("lora"))
    moments = {name: {"all": size} for name, size in memory.moments.items()}
    name, left = catalogue.solution_value("09.4")(moments, set())
    assert moments[name]["all"] == memory.peak_bytes and left == {"all": 1.0}


def test_the_micro_batches_of_the_exercise_are_the_planners_largest_where_it_divides_the_rows():
    model, setup, card = model_named("qwen2.5-0.5b"), Setup("lora", seq_len=1024), gpu_named(8)
    most = fit.largest(model, setup, card, "batch_size")
    one, two = (predict(model, setup.with_(batch_size=rows)).needed_bytes for rows in (1, 2))
    found = catalogue.solution_value("09.5")(most, card.memory_bytes, [(2 * one - two, two - one, True)], 0)
    assert found == (most, 1)


def test_the_price_of_the_exercise_is_the_planners_for_whole_minutes():
    bill = cost.cost(1200, 10, watts=300, rent_per_hour=60, spot_discount=0.25)
    assert catalogue.solution_value("09.6")([600, 600], 1, 1000, 10, 60, 0.25, 0.0) == pytest.approx(bill.spot_rent)


# ---- the notebook

def test_the_solved_notebook_agrees_with_the_package(run, capsys):
    run(solved_notebook(NOTEBOOK, only=NEEDED_TAGS))
    said = capsys.readouterr().out
    assert said.count("this notebook and the package agree exactly") == 7
    assert "bytes alive at the highest moment: this notebook and the package agree exactly" in said
    assert (score(STEM).passed, score(STEM).total) == (6, 6)


def test_the_notebook_plans_models_and_cards_of_the_table():
    declared = declared_parameters(NOTEBOOK)
    assert declared["planned"].default in {one.name for one in known_models()}
    assert gpu_named(declared["gpu"].default).flops


# ---- what ships: cards, page, claims

@pytest.fixture(scope="module")
def cards():
    return recorded.shipped(STEM, "points")


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_notebooks_own_batch(cards):
    assert {card.model["sha256"] for card in cards} == {hub.model_hash()} and len(cards) >= 3
    assert {card.parameters["batch_size"] for card in cards} == {declared_parameters(NOTEBOOK)["batch_size"].default}


def errors(cards, name):
    return [card.metrics[f"{name} predicted"] / card.metrics[f"{name} measured"] - 1 for card in cards]


def test_the_formula_says_today_what_the_cards_say_it_said_within_two_thousandths(cards):
    config = hub.find_model() / "config.json"
    for card in cards[:1]:
        setup = Setup("lora", {"rank": 8}, batch_size=card.parameters["batch_size"], seq_len=card.metrics["width"],
                      precision="float32", label_share=card.metrics["labels"] / (
                          card.parameters["batch_size"] * (card.metrics["width"] - 1)))
        # the formula may be mended between two measurements, by small tensors
        assert predict(read_json(config), setup).peak_bytes == pytest.approx(card.metrics["LoRA predicted"], rel=2e-3)


def test_what_the_lesson_says_about_the_formula_is_so(cards):
    assert all(abs(error) < 5e-3 for name in POINTS if name != "prefix" for error in errors(cards, name))
    assert all(-0.05 < error < 0.03 for error in errors(cards, "prefix"))


def needed(name, setup):
    return predict(model_named(name), setup).needed_bytes


def smallest(size):
    return next((f"{one} GiB" for one in SIZES if size <= one * GIB), "none")


def saved(name, job):
    full, lora = (predict(model_named(name), Setup(method, **job)).peak_bytes for method in ("full", "lora"))
    return 1 - lora / full


def lines(headers, rows):
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in [headers, ["---"] * len(headers), *rows])


def weights_table():
    kinds = {"float32": Setup("full", precision="float32"), "bfloat16": Setup("full"), "int8": Setup("lora8bit"),
             "NF4": Setup("qlora", double_quant=False), "NF4, scales quantised too": Setup("qlora")}
    rows = []
    for name in ("qwen2.5-0.5b", "llama-2-7b", "qwen2.5-7b", "llama-2-13b", "llama-2-70b"):
        shape = model_named(name).shape
        rows.append([name, count_to_words(shape.parameters), *(
            f"{sum(weight_bytes(shape, setup).values()) / GIB:.1f}" for setup in kinds.values())])
    return lines(["GiB of weights", "numbers", *kinds], rows)


def error_table():
    if not ERROR.is_file():
        return "Not measured yet."
    content = read_json(ERROR)
    measured = [row for row in content["rows"] if "fake" in row]
    of = content["without_storage"]
    rows = [[row["model"], row["setup"]["method"],
             f"{row['setup'].get('batch_size', 1)} × {row['setup'].get('seq_len', 512)}",
             bytes_to_words(row["predicted_bytes"]), bytes_to_words(row["fake"]["measured_bytes"]),
             f"{row['fake']['error']:+.1%}"] for row in measured]
    return (f"{of['configurations']} configurations, {of['qlora']} of them QLoRA, {len(of['families'])} families: "
            f"median error {of['median_error']:.1%}, worst {of['worst_error']:.1%}.\n\n"
            + lines(["model", "method", "rows × tokens", "predicted", "measured", "error"], rows))


def drawn_table():
    """What was drawn by each seed: as it was first, and after what it showed was mended."""
    rows = []
    for seed, table in read_json(ERROR)["drawn"].items():
        of, drawn = table["without_storage"], table["rows"]
        for name, found in (("as first predicted", [row["fake"] for row in drawn]),
                            ("after the mends", [row.get("mended", row["fake"]) for row in drawn])):
            errors = sorted(abs(one["error"]) for one in found)
            rows.append([seed, of["configurations"], of["qlora"], len(of["families"]), name,
                         f"{statistics.median(errors):.3%}", ", ".join(f"{one:.1%}" for one in errors[:-6:-1])])
    return lines(["seed", "configurations", "QLoRA", "families", "formula", "median error", "the five worst"], rows)


def ranks_table():
    """One of several processes, beside torch's own."""
    return lines(["method", "sharding", "measured, MiB", "predicted, MiB", "error"], [
        [row["method"], row["sharding"], f"{row['measured_bytes'] / 2**20:.1f}",
         f"{row['predicted_bytes'] / 2**20:.1f}", f"{row['error']:+.2%}"] for row in read_json(OF_RANKS)["rows"]])


def tables(cards):
    """The tables of the page, by name."""
    asked = Setup("lora", batch_size=8, seq_len=2048, label_share=0.5, logits="all")
    return {
        "weights": weights_table(),
        "points": lines(["method", "measured, MB", "error of the formula"], [
            [name, f"{min(recorded.values(cards, f'{name} measured')) / 1e6:.1f} to "
             f"{max(recorded.values(cards, f'{name} measured')) / 1e6:.1f}",
             f"{min(errors(cards, name)):+.1%} to {max(errors(cards, name)):+.1%}"] for name in POINTS]),
        "error": error_table(),
        "drawn": drawn_table(),
        "ranks": ranks_table(),
        "fits": lines(["model", *WAYS], [
            [name, *(f"{needed(name, setup) / GIB:.1f}: {smallest(needed(name, setup))}" for setup in WAYS.values())]
            for name in MODELS]),
        "playbook": lines(["step", "saves", "needs then"], [
            ["as asked", "", bytes_to_words(needed("llama-2-7b", asked))],
            *([step.name, bytes_to_words(step.saves_bytes), bytes_to_words(step.needed_bytes)]
              for step in fit.playbook(model_named("llama-2-7b"), asked))]),
        "saves": lines(["rows × tokens", *MODELS], [
            [job, *(f"{saved(name, how):.0%}" for name in MODELS)] for job, how in JOBS.items()]),
    }


def renewed(cards):
    """The page with these tables in their places."""
    return page.filled(PAGE.read_text("utf-8"), tables(cards))


def bill(share):
    card = gpu_named("RTX-4090")
    job = Setup("qlora", batch_size=4, checkpointing=True)
    return cost.cost(3 * 512_000, cost.throughput(model_named("llama-2-7b"), job, card, share=share), card,
                     price_per_kwh=0.6, rent_per_hour=0.0)


def evidence(cards):
    """What claims.md says of each claim, by id."""
    llama = model_named("llama-2-7b")
    numbers = lora_parameters(llama.shape, 8, ATTENTION)
    a_number = {name: predict(llama, setup).peak_bytes / llama.parameters for name, setup in (
        *WAYS.items(), ("QLoRA, 16 × 2,048 tokens", Setup("qlora", batch_size=16, seq_len=2048, label_share=0.5)))}
    tiny = model_named("ftkit-tiny").parameters
    of_base = {name: [value / tiny for value in recorded.values(cards, f"{name} measured")]
               for name in ("full", "LoRA, checkpointing")}
    lowest, usual = bill(0.1), bill(0.3)
    return {
        "C15, memory": "predicted, no seeds, bfloat16, rank 8 on all linear layers, saved of full fine-tuning's "
                       "highest moment, by rows × tokens: " + "; ".join(
                           f"{job}: " + ", ".join(f"{saved(name, how):.0%} of {name}" for name in MODELS)
                           for job, how in JOBS.items()),
        "C16": f"counted from the config: {numbers:,} numbers, {numbers / llama.parameters:.4%} of "
               f"{llama.parameters:,} (Llama-2-7B); 419,430 is not divisible by 8, and is "
               f"{419_430 / llama.parameters:.4%} of them",
        "C23": "predicted, one row of 512 tokens, needed and the smallest of 8 to 80 GiB that holds it: " + "; ".join(
            f"{name} " + ", ".join(f"{way} {needed(name, how) / GIB:.1f} ({smallest(needed(name, how))})"
                                   for way, how in WAYS.items()) for name in MODELS)
               + "; Llama-2-70B's weights alone in NF4 "
               f"{sum(weight_bytes(model_named('llama-2-70b').shape, Setup('qlora')).values()) / GIB:.1f} GiB",
        "C24": "bytes a parameter at the highest moment. Predicted, Llama-2-7B, bfloat16, 512 tokens: " + ", ".join(
            f"{name} {value:.2f}" for name, value in a_number.items()) + f". Measured, {len(cards)} batches, float32: "
               + ", ".join(f"{name} {min(found):.1f} to {max(found):.1f}" for name, found in of_base.items())
               + "; scale tiny",
        "C51": "no seeds, from the vendors' data: " + ", ".join(
            f"{name} {'has' if not gpu_named(name).refuses(Setup()) else 'has no'} bfloat16"
            for name in ("V100-16", "V100-32", "T4", "RTX-3090", "A10", "A100-80", "H100")),
        "C52": f"arithmetic on stated figures: 1,000 records of 512 tokens, 3 epochs, QLoRA on Llama-2-7B, RTX-4090 at "
               f"450 W, 0.6 CNY a kWh: {usual.electricity:.2f} CNY at three tenths of the card's rate, "
               f"{lowest.electricity:.2f} at a tenth; 20 CNY are {1000 * 20 / 0.6 / 450:.0f} hours",
    }


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_cards_and_planner(cards):
    assert renewed(cards) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(cards), check=True)


def test_what_the_lesson_says_fits_does_and_what_it_says_does_not_does_not():
    on = WAYS["QLoRA, checkpointing"]
    assert [smallest(needed(name, on)) for name in MODELS] == ["8 GiB", "12 GiB", "40 GiB"]
    assert sum(weight_bytes(model_named("llama-2-70b").shape, Setup("qlora")).values()) > 24 * GIB
    assert needed("llama-2-7b", WAYS["LoRA"]) < 20 * GIB
    assert gpu_named("RTX-4090").watts == 450


def test_what_the_lesson_says_lora_saves_is_so():
    short, long, again = (saved("llama-2-7b", JOBS[name]) for name in (
        "1 × 512", "8 × 2,048", "8 × 2,048, checkpointing"))
    assert 0.6 < short < 0.72 and long < 0.1 and again > 0.5


def test_what_the_lesson_says_of_the_playbook_is_so():
    asked = Setup("lora", batch_size=8, seq_len=2048, label_share=0.5, logits="all")
    steps = fit.playbook(model_named("llama-2-7b"), asked)
    assert len(steps) == 7 and steps[-1].saves_bytes < 2**20  # where it is highest there are no logits any more
    assert max(steps, key=lambda step: step.saves_bytes).name.startswith("batch of 1")


if __name__ == "__main__":
    shipped = recorded.shipped(STEM, "points")
    PAGE.write_text(renewed(shipped), "utf-8")
    page.refresh_claims(CLAIMS, evidence(shipped))
