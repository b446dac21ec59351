"""Lesson 05: its answers agree with torch and the package; what ships with it fits the kit."""

import functools
import json
import math
import random
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch

from ftkit import hub, methods, targets
from ftkit.course import catalogue, page, recorded
from ftkit.course.checks import low_rank_moves
from ftkit.evaluate.intervals import student
from ftkit.lora.layers import LoRALayer
from ftkit.sweep.chance import seeds_to_leave_zero
from ftkit.sweep.grid import Grid, points_of
from ftkit.sweep.importance import importance
from ftkit.sweep.pruning import Pruner
from ftkit.sweep.targets import find_target
from ftkit.toy_layer import fit

STEM = "05_rank_alpha_dropout"
ROOT = Path(__file__).parents[2]
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
GRID = json.loads((ROOT / "src/ftkit/course/assets/grids" / f"{STEM}.json").read_text())
GROUPS = tuple(GRID["groups"])


# ---- the official answers beside what they stand for

def test_the_star_of_the_exercise_has_the_points_of_the_packages_star():
    centre, arms = {"rank": 8, "alpha": 16.0, "dropout": 0.0}, {"rank": [4, 8, 16], "dropout": [0.1]}
    ours = points_of(Grid(star={"centre": centre, "values": arms}, seeds=2), find_target("ftkit.toy_layer:fit"))
    theirs = catalogue.solution_value("05.1")(centre, arms, [0, 1], {})
    assert sorted(map(str, ours)) == sorted(map(str, theirs)) and len(theirs) == 8


def test_the_rank_that_a_budget_buys_trains_as_many_numbers_in_the_package():
    model = hub.load_model("ftkit-tiny", device="cpu")[0]
    names = ["q_proj", "v_proj"]
    shapes = [targets.widths(model.get_submodule(path)) for path in targets.find(model, names)]
    rank, trained = catalogue.solution_value("05.2")(shapes, 233_472)
    assert (rank, trained) == (38, methods.prepare(model, "lora", rank=38, target_modules=names).trainable)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_norm_of_the_exercise_is_that_of_what_the_package_merges(use_rslora):
    layer = LoRALayer(torch.nn.Linear(7, 5), 3, 6.0, generator=torch.Generator().manual_seed(1), use_rslora=use_rslora)
    torch.nn.init.normal_(layer.lora_B)
    found = catalogue.solution_value("05.3")(layer.lora_A, layer.lora_B, 6.0, use_rslora)
    assert found == pytest.approx(layer.addition().norm().item(), rel=1e-5)  # float32


@pytest.mark.parametrize("differences", [[0.1, 0.2, 0.4], [-0.3, 0.1, -0.5, -0.2], [1.0, 1.1]])
def test_the_seeds_of_the_exercise_are_those_that_compare_names(differences):
    found = catalogue.solution_value("05.4")(differences, lambda freedom: student(freedom, 0.95), 500)
    assert found == seeds_to_leave_zero(fmean(differences), stdev(differences))


def test_among_equal_settings_the_winner_looks_good_and_its_honest_value_does_not():
    draw = random.Random(3)
    tables = [{place: [draw.gauss(0, 1) for _ in range(4)] for place in range(10)} for _ in range(400)]
    found = [catalogue.solution_value("05.5")(table) for table in tables]
    assert fmean(one[1] for one in found) < -0.6  # the best of ten, of four seeds each, lies 0.77 below by chance
    assert abs(fmean(one[2] for one in found)) < 0.1  # three of its standard errors


def test_halving_keeps_what_is_best_everywhere_and_costs_less_than_all():
    curves = {place: [[float(place + 1)] * 8] for place in (5, 2, 7, 0)}
    assert catalogue.solution_value("05.6")(curves, [1, 2, 4], 2) == ([0], 4 + 2 + 2 + 4)


