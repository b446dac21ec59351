"""The command that makes the shipped run cards, tried on a notebook that writes its card without training."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest

from ftkit.course import recorded
from ftkit.errors import Refusal
from ftkit.notebooks.run import Result
from ftkit.runs import open_run

ROOT = Path(__file__).parents[2]
PARAMETERS = 'scale: str = "tiny"  # dial\nseed: int = 0  # of all\nout_dir: str = "."  # folder\nrank: int = 8  # rank'
WORK = """
from ftkit.runs import open_run
run = open_run(out_dir + "/one", {"rank": rank}, name="first", seed=seed)
card = run.finish({"score": rank + seed / 10})
"""


@pytest.fixture
def lesson_cards():
    spec = importlib.util.spec_from_file_location("lesson_cards", ROOT / "benchmarks" / "lesson_cards.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook(path, *cells):
    made = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            *(nbformat.v4.new_code_cell(source, metadata={"tags": tags}) for source, tags in cells)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


def test_the_cards_of_all_seeds_go_into_the_kit_and_their_figures_onto_the_page(lesson_cards, tmp_path, monkeypatch):
    def run_notebook(path, executed, parameters, cwd):
        assert [cell.source for cell in nbformat.read(path, as_version=4).cells] == [PARAMETERS, WORK]
        run = open_run(cwd / "one", {"rank": parameters["rank"]}, name="first", seed=parameters["seed"])
        run.finish({"score": parameters["rank"] + parameters["seed"] / 10})
        return Result(path.stem, "ok", 1.0, 0.1, None)

    notebook(tmp_path / "notebooks" / "98_shapes.ipynb", (WORK, []), ("1 / 0", ["experiment"]), ("2 / 0", []))
    page = tmp_path / "lessons" / "98_shapes.md"
    page.parent.mkdir()
    page.write_text("<!-- cards first\nscore: right\n-->\n<!-- end of cards -->\n")
    monkeypatch.setattr(lesson_cards, "ROOT", tmp_path)
    monkeypatch.setattr(lesson_cards, "EXPERIMENTS", {"98_shapes": {"first": [{"rank": 4}]}})
    monkeypatch.setattr(lesson_cards, "run_notebook", run_notebook)
    monkeypatch.setattr(sys, "argv", ["", "98_shapes", "--seeds", "3", "--build", str(tmp_path / "build")])
    lesson_cards.main()
    cards = recorded.shipped("98_shapes", "first", tmp_path / "src/ftkit/course/assets/cards")
    assert recorded.values(cards, "score") == [4.0, 4.1, 4.2] and [card.seed for card in cards] == [0, 1, 2]
    assert "| right | 4.1 | 4 | 4.2 | 3 |" in page.read_text()


def test_a_run_is_measured_once_and_again_after_a_change(lesson_cards, tmp_path):
    path, folder = notebook(tmp_path / "98_shapes.ipynb", (WORK, [])), tmp_path / "run"
    first = lesson_cards.measure(path, "first", {}, 0, folder)
    assert first.metrics["score"] == 8.0
    notebook(path, (WORK.replace("rank + seed", "2 * rank + seed"), []))
    assert lesson_cards.measure(path, "first", {}, 0, folder).metrics["score"] == 16.0
    assert lesson_cards.measure(path, "first", {"rank": 2}, 0, folder).metrics["score"] == 4.0


def test_a_notebook_without_an_experiment_is_refused(lesson_cards, tmp_path, monkeypatch):
    notebook(tmp_path / "notebooks" / "98_shapes.ipynb", (WORK, []))
    monkeypatch.setattr(lesson_cards, "ROOT", tmp_path)
    with pytest.raises(Refusal, match="98_shapes.ipynb must be a notebook with a cell tagged 'experiment'"):
        lesson_cards.measured_part("98_shapes", tmp_path / "build")


@pytest.mark.parametrize(("work", "words"), [
    ("1 / 0", "98_shapes with seed 0 must be run through, got .*ZeroDivisionError"),
    ("pass", "98_shapes with seed 0 must be one finished card named first, got 0"),
])
def test_a_run_that_fails_or_leaves_no_card_is_refused(lesson_cards, tmp_path, work, words):
    path = notebook(tmp_path / "98_shapes.ipynb", (work, []))
    with pytest.raises(Refusal, match=words):
        lesson_cards.measure(path, "first", {}, 0, tmp_path / "run")


@pytest.fixture
def make_cards_of(lesson_cards, tmp_path, monkeypatch):
    """Makes the cards of a lesson from the text of its grid and a file with the training."""
    def make(grid, training):
        for folder in ("src/ftkit/course/assets/grids", "lessons"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "src/ftkit/course/assets/grids/98_shapes.json").write_text(grid)
        (tmp_path / "lessons/98_shapes.md").write_text("")
        monkeypatch.setattr(lesson_cards, "ROOT", tmp_path)
        monkeypatch.setattr(lesson_cards, "TRAINING", f"{training}:train")
        monkeypatch.setattr(sys, "argv", ["", "98_shapes", "--build", str(tmp_path / "build")])
        lesson_cards.main()

    return make


def test_the_trainings_of_a_grid_run_once_each_and_their_cards_go_into_the_kit_by_group(lesson_cards, make_cards_of,
                                                                                         tmp_path, monkeypatch):
    training = tmp_path / "training.py"
    training.write_text("""
