"""The explorer of a sweep: by hand, still, trained live, and gone when its cell is run again."""

import threading
import time

import pytest
from ipywidgets.widgets import widget as kept
from matplotlib import pyplot

from ftkit.errors import Refusal
from ftkit.widgets.sweep_explorer import SweepExplorer


@pytest.fixture
def explorer(star, live, quick_training):
    shell = SweepExplorer(star)
    shell.widget()
    yield shell
    shell.close()


def until(true):
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def type_(shell, name, text):
    shell._knobs[name]._typed.value = text


def test_without_a_person_a_picture_with_words_and_a_table_stand_there(star):
    bundle = SweepExplorer(star)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/html"].count("<img") == 1 and 'alt="Measured: the default, 3 seeds.' in bundle["text/html"]
    assert "<script" not in bundle["text/html"] and "held-out loss" in bundle["text/html"]
    assert bundle["text/plain"].startswith("Measured: the default, 3 seeds. Left, look at how far")
    assert "0.2450 (0.2400 to 0.2500)" in bundle["text/plain"] and pyplot.get_fignums() == []


def test_sliding_and_typing_choose_the_same_and_change_picture_table_and_command(explorer):
    picture = explorer._shown.value
    explorer._knobs["rank"]._slid.value = 32
    slid = explorer._shown.value, explorer._table.value, explorer._command.value
    assert slid[0] != picture and "-p rank=32" in slid[2] and explorer._knobs["rank"]._typed.value == "32"
    type_(explorer, "rank", "8")
    assert explorer._shown.value == picture and explorer._knobs["rank"]._slid.value == 8
    type_(explorer, "rank", "32")
    assert (explorer._shown.value, explorer._table.value, explorer._command.value) == slid
    assert "rank: 32" in explorer._file.value.splitlines()


def test_a_typed_value_that_was_not_measured_can_be_slid_to_from_then_on(explorer):
    type_(explorer, "rank", "3")
    assert "No run has rank 3." in explorer._said.value
    assert [value for _, value in explorer._knobs["rank"]._slid.options] == [1, 2, 3, 8, 32]
    type_(explorer, "target_modules", "o_proj, q_proj")
    assert explorer._knobs["target_modules"].value == ("o_proj", "q_proj") and "never" not in explorer._said.value


@pytest.mark.parametrize(("name", "text", "sentence"), [
    ("rank", "0", "rank must be a whole number, 1 or more, got 0."), ("alpha", "x", "alpha must be a number"),
    ("dropout", "<b>", "dropout must be a number, got &#x27;&lt;b&gt;&#x27;"), ("seed", "-1", "seed must be")])
def test_what_cannot_be_is_said_and_changes_nothing(explorer, name, text, sentence):
    picture = explorer._shown.value
    type_(explorer, name, text)
    assert sentence in explorer._said.value and 'role="alert"' in explorer._said.value
    assert explorer._shown.value == picture and explorer._knobs[name].value == explorer._chosen[name]


def test_cost_and_score_change_the_picture(explorer):
    seen = {explorer._shown.value}
    for drop, value in ((0, "step_cpu_s"), (1, "clinic")):
        explorer.widget().children[3].children[drop].value = value
        seen.add(explorer._shown.value)
    assert len(seen) == 3 and "clinic" in explorer._shown.value


def test_every_control_has_a_name(explorer):
    controls = [*(knob._typed for knob in explorer._knobs.values()), explorer._train, explorer._stop, explorer._bar,
                explorer._command, explorer._file, *explorer.widget().children[3].children]
    assert all(control.description for control in controls)
    assert all(knob._slid.tooltip.startswith(f"{name}: ") for name, knob in explorer._knobs.items())


