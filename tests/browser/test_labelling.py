"""Labelling in a real JupyterLab in a real browser: three records by keyboard, a reload, and on from there."""

import json

CELL = """from ftkit.widgets.labelling import labelling
records = [{"question": "发烧怎么办？", "answer": "<b>多喝水</b>"}, "a cough", "a rash", "a headache"]
labelling(records, "votes.jsonl")"""


def votes_in(path):
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [(line["record"], line["label"], line["note"]) for line in map(json.loads, lines[1:])]


def test_three_records_are_labelled_by_keyboard_and_a_reload_goes_on_from_there(opened, lab, jupyter):
    folder, page = lab[1], opened(CELL)
    jupyter.run_cell(page)
    keys = page.get_by_label("Keys")
    keys.wait_for(timeout=jupyter.SHOWN_MS)
    assert page.get_by_text("0 of 4 labelled.").count() == 1
    assert page.locator(".jp-OutputArea dd", has_text="<b>多喝水</b>").count() == 1  # shown as the text it is
    keys.focus()
    page.keyboard.press("1")
    page.get_by_text("1 of 4 labelled.").wait_for()
    page.keyboard.press("Tab")  # to the note
    page.keyboard.type("spelling")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("End")
    page.keyboard.type("31", delay=0)  # faster than answers come back
    page.get_by_text("3 of 4 labelled.").wait_for()
    assert votes_in(folder / "votes.jsonl") == [(0, "keep", ""), (1, "fix", "spelling"), (2, "keep", "")]

    page.reload()
    jupyter.run_cell(page)
    page.get_by_text("3 of 4 labelled.").wait_for(timeout=jupyter.SHOWN_MS)
    assert page.locator(".jp-OutputArea dd").all_inner_texts() == ["a headache"]
    page.get_by_role("button", name="2 drop").press("Enter")
    page.get_by_text("All records have a label.").wait_for()
    assert votes_in(folder / "votes.jsonl")[-1] == (3, "drop", "")