def train(out_dir: str, rank: int = 8, seed: int = 0):
    from ftkit.runs import open_run
    with open_run(out_dir, {"rank": rank}, name="trial", seed=seed) as run:
        return run.finish({"score": rank + seed / 10}).metrics
""")
    make_cards_of('{"seeds": 3, "groups": {"one": {"points": [{"rank": 2}, {"rank": 4}]}, "two": {"points": '
                  '[{"rank": 4}], "seeds": 4}}}', training)
    shipped = tmp_path / "src/ftkit/course/assets/cards"
    assert recorded.values(recorded.shipped("98_shapes", "one", shipped), "score") == [2.0, 2.1, 2.2, 4.0, 4.1, 4.2]
    own_seeds = recorded.shipped("98_shapes", "two", shipped)
    assert recorded.values(own_seeds, "score") == [4.0, 4.1, 4.2, 4.3]
    assert len(list((tmp_path / "build/98_shapes/points").iterdir())) == 7
    training.write_text("def train(out_dir: str, rank: int = 8, seed: int = 0):\n    raise ValueError")
    lesson_cards.main()  # what is done is read, not run again


def test_a_plan_with_methods_tunes_them_and_ships_the_three_groups(make_cards_of, tmp_path):
    training = tmp_path / "training.py"
    training.write_text("""
def train(out_dir: str, method: str = "", learning_rate: float = 0.0, records: int = 0, score: str = "", seed: int = 0):
    from ftkit.runs import open_run
    parameters = {"method": method, "learning_rate": learning_rate, "records": records}
    with open_run(out_dir, parameters, name="trial", seed=seed) as run:
        return run.finish({"held_out_loss": abs(learning_rate - 8)}).metrics
""")
    make_cards_of("""{"methods": {"a": {"method": "full", "rates": [1, 2, 4]}}, "fixed": {},
        "tuning_seeds": [100], "seeds": [0, 1, 2], "small": {"rows": ["a"], "records": 9, "seeds": [0, 1, 2]}}""",
                  training)
    shipped = tmp_path / "src/ftkit/course/assets/cards"
    tried = recorded.shipped("98_shapes", "tuning", shipped, fewest_seeds=1)
    assert [card.parameters["learning_rate"] for card in tried] == [1, 2, 4, 8, 16]
    assert recorded.values(recorded.shipped("98_shapes", "table", shipped), "held_out_loss") == [0.0] * 3
    assert [card.parameters["records"] for card in recorded.shipped("98_shapes", "small", shipped)] == [9] * 3
