"""What a choice shows: measured settings only, the nearest where there is none, and a sentence that says so."""

import math

import pytest

from ftkit.cards import Card
from ftkit.errors import Refusal
from ftkit.widgets.grid import asked_for, compute, grid_of, with_card, words
from ftkit.widgets.measures import MEASURES, metric


@pytest.fixture
def grid(star):
    return grid_of(star)


def test_knobs_are_the_usual_ones_and_whatever_else_differs(grid, star, trial_card):
    assert list(grid.knobs) == ["rank", "alpha", "dropout", "target_modules", "learning_rate"]
    assert grid.knobs["rank"] == (1, 2, 8, 32) and grid.knobs["target_modules"] == ("all-linear", ("q_proj", "v_proj"))
    assert grid.seeds == (0, 1, 2) and len(grid.settings) == 9
    more = grid_of([*star, trial_card({"use_rslora": True}, 0), trial_card({"layers": [0, 1]}, 0)])
    assert list(more.knobs)[5:] == ["use_rslora", "layers"] and more.knobs["layers"] == ((0, 1), "all")


def test_the_default_is_the_centre_of_the_star_or_the_one_that_was_named(grid, star):
    assert grid.default.knobs["rank"] == 8 and grid.default.knobs["learning_rate"] == 8e-3
    assert grid_of(star, {"rank": 32}).default.knobs["rank"] == 32
    with pytest.raises(Refusal, match="default must be among the cards, got {'rank': 5}"):
        grid_of(star, {"rank": 5})
    with pytest.raises(Refusal, match="a knob of default must be one of rank, .* Did you mean rank"):
        grid_of(star, {"rnak": 8})


def test_a_measured_choice_is_shown_with_all_its_seeds_and_repeats_count_once(star):
    grid = grid_of([*star, *star])
    view = compute(grid, {"rank": 32})
    assert view.measured and view.shown.seeds == [0, 1, 2]
    assert view.text == "Measured: rank 32 with all else as in the default, 3 seeds."
    assert view.shown.mean("held_out_loss") == pytest.approx(0.3 - 0.02 * 5 + 0.005)
    assert compute(grid, {}).text == "Measured: the default, 3 seeds."
    assert compute(grid, {"seed": 7}).text.endswith("Seed 7 was not run.")


def test_values_that_were_never_combined_are_not_made_up(grid):
    view = compute(grid, {"rank": 32, "dropout": 0.1}, moved="rank")
    assert not view.measured and (view.shown.knobs["rank"], view.shown.knobs["dropout"]) == (32, 0.0)
    assert "Each of these values was measured, never all together." in view.text
    assert "with dropout 0 in place of 0.1. Train this point to measure it." in view.text
    other = compute(grid, {"rank": 32, "dropout": 0.1}, moved="dropout")
    assert (other.shown.knobs["rank"], other.shown.knobs["dropout"]) == (8, 0.1)  # what the hand is on is kept


def test_a_value_between_two_measured_ones_shows_the_one_nearer_by_its_ratio(grid):
    assert compute(grid, {"rank": 3}).shown.knobs["rank"] == 2
    view = compute(grid, {"rank": 20})
    assert view.shown.knobs["rank"] == 32 and "No run has rank 20." in view.text


def test_a_value_that_was_measured_with_other_changes_only_is_said_to_be_so(star, trial_card):
    grid = grid_of([*star, trial_card({"rank": 64, "alpha": 128.0}, 0)])
    assert "It was measured only together with other changes." in compute(grid, {"rank": 64}).text


def test_the_table_has_means_with_their_ends_over_seeds(grid):
    headers, rows = compute(grid, {"rank": 2}).table
    assert headers == ["", "shown (3 seeds)", "default (3 seeds)"]
    found = {row[0]: row[1:] for row in rows}
    assert found["held-out loss (nats per token)"] == ["0.2850 (0.2800 to 0.2900)", "0.2450 (0.2400 to 0.2500)"]
    assert found["trainable parameters"] == ["60,000", "240,000"]
    assert found["adapter file"] == ["234 KiB", "938 KiB"]
    assert found["gradients and optimizer's memory"] == ["703 KiB", "2.75 MiB"]  # 4 + 8 bytes a trained number


def test_a_metric_that_is_missing_or_no_number_is_not_measured(star, trial_card):
    odd = trial_card({"rank": 4}, 0, clinic=None, held_out_loss=math.nan, step_cpu_s=None)
    assert all(metric(odd, name) is None for name in ("clinic", "held_out_loss", "step_cpu_s", "nothing"))
    view = compute(grid_of([*star, odd]), {"rank": 4})
    found = {row[0]: row[1] for row in view.table[1]}
    assert found[MEASURES["clinic"].words] == "not measured" and view.shown.seeds == [0]


def test_a_run_that_is_added_stands_in_the_grid_and_leaves_the_default(grid, trial_card):
    more = with_card(grid, trial_card({"rank": 32, "dropout": 0.1}, 1))
    view = compute(more, {"rank": 32, "dropout": 0.1})
    assert view.measured and "1 seed." in view.text and more.default.knobs == grid.default.knobs


def test_a_command_names_the_usual_knobs_and_of_others_only_what_is_not_default(star, trial_card):
    grid = grid_of([*star, trial_card({"layers": "last 2"}, 0), trial_card({"use_rslora": True}, 0)])
    chosen = compute(grid, {"layers": "last 2", "seed": 3}).chosen
    assert asked_for(grid, chosen) == {"rank": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": "all-linear",
                                       "learning_rate": 8e-3, "layers": "last 2", "seed": 3}


def test_a_setting_that_came_after_the_cards_has_its_default_in_them(star, trial_card):
    newer = trial_card({"allow_partial": False}, 5)  # the others do not say
    grid = grid_of([*star, newer])
    assert "allow_partial" not in grid.knobs and grid.default.seeds == [0, 1, 2, 5]
    assert grid_of([*star, trial_card({"allow_partial": True}, 5)]).knobs["allow_partial"] == (False, True)


def test_other_methods_and_unfinished_runs_are_left_out(star, trial_card):
    grid = grid_of([*star, trial_card({"rank": 64}, 0, method="full"), trial_card({"rank": 128}, 0, status="running")])
    assert grid.knobs["rank"] == (1, 2, 8, 32)


def test_what_cannot_be_a_grid_is_refused(trial_card, grid):
    with pytest.raises(Refusal, match="cards must be at least one finished run of LoRA, got 'none'"):
        grid_of([trial_card({}, 0, method="full")])
    with pytest.raises(Refusal, match=r"cards\[0\] must be the card of a trial, with its settings"):
        grid_of([Card("points", {"scale": "tiny"}, 0, "2026-01-01")])
    with pytest.raises(Refusal, match="knob must be one of rank, .*, seed, got 'rnak'. Did you mean rank"):
        compute(grid, {"rnak": 4})


@pytest.mark.parametrize(("value", "text"), [(16.0, "16"), (0.0005, "0.0005"), (True, "true"), (5.656854, "5.656854"),
                                             ("last 2", "last 2"),
                                             (("q_proj", "v_proj"), "q_proj,v_proj"), ((0, 1), "0,1")])
def test_values_are_written_as_somebody_would_type_them(value, text):
    assert words(value) == text
