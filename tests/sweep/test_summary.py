"""The table and the figure of a sweep, and which parameters mattered."""

import math
import random
import warnings

import pytest
from matplotlib.figure import Figure

from ftkit.errors import Refusal
from ftkit.sweep import summary
from ftkit.sweep.importance import importance


def points_of(score, ranks=(2, 4, 8, 16), rates=(1e-3, 4e-3), seeds=(0, 1, 2)):
    return [{"id": f"{rank}-{rate}-{seed}", "parameters": {"rank": rank, "learning_rate": rate, "seed": seed},
             "status": "done", "error": None, "elapsed_s": 10.0 + rank, "attempts": 1,
             "metrics": {"held_out_loss": score(rank, rate, seed), "test": 0.5}}
            for rank in ranks for rate in rates for seed in seeds]


def loss(rank, rate, seed):
    return rank / 100 + 100 * rate + random.Random(f"{rank} {rate} {seed}").gauss(0, 0.001)


def test_the_table_has_a_row_a_setting_best_first_and_then_what_is_not_counted():
    points = points_of(loss)
    points[0] |= {"status": "failed", "error": "ValueError: a | b\nc"}
    points[4] |= {"status": "pruned"}
    found = summary.table(points)
    assert list(found.columns) == ["rank", "learning_rate", "held_out_loss", "held_out_loss spread", "seeds", "seed",
                                   "status", "error"]
    done = found[found.held_out_loss.notna()]
    assert done[["rank", "learning_rate", "seeds"]].values.tolist()[:2] == [[2, 1e-3, 2], [4, 1e-3, 3]]
    assert len(done) == 7 and done.held_out_loss.is_monotonic_increasing
    assert found.status.tolist()[7:] == ["failed", "done", "pruned", "done"]


def test_the_test_split_is_in_no_table_that_settings_are_chosen_by():
    assert "test" not in summary.table(points_of(loss)).columns


def test_table_and_figure_are_written_and_can_be_read(tmp_path):
    points = points_of(loss)
    points[0] |= {"status": "failed", "error": "ValueError: a | b\nc"}
    summary.write(tmp_path, points)
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[0].startswith("| rank | learning_rate | held_out_loss |") and r"ValueError: a \| b c" in lines[-3]
    assert lines[-1] == "Best first by held_out_loss: lower is better."
    assert (tmp_path / "table.csv").read_text().startswith("rank,learning_rate,held_out_loss,")
    assert summary.draw(tmp_path, points).read_bytes()[:4] == b"\x89PNG"


def test_a_sweep_that_has_nothing_to_compare_by_has_a_table_all_the_same(tmp_path):
    running = points_of(loss, seeds=(0,))
    for one in running:
        one |= {"status": "running", "metrics": {}}
    found = summary.write(tmp_path, running)
    assert found.status.unique().tolist() == ["running"] and summary.draw(tmp_path, running) is None
    two_numbers = points_of(loss)
    for one in two_numbers:
        one["metrics"] = {"a": 1, "b": 2}
    summary.write(tmp_path, two_numbers)
    assert "metric must be named" in (tmp_path / "table.md").read_text()
    assert summary.draw(tmp_path, two_numbers) is None
    assert "No point yet." in summary.as_markdown(summary.write(tmp_path, []))


def test_a_setting_that_lost_seeds_says_so_where_it_is_ranked():
    points = points_of(loss, ranks=(2, 4), rates=(1e-3,))
    points[0] |= {"status": "failed", "error": "ValueError: x"}
    points[1] |= {"metrics": {"held_out_loss": "nan"}}
    found = summary.table(points)
    assert found.error[0] == "without seed 0, 1: failed, or no finite held_out_loss" and found.error[1:2].isna().all()


