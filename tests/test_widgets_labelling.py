"""Labelling by hand: no vote is lost, none goes to another record, and nothing stays behind."""

import json
import math
import random
import warnings

import nbformat
import pytest
from ipywidgets import Widget
from sklearn.metrics import cohen_kappa_score

from ftkit.errors import Refusal
from ftkit.widgets import front_end, labelling
from ftkit.widgets.votes import Votes, kappa

RECORDS = [{"instruction": "<b>Fever?</b> & <script>alert(1)</script>", "output": "Drink tea."},
           {"instruction": "发烧怎么办？\n\u202e倒", "output": "多喝水。"},
           {"messages": [{"role": "user", "content": "A cough?"}, {"role": "assistant", "content": "Rest."}]},
           "a bare text"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "votes" / "mine.jsonl"


@pytest.fixture
def live(monkeypatch):
    monkeypatch.setattr("ftkit.widgets.shell.live", lambda: True)


def type_(shell, keys):
    """Keys one by one, as a text box reports them; < is Backspace."""
    shell.widget()
    for key in keys:
        text = shell._keys.value
        shell._keys.value = text[:-1] if key == "<" else text + key


def test_every_vote_is_in_the_file_before_the_next_record_is_up(path):
    votes = Votes(RECORDS, path)
    assert not path.exists() and votes.place == 0
    votes.set("keep", "good 好")
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()][1:] == [
        {"record": 0, "label": "keep", "note": "good 好"}]
    votes.set("drop")
    again = Votes(RECORDS, path)
    assert again.place == 2 and again.given == {0: "keep", 1: "drop"} and again.vote(0).note == "good 好"
    assert again.counts() == {"keep": 1, "drop": 1, "fix": 0, "no label": 2}


def test_skipped_records_come_again_at_the_end_and_back_changes_a_vote(path):
    votes = Votes(RECORDS, path)
    votes.skip()
    votes.set("drop")
    votes.back()
    assert votes.place == 1
    votes.set("fix", "typo")
    votes.set("keep")
    votes.set("keep")
    assert votes.place == 0 and not votes.done
    votes.set("keep")
    assert votes.done and Votes(RECORDS, path).done
    assert Votes(RECORDS, path).given == {0: "keep", 1: "fix", 2: "keep", 3: "keep"}
    votes.back()
    assert votes.place == 3


def test_the_last_vote_is_withdrawn_also_after_opening_again(path):
    votes = Votes(RECORDS, path)
    votes.undo()
    assert votes.place == 0 and not path.exists()
    for label in ("keep", "drop", "fix"):
        votes.set(label)
    votes = Votes(RECORDS, path)
    votes.undo()
    assert votes.place == 2 and votes.given == {0: "keep", 1: "drop"}
    assert Votes(RECORDS, path).given == votes.given


def test_a_line_that_a_kill_left_half_written_is_dropped_and_the_next_vote_is_readable(path):
    votes = Votes(RECORDS, path)
    votes.set("keep")
    votes.set("drop", "line\u2028separator")
    with path.open("ab") as file:
        file.write(b'{"record": 2, "la')
    votes = Votes(RECORDS, path)
    assert votes.given == {0: "keep", 1: "drop"} and votes.vote(1).note == "line\u2028separator"
    votes.set("fix")
    assert Votes(RECORDS, path).given == {0: "keep", 1: "drop", 2: "fix"}


def test_the_records_given_are_not_changed_and_later_changes_do_not_reach_the_votes(path):
    records = list(RECORDS)
    votes = Votes(records, path)
    records.append("another")
    assert len(votes.records) == len(RECORDS)


@pytest.mark.parametrize(("records", "labels", "sentence"), [
    ([], ["a"], "records must be at least one, got 'none'."),
    (["a"], [], r"labels must be 1 to 9 different names, got \[\]."),
    (["a"], ["x", "x"], "labels must be 1 to 9 different names"),
    (["a"], list("abcdefghij"), "labels must be 1 to 9 different names"),
    (["a"], "keep", "labels must be 1 to 9 different names, got 'keep'"),
])
def test_what_cannot_be_labelled_is_refused(path, records, labels, sentence):
    with pytest.raises(Refusal, match=sentence):
        Votes(records, path, labels)


