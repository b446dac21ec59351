"""The planner's published error: what the file says, that today's formula has it still, and a sample measured anew."""

import importlib
import statistics
from pathlib import Path

import pytest

from ftkit.files import read_json
from ftkit.memory.models import model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import Setup

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PUBLISHED = read_json(BENCHMARKS / "results" / "memory_error.json")
MEASURED = [row for row in PUBLISHED["rows"] if "fake" in row]
DRAWN = {int(seed): table["rows"] for seed, table in PUBLISHED["drawn"].items()}
SMALL = {"model_type": "llama", "vocab_size": 2000, "hidden_size": 256, "intermediate_size": 704,
         "num_hidden_layers": 3, "num_attention_heads": 8, "num_key_value_heads": 2}
GRANULES = 2e-3  # norms and counters in the allocator's granules: they weigh more in a small model
GOAL = 0.03  # of the median: what a layer that is computed again holds for a moment is not followed to the last tensor


@pytest.fixture(scope="module")
def draw():
    """The script that drew, which stands beside the benchmark."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("memory_draw")


def today(row):
    settings = dict(row["setup"])
    way = settings.pop("way", "ours")
    model = row["model"] if isinstance(row["model"], dict) else model_named(row["model"])
    return predict(model, Setup(**settings), way).peak_bytes


def test_enough_configurations_were_measured_of_enough_families_and_many_in_four_bits():
    assert len(MEASURED) >= 20
    assert sum(row["setup"]["method"] == "qlora" for row in MEASURED) >= 8
    assert len({model_named(row["model"]).config["model_type"] for row in MEASURED}) >= 4
    sizes = [model_named(row["model"]).parameters for row in MEASURED]
    assert min(sizes) < 0.6e9 and max(sizes) > 60e9


def test_the_published_errors_follow_from_the_published_bytes():
    for row in MEASURED:
        assert row["fake"]["error"] == row["predicted_bytes"] / row["fake"]["measured_bytes"] - 1
    errors = [abs(row["fake"]["error"]) for row in MEASURED]
    assert PUBLISHED["without_storage"]["median_error"] == statistics.median(errors)
    assert PUBLISHED["without_storage"]["worst_error"] == max(errors)


@pytest.mark.parametrize("seed", [None, *DRAWN])
def test_todays_formula_is_within_the_goal_on_all_that_was_measured(seed):
    rows = [row.get("mended") or row["fake"] for row in DRAWN.get(seed, MEASURED)]
    errors = [abs(today(row) / found["measured_bytes"] - 1)
              for row, found in zip(DRAWN.get(seed, MEASURED), rows, strict=True)]
    assert statistics.median(errors) <= 0.03 and max(errors) <= 0.10


@pytest.mark.parametrize("seed", DRAWN)
def test_nobody_chose_what_was_drawn_and_none_of_it_is_left_out(seed, draw):
    assert [(row["model"], row["setup"]) for row in DRAWN[seed]] == list(draw.drawn(seed))
    for row in DRAWN[seed]:
        assert row["fake"]["error"] == row["predicted_bytes"] / row["fake"]["measured_bytes"] - 1
    assert sum(row["setup"]["method"] == "qlora" for row in DRAWN[seed]) >= 8
    assert len({row["model"]["model_type"] for row in DRAWN[seed]}) >= 6


@pytest.mark.parametrize("setup", [
    Setup("lora", seq_len=64, batch_size=2), Setup("qlora", {"rank": 4}, seq_len=64, checkpointing=True),
    Setup("full", seq_len=48, optimizer="adamw8bit"), Setup("prompt", seq_len=64, attention="eager"),
    Setup("freeze", {"layers": 1}, seq_len=96, batch_size=4, checkpointing="every:2"),
    Setup("full", seq_len=96, batch_size=4, precision="float32", mixed="bfloat16", attention="eager"),
    Setup("full", seq_len=96, batch_size=4, precision="float32", mixed="bfloat16", logits="chunked",
          checkpointing=True),
], ids=lambda setup: f"{setup.method} {setup.attention} {setup.logits}")
def test_a_small_model_measured_now_takes_what_is_predicted(setup):
    from ftkit.meter.measuring import measure

    found = measure(SMALL, setup)
    predicted = predict(SMALL, setup)
    assert (predicted.trainable, predicted.total) == (found.trainable, found.total)
    assert predicted.peak_bytes == pytest.approx(found.peak_bytes, rel=GOAL if setup.checkpointing else GRANULES)
