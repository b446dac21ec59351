"""The explorers in a real JupyterLab: by keyboard, typed into, trained live, stopped, and beside each other."""

import json
import re
from dataclasses import asdict

import pytest

SWEEP = """from ftkit.cards import Card
from ftkit.files import read_json
from ftkit.widgets.sweep_explorer import SweepExplorer
SweepExplorer([Card(**card) for card in read_json("star.json")])"""
METHODS = """from ftkit.widgets.method_table import MethodTable
MethodTable([{"name": "full", "saved_mb": 18.0, "clinic": 0.9}, {"name": "<b>lora</b>", "saved_mb": 1.0, "clinic": 0.9},
             {"name": "prompt", "saved_mb": 0.1, "clinic": 0.4}])"""
QUANT = """from ftkit.widgets.quant_explorer import QuantExplorer
QuantExplorer()"""
PLANNER = """from ftkit.widgets.memory_planner import MemoryPlanner
MemoryPlanner(model="ftkit-tiny")"""


@pytest.fixture
def star_file(lab, trial_card):
    """A star whose trials are short, as a file beside the notebook."""
    changes = [{}, {"rank": 2}, {"rank": 32}, {"dropout": 0.1}]
    cards = [asdict(trial_card(change, seed)) for change in changes for seed in range(3)]
    for card in cards:  # records of its own: the clinic's questions take long to ask
        card["parameters"] |= {"max_steps": 16, "records": 64, "data": "sums.jsonl"}
    sums = [{"question": f"{one} + 1?", "answer": str(one + 1)} for one in range(80)]
    (lab[1] / "sums.jsonl").write_text("".join(json.dumps(one) + "\n" for one in sums), "utf-8")
    (lab[1] / "star.json").write_text(json.dumps(cards), "utf-8")


class Cell:
    """The output of a cell, read as a person does."""

    def __init__(self, page, number):
        self.page = page
        self.area = page.locator(".jp-CodeCell").nth(number).locator(".jp-OutputArea").first
        self.picture = self.area.locator("img")
        self.picture.wait_for(timeout=120_000)

    def changes(self, act):
        """Does something, and waits until the picture is another one."""
        from playwright.sync_api import expect

        before = self.picture.get_attribute("src")
        act()
        expect(self.picture).not_to_have_attribute("src", before, timeout=60_000)

    def type_(self, name, text):
        box = self.area.get_by_label(name, exact=True)
        box.fill(text)
        box.press("Enter")

    def says(self, text):
        self.area.get_by_text(text).first.wait_for(timeout=60_000)


def test_the_sweep_by_keyboard_typed_trained_stopped_and_a_second_one_beside_it(opened, jupyter, star_file):
    page = opened(SWEEP, SWEEP)
    jupyter.run_cell(page, 0)
    jupyter.run_cell(page, 1)
    cell, other = Cell(page, 0), Cell(page, 1)
    untouched = other.picture.get_attribute("src")
    slider = cell.area.get_by_role("slider").first
    cell.changes(lambda: slider.press("ArrowRight"))
    cell.says("Measured: rank 32 with all else as in the default, 3 seeds.")
    assert cell.area.get_by_label("rank", exact=True).input_value() == "32"
    assert "rank 32" in cell.picture.get_attribute("alt")
    cell.type_("dropout", "0.1")
    cell.says("Each of these values was measured, never all together.")
    cell.type_("rank", "<i>")
    cell.says("rank must be a whole number, got '<i>'")
    cell.type_("rank", "4")
    cell.says("No run has rank 4.")
    assert "-p rank=4 -p alpha=16 -p dropout=0.1" in cell.area.get_by_label("Command").input_value()
    assert "rank: 4\n" in cell.area.get_by_label("Parameters").input_value()

    train, stop = (cell.area.get_by_role("button", name=name) for name in ("Train this point", "Stop"))
    train.press("Enter")
    cell.area.get_by_text(re.compile("Training: step [1-9]")).wait_for(timeout=300_000)
    stop.press("Enter")
    cell.says("nothing was added")
    train.press("Enter")
    cell.area.get_by_text("Trained and added to the grid").wait_for(timeout=300_000)
    cell.says("Measured: rank 4, dropout 0.1 with all else as in the default, 1 seed.")
    assert other.picture.get_attribute("src") == untouched and page.errors == []


def test_the_table_of_methods_is_sorted_and_thinned_by_keyboard(opened, jupyter):
    page = opened(METHODS)
    jupyter.run_cell(page)
    cell = Cell(page, 0)
    cell.area.get_by_role("button", name="clinic, held out").press("Enter")
    cell.area.get_by_role("button", name="clinic, held out ▼").wait_for()
    cell.area.get_by_role("button", name="file, MB").press("Enter")
    cell.area.get_by_role("button", name="file, MB ▲").wait_for()
    assert [row.inner_text().split("\t")[0] for row in cell.area.locator("tbody tr").all()] == [
        "● prompt", "● <b>lora</b>", "● full"]
    for name in ("less file, MB", "more clinic, held out"):
        cell.area.get_by_label(name).press("Space")
    cell.says("On the front in less file, MB and more clinic, held out: <b>lora</b>, prompt (2 of 3).")
    cell.changes(lambda: cell.area.get_by_label("Across").select_option("clinic, held out"))
    assert page.errors == []


def test_quantisation_by_keyboard_and_typed(opened, jupyter):
    page = opened(QUANT)
    jupyter.run_cell(page)
    cell = Cell(page, 0)
    cell.changes(lambda: cell.area.get_by_label("Data type").select_option("int4"))
    cell.says("int4, blocks of 64: 4.5 bits a number")
    cell.changes(lambda: cell.area.get_by_role("slider").press("ArrowRight"))
    cell.says("int4, blocks of 128: 4.25 bits a number")
    cell.type_("block_size", "48")
    cell.says("int4, blocks of 48: 4.6")
    cell.type_("block_size", "47")
    cell.says("block_size must be an even whole number")
    assert page.errors == []


def test_a_training_is_planned_by_keyboard_and_typed_and_the_planner_beside_it_stays(opened, jupyter):
    page = opened(PLANNER, PLANNER)
    jupyter.run_cell(page, 0)
    jupyter.run_cell(page, 1)
    cell, other = Cell(page, 0), Cell(page, 1)
    untouched = other.picture.get_attribute("src")
    cell.changes(lambda: cell.area.get_by_label("method").select_option("full"))
    cell.says("ftkit-tiny, full, 1 row of 512 tokens")
    cell.changes(lambda: cell.area.get_by_role("slider").nth(1).press("ArrowRight"))
    cell.says("ftkit-tiny, full, 2 rows of 512 tokens")
    cell.type_("gpu", "0.5")
    cell.says("On 0.5 GB: ")
    cell.type_("gpu", "<i>")
    cell.says("gpu must be one of T4")
    cell.changes(lambda: cell.area.get_by_label("checkpointing").press("Space"))
    jupyter.run_cell(page, 0)  # what its earlier run showed is gone
    cell.says("ftkit-tiny, lora, rank 8, 1 row of 512 tokens")
    assert cell.area.get_by_label("seq_len", exact=True).count() == 1
    assert other.picture.get_attribute("src") == untouched and page.errors == []
