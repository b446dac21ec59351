"""Lesson 06: its answers agree with the package and torch; what ships with it fits the kit."""

import importlib.util
import json
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace

import nbformat
import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from ftkit import hub, methods, targets
from ftkit.cards import Card
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
    lora = LoRALayer(block, rank=2, alpha=3)
    with torch.no_grad():
        lora.lora_A.copy_(beside.down.weight)
        lora.lora_B.copy_(beside.up.weight)
    torch.testing.assert_close(beside(x), lora(x))


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
    rounds, best = run_out(tuning, [1.0, 2.0, 4.0, 8.0],
                           lambda rate, seed: abs(rate - 3.1) + (rate == 4 and seed == 101))
    assert rounds == [[(1.0, 100), (2.0, 100), (4.0, 100), (8.0, 100)], [(2.0, 101), (4.0, 101)]]
    assert best == 2.0  # 4 was better with the first seed alone


@pytest.mark.parametrize(("lowest", "further"), [(20.0, [16.0, 32.0]), (0.4, [0.5, 0.25])])
def test_a_best_rate_at_an_end_brings_the_next_one_in(tuning, lowest, further):
    rounds, best = run_out(tuning, [1.0, 2.0, 4.0, 8.0], lambda rate, seed: abs(rate - lowest))
    assert [todo for (todo, *_), *_ in zip(rounds[1:-1], strict=False)] == [(rate, 100) for rate in further]
    assert best == further[0]


def test_the_search_for_a_rate_ends(tuning):
    rounds, best = run_out(tuning, [1.0, 2.0], lambda rate, seed: -rate)
    assert best == 8.0 and len(rounds) == 1 + tuning.MOST_OUTSIDE + 1


def test_the_plan_tunes_each_row_and_reports_other_seeds(tuning):
    best_at = {"one": 2.0, "two": 4.0}
    plan = {"methods": {name: {"method": name, "rates": [1.0, 2.0, 4.0, 8.0]} for name in best_at},
            "fixed": {"max_steps": 3}, "tuning_seeds": [100, 101], "seeds": [0, 1, 2],
            "small": {"rows": ["two"], "records": 9, "seeds": [0, 1, 2]}}

    def cards_of(points):
        return [Card("trial", {**point}, point["seed"], "2026-01-01", metrics={
            "held_out_loss": abs(point["learning_rate"] - best_at[point["method"]])}) for point in points]

    groups = tuning.measured(plan, cards_of)
    assert [(card.parameters["method"], card.parameters["learning_rate"], card.seed) for card in groups["table"]] == [
        (name, rate, seed) for name, rate in best_at.items() for seed in (0, 1, 2)]
    assert {card.seed for card in groups["tuning"]} == {100, 101} and len(groups["tuning"]) == 12
    assert [(card.parameters["records"], card.parameters["learning_rate"], card.seed) for card in groups["small"]] == [
        (9, 4.0, seed) for seed in (0, 1, 2)]
    assert all(card.parameters["max_steps"] == 3 for found in groups.values() for card in found)
    assert {"score" in card.parameters for card in groups["tuning"]} == {False}  # the test split is not looked at


# ---- what ships: cards, page, claims

CODE = ("setup", "setup-more", "parameters", "rows", "material", "freeze-hand", "listing-run", "shapes",
        "listing-count", "cards-of-rows", "cards", "table-rows", "choose", "choose-show",
        "break-rate")  # what the page tells


def computed():
    """The names that the notebook's own cells define, with everything left out that trains or draws."""
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{STEM}.ipynb", as_version=4).cells}
    names = {}
    for name in CODE:
        exec(compile(cells[name], name, "exec"), names)
        names |= {"whole": False, "lesson": SimpleNamespace(stem=STEM)}
    names["small"] = {}
    for card in recorded.shipped(STEM, "small"):
        words = f"{names['row_of'](card)} at {card.parameters['learning_rate']:g}"
        names["small"].setdefault(words, []).append(card)
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def lesson():
    return computed()


