"""Where nobody sits at a front end, every widget is a picture and a table, on the page too."""

import warnings

import nbformat

from ftkit.notebooks.html import to_html
from ftkit.notebooks.kernel import execute
from ftkit.widgets import front_end
from ftkit.widgets.still import Still

CELL = """from ftkit.widgets.method_table import MethodTable
from ftkit.widgets.quant_explorer import QuantExplorer
display(QuantExplorer())
MethodTable([{"name": "<b>lora</b>", "saved_mb": 1.0, "clinic": 0.9},
             {"name": "full", "saved_mb": 18.0, "clinic": 0.9}])"""
AFTER = """import threading
from ipywidgets.widgets import widget
from matplotlib import pyplot
print([thread.name for thread in threading.enumerate() if "ftkit" in thread.name], pyplot.get_fignums(),
      len(widget._instances))"""


def test_run_by_a_library_a_picture_and_a_table_stand_there_and_nothing_is_left(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in (CELL, AFTER)]), {},
                      cwd=tmp_path)
    assert run.error is None
    outputs = [output for output in run.notebook.cells[0].outputs if "data" in output]
    assert [set(output["data"]) for output in outputs] == [{"text/plain", "text/html"}] * 2
    assert run.notebook.cells[1].outputs[0]["text"].strip() == "[] [] 0"
    page = to_html(run.notebook, "widgets")
    assert page.count('alt="nf4, blocks of 64') == 1 and page.count('alt="clinic, held out over file, MB') == 1
    assert "e3m0" in page and "&lt;b&gt;lora" in page and "<b>lora" not in page and "widget-view" not in page


def test_outside_of_a_kernel_nobody_is_there_and_no_cell_runs():
    assert not front_end.live() and not front_end.hears_while_running() and front_end.cell() == ("", "")


def test_what_is_left_behind_is_shown_as_the_text_it_is():
    still = Still("a < b", [(["<i>", "n"], [["<script>", None]])], b"png", 'say "x" & <y>')
    shown = still._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown and "a &lt; b" in shown and "<i>" not in shown
    assert 'alt="say &quot;x&quot; &amp; &lt;y&gt;"' in shown
    assert repr(still) == "a < b\n<i>       n\n<script>"
