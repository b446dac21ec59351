"""Figures: what is drawn is what was measured, nothing global changes, and no text becomes empty boxes."""

import math
import warnings
from statistics import mean, stdev

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from ftkit import axes, fonts, plots
from ftkit.errors import Refusal
from ftkit.evaluate.intervals import Estimate

TRACE = [{"step": step, "loss": 4 / step, "held_out_loss": 5 / step if step % 2 == 0 else None}
         for step in range(1, 7)]
BASE, TUNED = Estimate(0.1, 0.05, 0.2, 40), Estimate(0.9, 0.8, 0.95, 40)


@pytest.fixture(autouse=True)
def canvas():
    """No window is opened, and no figure outlives its test."""
    from matplotlib import pyplot

    before = pyplot.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(before)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.fixture
def no_chinese(monkeypatch):
    """A machine without a single Chinese font."""
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])


def texts(ax):
    return [text.get_text() for text in ax.get_figure().findobj(Text) if text.get_text()]


def draw(ax):
    """The renderer that drew the figure as a notebook's picture; a glyph that no font has is an error."""
    canvas = FigureCanvasAgg(ax.get_figure())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Glyph .* missing")
        canvas.draw()
    return canvas.get_renderer()


def test_an_empty_box_would_be_seen_by_these_tests(ax):
    ax.set_title("全量", fontfamily=["DejaVu Sans"])  # ships with matplotlib and has no Chinese
    with pytest.raises(UserWarning, match="Glyph .* missing"):
        draw(ax)


def test_a_loss_curve_holds_every_step_and_the_held_out_loss_where_it_was_measured(ax):
    plots.loss_curve(TRACE, ax)
    training, held_out = ax.get_lines()
    assert training.get_xydata().tolist() == [[record["step"], record["loss"]] for record in TRACE]
    assert held_out.get_xydata().tolist() == [[2, 2.5], [4, 1.25], [6, 5 / 6]]
    assert ax.get_xlabel() == "optimizer step" and ax.get_ylabel() == "loss per label token (nats)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "held out"]


def test_several_trainings_on_one_axes_differ_in_marker_as_well_as_colour(ax):
    for name in ("LoRA", "full", "BitFit"):
        assert plots.loss_curve(TRACE, ax, label=name) is ax
    training = ax.get_lines()[::2]
    assert len({to_hex(line.get_color()) for line in training}) == len({line.get_marker() for line in training}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()][2:4] == ["full: training", "full: held out"]
    assert all(solid.get_linestyle() != dashed.get_linestyle() and solid.get_color() == dashed.get_color()
               for solid, dashed in zip(ax.get_lines()[::2], ax.get_lines()[1::2], strict=True))


def test_colours_are_okabe_and_ito_s():
    published = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {*axes.COLOURS, plots.BEFORE, plots.AFTER} < published
    assert math.gcd(len(axes.COLOURS), len(axes.MARKERS)) == 1  # so that no pair comes back early


def test_bars_stand_in_pairs_with_their_intervals_and_values(ax):
    plots.before_after([("clinic", BASE, TUNED), {"name": "everyday", "before": 0.97, "after": 1234.5}], ax)
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [0.1, 0.97, 0.9, 1234.5]
    assert [bar.get_hatch() for bar in ax.patches] == ["//", "//", None, None]
    whiskers = [np.ravel(lines.get_segments())[[1, 3]].tolist() for lines in ax.collections]
    assert np.allclose(whiskers, [[0.05, 0.2], [0.8, 0.95]])  # and none where no interval was given
    assert {"clinic", "everyday", "0.10", "0.97", "0.90", "1234", "before", "after"} <= set(texts(ax))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before", "after"]


@pytest.mark.parametrize(("value", "words"), [
    (0, "0"), (0.0049, "0.0049"), (0.0852, "0.085"), (0.497, "0.50"), (-0.5, "-0.50"), (9.876, "9.88"), (12.34, "12.3"),
    (812.3, "812"), (12345.6, "12346")])
def test_a_value_is_written_with_as_many_figures_as_a_reader_can_use(value, words, ax):
    plots.scores([("lora", value)], ax)
    assert words in texts(ax)


def test_an_estimate_of_one_item_has_no_whiskers(ax):
    plots.before_after([("clinic", Estimate(0.0, math.nan, math.nan, 1), Estimate(1.0, math.nan, math.nan, 1))], ax)
    assert not ax.collections


