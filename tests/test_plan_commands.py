"""`ftkit plan` prints where every byte goes and what to do about it, from a name, a file or a folder."""

import json

import pytest

from ftkit.cli import main
from ftkit.memory.models import model_named


def printed(capsys, *words):
    assert main(["plan", *words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words):
    assert main(["plan", *words]) == 2
    return capsys.readouterr().err


def test_a_named_model_is_planned_for_with_its_numbers_parts_and_a_bar(capsys):
    text = printed(capsys, "--model", "llama-2-7b", "--method", "lora", "--rank", "8", "--target-modules",
                   "q_proj,k_proj,v_proj,o_proj", "--seq-len", "512", "--batch", "1")
    assert "8,388,608" in text and "bfloat16 12.6 GiB" in text
    for part in ("weights", "activations", "optimizer", "together", "CUDA"):
        assert f"\n{part}" in text
    assert "|####" in text


def test_a_card_that_is_too_small_gets_the_next_steps_and_their_savings(capsys):
    text = printed(capsys, "--model", "llama-2-7b", "--method", "lora", "--gpu", "12")
    assert "12 GB, 12.0 GiB: fits with the step below; " in text and "1. 4-bit weights with LoRA (qlora): " in text
    assert "saves" in text and ", fits" in text


def test_a_card_that_is_large_enough_is_told_with_the_largest_batch_and_rows(capsys):
    text = printed(capsys, "--model", "llama-2-7b", "--method", "qlora", "--checkpointing", "--gpu", "T4")
    assert "T4, 15.0 GiB: fits; " in text and "largest batch of 512 tokens: " in text
    assert "has no bfloat16: take float16" in text


def test_hours_and_money_come_with_what_they_rest_on(capsys):
    text = printed(capsys, "--model", "ftkit-tiny", "--gpu", "RTX-4090", "--tokens", "1e6", "--tokens-per-s", "1000",
                   "--rent-per-hour", "2", "--price-per-kwh", "1", "--currency", "USD")
    assert "time: 16.7 min" in text and "tokens a second measured; prices as given" in text


def test_data_for_machines_holds_what_the_table_says(capsys):
    found = json.loads(printed(capsys, "--model", "qwen2.5-7b", "--method", "8-bit", "--gpu", "24", "--json"))
    memory = found["memory"]
    assert sum(memory["parts"].values()) == memory["peak_bytes"] < memory["needed_bytes"]
    assert found["setup"]["method"] == "lora8bit" and found["verdict"]["word"] == "fits"


def test_a_config_in_a_file_or_a_folder_is_planned_for(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(dict(model_named("ftkit-tiny").config)), "utf-8")
    texts = [printed(capsys, "--model", str(place)).partition(",")[2] for place in
             (tmp_path, tmp_path / "config.json", "ftkit-tiny")]
    assert texts[0] == texts[1] == texts[2]


def test_other_settings_of_a_method_are_given_by_name(capsys):
    text = printed(capsys, "--model", "ftkit-tiny", "--method", "adapter", "-s", "bottleneck=4", "-s", "place=pfeiffer")
    hidden, layers = 192, 8
    assert f"{layers * (2 * hidden * 4 + 4 + hidden):,}" in text


def test_the_table_of_models_is_listed(capsys):
    text = printed(capsys, "--models")
    assert "Qwen/Qwen2.5-7B" in text and "remote" in text and "W_pack" in text


def test_the_figure_is_drawn(tmp_path, capsys):
    file = tmp_path / "bar.png"
    printed(capsys, "--model", "ftkit-tiny", "--figure", str(file))
    assert file.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("words", "sentence"), [
    (["--model", "lama-2-7b"], "Did you mean llama-2-7b"),
    (["--method", "loar"], "method must be one of"),
    (["--rank", "0"], "rank must be a whole number, 1 or more, got 0"),
    (["--gpu", "A1000"], "gpu must be one of"),
    (["-s", "rank"], "-s must be name=value, got 'rank'"),
    (["--tokens", "1e6"], "--tokens must be given with --tokens-per-s, or with --gpu for a family that the planner"),
    (["--method", "full", "--quantization", "nf4"], "quantization must be None with full"),
    (["--way", "trl"], "way must be one of ours, peft"),
])
def test_what_cannot_be_planned_is_refused_in_a_sentence(words, sentence, capsys):
    assert sentence in refused(capsys, *words)


def test_a_file_that_is_no_config_is_refused_by_its_name(tmp_path, capsys):
    (tmp_path / "config.json").write_text("[]", "utf-8")
    assert "config.json must be a JSON object with model_type" in refused(capsys, "--model", str(tmp_path))
    assert "model must be a name of the table" in refused(capsys, "--model", str(tmp_path / "none.json"))


MIXTRAL = {"model_type": "mixtral", "vocab_size": 500, "hidden_size": 64, "intermediate_size": 96,
           "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}


def test_a_family_that_the_formula_does_not_know_is_counted(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL), "utf-8")
    text = printed(capsys, "--model", str(tmp_path), "--method", "qlora", "--seq-len", "64", "--gpu", "8")
    assert "mixtral is none of the planner's families: its steps are counted" in text
    assert "8 GB, 8.00 GiB: fits; " in text and "cache" not in text
    found = json.loads(printed(capsys, "--model", str(tmp_path), "--seq-len", "64", "--json"))["memory"]
    assert sum(found["parts"].values()) == found["peak_bytes"] > found["parts"]["weights"] > 2 * 4 * 3 * 64 * 96


def test_a_family_that_nobody_knows_is_refused_and_so_is_its_price(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL | {"model_type": "own"}), "utf-8")
    assert "model_type must be a causal language model's" in refused(capsys, "--model", str(tmp_path))
    assert "--tokens must be given" in refused(capsys, "--model", str(tmp_path), "--tokens", "9", "--gpu", "T4")


def test_a_family_whose_code_wants_numbers_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch):
    from ftkit.meter import counted

    (tmp_path / "config.json").write_text(json.dumps(MIXTRAL), "utf-8")
    monkeypatch.setattr(counted, "measure", lambda *_, **__: [][0])
    assert "got 'mixtral'. Counting ended in IndexError: list index out of range" in refused(
        capsys, "--model", str(tmp_path))


def test_a_cache_is_told_beside_the_sum(capsys):
    text = printed(capsys, "--model", "llama-2-7b", "--seq-len", "4096")
    assert "for answers of as many rows and tokens 2.00 GiB of keys and values" in text


def test_ones_own_prices_and_discount_are_taken(tmp_path, capsys):
    own = {"dated": "2027-01", "electricity_per_kwh": {"CNY": 1}, "spot_discount": 0,
           "rent_per_hour": {"T4": {"CNY": 9}}}
    (tmp_path / "mine.json").write_text(json.dumps(own), "utf-8")
    words = ["--model", "ftkit-tiny", "--gpu", "T4", "--tokens", "3.6e6", "--tokens-per-s", "1000"]
    assert "rent: 9.00 CNY, at a spot price 9.00" in printed(capsys, *words, "--prices", str(tmp_path / "mine.json"))
    assert "rent: 1.50 CNY, at a spot price 0.75" in printed(capsys, *words, "--spot-discount", "0.5")
