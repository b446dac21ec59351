"""Two sets of runs, beside scipy and simulation."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from ftkit import cli
from ftkit.errors import Refusal
from ftkit.sweep.chance import best_of_chance, seeds_needed, seeds_to_leave_zero
from ftkit.sweep.compare import compare, folders


def runs(*losses, rank=2, first_seed=0, **others):
    return [{"id": f"{rank}-{seed}", "parameters": {"rank": rank, "seed": seed}, "status": "done", "error": None,
             "metrics": {"held_out_loss": loss, **{name: values[place] for name, values in others.items()}}}
            for place, (seed, loss) in enumerate(enumerate(losses, start=first_seed))]


A, B = (0.30, 0.42, 0.35, 0.51), (0.25, 0.38, 0.29, 0.48)


def test_the_difference_is_paired_by_seed_with_scipys_interval():
    found = compare(runs(*A), runs(*B, rank=4))
    theirs = stats.ttest_rel(B, A).confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6)
    assert found.settled and found.seeds == (0, 1, 2, 3)
    assert "B is better: the interval leaves 0 out." in str(found)
    assert stats.ttest_ind(B, A).pvalue > 0.4  # unpaired, the same runs say nothing


def test_seeds_without_a_partner_are_named_and_left_out():
    found = compare(runs(*A), runs(*B, rank=4, first_seed=2))
    assert found.unpaired == {"A": [0, 1], "B": [4, 5]} and found.seeds == (2, 3)
    assert "seed 4, 5 of B has no partner" in str(found)


def test_what_is_not_settled_says_how_many_seeds_would():
    found = compare(runs(0.30, 0.42, 0.35), runs(0.31, 0.40, 0.33, rank=4))
    differences = np.subtract((0.31, 0.40, 0.33), (0.30, 0.42, 0.35))
    assert found.seeds_needed["power"] == seeds_needed(differences.mean(), differences.std(ddof=1))
    assert f"with a chance of 80% at {found.seeds_needed['power']} seeds" in str(found)
    assert f"leave 0 out from {found.seeds_needed['interval']} seeds on" in str(found)


def test_equal_runs_are_never_settled():
    found = compare(runs(0.3, 0.4), runs(0.3, 0.4))
    assert not found.settled and "10,000 seeds would not settle" in str(found)


def test_one_common_seed_says_nothing():
    found = compare(runs(0.3), runs(0.2, rank=4))
    assert math.isnan(found.difference.low) and "One common seed says nothing about the spread" in str(found)
    assert json.loads(json.dumps(found.record(), allow_nan=False))["difference"]["low"] is None


def test_the_winner_of_many_comes_with_what_luck_alone_gives():
    many = [run for rank in range(4, 12) for run in runs(0.25 + rank / 1000, 0.33, rank=rank)]
    found = compare(runs(0.3, 0.4), many)
    losses = np.array([(0.25 + rank / 1000, 0.33) for rank in range(4, 12)])
    own = losses - losses.mean(0) - losses.mean(1, keepdims=True) + losses.mean()
    assert found.sides[1].settings == 8 and found.sides[1].chosen.parameters == {"rank": 4}
    assert found.sides[1].by_chance == pytest.approx(best_of_chance(8) * np.sqrt((own ** 2).sum() / 7) / math.sqrt(2))
    assert "B is the winner of 8: the best of so many equal settings beats their mean by" in str(found)
    assert "A is the winner" not in str(found)
    once = [run for rank in (4, 5) for run in runs(0.25 + rank / 1000, rank=rank)]
    assert "B is the winner of 2 with one seed each" in str(compare(runs(0.3, 0.4), once))


def test_a_winner_of_many_is_called_better_on_the_seeds_that_chose_it():
    many = [run for rank in (4, 8) for run in runs(*(loss + rank / 1000 for loss in B), rank=rank)]
    said = str(compare(runs(*A), many))
    assert "B is better on these seeds: the interval leaves 0 out. It does not know that they chose the" in said


def test_luck_that_all_settings_share_puts_none_ahead():
    draw = np.random.default_rng(0)
    leads, told, hard = [], [], 5.0 * np.arange(3)  # a seed that is hard for all
    for _ in range(300):
        losses = 0.1 * draw.normal(size=(10, 3)) + hard
        side = compare(runs(*hard), [run for rank, own in enumerate(losses) for run in runs(*own, rank=rank)]).sides[1]
        leads.append(losses.mean() - side.chosen.mean)
        told.append(side.by_chance)
    assert np.mean(told) == pytest.approx(np.mean(leads), rel=0.05)  # 300 leads scatter by 2 % in the mean
    apart = runs(0.1, 0.3, rank=2) + runs(0.1, 0.3, rank=4, first_seed=2)  # without a common seed the spread is all
    assert compare(runs(0.3), apart).sides[1].by_chance == pytest.approx(best_of_chance(2) * 0.1)


def test_seeds_that_the_chosen_setting_lost_are_told():
    crashed = [*runs(0.2, 0.3, rank=4), {**runs(0.0, rank=4, first_seed=2)[0], "status": "failed"},
               *runs("nan", rank=4, first_seed=3)]
    found = compare(runs(0.3, 0.4, 0.5), crashed)
    assert "B is without seed 2, 3: failed, or no finite held_out_loss" in str(found)
    assert found.record()["sides"][1]["lost"] == [2, 3]


def test_the_test_split_is_told_for_the_chosen_settings_only_and_chooses_nothing():
    good = runs(0.2, 0.3, rank=4, test=(0.5, 0.6))
    better_on_test = runs(0.4, 0.5, rank=8, test=(0.9, 0.95))
    found = compare(runs(0.3, 0.4, test=(0.4, 0.7)), good + better_on_test)
    assert found.sides[1].chosen.parameters == {"rank": 4}
    assert found.test["test"]["means"] == pytest.approx([0.55, 0.55])
    assert "test, reported once, for the chosen settings: A 0.55, B 0.55" in str(found)
    assert "0.9" not in str(found).replace("95 %", "")


def test_more_is_better_where_the_metric_says_so_or_the_caller_does():
    a, b = runs(0.5, 0.6, score=(1.0, 2.0)), runs(0.5, 0.6, rank=4, score=(2.0, 2.9))
    assert not compare(a, b, "score").lower and compare(a, b, "score", lower=True).lower
    assert "score, higher is better" in str(compare(a, b, "score"))


@pytest.fixture
def two_sweeps(tmp_path):
    for name, points in (("a", runs(*A)), ("b", runs(*B, rank=4))):
        for one in points:
            folder = tmp_path / name / "points" / one["id"]
            folder.mkdir(parents=True)
            (folder / "point.json").write_text(json.dumps(one))
    return tmp_path / "a", tmp_path / "b"


def test_the_folders_of_two_sweeps_are_compared(two_sweeps):
    found = folders(*two_sweeps)
    assert str(found).startswith("held_out_loss, lower is better\n  a: 0.395 ± ")
    assert "b − a over 4 common seeds" in str(found)
    assert folders(two_sweeps[0], two_sweeps[0]).sides[1].name == "a (second)"


def test_the_command_prints_the_comparison_and_writes_its_numbers(two_sweeps, tmp_path, capsys):
    a, b = map(str, two_sweeps)
    assert cli.main(["compare", a, b, "--json", str(tmp_path / "found.json")]) == 0
    assert capsys.readouterr().out.startswith("held_out_loss, lower is better")
    assert json.loads((tmp_path / "found.json").read_text())["difference"]["value"] == pytest.approx(-0.045)
    assert cli.main(["compare", a, b, "--no-lower-is-better"]) == 0
    assert "higher is better" in capsys.readouterr().out
    assert cli.main(["compare", a, b, "--metric", "test"]) == 2
    assert "held-out split" in capsys.readouterr().err


@pytest.mark.parametrize(("call", "words"), [
    (lambda: compare(runs(0.3), runs(0.2, first_seed=1)), "runs must be with at least one seed that both sides have, "
     "got 'seeds 0 and 1'. Run both with the same seeds"),
    (lambda: compare(runs(0.3), runs(0.2), "test"), "metric must be one of the held-out split"),
    (lambda: compare(runs(0.3), runs(0.2), "los"), "metric must be one of held_out_loss, got 'los'"),
    (lambda: compare(runs(0.3), [{**runs(0.2)[0], "status": "pruned"}, runs(0.3, rank=2, first_seed=1)[0]]),
     "runs of B must be finished, one at least with held_out_loss"),
    (lambda: best_of_chance(0), "k must be a whole number, 1 or more, got 0"),
    (lambda: seeds_needed(1, -1), "spread must be a number, 0 or more, got -1"),
    (lambda: seeds_needed(1, 1, power=80), "power must be a share between 0 and 1, got 80"),
    (lambda: seeds_to_leave_zero(1, 1, alpha=5), "alpha must be a share between 0 and 1, got 5"),
])
def test_what_cannot_be_compared_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


@pytest.mark.parametrize(("k", "exact"), [(1, 0.0), (2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi)),
                                          (10, 1.5387527308), (100, 2.5075936381)])
def test_the_best_of_k_by_chance_is_the_tables(k, exact):
    assert best_of_chance(k) == pytest.approx(exact, abs=1e-5)  # a sum over 20,001 places


@pytest.mark.parametrize(("difference", "spread"), [(1.0, 1.0), (-0.5, 1.0), (0.2, 0.1)])
def test_the_seeds_that_are_needed_see_the_difference_in_four_of_five_simulated_sets(difference, spread):
    n = seeds_needed(difference, spread)
    drawn = np.random.default_rng(0).normal(difference, spread, size=(4000, n))
    seen = (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean()
    assert seen > 0.8 - 0.02  # three standard errors of 4,000 sets
    assert n == 2 or (stats.ttest_1samp(drawn[:, :-1], 0, axis=1).pvalue < 0.05).mean() < 0.8 + 0.02


def test_no_number_of_seeds_shows_what_is_not_there():
    assert seeds_needed(0.0, 1.0) is None and seeds_needed(1e-6, 1.0) is None and seeds_needed(0.0, 0.0) is None
    assert seeds_needed(1.0, 0.0) == 2 and seeds_to_leave_zero(1.0, 0.0) == 2 and seeds_to_leave_zero(0.0, 0.0) is None


def test_from_the_seed_named_on_the_interval_leaves_zero_out():
    n = seeds_to_leave_zero(0.5, 1.0)
    assert stats.t.ppf(0.975, n - 1) / math.sqrt(n) < 0.5 <= stats.t.ppf(0.975, n - 2) / math.sqrt(n - 1)