def test_parameters_that_are_named_like_other_columns_keep_columns_of_their_own(tmp_path):
    points = points_of(loss, seeds=(0,))
    for one in points:
        one["metrics"]["rank"] = 7
        one["parameters"]["status"] = f"s{one['parameters']['rank']}"
    found = summary.write(tmp_path, points)
    assert found["param.rank"].tolist()[:2] == [2, 4] and set(found["rank"]) == {7}
    assert found["param.status"].tolist()[:2] == ["s2", "s4"] and set(found["status"]) == {"done"}
    for one in points:
        one["status"] = "waiting"
    assert "param.status" in summary.write(tmp_path, points).columns


@pytest.mark.parametrize("odd", ["a$b_{c$", "x" * 500, "记录\n二"])
def test_whatever_a_parameter_holds_the_figure_can_be_drawn(tmp_path, odd):
    points = points_of(loss)
    for one in points:
        one["parameters"]["prompt"] = f"{odd}{one['parameters']['rank']}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert summary.draw(tmp_path, points).stat().st_size > 1000


def test_one_numeric_parameter_is_drawn_as_a_line_over_it():
    ax = summary.figure(points_of(loss, rates=(1e-3,)), ax=Figure().subplots())
    line = next(one for one in ax.lines if one.get_label() == "mean over seeds")
    assert list(line.get_xdata()) == [2, 4, 8, 16] and ax.get_xscale() == "log" and ax.get_xlabel() == "rank"
    assert sum(len(one.get_xdata()) for one in ax.lines if one.get_label() == "one seed") == 12


def test_several_parameters_are_drawn_over_the_cost_and_the_best_are_named():
    ax = summary.figure(points_of(loss), ax=Figure().subplots())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "1. rank 2, learning_rate 0.001" in labels and len(labels) == summary.NAMED + 2
    assert ax.get_xlabel() == "elapsed_s"
    with pytest.raises(Refusal, match="metric must be one of .*elapsed_s.*got 'train_s'"):
        summary.figure(points_of(loss), cost="train_s", ax=Figure().subplots())


def test_importance_finds_the_parameter_that_moved_the_score_and_says_so_for_each_seed():
    found = importance(points_of(lambda rank, rate, seed: 100 * rate + rank / 1000 + seed / 1e4))
    assert [one.parameter for one in found] == ["learning_rate", "rank"] and found[0].share > 0.9
    assert sum(one.share for one in found) == pytest.approx(1)
    assert list(found[0].by_seed) == [0, 1, 2] and found[0].spread < 0.1
    assert found == importance(points_of(lambda rank, rate, seed: 100 * rate + rank / 1000 + seed / 1e4))


def test_a_parameter_above_zero_is_weighed_by_its_logarithm():
    found = importance(points_of(lambda rank, rate, seed: math.log2(rank) / 3 + math.log10(rate) / 3,
                                 ranks=(1, 2, 4, 8), rates=(1e-4, 1e-3, 1e-2, 1e-1)))
    shares = {one.parameter: one.share for one in found}
    assert all(abs(share - 0.5) < 0.1 for share in shares.values()), shares  # the same steps along each of the two


def test_importance_takes_names_and_fills_in_what_a_point_does_not_say():
    points = points_of(lambda rank, rate, seed: 1.0 + seed / 100)
    for one in points:
        own = one["parameters"]
        if own["rank"] != 8:
            own["target_modules"] = ["q_proj", "v_proj"] if own["rank"] > 8 else "all-linear"
        one["metrics"]["held_out_loss"] += own["rank"] > 8
    found = importance(points, defaults={"target_modules": "all-linear"})
    assert {one.parameter for one in found} == {"rank", "learning_rate", "target_modules"}
    assert next(one.share for one in found if one.parameter == "learning_rate") < 0.01


@pytest.mark.parametrize(("points", "words"), [
    (points_of(loss, ranks=(2,), rates=(1e-3,)), "points must be of settings that differ in a parameter"),
    (points_of(loss, ranks=(2, 4), rates=(1e-3,)), "points must be of 3 settings or more, two more than differing par"),
    (points_of(lambda *_: 1.0), "held_out_loss must be different between settings, got 'one value only'"),
])
def test_importance_refuses_what_says_nothing(points, words):
    with pytest.raises(Refusal, match=words):
        importance(points)