def test_methods_stand_from_top_to_bottom_each_with_its_own_marker(ax):
    plots.scores([("full", TUNED), ("lora", 0.5), ("base", BASE)], ax, unit="share right")
    dots = [line for line in ax.get_lines() if line.get_marker() in axes.MARKERS]
    assert [float(line.get_xdata()[0]) for line in dots] == [0.9, 0.5, 0.1]
    assert [float(line.get_ydata()[0]) for line in dots] == [0, 1, 2] and ax.yaxis_inverted()
    assert len({line.get_marker() for line in dots}) == 3
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full", "lora", "base"]
    assert ax.get_xlabel() == "share right"


def test_each_seed_is_a_dot_with_mean_and_spread_and_the_live_run_is_marked_and_not_counted(ax):
    values = [0.8, 0.86, 0.92]
    points = [{"name": "lora", "seed": seed, "value": value} for seed, value in enumerate(values)]
    plots.seeds([*points, {"name": "lora", "seed": 7, "value": 0.5, "live": True}], ax)
    drawn = {line.get_label(): line for line in ax.get_lines()}
    assert drawn["one seed"].get_ydata().tolist() == values
    assert len(set(drawn["one seed"].get_xdata())) == 3  # equal values would not hide one another
    assert drawn["run just now"].get_marker() == "*" and drawn["run just now"].get_ydata().tolist() == [0.5]
    low, high = np.ravel(ax.collections[0].get_segments())[[1, 3]]
    assert math.isclose((low + high) / 2, mean(values)) and math.isclose((high - low) / 2, stdev(values))
    assert "seed 7" in texts(ax)


def test_one_seed_alone_has_no_spread(ax):
    plots.seeds([{"seed": 0, "value": 0.8}], ax)
    assert not ax.collections and ax.get_legend_handles_labels()[1] == ["one seed"]


def test_without_axes_a_figure_is_made_and_no_setting_changes():
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    made = [plots.loss_curve(TRACE), plots.before_after([("体检", 0.1, 0.9)]), plots.scores([("lora", 0.9)]),
            plots.seeds([{"seed": 0, "value": 0.8}])]
    plots.caption(made[0], "Look at the end.")
    assert len({id(ax.get_figure()) for ax in made}) == len(pyplot.get_fignums()) == 4
    assert dict(matplotlib.rcParams) == before


def test_a_caption_lies_under_everything_and_a_second_one_replaces_it(ax):
    plots.loss_curve(TRACE, ax)
    plots.caption(ax, "First.")
    plots.caption(ax.get_figure(), "Look at the distance between the lines. " * 4)
    renderer, figure = draw(ax), ax.get_figure()
    shown = figure._supxlabel
    assert "First." not in texts(ax) and "\n" in shown.get_text()
    assert shown.get_window_extent(renderer).y1 <= ax.xaxis.label.get_window_extent(renderer).y0
    assert shown.get_window_extent(renderer).width <= figure.bbox.width


def test_a_figure_without_a_layout_gets_one_for_its_caption():
    ax = Figure().subplots()
    plots.caption(plots.loss_curve(TRACE, ax), "Look at the end.")
    renderer, shown = draw(ax), ax.get_figure()._supxlabel
    assert shown.get_window_extent(renderer).y1 <= ax.xaxis.label.get_window_extent(renderer).y0


def everything_in_chinese(ax):
    plots.loss_curve(TRACE, ax, label="全量微调", title="损失 while training")
    plots.caption(ax, "看虚线。 Look at the dashed line.")
    second = Figure(layout="constrained").subplots()
    plots.before_after([("诊所 clinic", BASE, TUNED)], second, unit="正确率 (share)")
    return ax, second


def test_chinese_without_a_font_is_said_and_not_drawn_as_boxes(ax, no_chinese):
    assert fonts.font_for_chinese() is None
    for one in everything_in_chinese(ax):
        draw(one)
        assert not any(fonts.CHINESE.search(text) for text in texts(one))
    assert {"(zh): training", "(zh) while training", "(zh) Look at the dashed line."} <= set(texts(ax))
    assert {"(zh) clinic", "(zh) (share)"} <= set(texts(one))