def test_a_trained_point_stands_in_the_grid(explorer):
    explorer.choose(rank=4, seed=9)
    count = len(explorer.cards)
    explorer._train.click()
    assert explorer._train.disabled and not explorer._stop.disabled
    until(lambda: "Trained and added" in explorer._news.value)
    assert "held-out loss (nats per token) 0.1250, clinic, share of questions right 0.750" in explorer._news.value
    until(lambda: "Measured: rank 4" in explorer._said.value)  # said after the news, with the picture
    assert len(explorer.cards) == count + 1
    assert not explorer._train.disabled and explorer._stop.disabled
    added = next(card for card in explorer.cards if card.seed == 9)
    assert added.parameters["settings"]["rank"] == 4 and added.parameters["max_steps"] == 160


def test_a_trained_point_of_a_shipped_seed_takes_its_place_and_says_what_that_one_had(explorer):
    count = len(explorer.cards)
    explorer._train.click()
    until(lambda: "Trained and added" in explorer._news.value)
    assert len(explorer.cards) == count
    assert "takes the place of the run with this seed, whose held-out loss (nats per token) was 0.2400" in (
        explorer._news.value)


def test_stop_ends_the_training_and_adds_nothing(explorer):
    count = len(explorer.cards)
    explorer.choose(seed=15)
    explorer._train.click()
    until(lambda: explorer._bar.value == 2)
    explorer._stop.click()
    assert "Stopped after step 2: nothing was added." in explorer._news.value
    assert len(explorer.cards) == count and not explorer._train.disabled


@pytest.mark.parametrize(("seed", "sentence"), [(13, "rank must be 1 or more, got 13."), (14, "ended by itself")])
def test_a_training_that_fails_says_why_and_another_can_be_begun(explorer, seed, sentence):
    explorer.choose(seed=seed)
    explorer._train.click()
    until(lambda: sentence in explorer._news.value)
    assert 'role="alert"' in explorer._news.value and not explorer._train.disabled


def test_two_explorers_do_not_disturb_each_other(explorer, star):
    other = SweepExplorer(star)
    other.widget()
    said = other._said.value
    explorer.choose(rank=32)
    explorer._train.click()
    until(lambda: "Trained and added" in explorer._news.value)
    assert other._said.value == said and other._news.value == "" and len(other.cards) == len(star)
    other.close()


def test_running_the_cell_again_leaves_no_thread_process_figure_or_widget(star, live, quick_training, monkeypatch):
    runs = iter(range(9))
    monkeypatch.setattr("ftkit.widgets.shell.cell", lambda: ("the cell", f"run {next(runs)}"))
    first = SweepExplorer(star)
    assert "application/vnd.jupyter.widget-view+json" in first._repr_mimebundle_()
    before = threading.active_count(), len(kept._instances)
    first.choose(seed=15)
    first._train.click()
    until(lambda: first._bar.value == 2)
    process, old = first._live._process, first._knobs["rank"]._typed
    second = SweepExplorer(star)
    second._repr_mimebundle_()
    assert process.poll() is not None and (threading.active_count(), len(kept._instances)) == before
    assert pyplot.get_fignums() == []
    old.value = "32"
    assert first._chosen["rank"] == 8  # nobody listens to it any more
    second.close()
    assert (threading.active_count(), len(kept._instances)) < before


def test_two_shown_by_one_run_of_a_cell_both_stay(star, live, quick_training, monkeypatch):
    monkeypatch.setattr("ftkit.widgets.shell.cell", lambda: ("another cell", "one run"))
    shells = [SweepExplorer(star), SweepExplorer(star)]
    for shell in shells:
        shell._repr_mimebundle_()
    assert all(shell._box is not None for shell in shells)
    for shell in shells:
        shell.close()


def test_an_unknown_knob_is_refused(star):
    explorer = SweepExplorer(star)
    with pytest.raises(Refusal, match="knob must be one of rank, .*, seed, got 'rnak'. Did you mean rank"):
        explorer.choose(rnak=4)
    assert explorer.choose(rank=32).measured and "rank 32" in repr(explorer)