def told(estimate, form=".2f"):
    """A mean over seeds with its interval."""
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def lines(headers, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [headers, ["---"] * len(headers), *rows])


def listing(lesson):
    """What the mended listing trains of each model, as shares."""
    shapes = {name: lesson.shape_of(*one) for name, one in lesson.SHAPES.items()}
    return {name: lesson.listing_shares(network) for name, network in shapes.items()} \
        | {"the embedded base": lesson.listing_shares(hub.load_model(device="cpu")[0])}


def tables(lesson):
    """The tables of the page, by name."""
    return {
        "listing": lines(["model", "mended listing trains", "of that outside the layers", "in the layers"],
                         [[name, *(f"{share:.1%}" for share in shares)] for name, shares in listing(lesson).items()]),
        "tuning": lines(["row", "best rate", "held-out loss by rate"], [
            [name, f"{lesson.tuned_rates[name]:g}",
             ", ".join(f"{rate:g}: {loss:.3f}" for rate, loss in lesson.tried(name))] for name in lesson.ROWS]),
        "table": lines(["row", "trained", "peak (rise), GiB", "gradients and optimizer, MB", "CPU s a step",
                        "saved, MB", "held-out loss", "score", "general exam"], [
            [row["name"], f"{row['trainable_share']:.2f} %", f"{row['peak_gib']:.2f} ({row['rise_gib']:.2f})",
             f"{row['state_mb']:.3g}", f"{row['step_cpu_s']:.3f}", f"{row['saved_mb']:.3g}",
             told(row["held_out_loss"], ".3f"), told(row["test"]), told(row["general"])]
            for row in lesson.rows]),
        "choices": lines(["need", "rows that meet it and cannot be told from the best of them"], [
            [need, ", ".join(found) or "none"] for need, found in lesson.choices(lesson.rows).items()]),
        "small": lines(["method and rate", "held-out loss, each seed", "clinic, held out, each seed"], [
            [name, ", ".join(f"{value:.3f}" for value in recorded.values(found, "held_out_loss")),
             ", ".join(f"{value:.2f}" for value in recorded.values(found, "clinic"))]
            for name, found in lesson.small.items()]),
    }


def renewed(lesson):
    """The page with the figures of the cards in their places."""
    return page.filled(PAGE.read_text("utf-8"), tables(lesson))


