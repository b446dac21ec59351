"""Methods side by side: the order, the front, what is left out, and the table by hand."""

import pytest
from matplotlib import pyplot

from ftkit.errors import Refusal
from ftkit.evaluate.intervals import Estimate
from ftkit.widgets.comparison import Column, columns_of, compute, pareto, rows_of
from ftkit.widgets.method_table import MethodTable

ROWS = [{"name": "full", "saved_mb": 18.0, "clinic": Estimate(0.90, 0.88, 0.92, 5), "general": 0.70},
        {"name": "lora", "saved_mb": 1.0, "clinic": 0.90, "general": 0.80},
        {"name": "<b>prompt</b>", "saved_mb": 0.1, "clinic": 0.40, "general": 0.85},
        {"name": "bitfit", "saved_mb": 0.2, "clinic": 0.39}]


@pytest.fixture
def rows():
    return rows_of(ROWS)


@pytest.fixture
def columns(rows):
    return columns_of(rows, None)


def names(comparison):
    return [row.name for row in comparison.rows]


def test_columns_are_those_known_that_some_row_has(rows, columns):
    assert list(columns) == ["saved_mb", "clinic", "general"]
    chosen = columns_of(rows, {"general": Column("exam", "more")})
    assert list(chosen) == ["general"] and chosen["general"].words == "exam"


def test_the_front_holds_rows_that_no_other_beats_in_all_that_matters(rows, columns):
    def front(*matters):
        return compute(rows, columns, matters).front

    assert front("saved_mb") == ("<b>prompt</b>",) and front("clinic") == ("full", "lora")
    assert front("saved_mb", "clinic") == ("lora", "<b>prompt</b>")  # full: as good, and larger
    assert front("general") == ("<b>prompt</b>",)  # bitfit was not measured there
    assert front() == ("full", "lora", "<b>prompt</b>", "bitfit")
    text = compute(rows, columns, ("saved_mb", "clinic")).text
    assert text.startswith("On the front in less file, MB and more clinic, held out: lora, <b>prompt</b> (2 of 4).")


def test_the_front_agrees_with_one_computed_from_its_definition():
    import random

    drawn = random.Random(0)
    rows = rows_of([{"name": str(place), **{key: drawn.randrange(5) for key in "abc"}} for place in range(60)])
    columns = {"a": Column("a"), "b": Column("b", "more"), "c": Column("c")}
    points = {row.name: (row.values["a"][0], -row.values["b"][0], row.values["c"][0]) for row in rows}
    want = [name for name, own in points.items()
            if not any(all(o <= s for o, s in zip(other, own, strict=True)) and other != own
                       for other in points.values())]
    assert list(pareto(rows, columns)) == want and 0 < len(want) < 60


def test_rows_are_sorted_by_a_column_and_those_without_a_value_come_last(rows, columns):
    assert names(compute(rows, columns, sorted_by="general")) == ["full", "lora", "<b>prompt</b>", "bitfit"]
    assert names(compute(rows, columns, sorted_by="general", descending=True)) == [
        "<b>prompt</b>", "lora", "full", "bitfit"]
    assert names(compute(rows, columns, descending=True)) == ["bitfit", "<b>prompt</b>", "lora", "full"]


def test_cards_become_rows_with_the_ends_over_seeds(star, trial_card):
    rows = rows_of({"rank 2": [trial_card({"rank": 2}, seed) for seed in range(3)]})
    assert rows[0].values["held_out_loss"] == pytest.approx((0.285, 0.28, 0.29))
    assert rows[0].values["trainable_share"][0] == pytest.approx(100 * 60_000 / 4_500_000)
    assert rows[0].values["saved_mb"][0] == pytest.approx(0.24) and rows[0].values["state_mb"][0] == pytest.approx(0.72)
    memory = rows_of([trial_card({}, 0, peak_gib=0.9, before_gib=0.35)])[0].values
    assert (memory["peak_gib"][0], memory["rise_gib"][0]) == pytest.approx((0.9, 0.55))
    grouped = rows_of([*star[:6], trial_card({}, 0, method="full")])
    assert [row.name for row in grouped] == ["lora rank=8", "lora rank=1", "full"]


