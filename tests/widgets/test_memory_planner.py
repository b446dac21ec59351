"""The planner's widget: its view is what the planner says, and the shell shows it, typed, slid, or refused."""

import html

import pytest
from matplotlib import pyplot

from ftkit.errors import Refusal
from ftkit.memory import cost, fit
from ftkit.memory.gpus import gpu_named
from ftkit.memory.models import model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import Setup
from ftkit.units import GIB
from ftkit.widgets import typed
from ftkit.widgets.memory_planner import MemoryPlanner
from ftkit.widgets.memory_view import compute, cost_table, moment_table, part_table, picture, step_table, tables, told


def test_the_view_is_what_the_planner_says():
    view = compute("qwen2.5-0.5b", "lora", rank=4, batch_size=2, seq_len=256, gpu="T4", precision="float16")
    model, setup, card = model_named("qwen2.5-0.5b"), Setup("lora", {"rank": 4}, 2, 256, precision="float16"), \
        gpu_named("T4")
    assert view.setup == setup and view.verdict == fit.judge(model, setup, card)
    assert view.largest_batch == fit.largest(model, setup, card, "batch_size")
    assert view.longest_rows == fit.largest(model, setup, card, "seq_len")
    assert view.tokens_per_s == cost.throughput(model, setup, card)
    assert view.cost == cost.cost(10**6, view.tokens_per_s, card, measured=False)


@pytest.mark.parametrize(("method", "setting"), [
    ("qlora", {"rank": 4}), ("adapter", {"bottleneck": 4}), ("prompt", {"virtual_tokens": 4}), ("bitfit", {}),
    ("full", {})])
def test_rank_means_what_the_method_has(method, setting):
    view = compute("ftkit-tiny", method, rank=4)
    assert view.setup.settings == setting
    assert all(f"{name} 4" in view.text for name in setting)


@pytest.mark.parametrize(("precision", "held", "mixed"), [
    ("float32", "float32", None), ("float32, autocast to bfloat16", "float32", "bfloat16")])
def test_a_precision_is_the_type_of_the_weights_and_that_of_mixed_precision(precision, held, mixed):
    setup = compute("ftkit-tiny", precision=precision).setup
    assert (setup.precision, setup.mixed) == (held, mixed)


def test_parts_add_up_to_what_is_needed_and_every_bar_is_a_step():
    view = compute("llama-2-13b", "lora", batch_size=2, gpu="T4")
    assert view.verdict.word == "fits if" and len(view.bars) == 1 + len(view.verdict.steps)
    assert [name for name, _ in view.bars[1:]] == [step.name for step in view.verdict.steps]
    needed = [view.verdict.memory.needed_bytes, *(step.needed_bytes for step in view.verdict.steps)]
    assert [sum(parts.values()) for _, parts in view.bars] == needed
    assert len(step_table(view)[1]) == len(view.verdict.steps) and step_table(view)[1][-1][-1] == "fits"
    assert part_table(view)[1][-1] == ["all", f"{needed[0] / GIB:.1f} GiB", "100.0%"]
    moments = predict(model_named("llama-2-13b"), view.setup).moments
    assert [name.removeprefix("highest: ") for name in moment_table(view)[0]] == list(moments)
    assert all(len(row) == len(headers) for headers, rows in tables(view) for row in rows)
    assert f"Next step: {view.verdict.steps[0].name}, which saves" in view.text and "are missing" in view.text


def test_a_card_without_bfloat16_is_told_with_the_alternative():
    assert "T4 (Turing) has no bfloat16: take float16" in compute("ftkit-tiny", gpu="T4").text


def test_what_fits_needs_no_next_step():
    text = compute("ftkit-tiny", "qlora").text
    assert "On RTX-3090: fits; " in text and "are left. At most " in text and "Next step" not in text


def test_of_gigabytes_alone_time_and_money_are_not_known_until_tokens_a_second_are_typed():
    view = compute("ftkit-tiny", gpu="16")
    assert view.cost is None and cost_table(view)[1][0][0] == "not known: type yours"
    view = compute("ftkit-tiny", gpu="16", tokens=3_600_000, tokens_per_s=1000, price_per_h=8.0, currency="USD")
    assert view.cost.hours == 1.0 and cost_table(view)[1][0][:3] == ["1,000", "1.00 h", "8.00 USD"]
    assert "tokens a second measured" in cost_table(view)[1][0][-1]


