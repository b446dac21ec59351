"""Notebooks in kernels forked from the prepared process: the same as in fresh ones, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
import warnings

import nbformat
import psutil
import pytest

from ftkit import warm
from ftkit.notebooks.forked import SpareKernel
from ftkit.notebooks.kernel import kernel_env
from ftkit.notebooks.run import run_notebook

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no fork to take")

PARAMETERS = 'scale: str = "tiny"\nseed: int = 0\nout_dir: str = "runs"'
CELLS = {
    "prints": "import os, sys\nprint('to stdout')\nprint('to stderr', file=sys.stderr)\nos.system('echo of a child')",
    "value": "{'a': [1, 2]}",
    "display": "from IPython.display import HTML, display\ndisplay(HTML('<b>bold</b>'), {'b': seed})",
    "figure": "import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])\nplt.title('a figure');",
    "second figure": "figure, axes = plt.subplots()\naxes.bar([0, 1], [2, 1])\nplt.show()",
    "frame": "import pandas\npandas.DataFrame({'loss': [0.5, 0.25]})",
    "torch": "import torch\ntorch.manual_seed(seed)\nprint(torch.randn(2), torch.get_num_threads())",
    "numpy": ("import numpy, threadpoolctl\n[one['num_threads'] for one in threadpoolctl.threadpool_info()\n"
              " if 'numpy' in one['filepath']]"),
    "model": ("from ftkit.hub import load_model\nmodel, tokenizer = load_model('ftkit-tiny')\n"
              "model(**tokenizer('the sea', return_tensors='pt')).logits.sum()"),
    "bar": "from tqdm.auto import tqdm\nprint(tqdm.__mro__[1])",
    "widget": "import ipywidgets\nipywidgets.IntSlider(3).keys",
    "still widget": ("from ftkit.widgets.quant_explorer import QuantExplorer\n"
                     "QuantExplorer(seed=1)"),
    "magic": "%config InlineBackend.figure_format",
    "where": ("import multiprocessing, pathlib, signal, threading\n"
              "print(__name__, sys.argv[0].split('/')[-1], multiprocessing.get_start_method(),\n"
              "      multiprocessing.current_process().name, threading.current_thread().name,\n"
              "      signal.getsignal(signal.SIGINT), os.environ['FTKIT_HOME'][-6:],\n"
              "      [p for p in sys.path if not p.startswith('/')], pathlib.Path.cwd().name,\n"
              "      os.getsid(0) == os.getpid())"),
    "search path": "import hashlib\nhashlib.sha256(repr(sys.path).encode()).hexdigest()",
    "processes": ("def double(x):\n    return 2 * x\nwith multiprocessing.Pool(2) as pool:\n"
                  "    print(pool.map(double, range(3)))"),
    "warning": ("import warnings\nwarnings.formatwarning = lambda *words, **_: f'{words[0]}\\n'\n"
                "warnings.warn('look out')"),
    "error": "def deep():\n    return 1 / 0\ndeep()",
}


def write(path, cells):
    """A notebook of code cells, given as {id: source}, behind a parameters cell."""
    made = [nbformat.v4.new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]})]
    made += [nbformat.v4.new_code_cell(source, id=name.replace(" ", "-")) for name, source in cells.items()]
    nbformat.write(nbformat.v4.new_notebook(cells=made), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("forked")


@pytest.fixture(scope="module")
def both(folder):
    """The results and executed copies of one notebook in a fresh kernel and in a forked one."""
    path = write(folder / "same.ipynb", CELLS)
    assert warm.obstacle() is None
    results = [run_notebook(path, folder / how / "same.ipynb", {"seed": 3}, cwd=folder / how / "run",
                            warm=how == "warm") for how in ("cold", "warm")]
    return results, [nbformat.read(folder / how / "same.ipynb", as_version=4) for how in ("cold", "warm")]


@pytest.mark.parametrize("name", CELLS)
def test_a_forked_kernel_shows_what_a_fresh_one_shows(both, name):
    cells = [next(cell for cell in copy.cells if cell.id == name.replace(" ", "-")) for copy in both[1]]
    assert cells[0].outputs, "the cell is to show something"
    assert cells[1].outputs == cells[0].outputs and cells[1].execution_count == cells[0].execution_count


def test_the_result_of_a_forked_run_is_that_of_a_fresh_one(both):
    cold, forked = both[0]
    assert (forked.name, forked.status, forked.cell) == ("same", "failed", "error")
    assert forked.error == cold.error == "ZeroDivisionError: division by zero"


def test_runs_do_not_see_what_others_change_nor_each_others_folders(folder):
    cells = {"look": "import math, os, ftkit.units, torch\nprint(math.pi, ftkit.units.GIB, torch.get_default_dtype(), "
                     "os.environ.get('CHANGED'), os.listdir())",
             "change": "math.pi, ftkit.units.GIB, os.environ['CHANGED'] = 3, 1, 'yes'\n"
                       "torch.set_default_dtype(torch.float64)\nopen('made.txt', 'w').close()"}
    path = write(folder / "changes.ipynb", cells)
    said = []
    for number in range(2):
        executed = folder / f"isolated {number}" / "changes.ipynb"
        assert run_notebook(path, executed, {"seed": number}, warm=True).status == "ok"
        said.append(next(cell for cell in nbformat.read(executed, as_version=4).cells if cell.id == "look").outputs)
    assert said[0] == said[1] and "3.14159" in said[0][0].text and "[]" in said[0][0].text


def test_the_peak_of_a_forked_kernel_is_its_own(folder):
    cells = {"memory": "held = bytearray(300 * 2**20)\nfor index in range(0, len(held), 4096):\n    held[index] = 1"}
    big = run_notebook(write(folder / "big.ipynb", cells), folder / "big" / "big.ipynb", warm=True)
    small = run_notebook(write(folder / "small.ipynb", {"one": "1"}), folder / "small" / "small.ipynb", warm=True)
    assert 0.25 < big.peak_gib - small.peak_gib < 0.6  # 300 MiB, and what either happened to touch besides


def test_a_forked_notebook_past_its_limit_is_stopped_and_leaves_no_process(folder):
    cells = {"pid": "import os, subprocess, sys\nsleep = 'import time; time.sleep(600)'\n"
                    "print(os.getpid(), subprocess.Popen([sys.executable, '-c', sleep]).pid, flush=True)",
             "waits": "exec(sleep)"}
    path = write(folder / "endless.ipynb", cells)
    result = run_notebook(path, folder / "endless" / "endless.ipynb", limit_s=10, warm=True)
    assert (result.status, result.cell) == ("failed", "waits")
    assert result.error == "TimeLimit: the notebook ran past its limit of 10 s"
    copy = nbformat.read(folder / "endless" / "endless.ipynb", as_version=4)
    pids = [int(pid) for pid in copy.cells[1].outputs[0].text.split()]
    _wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_a_forked_kernel_that_dies_is_reported_with_its_place(folder):
    path = write(folder / "dies.ipynb", {"dies": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"})
    result = run_notebook(path, folder / "dies" / "dies.ipynb", limit_s=60, warm=True)
    assert (result.status, result.cell) == ("failed", "dies") and result.error.startswith("KernelDied")


def test_a_killed_runner_leaves_no_kernel_behind(folder):
    path = write(folder / "left.ipynb", {"waits": "import os, time\nopen('pid.txt', 'w').write(str(os.getpid()))\n"
                                                  "time.sleep(600)"})
    script = ("from ftkit import warm\nfrom ftkit.notebooks.run import run_notebook\n"
              "warm.PRELOADED, warm.PRELOADED_WITHOUT_GPU = ('ipykernel.kernelapp',), ()\n"
              f"run_notebook({str(path)!r}, 'left/left.ipynb', warm=True)")
    runner = subprocess.Popen([sys.executable, "-c", script], cwd=folder, env=kernel_env({}))
    note = folder / "left" / "pid.txt"
    try:
        _wait_for(lambda: note.is_file() and note.read_text())
        kernel = psutil.Process(int(note.read_text()))
        assert kernel.parent().pid != runner.pid  # of the process to fork from
    finally:
        os.kill(runner.pid, signal.SIGKILL)
        runner.wait(60)
    _wait_for(lambda: not kernel.is_running() or kernel.status() == psutil.STATUS_ZOMBIE)


def test_where_nothing_can_be_forked_the_kernel_is_a_fresh_one_and_it_is_said_once(folder, monkeypatch):
    monkeypatch.setattr(warm, "_has_server", lambda: False)
    warm._unprepared.cache_clear()
    warm._say_once.cache_clear()
    path = write(folder / "fresh.ipynb", {"parent": "import os\nprint(os.getppid())"})
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for number in range(2):
                executed = folder / f"fresh {number}" / "fresh.ipynb"
                assert run_notebook(path, executed, {"seed": number}, warm=True).status == "ok"
                shown = nbformat.read(executed, as_version=4).cells[2].outputs[0].text
                assert int(shown) == os.getpid()
    finally:
        warm._unprepared.cache_clear()
    assert len([one for one in said if "processes cannot be forked safely" in str(one.message)]) == 1


def test_a_spare_process_that_no_run_took_ends(folder):
    spare = SpareKernel(folder, kernel_env({}))
    assert spare.process.is_alive()
    spare.close()
    assert not psutil.pid_exists(spare.process.pid)


def _wait_for(condition, limit_s=300):  # a machine may be busy with other things
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() - began_s < limit_s, "it did not come to pass"
        time.sleep(0.05)
