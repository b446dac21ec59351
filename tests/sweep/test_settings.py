"""Points by setting: read, ranked, left out."""

import json

import pytest

from ftkit.errors import Refusal
from ftkit.runs import open_run
from ftkit.sweep import settings


def point(seed=0, status="done", error=None, **parameters):
    metrics = parameters.pop("metrics", {"held_out_loss": 1.0})
    return {"id": f"{parameters}-{seed}", "parameters": {**parameters, "seed": seed}, "status": status,
            "metrics": metrics, "error": error}


def test_points_of_one_setting_are_ranked_by_their_mean_over_seeds():
    losses = {2: (0.4, 0.6), 4: (0.1, 0.3), 8: (0.45, 0.35)}
    points = [point(seed, rank=rank, metrics={"held_out_loss": loss, "clinic": 1 - loss})
              for rank, own in losses.items() for seed, loss in enumerate(own)]
    found = settings.ranked(points, "held_out_loss")
    assert [(one.parameters, one.scores) for one in found] == [
        ({"rank": 4}, {0: 0.1, 1: 0.3}), ({"rank": 8}, {0: 0.45, 1: 0.35}), ({"rank": 2}, {0: 0.4, 1: 0.6})]
    assert (found[0].mean, found[0].spread) == (pytest.approx(0.2), pytest.approx(0.02**0.5))
    assert found[0].mean_of("clinic") == pytest.approx(0.8) and found[0].mean_of("train_s") is None
    assert [one.parameters["rank"] for one in settings.ranked(points, "clinic")] == [4, 8, 2]
    assert [one.parameters["rank"] for one in settings.ranked(points, "clinic", lower=True)] == [2, 8, 4]


def test_a_trial_s_own_settings_count_and_its_folder_and_seed_do_not():
    nested = {"method": "lora", "settings": {"rank": 4}, "seed": 3, "out_dir": "x"}
    assert settings.setting_of(nested) == {"method": "lora", "rank": 4}
    assert settings.key_of(nested) == settings.key_of({"rank": 4, "method": "lora", "seed": 1})


def test_a_setting_that_lost_a_seed_to_pruning_is_not_ranked_by_its_lucky_ones():
    points = [point(0, rank=2), point(1, "pruned", rank=2), point(0, rank=4), point(1, "failed", "Error: x", rank=4)]
    assert [one.parameters["rank"] for one in settings.ranked(points, "held_out_loss")] == [4]
    left = {(one["parameters"]["rank"], one["parameters"]["seed"]): one["error"] for one in settings.left_out(points)}
    assert left == {(2, 0): "another seed of it was pruned", (4, 1): "Error: x",
                    (2, 1): "stopped early: others were better at the same step"}


def test_a_number_that_is_not_finite_is_no_score():
    points = [point(0, rank=2, metrics={"held_out_loss": float("nan")}), point(1, rank=2), point(0, rank=4)]
    found = settings.ranked(points, "held_out_loss")
    assert [(one.scores, one.lost) for one in found] == [({1: 1.0}, (0,)), ({0: 1.0}, ())]
    assert settings.left_out(points, "held_out_loss")[0]["error"] == "no finite held_out_loss"


@pytest.mark.parametrize("value", ["nan", "inf", None, 10**400, 1.5e308])
def test_where_every_run_diverged_it_is_said_of_the_metric_that_was_meant(value):
    points = [point(seed, metrics={"held_out_loss": value, "train_s": 2.0}) for seed in (0, 1)]
    assert settings.default_metric(points) == "held_out_loss"
    with pytest.raises(Refusal, match="held_out_loss must be a finite number in one finished point at least, got"):
        settings.ranked(points, "held_out_loss")


def test_the_parameters_that_differ_are_named_and_unreadable_points_differ_in_none():
    points = [point(rank=2, alpha=4), point(rank=4, alpha=4), point(rank=4, alpha=4, modules=["q"])]
    unreadable = {"id": "x", "parameters": {}, "status": settings.UNREADABLE}
    assert settings.differing([*points, unreadable]) == ["rank", "modules"]


def test_the_metric_is_the_held_out_loss_or_the_only_number():
    assert settings.default_metric([point(metrics={"held_out_loss": 1, "train_s": 2})]) == "held_out_loss"
    assert settings.default_metric([point(metrics={"score": 1, "curve": [1], "ok": True})]) == "score"


@pytest.mark.parametrize(("call", "words"), [
    (lambda: settings.default_metric([point(metrics={"a": 1, "b": 2})]),
     "metric must be named, since there is no held_out_loss, got 'a, b'"),
    (lambda: settings.default_metric([point(status="failed")]), "points must be finished, .* got 'failed'"),
    (lambda: settings.ranked([point()], "held_out_los"), "Did you mean held_out_loss"),
    (lambda: settings.ranked([point(metrics={"test": 1})], "test"), "must be one of the held-out split, got 'test'"),
    (lambda: settings.ranked([point(metrics={"test_en": 1})], "test_en"), "What settings are chosen by is no longer"),
    (lambda: settings.read_points("no/such/folder"), "folder must be an existing folder of a sweep or of runs"),
])
def test_what_cannot_be_ranked_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_points_are_read_from_a_sweep_s_folder_and_damaged_ones_are_told(tmp_path):
    for name, text in (("a", json.dumps(point(rank=2))), ("b", "{"), ("c", '{"id": "c"}')):
        (tmp_path / "points" / name).mkdir(parents=True)
        (tmp_path / "points" / name / "point.json").write_text(text)
    found = settings.read_points(tmp_path)
    assert [one["status"] for one in found] == ["done", "unreadable", "unreadable"]
    assert "valid JSON" in found[1]["error"] and "point with id, parameters and status" in found[2]["error"]


def test_run_cards_below_a_folder_are_points_too(tmp_path):
    for seed in (0, 1):
        with open_run(tmp_path / f"run{seed}", {"rank": 4}, name="try", seed=seed) as run:
            run.finish({"held_out_loss": 0.5 + seed})
    found = settings.read_points(tmp_path)
    assert [one["id"] for one in found] == ["run0", "run1"]
    assert settings.ranked(found, "held_out_loss")[0].scores == {0: 0.5, 1: 1.5}
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refusal, match="It holds no points and no card.json"):
        settings.read_points(tmp_path / "empty")


def test_less_of_a_loss_a_time_and_a_size_is_better():
    less = ("held_out_loss", "perplexity", "train_s", "peak_gib", "saved_bytes", "rmse", "wer")
    more = ("clinic", "accuracy", "general", "tokens_per_s")
    assert [settings.lower_is_better(name) for name in (*less, *more)] == [True] * len(less) + [False] * len(more)