@pytest.mark.parametrize(("into", "optimizer"), [("A", "adamw"), ("B", "adamw"), ("A", "sgd"), ("B", "sgd")])
def test_the_twin_of_the_exercise_trains_the_packages_layer_alike(into, optimizer):
    def outputs(settings):
        base = torch.nn.Linear(6, 4, bias=False, dtype=torch.float64)
        layer = LoRALayer(base, 2, settings["alpha"])
        with torch.no_grad():
            base.weight.copy_(torch.eye(4, 6))
            layer.lora_A.copy_(settings["A"]["start"])
            layer.lora_B.copy_(settings["B"]["start"])
        groups = [{"params": [getattr(layer, f"lora_{name}")], "lr": settings[name]["rate"],
                   "weight_decay": settings[name]["decay"]} for name in "AB"]
        if optimizer == "adamw":
            groups = [group | {"eps": settings[name]["eps"]} for group, name in zip(groups, "AB", strict=True)]
        made = (torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD)(groups)
        for step in range(5):
            made.zero_grad()
            layer(torch.full((1, 6), step / 3, dtype=torch.float64)).sub(1).square().sum().backward()
            made.step()
        return layer.addition().detach()

    start = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 6)
    ours = {"rate": 0.01, "eps": 1e-3, "decay": 0.3}
    settings = {"alpha": 4.0, "A": {"start": start, **ours},
                "B": {"start": torch.zeros(4, 2, dtype=torch.float64), **ours}}
    other = catalogue.solution_value("05.7")(settings, 5.0, into, optimizer)
    assert other["alpha"] == 20.0
    torch.testing.assert_close(outputs(other), outputs(settings), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), [
    (low_rank_moves._adamw, torch.optim.AdamW),
    (low_rank_moves._sgd, functools.partial(torch.optim.SGD, momentum=0.9))])
def test_the_optimizers_that_judge_the_twin_are_torchs(ours, theirs):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    mine, memory = weight.detach().clone(), [torch.zeros(6, dtype=torch.float64)] * 2
    made = theirs([weight], lr=0.01, weight_decay=0.3, **({"eps": 1e-3} if ours is low_rank_moves._adamw else {}))
    for step in range(1, 4):
        weight.grad = (weight.detach() * step).cos()
        memory = ours(mine, (mine * step).cos(), memory, step, rate=0.01, eps=1e-3, decay=0.3, start=None)
        made.step()
        torch.testing.assert_close(weight.detach(), mine, rtol=1e-12, atol=1e-14)  # float64


# ---- what ships: cards, page, claims

LOSS, RIGHT = ("held-out loss", "held_out_loss", ".3f"), ("clinic, held out", "clinic", ".2f")
TRAINED, TRAINING = ("numbers trained", "trainable", ",.0f"), ("training loss", "loss", ".3f")
# name on the page -> groups of cards, the parameters that make a row, columns: words, metric, form
TABLES = {
    "rate": (("rate", "rate_full"), ("method", "learning_rate"), (LOSS, RIGHT)),
    "rank": (("rank", "rank_alpha16", "rank_rslora"), ("rank", "alpha", "use_rslora"), (LOSS, RIGHT, TRAINED)),
    "alpha": (("alpha", "alpha_rate"), ("alpha", "learning_rate"), (LOSS, RIGHT)),
    "modules": (("modules", "modules_budget"), ("target_modules", "rank"), (LOSS, RIGHT, TRAINED)),
    "layers": (("layers",), ("layers",), (LOSS, RIGHT, TRAINED)),
    "dropout": (("dropout", "dropout_few"), ("records", "dropout"), (LOSS, TRAINING, RIGHT)),
    "data": (("data", "steps"), ("records", "max_steps"), (LOSS, RIGHT)),
    "batch": (("batch", "batch_full"), ("method", "batch_size", "max_steps", "learning_rate"), (LOSS, RIGHT)),
    "biases": (("biases",), ("method", "train_biases"), (LOSS, RIGHT, TRAINED)),
}
ARMS = {"rank_alpha16": "rank", "alpha": "alpha", "dropout": "dropout", "modules": "target_modules",
        "rate": "learning_rate", "steps": "max_steps"}