def evidence(lesson):
    """What claims.md says of each claim, by id."""
    rows, table, listed = {row["name"]: row for row in lesson.rows}, lesson.table, listing(lesson)
    n = len(table["full"])

    def against(one, other, metric):
        """The mean difference over seeds, one minus other, with its interval."""
        return lesson.student_mean([a - b for a, b in zip(recorded.values(table[one], metric),
                                                          recorded.values(table[other], metric), strict=True)])

    def cost(name, unit="full"):
        return rows[name]["step_cpu_s"] / rows[unit]["step_cpu_s"]

    def scored(*names, metric="test"):
        return ", ".join(f"{name} {told(rows[name][metric])}" for name in names)

    spread = {name: stdev(recorded.values(found, "held_out_loss")) for name, found in lesson.small.items()}
    return {
        "C11, BitFit": f"rates tuned, {n} seeds: biases alone, {rows['BitFit']['trainable_share']:.2f} % of the "
                       f"numbers, score {told(rows['BitFit']['test'])}, {scored('LoRA', 'LoRA q+v')}; general exam "
                       f"{told(rows['BitFit']['general'])} and {told(rows['LoRA']['general'])}; scale tiny",
        "C14": f"rates tuned, {n} seeds, LoRA less full fine-tuning: score "
               f"{told(against('LoRA', 'full', 'test'), '+.2f')}, held-out loss "
               f"{told(against('LoRA', 'full', 'held_out_loss'), '+.3f')}, general exam "
               f"{told(against('LoRA', 'full', 'general'), '+.2f')}; scale tiny",
        "C15": f"{n} seeds: a step of LoRA takes {cost('LoRA'):.2f} of the CPU time of one of full fine-tuning, of "
               f"QLoRA {cost('QLoRA'):.2f}; score {scored('full', 'LoRA')}; {rows['full']['saved_mb']:.1f} MB saved "
               f"against {rows['LoRA']['saved_mb']:.2f}; peak memory of the process "
               f"{rows['full']['peak_gib']:.2f} and {rows['LoRA']['peak_gib']:.2f} GiB, of it while training "
               f"{rows['full']['rise_gib']:.2f} and {rows['LoRA']['rise_gib']:.2f}; scale tiny",
        "C25": "counted: the listing mended trains " + ", ".join(
            f"{shares[0]:.0%} of {name}" for name, shares in listed.items())
               + f"; {n} seeds, rates tuned, general exam {scored('full', 'freeze bottom half', metric='general')}, "
               f"{scored('freeze top half', metric='general')}; score {scored('full', 'freeze bottom half')}, "
               f"{scored('freeze top half')}; scale tiny",
        "C26": f"counted on the tiny base, {n} seeds for the time: "
               + "; ".join(f"{name} {rows[name]['trainable_share']:.2f} %, {cost(name):.2f} of full's time a step, "
                           f"score {told(rows[name]['test'])}"
                           for name in ("adapter Houlsby", "adapter Pfeiffer", "prompt", "BitFit"))
               + "; scale tiny",
        "C38": "no seeds: of 8 families Llama, Mistral and Phi-3 have no bias at all, Falcon in norms alone, Qwen2 on "
               "q, k and v, GPT-2, OPT and BLOOM throughout; transformers 5",
        "C45": f"100 records, {n} seeds, held-out loss and its standard deviation over seeds: " + "; ".join(
            f"{name} {fmean(recorded.values(found, 'held_out_loss')):.3f}, {spread[name]:.3f}"
            for name, found in lesson.small.items()) + "; scale tiny",
        "C49": f"one task, {n} seeds, rates tuned: " + "; ".join(
            f"{need}: {', '.join(found) or 'none'}" for need, found in lesson.choices(lesson.rows).items())
               + "; scale tiny",
    }


def test_the_notebooks_rows_are_those_of_the_grid(lesson):
    planned = {name: {key: value for key, value in row.items() if key != "rates"}
               for name, row in read_json(GRID)["methods"].items()}
    assert lesson.ROWS == planned


def test_each_row_is_found_again_from_what_a_card_keeps_of_it(lesson):
    for name, row in lesson.ROWS.items():
        own = {key: value for key, value in row.items() if key != "method"}
        prepared = methods.prepare(small(), "lora" if row["method"] == "qlora" else row["method"], **own)
        kept = {key: value for key, value in prepared.settings.items() if key != "seed"}
        card = Card("trial", json.loads(json.dumps({"method": row["method"], "settings": kept})), 0, "2026-01-01")
        assert lesson.row_of(card) == name


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_planned_seeds(lesson):
    plan = read_json(GRID)
    for name, found in lesson.table.items():
        assert {card.model["sha256"] for card in found} == {hub.model_hash()}
        assert [card.seed for card in found] == plan["seeds"]
        assert {card.parameters["score"] for card in found} == {"all"}
        assert not {card.seed for card in lesson.tuning[name]} & set(plan["seeds"])
        assert not any("test" in card.metrics for card in lesson.tuning[name])


def test_the_table_has_the_rates_that_the_tuning_found(lesson, tuning):
    seeds = read_json(GRID)["tuning_seeds"]
    for name, rate in lesson.tuned_rates.items():
        losses = {(card.parameters["learning_rate"], card.seed): card.metrics["held_out_loss"]
                  for card in lesson.tuning[name]}
        assert tuning.due(read_json(GRID)["methods"][name]["rates"], seeds, losses) == []
        assert rate == tuning.best(seeds, losses)


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(lesson):
    assert renewed(lesson) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(lesson), check=True)