def test_what_cannot_be_compared_is_refused(rows, columns, trial_card):
    with pytest.raises(Refusal, match="rows must be at least one, got 'none'. Nothing has been measured yet."):
        rows_of([])
    with pytest.raises(Refusal, match=r"rows\[1\] must be a mapping with a name and numbers, or a run card, got 3"):
        rows_of([ROWS[0], 3])
    with pytest.raises(Refusal, match="names of rows must be different, got \"'full' twice\""):
        rows_of([ROWS[0], ROWS[0]])
    with pytest.raises(Refusal, match="rows must be with one of trainable_share, .* Say what they hold with columns"):
        columns_of(rows_of([{"name": "x", "speed": 1}]), None)
    with pytest.raises(Refusal, match="column must be one of clinic, general, saved_mb, got 'clinc'"):
        columns_of(rows, {"clinc": Column("clinic")})
    with pytest.raises(Refusal, match="column must be one of saved_mb, clinic, general, got 'speed'"):
        compute(rows, columns, sorted_by="speed")
    with pytest.raises(Refusal, match="matters must be columns of which less or more is better, got 'general'"):
        compute(rows, {**columns, "general": Column("exam", "")}, ("general",))
    with pytest.raises(Refusal, match="better must be one of 'less', 'more', '', got 'lower'"):
        Column("file", "lower")
    table = MethodTable(ROWS)
    with pytest.raises(Refusal, match="choice must be one of matters, sorted_by, descending, across, upwards"):
        table.choose(sort="clinic")
    with pytest.raises(Refusal, match="column must be one of saved_mb, clinic, general, got 'speed'"):
        table.choose(across="speed")


def test_without_a_person_a_picture_and_the_table_stand_there_and_names_are_escaped():
    bundle = MethodTable(ROWS)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"].count("<img") == 1
    assert "&lt;b&gt;prompt&lt;/b&gt;" in bundle["text/html"] and "<b>prompt" not in bundle["text/html"]
    assert "0.9 (0.88 to 0.92)" in bundle["text/plain"] and pyplot.get_fignums() == []
    assert 'alt="general exam over file, MB: full 18, 0.7; lora 1, 0.8;' in bundle["text/html"]


@pytest.fixture
def table(live):
    shell = MethodTable(ROWS)
    shell.widget()
    yield shell
    shell.close()


def test_a_header_sorts_the_best_first_and_the_other_way_when_pressed_again(table):
    table._heads["clinic"].click()
    assert names(table._compared())[0] in ("full", "lora") and table._heads["clinic"].description.endswith("▼")
    assert 'aria-sort="descending">clinic, held out' in table._table.value
    table._heads["clinic"].click()
    assert names(table._compared())[0] == "bitfit" and table._heads["clinic"].description.endswith("▲")
    table._heads["saved_mb"].click()
    assert names(table._compared())[0] == "<b>prompt</b>" and "▲" not in table._heads["clinic"].description
    assert "<b>prompt" not in table._table.value


def test_what_is_ticked_decides_the_front_and_the_axes_the_picture(table):
    ticks, axes = table.widget().children[4].children, table.widget().children[6].children
    assert [tick.description for tick in ticks] == ["less file, MB", "more clinic, held out", "more general exam"]
    pictures = {table._shown.value}
    ticks[0].value = ticks[1].value = True
    assert "lora, &lt;b&gt;prompt&lt;/b&gt; (2 of 4)" in table._said.value
    assert table._table.value.count('<tr class="front">') == 2
    pictures.add(table._shown.value)
    axes[1].value = "clinic"
    pictures.add(table._shown.value)
    assert len(pictures) == 3


def test_every_control_has_a_name_and_closing_leaves_no_widget(live):
    from ipywidgets.widgets import widget as kept

    before = len(kept._instances)
    table = MethodTable(ROWS)
    table.widget()
    assert all(head.description and head.tooltip for head in table._heads.values())
    assert len(kept._instances) > before
    table.close()
    assert len(kept._instances) == before