@pytest.fixture(scope="module")
def cards():
    return {group: recorded.shipped(STEM, group) for group in GROUPS}


def setting_of(card, name):
    value = card.parameters["settings"].get(name, card.parameters.get(name))
    return ", ".join(value) if isinstance(value, list) else value


def settings(cards, groups, names):
    """The cards by the values of some parameters, in the order of the grid."""
    found = {}
    for group in groups:
        for card in cards[group]:
            same = found.setdefault(tuple(setting_of(card, name) for name in names), {})
            same[card.seed] = card
    return {values: list(same.values()) for values, same in found.items()}


def chosen(cards, group, **wanted):
    """The cards of one setting of a group."""
    return [card for card in cards[group] if all(setting_of(card, name) == value for name, value in wanted.items())]


def spread(some, metric="held_out_loss", form=".3f"):
    found = recorded.values(some, metric)
    return f"{fmean(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def mean(some, metric="held_out_loss"):
    return fmean(recorded.values(some, metric))


def loss(cards, group, **wanted):
    return spread(chosen(cards, group, **wanted))


def word(value):
    """A parameter as it stands in a table."""
    if value is None or isinstance(value, bool):
        return {True: "yes", False: "no", None: ""}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def table_of(name, cards):
    """One table of the page: a row a setting."""
    groups, names, columns = TABLES[name]
    rows = [[*(one.replace("_", " ") for one in names), *(words for words, _, _ in columns)],
            ["---"] * (len(names) + len(columns))]
    for values, some in settings(cards, groups, names).items():
        figures = [f"{mean(some, metric):{form}}" if metric == "trainable" else spread(some, metric, form)
                   for _, metric, form in columns]
        rows.append([*("all" if one == "records" and value == 0 else word(value)
                       for one, value in zip(names, values, strict=True)), *figures])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def points_of_arms(cards, keep=lambda card: True):
    """The points of six arms of the star, none twice, scored by the logarithm of the held-out loss."""
    kept = {}
    for group in ARMS:
        for card in filter(keep, cards[group]):
            parameters = {name: setting_of(card, name) for name in ARMS.values()} | {"seed": card.seed}
            kept[str(parameters)] = {"id": "", "parameters": parameters, "status": "done",
                                     "metrics": {"held_out_loss": math.log(card.metrics["held_out_loss"])}}
    return list(kept.values())


def narrow(card):
    """Whether a card's rate is one that somebody might keep."""
    return 0.004 <= card.parameters["learning_rate"] <= 0.016


def shares(cards, keep=lambda card: True):
    """Each knob's share, and over seeds the standard deviation, as they stand in a table."""
    return {one.parameter: f"{one.share:.2f} ± {one.spread:.2f}" for one in importance(points_of_arms(cards, keep))}


def reach(cards, group, keep=lambda card: True):
    """How many times its lowest mean loss the highest one along an arm of the star is."""
    found = [mean(some) for some in settings(cards, [group], [ARMS[group]]).values() if keep(some[0])]
    return max(found) / min(found)