def test_what_the_lesson_counts_is_so(lesson):
    biased = {family for family in ("llama", "mistral", "qwen2", "gpt2", "opt", "bloom", "falcon", "phi3")
              if any(name.endswith(".bias") for name, _ in lesson.shape_of(family, {}).named_parameters())}
    assert biased == {"qwen2", "gpt2", "opt", "bloom", "falcon"}
    assert {name.split(".")[-2] for name, _ in lesson.shape_of("falcon", {}).named_parameters()
            if name.endswith(".bias")} == {"input_layernorm", "ln_f"}
    assert min(shares[0] for shares in listing(lesson).values()) > 0.3


def test_what_the_lesson_says_about_the_figures_is_so(lesson):
    rows = {row["name"]: row for row in lesson.rows}
    score, general = ({name: row[what].value for name, row in rows.items()} for what in ("test", "general"))
    step = {name: row["step_cpu_s"] / rows["full"]["step_cpu_s"] for name, row in rows.items()}
    assert 0.4 < score["full"] < score["the listing"] < 0.6 and 0.14 < score["LoRA"] < 0.2
    assert all(score["LoRA"] / 4 < score[name] < score["LoRA"] / 2 for name in ("adapter Houlsby", "adapter Pfeiffer"))
    assert max(score[name] for name in ("prefix", "BitFit", "prompt")) < 0.02
    assert 0.75 < step["LoRA"] < 0.85 and step["freeze bottom half"] < step["LoRA"] and step["QLoRA"] > 1
    assert all(step[name] < step["prompt"] for name in ("BitFit", "adapter Pfeiffer", "freeze bottom half"))
    assert rows["QLoRA"]["test"].high > score["LoRA"] > rows["QLoRA"]["test"].low
    assert general["freeze bottom half"] > 0.35 and max(general[name] for name in (
        "full", "freeze top half", "BitFit", "prefix")) < 0.01
    rise = {name: row["rise_gib"] / rows["full"]["rise_gib"] for name, row in rows.items()}
    assert 0.6 < rise["BitFit"] < 0.7 and 0.7 < rise["LoRA"] < 0.75 and max(rise, key=rise.get) == "QLoRA"
    assert all(row["peak_gib"] - row["rise_gib"] < 0.36 for name, row in rows.items() if name != "QLoRA")
    assert 0.045 < rows["full"]["state_mb"] * 1e6 / 2**30 < 0.05 and rows["full"]["saved_mb"] < 17.5
    rates = {name: dict(lesson.tried(name)) for name in rows}
    assert rates["LoRA"][0.032] > 30 * rates["LoRA"][0.008] and lesson.tuned_rates["LoRA"] == 0.008
    assert max(lesson.tuned_rates.values()) > 100 * min(lesson.tuned_rates.values())
    beside = lesson.one_rate_for_all()
    assert beside["prefix"][0] > 10 and beside["prefix"][1] < 1
    at_one, tuned = ([pair[part] for pair in (beside["freeze attention"], beside["LoRA"])] for part in (0, 1))
    assert at_one[0] > at_one[1] and tuned[0] < tuned[1]


def test_what_the_lesson_says_about_a_hundred_records_is_so(lesson):
    full, lora = (recorded.values(found, "held_out_loss") for found in (
        lesson.small["full at 0.002"], lesson.small["LoRA at 0.008"]))
    assert abs(fmean(full) - fmean(lora)) < 0.02 and 0.5 < stdev(full) / stdev(lora) < 2
    assert sorted(range(5), key=full.__getitem__)[-2:] == sorted(range(5), key=lora.__getitem__)[-2:]  # the hard seeds
    right = [fmean(recorded.values(found, "clinic")) for found in lesson.small.values()]
    assert right[0] > right[1] + 0.05


if __name__ == "__main__":
    made = computed()
    PAGE.write_text(renewed(made), "utf-8")
    page.refresh_claims(CLAIMS, evidence(made))