def test_chinese_is_drawn_where_a_font_has_it(ax):
    font = fonts.font_for_chinese()
    if font is None:
        pytest.skip("no font with Chinese characters is installed (Debian: apt install fonts-noto-cjk)")
    for one in everything_in_chinese(ax):
        draw(one)  # an empty box would be an error here
    assert "全量微调: training" in texts(ax)
    in_chinese = [text for text in ax.get_figure().findobj(Text) if "全量" in text.get_text()]
    others = [text for text in ax.get_figure().findobj(Text) if text.get_text() == "optimizer step"]
    assert all(font in text.get_fontfamily() for text in in_chinese) and in_chinese
    assert all(font not in text.get_fontfamily() for text in others) and others


@pytest.mark.parametrize("names", [["SimHei"], ["Gone CJK"], ["DejaVu Sans CJK"]])
def test_a_font_that_is_gone_or_has_no_chinese_does_not_count(names, monkeypatch, tmp_path):
    there = font_manager.findfont("DejaVu Sans")  # ships with matplotlib and has no Chinese
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")

    def find(name, **_):
        if name == "Gone CJK":
            raise ValueError("not found")
        return broken if name == "SimHei" else there

    monkeypatch.setattr(font_manager, "get_font_names", lambda: names)
    monkeypatch.setattr(font_manager, "findfont", find)
    assert fonts.font_for_chinese() is None


REFUSED = [
    (plots.loss_curve, [], r"trace must be at least one record, got \[\]. Nothing has been measured yet."),
    (plots.loss_curve, None, "trace must be a list of records, got None"),
    (plots.loss_curve, "runs/trace.jsonl", "trace must be a list of records, got 'runs/trace.jsonl'"),
    (plots.loss_curve, [{"step": 1, "los": 2}], r"trace\[0\] must be a record with step, loss, got 'step, los'. "
                                                "It has no loss. Is los meant?"),
    (plots.loss_curve, [{"step": 1, "loss": 2}, {"a": 1}], r"trace\[1\] .* got 'a'. It has no step.$"),
    (plots.loss_curve, {"step": 1, "loss": 2}, r"trace\[0\] must be a record with step, loss, got 'step'"),
    (plots.loss_curve, [{"step": 1, "loss": math.nan}], r"loss in trace\[0\] must be a finite number, got nan"),
    (plots.loss_curve, [{"step": None, "loss": 1}], r"step in trace\[0\] must be a finite number, got None"),
    (plots.loss_curve, [{"step": 1, "loss": 1, "held_out_loss": "low"}], r"held_out_loss in trace\[0\] .* got 'low'"),
    (plots.before_after, [], "rows must be at least one record"),
    (plots.before_after, [("clinic", 0.1)], r"rows\[0\] must be a record with name, before, after, got \('clinic'"),
    (plots.before_after, [{"name": "a", "before": 1, "aftr": 2}], "It has no after. Is aftr meant?"),
    (plots.before_after, [("a", 0.1, Estimate(0.9, 0.1, 0.2, 5))],
     r"after in rows\[0\] must be between its low and high, got Estimate\(value=0.9"),
    (plots.before_after, [("a", math.inf, 1)], r"before in rows\[0\] must be a finite number, got inf"),
    (plots.scores, [], "rows must be at least one record"),
    (plots.scores, [("lora", "good")], r"score in rows\[0\] must be a finite number, got 'good'"),
    (plots.seeds, [], "points must be at least one record"),
    (plots.seeds, [{"sed": 0, "value": 1}], "It has no seed. Is sed meant?"),
    (plots.seeds, [{"seed": 0, "value": None}], r"value in points\[0\] must be a finite number, got None"),
]


@pytest.mark.parametrize(("plot", "given", "words"), REFUSED)
def test_records_that_can_t_be_drawn_are_refused_before_anything_is_drawn(plot, given, words, ax):
    with pytest.raises(Refusal, match=words):
        plot(given, ax)


@pytest.mark.parametrize("plot", [plots.before_after, plots.loss_curve])
def test_a_figure_or_several_axes_in_the_place_of_one_are_refused(plot):
    with pytest.raises(Refusal, match="ax must be a matplotlib Axes, or None for a new figure, got .* pass one"):
        plot(TRACE if plot is plots.loss_curve else [("a", 0.1, 0.2)], Figure().subplots(2))


