import base64
import gc
import io
import math
import sys
import threading

import nbclient
import nbformat
import pytest
from matplotlib import pyplot
from matplotlib.image import imread
from nbconvert import HTMLExporter

from ftkit.errors import Refusal
from ftkit.widgets.loss_watcher import LossWatcher, compute


def records_of(steps, every=5):
    return [{"step": step, "loss": 2 / step, "held_out_loss": 0.5 + abs(step - 10) / 20 if step % every == 0 else None}
            for step in range(1, steps + 1)]


def test_the_series_are_computed_from_a_trace_alone():
    series = compute(records_of(20))
    assert series.steps == tuple(range(1, 21)) and series.losses[0] == 2.0 and len(series.smoothed) == 20
    assert series.held_out == ((5, 0.75), (10, 0.5), (15, 0.75), (20, 1.0)) and series.best == (10, 0.5)
    assert series.alarm and series.alarm.first_step == 10
    assert series.text == "step 20: training loss 0.1, held out 1, best 0.5 at step 10, gap alarm since step 10"


def test_nothing_yet_no_held_out_losses_and_no_numbers_are_drawn_too():
    assert compute([]).text == "no step yet" and compute([{"step": 1, "loss": 2.0}]).best is None
    watcher = LossWatcher()
    assert watcher.static().axes[0].get_title(loc="left") == "Loss while training"
    list(watcher.watch([{"step": 1, "loss": math.nan, "held_out_loss": math.nan}]))
    assert watcher.static().axes and compute(watcher.trace).best is None


def test_records_pass_through_unchanged_and_one_by_one():
    given, watcher = records_of(6), LossWatcher()
    source = iter(given)
    watched = watcher.watch(source)
    assert next(watched) is given[0] and next(source) is given[1]
    assert list(watched) == given[2:]


def test_the_static_figure_shows_curves_best_step_and_alarm_and_is_not_open():
    watcher = LossWatcher("Two colours")
    list(watcher.watch(records_of(20)))
    figure = watcher.static()
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["training, each step", "training, smoothed", "held out", "best, step 10", "gap of 30%, step 10"]
    assert "Step 20: training loss 0.1" in figure.get_supxlabel().replace("\n", " ")
    assert pyplot.get_fignums() == [] and "not drawn" not in figure.get_supxlabel()


def test_outside_a_notebook_nothing_is_shown_and_nothing_stays(capsys):
    threads = threading.active_count()
    watcher = LossWatcher(every_s=0.001)
    watched = watcher.watch(records_of(30))
    next(watched)
    watched.close()
    assert capsys.readouterr().out == "" and threading.active_count() == threads and pyplot.get_fignums() == []


def test_an_exception_passes_through():
    def records():
        yield from records_of(2)
        raise RuntimeError("half-way")

    watcher = LossWatcher()
    with pytest.raises(RuntimeError, match="half-way"):
        list(watcher.watch(records()))
    assert len(watcher.trace) == 2


@pytest.mark.parametrize("every_s", [0, -1, True, "1"])
def test_a_time_that_is_none_is_refused(every_s):
    with pytest.raises(Refusal, match=r"every_s must be a number of seconds above 0, got"):
        LossWatcher(every_s=every_s)


def test_stop_ends_the_records_after_the_step_that_runs_and_the_training_can_go_on(monkeypatch):
    button = type("Button", (), {"was_pressed": False, "close": lambda self: closed.append(True)})()
    closed = []
    monkeypatch.setattr("ftkit.widgets.loss_watcher._StopButton", lambda: button)
    watcher, source = LossWatcher(), iter(records_of(9))
    seen = []
    for record in watcher.watch(source):
        seen.append(record["step"])
        button.was_pressed = record["step"] == 4
    assert seen == [1, 2, 3, 4] and watcher.stopped and closed == [True]
    assert next(source)["step"] == 5  # the training is where it was
    button.was_pressed = False
    assert [record["step"] for record in watcher.watch(source)] == [6, 7, 8, 9] and not watcher.stopped


# In a notebook without a browser


CODE = """
import time, threading
from ftkit.widgets.loss_watcher import LossWatcher
watcher, before = LossWatcher(every_s=0.01), threading.active_count()
def records():
    for step in range(1, 41):
        time.sleep(0.02)
        {planted}
        yield {{"step": step, "loss": 2 / step, "held_out_loss": 1 / step if step % 10 == 0 else None}}
"""
ENDS = {
    "whole": ("", "for record in watcher.watch(records()): pass", "step 40: training loss 0.05, held out 0.025"),
    "stopped": ("", "for record in watcher.watch(records()):\n    if record['step'] == 25: break",
                "step 25: training loss 0.08, held out 0.05, best 0.05 at step 20 (stopped: nobody asked for more)"),
    "failed": ("assert step < 30", "for record in watcher.watch(records()): pass",
               "step 29: training loss 0.06897, held out 0.05, best 0.05 at step 20 (stopped: AssertionError)"),
}


@pytest.fixture(scope="module", params=ENDS)
def ended(request):
    planted, loop, text = ENDS[request.param]
    cells = [CODE.format(planted=planted), loop, "from matplotlib import pyplot\n"
             "threading.active_count() - before, pyplot.get_fignums()",
             "len(watcher.trace)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3")
    return client.execute(), text


def pictures(notebook):
    return [output for cell in notebook.cells for output in cell.outputs if "image/png" in output.get("data", {})]


def test_one_picture_stays_and_it_is_the_last(ended):
    notebook, text = ended
    assert len(pictures(notebook)) == 1
    shown = pictures(notebook)[0]
    assert shown["data"]["text/plain"].startswith(text) and set(shown["data"]) == {"image/png", "text/plain"}
    others = [output for output in notebook.cells[1].outputs if output is not shown and output.output_type != "error"]
    assert others == []  # no text beside it, no empty box


def test_the_picture_is_one_that_can_be_read_and_is_not_empty(ended):
    image = imread(io.BytesIO(base64.b64decode(pictures(ended[0])[0]["data"]["image/png"])))
    assert image.shape[0] > 300 and image.shape[1] > 500 and image[..., :3].std() > 0.05


def test_no_thread_and_no_figure_stays_open(ended):
    result = ended[0].cells[2].outputs[0]["data"]["text/plain"]
    assert result == "(0, [])"


def test_in_html_it_is_a_still_picture_without_javascript(ended):
    html, _ = HTMLExporter(template_name="basic").from_notebook_node(ended[0])
    assert html.count("<img") == 1 and "data:image/png;base64," in html
    assert "<script" not in html and "widget-view" not in html
    assert f'alt="{ended[1]}' in html


def test_drawing_costs_little_of_the_time():
    import time

    watcher, shown = LossWatcher(every_s=0.001), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ftkit.widgets.loss_watcher._Picture", lambda: type("Seen", (), {
            "is_seen": True, "show": lambda self, png, text: shown.append(time.sleep(0.005))})())
        patch.setattr(LossWatcher, "_png", lambda self, note="": b"")
        began_s = time.monotonic()
        for _ in watcher.watch(records_of(400)):
            time.sleep(0.001)
    assert len(shown) * 0.005 < 0.15 * (time.monotonic() - began_s) and len(shown) >= 2
    gc.collect()
    assert not sys.is_finalizing()