@pytest.mark.parametrize(("content", "sentence"), [
    ("", "mine.jsonl must be the votes on these records, got 'another file'. Give another path, or the records that"),
    ('{"a": 1}\n', "the votes on these records, got 'another file'"),
    ('{"votes_on": "0", "records": 4}\n', "the votes on these records, got 'those on others'"),
    ("HEAD{'a'}\n", r"mine.jsonl, line 2 must be a JSON object, got .* Mend or delete that line."),
    ('HEAD{"record": 9, "label": "keep"}\n', r"mine.jsonl, line 2: record must be from 0 to 3, got 9."),
    ('HEAD{"record": 0, "label": "kepe"}\n', r"line 2: label must be one of keep, drop, fix, got 'kepe'. Did you mean "
     r"keep\? Add it to labels, or begin another file."),
])
def test_a_file_that_holds_something_else_is_refused_and_left_alone(path, content, sentence):
    Votes(RECORDS, path).set("keep")
    head = path.read_text("utf-8").splitlines()[0] + "\n"
    path.write_text(content.replace("HEAD", head), "utf-8")
    with pytest.raises(Refusal, match=sentence):
        Votes(RECORDS, path)
    assert path.read_text("utf-8") == content.replace("HEAD", head)


def test_a_folder_in_the_files_place_is_refused(tmp_path):
    with pytest.raises(Refusal, match="path must be a JSON Lines file, new or of these votes, got .* That is"):
        Votes(RECORDS, tmp_path)


def test_the_votes_on_other_records_are_refused(path):
    Votes(RECORDS, path).set("keep")
    with pytest.raises(Refusal, match="got 'those on others'"):
        Votes(RECORDS[::-1], path)


def test_a_label_that_is_none_of_them_and_a_vote_after_the_last_are_refused(path):
    votes = Votes(RECORDS[:1], path)
    with pytest.raises(Refusal, match="label must be one of keep, drop, fix, got 'kep'. Did you mean keep?"):
        votes.set("kep")
    votes.set("keep")
    with pytest.raises(Refusal, match="vote must be for a record, got 'one after the last'. All have a label: go back"):
        votes.set("keep")


def test_agreement_is_cohens_kappa_on_what_both_have_labelled():
    generator = random.Random(0)
    for _ in range(20):
        one, two = ({place: generator.choice("abc") for place in range(40)} for _ in range(2))
        expected = cohen_kappa_score(list(one.values()), list(two.values()))
        assert kappa(one | {99: "a"}, two | {98: "b"}) == pytest.approx(expected)
    assert kappa({0: "a", 1: "b"}, {0: "a", 1: "b"}) == 1
    assert math.isnan(kappa({0: "a", 1: "a"}, {0: "a", 1: "a"}))
    with pytest.raises(Refusal, match="first and second must be votes with at least one record in common, got 'none"):
        kappa({0: "a"}, {1: "a"})


def test_keys_label_skip_go_back_and_withdraw(path):
    shell = labelling.labelling(RECORDS, path)
    type_(shell, "1")
    assert shell.votes.given == {0: "keep"}
    type_(shell, "0-2<3")
    assert shell.votes.given == {0: "keep", 1: "fix"}
    type_(shell, "x ")
    assert shell.votes.given == {0: "keep", 1: "fix"} and shell.votes.place == 2
    type_(shell, "1111")
    assert shell.votes.done and "All records have a label." in shell._said.value


def test_keys_that_arrive_together_each_count_once_wherever_they_were_typed(path):
    shell = labelling.labelling(RECORDS, path)
    shell.widget()
    shell._keys.value = "12"  # two keys in one message of the front end
    assert shell.votes.given == {0: "keep", 1: "drop"}
    shell._keys.value = "312"  # the cursor stood at the start
    assert shell.votes.given == {0: "keep", 1: "drop", 2: "fix"}
    shell._keys.value = ""  # all of it deleted at once: three votes are not withdrawn by one key
    assert len(shell.votes.given) == 3


