"""Quantisation of one matrix: the view agrees with the layer below, and the explorer with the view."""

import pytest
import torch
from matplotlib import pyplot

from ftkit.errors import Refusal
from ftkit.quant import blocks
from ftkit.widgets.quant_explorer import QuantExplorer
from ftkit.widgets.quant_view import compute, drawn_weight, parse_block_size, table


@pytest.mark.parametrize("data_type", ["nf4", "fp4", "e2m1", "e3m0", "int4", "int8"])
def test_the_view_is_what_quantising_gives(data_type):
    weight = drawn_weight(1)[:64]
    view = compute(weight, data_type, 32, double=True)
    quantised = blocks.quantise(weight, data_type, 32, double=True)
    error = (weight - blocks.dequantise(quantised)).pow(2).mean().sqrt() / weight.std(correction=0)
    assert view.rmse_percent == pytest.approx(100 * error.item()) and view.bits == blocks.bits_per_number(quantised)
    assert sum(view.shares) == pytest.approx(1) and list(view.levels) == sorted(set(view.levels))
    assert len(view.levels) == {"int8": 255, "fp4": 15, "e2m1": 15, "e3m0": 15, "int4": 16}.get(data_type, 16)
    assert sum(view.heights) == pytest.approx(1)  # those just outside, by scales that come from codes, included


def test_shares_are_counted_by_hand_on_a_small_matrix():
    view = compute(torch.tensor([[7.0, -7.0, 0.0, 1.0], [7.0, 3.0, 2.0, 2.0]]), "int4", block_size=4)
    found = {round(7 * level): share for level, share in zip(view.levels, view.shares, strict=True) if share}
    assert found == {7: 2 / 8, -7: 1 / 8, 0: 1 / 8, 1: 1 / 8, 3: 1 / 8, 2: 2 / 8} and view.rmse_percent < 1e-4
    assert "6 of 16 values are in use" in view.text and view.bits == 4 + 32 / 4


def test_larger_blocks_have_larger_errors_and_fewer_bits():
    weight = drawn_weight(0)
    small, large = compute(weight, "nf4", 16), compute(weight, "nf4", 4096)
    assert small.rmse_percent < large.rmse_percent and small.bits > large.bits


def test_the_table_has_a_row_for_each_data_type_and_marks_the_chosen():
    weight = drawn_weight(0)
    headers, rows = table(weight, compute(weight, "fp4", 128))
    assert [row[0] for row in rows] == ["nf4", "fp4 (chosen)", "e2m1", "e3m0", "int4", "int8"]
    assert all(len(row) == len(headers) for row in rows) and rows[5][1] == "8.25"


@pytest.mark.parametrize("text", ["63", "0", "-2", "x", "", "6.0"])
def test_a_typed_block_size_that_is_none_is_refused(text):
    with pytest.raises(Refusal, match="block_size must be an even whole number, 2 or more, got "):
        parse_block_size(text)


def test_without_a_person_a_picture_with_words_and_a_table_stand_there():
    bundle = QuantExplorer(seed=3)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"].count("<img") == 1
    assert 'alt="nf4, blocks of 64: 4.5 bits a number' in bundle["text/html"] and pyplot.get_fignums() == []
    assert "nf4 (chosen)" in bundle["text/plain"] and "Left, look at the steps" in bundle["text/plain"]


def test_choosing_by_hand_changes_picture_table_and_text(live):
    from ipywidgets.widgets import widget as kept

    before = len(kept._instances)
    shell = QuantExplorer()
    shell.widget()
    pictures = {shell._shown.value}
    shell._kinds.value = "int4"
    pictures.add(shell._shown.value)
    shell._size._typed.value = "48"
    pictures.add(shell._shown.value)
    shell._size._slid.value = 128
    pictures.add(shell._shown.value)
    shell._double.value = True
    assert "int4, blocks of 128, scales quantised too: 4.064 bits" in shell._said.value and len(pictures) == 4
    shell._size._typed.value = "47"
    assert "block_size must be an even whole number" in shell._said.value and shell._choice["block_size"] == 128
    assert shell._kinds.description and shell._double.description and shell._size._typed.description
    shell.close()
    assert len(kept._instances) == before


def test_a_matrix_that_cannot_be_quantised_and_an_unknown_knob_are_refused():
    with pytest.raises(Refusal, match="tensor must be of float32, bfloat16 or float16"):
        QuantExplorer(torch.ones(4, 4, dtype=torch.int64))
    with pytest.raises(Refusal, match="knob must be one of data_type, block_size, double, got 'bits'"):
        QuantExplorer().choose(bits=4)
    with pytest.raises(Refusal, match="data_type must be one of nf4"):
        QuantExplorer(data_type="nf5")


def test_a_weight_that_learns_is_shown_and_left_as_it_is():
    weight = torch.nn.Parameter(torch.randn(8, 8, dtype=torch.bfloat16))
    before = weight.detach().clone()
    assert QuantExplorer(weight).static().png.startswith(b"\x89PNG")
    assert torch.equal(weight, before) and weight.requires_grad