def importance_table(cards):
    wide, close, groups = shares(cards), shares(cards, narrow), {name: group for group, name in ARMS.items()}
    rows = [["knob", "highest over lowest loss", "fANOVA's share", "rates 4e-3 to 1.6e-2: highest over lowest loss",
             "fANOVA's share"], ["---"] * 5,
            *([name.replace("_", " "), f"{reach(cards, groups[name]):.1f}", share,
               f"{reach(cards, groups[name], narrow):.1f}", close[name]] for name, share in wide.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def toy_table(_):
    """Some ranks and rates of the toy layer, the mean of three seeds."""
    rates = (0.005, 0.02, 0.08)
    rows = [["rank", *(f"rate {rate:g}" for rate in rates)], ["---"] * 4]
    for rank in (1, 4, 8, 32):
        found = [[fit(rank=rank, alpha=2 * rank, learning_rate=rate, seed=seed)["held_out_loss"] for seed in range(3)]
                 for rate in rates]
        rows.append([str(rank), *(f"{fmean(losses):.3f}" for losses in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def evidence(cards):
    """What claims.md says of each claim, by id."""
    best = {group: min(settings(cards, [group], ["learning_rate"]).items(), key=lambda one: mean(one[1]))
            for group in ("rate", "rate_full")}
    (lora_rate,), lora = best["rate"]
    (full_rate,), full = best["rate_full"]
    names = {"q and v": ["q_proj", "v_proj"], "attention": ["q_proj", "k_proj", "v_proj", "o_proj"],
             "MLP": ["gate_proj", "up_proj", "down_proj"], "all": "all-linear"}
    at_rank, at_budget = ({word: next(some for (found, _), some in settings(
        cards, [group], ["target_modules", "rank"]).items() if found in (value, ", ".join(value)))
        for word, value in names.items()} for group in ("modules", "modules_budget"))
    of_all, on_few = ("; ".join(f"{dropout:g} {loss(cards, group, dropout=dropout)}" for dropout in (0.0, 0.1, 0.2))
                      for group in ("dropout", "dropout_few"))
    wide, close = shares(cards), shares(cards, narrow)

    def ranks(group, some):
        return ", ".join(f"{loss(cards, group, rank=rank)} at {rank}" for rank in some)
    return {
        "C03": f"3 seeds, 160 steps at a rate of 8e-3, held-out loss by rank. alpha = 2·rank: "
               f"{ranks('rank', (1, 2, 4, 8, 16, 32, 64, 128))}; alpha = 16: {ranks('rank_alpha16', (1, 32, 128))}; "
               f"5.66/√rank: {ranks('rank_rslora', (1, 32, 128))}; scale tiny",
        "C04": "3 seeds, rank 8, held-out loss at a rate of 8e-3: alpha "
               + ", ".join(f"{alpha:g} {loss(cards, 'alpha', alpha=alpha)}" for alpha in (4.0, 8.0, 16.0, 32.0, 64.0))
               + f"; alpha 32 at half the rate {loss(cards, 'alpha_rate', alpha=32.0, learning_rate=0.004)}, alpha 8 "
               f"at twice the rate {loss(cards, 'alpha_rate', alpha=8.0, learning_rate=0.016)}; scale tiny",
        "C05": "3 seeds, held-out loss at rank 8: "
               + ", ".join(f"{word} {spread(some)}" for word, some in at_rank.items())
               + "; at equal numbers of trained parameters: "
               + ", ".join(f"{word} {spread(some)}" for word, some in at_budget.items()) + "; scale tiny",
        "C06": f"3 seeds, held-out loss by dropout, 160 steps of 8 records: on all 3,260 records {of_all}; on 200 "
               f"{on_few}; scale tiny",
        "C07": f"3 seeds, 160 steps, rates in steps of 2 and more: LoRA's best is {lora_rate:g} with {spread(lora)}, "
               f"full fine-tuning's {full_rate:g} with {spread(full)}, a factor of {lora_rate / full_rate:g}; LoRA at "
               f"1e-5 {loss(cards, 'rate', learning_rate=1e-5)}, at 2e-4 {loss(cards, 'rate', learning_rate=2e-4)}; "
               "scale tiny",
        "C08": "six arms of a star, 3 seeds, highest over lowest mean held-out loss along each and fANOVA's share: "
               + ", ".join(f"{name.replace('_', ' ')} {reach(cards, group):.1f} and {wide[name]}"
                           for group, name in ARMS.items())
               + f"; with rates from 4e-3 to 1.6e-2 alone: learning rate {reach(cards, 'rate', narrow):.1f}; shares "
               + ", ".join(f"{name.replace('_', ' ')} {share}" for name, share in close.items()) + "; scale tiny",
        "C11": "3 seeds, 160 steps, held-out loss: LoRA "
               + ", ".join(f"{words} {spread(some)} ({mean(some, 'trainable'):,.0f} numbers)" for words, some in (
                   ("alone", chosen(cards, "biases", train_biases=False)),
                   ("with the biases trained", chosen(cards, "biases", train_biases=True)))) + ", biases alone "
               f"{loss(cards, 'biases', method='bitfit')} "
               f"({mean(chosen(cards, 'biases', method='bitfit'), 'trainable'):,.0f}), one rate each; scale tiny",
        "C12": "3 seeds, 8 layers, held-out loss with adapters in "
               + ", ".join(f"{layers} {loss(cards, 'layers', layers=layers)}"
                           for layers in ("last 2", "last 4", "last 6", "first 6", "all")) + "; scale tiny",
        "C44": f"3 seeds, 1,280 records. LoRA: batch 8 {loss(cards, 'batch', batch_size=8)}, batch 32 "
               f"{loss(cards, 'batch', batch_size=32, learning_rate=0.008)}, at twice the rate "
               f"{loss(cards, 'batch', batch_size=32, learning_rate=0.016)}. Full fine-tuning at 1e-3: batch 8 "
               f"{loss(cards, 'batch_full', batch_size=8, learning_rate=0.001)}, batch 32 "
               f"{loss(cards, 'batch_full', batch_size=32, learning_rate=0.001)}, at twice the rate "
               f"{loss(cards, 'batch_full', batch_size=32, learning_rate=0.002)}; scale tiny",
    }


def renewed(cards):
    """The page with the figures of the cards in their places."""
    made = {name: table_of(name, cards) for name in TABLES} | {"importance": importance_table(cards),
                                                               "toy": toy_table(cards)}
    return page.filled(PAGE.read_text("utf-8"), made)


def test_the_shipped_cards_are_those_of_the_grid_on_the_shipped_base(cards):
    for name, group in cards.items():
        assert {card.model["sha256"] for card in group} == {hub.model_hash()}
        assert len(group) == len(GRID["groups"][name]["points"]) * GRID["seeds"]
        for place, card in enumerate(group):
            asked = GRID["groups"][name]["points"][place // GRID["seeds"]]
            assert card.seed == place % GRID["seeds"]
            given = {**card.parameters, **card.parameters["settings"]}
            assert {key: given[key] for key in asked} == asked
    assert len({json.dumps(point, sort_keys=True) for group in GRID["groups"].values() for point in group["points"]}) \
        == 55


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(cards):
    assert renewed(cards) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(cards), check=True)


def each_lower(one, other):
    """Whether one setting's loss is lower than another's with every seed."""
    return all(a < b for a, b in zip(recorded.values(one, "held_out_loss"), recorded.values(other, "held_out_loss"),
                                     strict=True))


def test_what_the_lesson_says_about_rates_ranks_and_alphas_is_so(cards):
    rates = {rate: some for (rate,), some in settings(cards, ["rate"], ["learning_rate"]).items()}
    full = {rate: some for (rate,), some in settings(cards, ["rate_full"], ["learning_rate"]).items()}
    assert min(rates, key=lambda rate: mean(rates[rate])) == 4 * min(full, key=lambda rate: mean(full[rate])) == 8e-3
    assert mean(rates[0.032]) > 5 and mean(rates[1e-5]) > 11 and mean(rates[2e-4]) > 3
    assert each_lower(full[2e-3], rates[8e-3])
    centre, tied = chosen(cards, "rank", rank=8), {rank: chosen(cards, "rank", rank=rank) for rank in (16, 64, 128)}
    assert all(mean(tied[16]) < mean(some) for some in tied.values() if some is not tied[16]) and mean(tied[64]) > 2
    seeds_apart = max(recorded.values(centre, "held_out_loss")) - min(recorded.values(centre, "held_out_loss"))
    for rank in (32, 128):
        assert abs(mean(chosen(cards, "rank_alpha16", rank=rank)) - mean(centre)) < seeds_apart
    for some in (chosen(cards, "rank", rank=1), chosen(cards, "rank", rank=2), chosen(cards, "rank_alpha16", rank=1),
                 chosen(cards, "rank_rslora", rank=1), chosen(cards, "alpha", alpha=4.0),
                 chosen(cards, "alpha", alpha=8.0), chosen(cards, "alpha", alpha=64.0)):
        assert each_lower(centre, some)
    both = chosen(cards, "alpha_rate", alpha=8.0, learning_rate=0.016), chosen(cards, "alpha_rate", alpha=32.0,
                                                                                learning_rate=0.004)
    assert each_lower(both[0], rates[0.016]) and each_lower(both[1], rates[0.004])


def test_what_the_lesson_says_about_modules_layers_dropout_and_batches_is_so(cards):
    centre = chosen(cards, "rank", rank=8)
    modules = {names: some for (names, _), some in settings(cards, ["modules_budget"], ["target_modules",
                                                                                        "rank"]).items()}
    attention = modules["q_proj, k_proj, v_proj, o_proj"]
    assert each_lower(centre, attention) and each_lower(modules["gate_proj, up_proj, down_proj"], attention)
    assert abs(mean(chosen(cards, "layers", layers="last 6")) - mean(centre)) < 0.002
    assert each_lower(centre, chosen(cards, "layers", layers="last 2"))
    few = [chosen(cards, "dropout_few", dropout=dropout) for dropout in (0.0, 0.1, 0.2)]
    assert mean(few[0], "loss") < mean(few[1], "loss") < mean(few[2], "loss") and mean(few[0]) == min(map(mean, few))
    assert mean(few[0], "loss") < mean(few[0]) / 2 and mean(few[0]) < mean(centre)
    longest = mean(chosen(cards, "steps", max_steps=320))
    assert longest < min(mean(some) for group in GROUPS if group not in ("steps", "rate_full", "batch_full")
                         for some in settings(cards, [group], sorted(ARMS.values()) + ["layers", "batch_size",
                                                                                      "train_biases"]).values())
    for group, most in (("batch", 2), ("batch_full", 3)):
        batches = settings(cards, [group], ["batch_size", "learning_rate"])
        small = min(mean(some) for (size, _), some in batches.items() if size == 8)
        assert all(mean(some) > most * small for (size, _), some in batches.items() if size == 32)


def test_a_pruner_played_on_the_star_keeps_the_best_setting_and_saves_nearly_a_third_of_the_steps(cards):
    runs = list({str((card.parameters, card.seed)): card for group in (
        "rate", "rank", "rank_alpha16", "alpha", "modules", "layers") for card in cards[group]}.values())
    named = {str(place): card for place, card in enumerate(runs)}
    pruner = Pruner([{"id": name, "parameters": {"setting": str(card.parameters), "seed": card.seed}}
                     for name, card in named.items()], warmup_steps=40)
    steps = 0
    for name, card in sorted(named.items(), key=lambda pair: pair[1].seed):
        for step, value in card.metrics["curve"]:
            if pruner.hopeless(name):
                break
            pruner.report(name, step, value)
            steps += card.metrics["curve"][0][0]
        pruner.finish(name)
    losses = {}
    for card in runs:
        losses.setdefault(str(card.parameters), []).append(card.metrics["held_out_loss"])
    best = min(losses, key=lambda setting: fmean(losses[setting]))
    assert not any(pruner.hopeless(name) for name, card in named.items() if str(card.parameters) == best)
    assert 0.25 < 1 - steps / sum(card.metrics["curve"][-1][0] for card in runs) < 0.4


if __name__ == "__main__":
    shipped = {group: recorded.shipped(STEM, group) for group in GROUPS}
    PAGE.write_text(renewed(shipped), "utf-8")
    page.refresh_claims(CLAIMS, evidence(shipped))