@pytest.mark.parametrize(("target", "text", "words"), [
    ("ax", " ", "text must be a sentence that says what to look at, got ' '"),
    ("ax", None, "text must be a sentence that says what to look at, got None"),
    ("loss", "Look.", "ax_or_figure must be a matplotlib Axes or Figure, got 'loss'. Pass what the plot returned."),
])
def test_a_caption_without_words_or_without_a_figure_is_refused(target, text, words, ax):
    with pytest.raises(Refusal, match=words):
        plots.caption(ax if target == "ax" else target, text)


def test_lines_are_told_apart_by_marker_too_and_a_value_with_an_interval_has_whiskers(ax):
    plots.lines([("nf4", 128, BASE), ("nf4", 64, TUNED), ("int4", 64, 0.3)], ax, x_label="numbers a block",
                unit="error", title="Error by block", logarithmic="xy")
    first, second = (container.lines[0] for container in ax.containers)
    assert list(first.get_xdata()) == [64, 128] and list(first.get_ydata()) == [0.9, 0.1]
    assert first.get_marker() != second.get_marker() and to_hex(first.get_color()) != to_hex(second.get_color())
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", "numbers a block")
    assert len(ax.containers[0].lines[2]) == 1 and not ax.containers[1].lines[2]


def test_lines_by_name_on_a_logarithmic_axis_have_ticks_where_their_points_are(ax):
    plots.lines({"with": [(3, 1.0), (20, 2.0)], "without": [(3, 2.0)]}, ax, x_label="rank", unit="loss", title="Ranks",
                logarithmic="x")
    draw(ax)
    assert {"3", "20", "with", "without"} <= set(texts(ax)) and ax.get_yscale() == "linear"


def test_lines_over_what_is_no_number_are_refused():
    with pytest.raises(Refusal, match=r"x in points\[0\] must be a finite number, got 'wide'"):
        plots.lines([("nf4", "wide", 1.0)], x_label="", unit="", title="")


def test_lengths_show_the_share_of_records_up_to_each_length_and_the_chosen_one(ax):
    plots.lengths([10, 20, 20, 40], ax, seq_len=20)
    bars = [patch.get_height() for patch in ax.patches]
    assert sum(bars) == pytest.approx(1) and max(bars) == pytest.approx(0.5)
    curve, chosen = ax.get_lines()
    assert dict(zip(curve.get_xdata(), curve.get_ydata(), strict=True)) == {10: 0.25, 20: 0.75, 40: 1}
    assert set(chosen.get_xdata()) == {20} and "seq_len = 20: 75.0% stay whole" in texts(ax)
    draw(ax)


def test_lengths_need_no_chosen_one_and_bear_records_all_alike(ax):
    plots.lengths(np.array([7, 7, 7]), ax)
    assert sum(patch.get_height() for patch in ax.patches) == pytest.approx(1)
    draw(ax)


@pytest.mark.parametrize(("counts", "sentence"), [
    ([], r"counts must be at least one record, got \[\]. Nothing has been measured yet."),
    ([5, None], r"tokens in counts\[1\] must be a finite number, got None."),
])
def test_lengths_that_are_none_are_refused(ax, counts, sentence):
    with pytest.raises(Refusal, match=sentence):
        plots.lengths(counts, ax)


def test_a_funnel_has_a_bar_for_what_is_left_and_one_for_what_was_dropped(ax):
    rows = [{"step": "normalise", "records_in": 10, "records_out": 10},
            {"step": "quality", "records_in": 10, "records_out": 7}]
    assert plots.funnel(rows, ax) is ax
    assert [float(bar.get_width()) for bar in ax.patches] == [10, 0, 7, 3]
    assert [text.get_text() for text in ax.texts] == ["10", "7  (-3)"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["normalise", "quality"]
    assert {bar.get_hatch() for bar in ax.patches} == {None, "///"}


@pytest.mark.parametrize(("rows", "words"), [
    ([], "rows must be at least one record"), ([{"step": "a", "records_in": 1}], "It has no records_out"),
    ([("a", 1, 2)], r"records_out in rows\[0\] must be between 0 and records_in, 1, got '2'"),
])
def test_a_funnel_of_impossible_steps_is_refused(rows, words, ax):
    with pytest.raises(Refusal, match=words):
        plots.funnel(rows, ax)