def test_the_picture_is_told_in_words_and_belongs_to_nobody():
    view = compute("llama-2-13b", "full", gpu="T4")
    assert picture(view).startswith(b"\x89PNG") and pyplot.get_fignums() == []
    for words in ("weights 24.2 GiB", "a line at", "the card", *(step.name for step in view.verdict.steps)):
        assert words in told(view)


def test_without_a_person_a_picture_with_words_and_tables_stand_there():
    bundle = MemoryPlanner(model="qwen2.5-0.5b", method="qlora")._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"].count("<img") == 1
    assert 'alt="qwen2.5-0.5b, qlora, rank 8, 1 row of 512 tokens' in bundle["text/html"]
    assert "Look at which part is the widest" in bundle["text/plain"] and "tokens a second" in bundle["text/plain"]


def test_choosing_by_hand_changes_picture_tables_and_text_and_leaves_nothing_behind(live):
    from ipywidgets.widgets import widget as kept

    before = len(kept._instances)
    shell = MemoryPlanner(model="ftkit-tiny")
    shell.widget()
    pictures = {shell._shown.value}
    for change in ((shell._drops["method"], "full"), (shell._knobs["batch_size"]._typed, "3"),
                   (shell._knobs["seq_len"]._slid, 1024), (shell._tick, True), (shell._knobs["gpu"]._typed, "11.5")):
        change[0].value = change[1]
        pictures.add(shell._shown.value)
    assert "full, 3 rows of 1024 tokens" in html.unescape(shell._said.value) and len(pictures) == 6
    assert "On 11.5 GB" in shell._said.value and "not known: type yours" in shell._table.value
    shell._knobs["tokens_per_s"]._typed.value = "500"
    shell._knobs["tokens"]._typed.value = "1.5 M"
    shell._knobs["price_per_h"]._typed.value = "7"
    assert "50.0 min" in shell._table.value and "5.83 CNY" in shell._table.value
    controls = [*shell._drops.values(), shell._tick, *(knob._typed for knob in shell._knobs.values())]
    assert all(control.description for control in controls)
    shell.close()
    assert len(kept._instances) == before


def test_two_values_that_exclude_each_other_are_told_and_the_one_that_was_turned_goes_back(live):
    shell = MemoryPlanner(model="ftkit-tiny", method="prefix")
    shell.widget()
    shell._tick.value = True
    said = shell._said.value
    assert "checkpointing must be False with a trained prefix" in said and 'role="alert"' in said
    assert shell._tick.value is False and shell._choice["checkpointing"] is False


@pytest.mark.parametrize(("knob", "text", "sentence"), [
    ("rank", "many", "rank must be a whole number, got 'many'"),
    ("batch_size", "0", "batch_size must be a whole number, 1 or more, got '0'"),
    ("seq_len", "1", "seq_len must be a whole number, 2 or more, got 1"),
    ("gpu", "<b>", "gpu must be one of T4"),
    ("tokens", "some", "tokens must be a count such as 250000, '250 k' or '1.5 M', got 'some'"),
    ("tokens", "0", "tokens must be 1 or more, got '0'"),
    ("price_per_h", "-1", "price_per_h must be a number, 0 or more, got '-1'"),
    ("tokens_per_s", "nan", "tokens_per_s must be a number, 0 or more, got 'nan'")])
def test_what_cannot_be_is_refused_in_a_sentence_and_changes_nothing(live, knob, text, sentence):
    shell = MemoryPlanner(model="ftkit-tiny")
    shell.widget()
    before = dict(shell._choice)
    shell._knobs[knob]._typed.value = text
    assert sentence in html.unescape(shell._said.value) and "<b>" not in shell._said.value
    assert shell._choice == before


def test_unknown_choices_are_refused():
    with pytest.raises(Refusal, match="knob must be one of model, method, rank, .* got 'card'"):
        MemoryPlanner(card="T4")
    with pytest.raises(Refusal, match="precision must be one of float32, .* got 'bf16'"):
        MemoryPlanner(precision="bf16")
    with pytest.raises(Refusal, match="model must be one of .* got 'llama-7b'"):
        MemoryPlanner(model="llama-7b")


def test_typed_numbers_are_read_with_spaces_around_them():
    assert typed.whole("rank", " 16 ") == 16 and typed.count("tokens", "250 k") == 250_000
    assert typed.amount("price_per_h", "2.5") == 2.5
