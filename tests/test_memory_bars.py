"""Bars of memory: as long as their bytes, each part told apart by more than its colour."""

import pytest
from matplotlib.figure import Figure

from ftkit.errors import Refusal
from ftkit.memory.ledger import PARTS
from ftkit.memory_bars import LOOKS, SIGNS, stacked_bars, text_bar

GIB = 2**30


def test_every_part_of_a_plan_has_a_colour_a_hatch_or_none_and_a_sign_of_its_own():
    assert {*PARTS, "CUDA"} == set(LOOKS) == set(SIGNS)
    assert len(set(LOOKS.values())) == len(set(SIGNS.values())) == len(LOOKS)


def test_a_text_bar_is_as_wide_as_the_card_and_filled_as_far_as_the_parts_go():
    bar, legend = text_bar({"weights": 6 * GIB, "logits": 2 * GIB}, 16 * GIB, width=16).splitlines()
    assert bar == "|######++        |" and legend == "# weights 6.00 GiB  + logits 2.00 GiB"


def test_parts_beyond_the_card_fill_the_line():
    assert text_bar({"weights": 3 * GIB}, 2 * GIB, width=4).splitlines()[0] == "|####|"


def test_stacked_bars_add_up_and_the_card_is_a_line():
    ax = stacked_bars([("full", {"weights": GIB, "gradients": 2 * GIB}), ("lora", {"weights": GIB})],
                      Figure().subplots(), card_bytes=4 * GIB)
    assert [float(bar.get_width()) for bar in ax.patches] == [1.0, 2.0, 1.0]
    assert float(ax.patches[1].get_x()) == 1.0 and ax.lines[0].get_xdata()[0] == 4.0
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"weights", "gradients", "card: 4.00 GiB"}


def test_bars_without_rows_and_unknown_parts_are_refused():
    with pytest.raises(Refusal, match="rows must be at least one pair"):
        stacked_bars([])
    with pytest.raises(Refusal, match="parts must be named weights, .*, got 'wieghts'"):
        text_bar({"wieghts": 1})
