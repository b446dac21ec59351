"""What a parameters cell may hold, and which values are refused before anything runs."""

import nbformat
import papermill
import pytest

from ftkit.errors import Refusal
from ftkit.notebooks.parameters import check_parameters, declared_in, declared_parameters, parse_parameters

CELL = '''scale: str = "tiny"  # tiny, small or full
seed: int = 0
out_dir: str = "runs"
learning_rate: float = 2e-3  # per step
rank: int = 8
packed: bool = False
model: str = ""
offset: int = -3
'''


def write(path, *cells):
    """A notebook of code cells given as (source, tags)."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
                                               for source, tags in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(notebook, path)
    return path


def test_names_and_defaults_are_those_that_papermill_reads(tmp_path):
    path = write(tmp_path / "a.ipynb", (CELL, ["parameters"]))
    ours = declared_parameters(path)
    papermills = papermill.inspect_notebook(path)
    assert list(ours) == list(papermills)
    for name, parameter in ours.items():
        assert parameter.type == papermills[name]["inferred_type_name"]
        assert parameter.default == eval(papermills[name]["default"])
        assert parameter.comment == papermills[name]["help"]


@pytest.mark.parametrize(("line", "words"), [
    ('path: str = "a#b"', "line 1 must be without # inside the text, got '\"a#b\"'. papermill takes it for a comment"),
    ('query: str = "a=b"', "line 1 must be a line with one =, got .*papermill skips such a line"),
    ("rank: int = 8  # alpha = 2r", "must be a line with one ="),
    ("rank: int | None = 8", r"type of rank in .* must be one of int, float, bool, str, got 'int \| None'"),
    ("rank: integer = 8", "type of rank .* got 'integer'. Did you mean int\\?"),
    ("steps: int = 2 * 8", r"steps must be a literal, got '2 \* 8'. A derived value goes stale"),
    ("rank = 8", "must be a typed literal, got 'rank = 8'. Write one `name: type = literal  # unit` a line."),
    ("rank: int", "must be a typed literal, got 'rank: int'"),
    ("import os", "must be a typed literal, got 'import os'"),
    ("sizes: str = (\n'a')", "line 1 must be one line, got '2 lines'"),
    ("rank: int = 8.5", r"rank must be a whole number \(int\), got 8.5"),
    ("rank: int = 8\nrank: int = 9", "parameter rank of .* must be declared once, got 'twice'"),
    ("rank: int = ", "parameters of x, line 1 must be Python that parses"),
])
def test_a_parameters_cell_that_papermill_would_misread_is_refused(line, words):
    with pytest.raises(Refusal, match=words):
        declared_in(line, "x")


def test_papermill_itself_does_misread_what_is_refused(tmp_path):
    cell = 'a: str = "x#y"\nb: str = "x=y"\nc: int | None = 8\nd: int = 1'
    read = papermill.inspect_notebook(write(tmp_path / "a.ipynb", (cell, ["parameters"])))
    assert read["a"]["default"] == '"x'
    assert "b" not in read and "c" not in read and "d" in read


@pytest.mark.parametrize(("tags", "words"), [
    ([[], []], "one code cell tagged 'parameters', got 'none'. Tag the code cell"),
    ([["paramters"], []], "got 'none'. A cell is tagged 'paramters': write 'parameters'."),
    ([["injected-parameters"], []], "got 'none'. Tag the code cell"),
    ([["parameters"], ["parameters"]], "one code cell tagged 'parameters', got '2: .*'. Keep the tag on one cell."),
])
def test_a_lost_misspelt_or_doubled_tag_is_refused(tmp_path, tags, words):
    path = write(tmp_path / "a.ipynb", *[(CELL, tag) for tag in tags])
    with pytest.raises(Refusal, match=words):
        declared_parameters(path)


@pytest.mark.parametrize(("text", "words"), [
    ("[1]", "a.ipynb must be a notebook of format 4"),
    ('{"worksheets": []}', "a.ipynb must be a notebook of format 4"),
    ("{", "a.ipynb must be valid JSON"),
])
def test_a_file_that_is_no_notebook_is_refused(tmp_path, text, words):
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(Refusal, match=words):
        declared_parameters(tmp_path / "a.ipynb")


@pytest.mark.parametrize(("given", "words"), [
    ({"lerning_rate": 1.0}, "parameter of x must be one of scale, .*, got 'lerning_rate'. Did you mean learning_rate?"),
    ({"zzz": 1}, "parameter of x must be one of scale.* got 'zzz'.$"),
    ({"rank": "abc"}, r"rank must be a whole number \(int\), got 'abc'. Its default is 8."),
    ({"rank": 1.5}, "rank must be a whole number .* got 1.5"),
    ({"rank": True}, "rank must be a whole number .* got True"),
    ({"rank": None}, "rank must be a whole number .* got None"),
    ({"learning_rate": "1e-3"}, r"learning_rate must be a finite number \(float\), got '1e-3'. Its default is 0.002."),
    ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
    ({"packed": 1}, r"packed must be True or False \(bool\), got 1"),
    ({"model": 123}, r"model must be text \(str\), got 123. Its default is ''. With plain papermill use -r"),
    ({"scale": "tny"}, "scale must be one of tiny, small, full, got 'tny'. Did you mean tiny"),
])
def test_unknown_misspelt_and_mistyped_values_are_refused(given, words):
    with pytest.raises(Refusal, match=words):
        check_parameters(declared_in(CELL), given, "x")


def test_a_whole_number_is_taken_where_a_float_is_declared():
    checked = check_parameters(declared_in(CELL), {"learning_rate": 1, "rank": 4, "packed": True, "model": "a b"})
    assert checked == {"learning_rate": 1.0, "rank": 4, "packed": True, "model": "a b"}
    assert type(checked["learning_rate"]) is float


@pytest.mark.parametrize(("pair", "value"), [
    ("rank=4", 4), ("rank=-4", -4), ("learning_rate=1e-4", 1e-4), ("learning_rate=1", 1.0), ("packed=true", True),
    ("packed=False", False), ("model=123", "123"), ("model=a=b", "a=b"), ("model=", ""),
])
def test_words_of_a_command_line_become_the_declared_type(pair, value):
    name = pair.partition("=")[0]
    parsed = parse_parameters(declared_in(CELL), [pair])[name]
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(("pairs", "words"), [
    (["rank"], "-p must be name=value, got 'rank'. Write for example -p rank=8."),
    (["rnk 4"], "-p must be name=value, got 'rnk 4'. Write for example"),
    (["rank=4", "rank=5"], "-p rank must be given once, got 'twice'"),
    (["rnk=4"], "got 'rnk'. Did you mean rank"),
    (["rank=abc"], "rank must be a whole number .* got 'abc'"),
    (["rank=1.5"], "rank must be a whole number .* got '1.5'"),
    (["learning_rate=fast"], "learning_rate must be a finite number .* got 'fast'"),
    (["learning_rate=inf"], "learning_rate must be a finite number .* got inf"),
    (["packed=yes"], "packed must be True or False .* got 'yes'"),
])
def test_words_of_a_command_line_that_do_not_fit_are_refused(pairs, words):
    with pytest.raises(Refusal, match=words):
        parse_parameters(declared_in(CELL), pairs)