def test_a_key_says_that_it_stands_for_nothing(path):
    shell = labelling.labelling(RECORDS, path)
    type_(shell, "7")
    assert "The key 7 stands for nothing here." in shell._said.value and not shell.votes.given


def test_buttons_do_what_keys_do_and_notes_go_with_their_record(path):
    shell = labelling.labelling(RECORDS, path)
    shell.widget()
    shell._note.value = "dose is wrong"
    shell._buttons[1].click()
    assert shell.votes.vote(0) == ("drop", "dose is wrong") and shell._note.value == ""
    back, skip, undo = shell.widget().children[5].children
    skip.click()
    back.click()
    back.click()
    assert shell._note.value == "dose is wrong" and shell._buttons[1].description == "2 drop (chosen)"
    undo.click()
    assert shell.votes.given == {} and shell.votes.place == 0


def test_text_of_records_is_escaped_and_every_control_has_a_name(path):
    shell = labelling.labelling(RECORDS, path)
    shell.widget()
    assert "&lt;script&gt;" in shell._record.value and "<script>" not in shell._record.value
    assert "&lt;script&gt;" in shell.static()._repr_html_() and "<script>" not in shell.static()._repr_html_()
    type_(shell, "11")
    assert "<b>user</b>" in shell._record.value and "A cough?" in shell._record.value
    controls = [*shell._buttons, *shell.widget().children[5].children, shell._keys, shell._note]
    assert all(control.description and control.tooltip for control in controls)


def test_two_labellings_in_one_notebook_do_not_disturb_each_other(path, tmp_path):
    one, two = labelling.labelling(RECORDS, path), labelling.labelling(RECORDS, tmp_path / "two.jsonl", ["yes", "no"])
    type_(one, "1")
    type_(two, "22")
    type_(one, "2")
    assert one.votes.given == {0: "keep", 1: "drop"} and two.votes.given == {0: "no", 1: "no"}


def test_running_the_cell_again_leaves_no_widget_behind_and_goes_on(path, live):
    from ipywidgets.widgets import widget

    def run():
        shell = labelling.labelling(RECORDS, path)
        assert "application/vnd.jupyter.widget-view+json" in shell._repr_mimebundle_()
        return shell, len(widget._instances)

    first, before = run()
    type_(first, "1")
    old = first._keys
    second, after = run()
    assert after == before and second.votes.place == 1
    old.value = "12"
    assert second.votes.given == Votes(RECORDS, path).given == {0: "keep"}
    second.close()
    assert not [part for part in widget._instances.values() if isinstance(part, Widget) and part is second._keys]


def test_without_a_person_a_table_stands_in_the_widgets_place(path):
    shell = labelling.labelling(RECORDS, path)
    type_(shell, "1")
    bundle = shell._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and not front_end.live()
    assert bundle["text/plain"].startswith("1 of 4 labelled.\nlabel     records\nkeep      1")
    assert "发烧怎么办？ \u202e倒 / 多喝水。" in bundle["text/plain"] and "发烧怎么办" in bundle["text/html"]


def test_a_notebook_saved_by_a_person_shows_the_table_on_its_page_too(path, live):
    from ftkit.notebooks.html import to_html

    bundle = labelling.labelling(RECORDS, path)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    output = nbformat.v4.new_output("display_data", data=bundle)
    page = to_html(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=[output])]), "labels")
    assert "0 of 4 labelled." in page and "widget-view" not in page


def test_a_notebook_run_by_a_library_shows_the_table_on_its_page(tmp_path):
    from ftkit.notebooks.html import to_html
    from ftkit.notebooks.kernel import execute

    code = ("from ftkit.widgets.labelling import labelling\n"
            "labelling(['发烧怎么办？', 'cough'], 'votes.jsonl')")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), {}, cwd=tmp_path)
    assert run.error is None
    page = to_html(run.notebook, "labels")
    assert "0 of 2 labelled." in page and "发烧怎么办？" in page and "widget-view" not in page
