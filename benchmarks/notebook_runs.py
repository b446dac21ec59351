"""What one more run of a 30-cell notebook costs beyond its own work: with papermill, a fresh kernel, a forked one.

    python benchmarks/notebook_runs.py [--repeats 5] [--no-write]

The notebook imports torch, transformers and matplotlib, computes a little in each cell and draws a figure. Its own work
is what its cells take by a clock inside them, imports left out. Arms alternate, so that a busy machine slows all alike.
Prints medians and writes benchmarks/results/notebook_runs.json.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ftkit import warm  # noqa: E402
from ftkit.notebooks.kernel import kernel_env  # noqa: E402
from ftkit.notebooks.run import run_notebook  # noqa: E402

ARMS = {"papermill": "papermill's command line, as it comes", "fresh": "ours, a fresh kernel",
        "forked": "ours, a kernel forked from a warm process"}
PARAMETERS = 'scale: str = "tiny"\nseed: int = 0\nout_dir: str = "runs"'
IMPORTS = """import time
import matplotlib.pyplot as plt
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from ftkit import hub, methods, plots
from ftkit.train.loop import train
torch.manual_seed(seed)
own_s = []"""
CELL = """began_s = time.perf_counter()
weights = torch.randn(64, 64)
print("cell {number}: the largest singular value is", float(torch.linalg.svdvals(weights)[0]))
own_s.append(time.perf_counter() - began_s)"""
FIGURE = """began_s = time.perf_counter()
figure, ax = plt.subplots()
ax.plot(own_s, marker="o")
plt.show()
own_s.append(time.perf_counter() - began_s)"""
OWN = 'print("own work:", sum(own_s))'


def notebook() -> nbformat.NotebookNode:
    """Thirty code cells."""
    sources = [IMPORTS, *[CELL.format(number=number) for number in range(26)], FIGURE, OWN]
    cells = [nbformat.v4.new_code_cell(PARAMETERS, id="parameters", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source, id=f"cell-{number}") for number, source in enumerate(sources)]
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": {"name": "python"}})


def run_arm(arm: str, path: Path, folder: Path, seed: int) -> dict:
    """One run: seconds of it all, and of the cells' own work without their imports."""
    folder.mkdir(parents=True)
    executed = folder / path.name
    began_s = time.perf_counter()
    if arm == "papermill":
        command = [sys.executable, "-m", "papermill", str(path), str(executed), "-p", "seed", str(seed),
                   "--cwd", str(folder), "--no-progress-bar"]
        done = subprocess.run(command, env=kernel_env({}), capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
    else:
        result = run_notebook(path, executed, {"seed": seed}, warm=arm == "forked")
        if result.status != "ok":
            raise SystemExit(f"{arm}: {result.error}")
    seconds = time.perf_counter() - began_s
    own = nbformat.read(executed, as_version=4).cells[-1].outputs[0].text
    return {"arm": arm, "seed": seed, "seconds": seconds, "own_s": float(own.split()[-1])}


def measure(repeats: int) -> list[dict]:
    """Every arm, alternating; a first run of each is not counted, since it reads files that then lie in memory."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "thirty_cells.ipynb"
        nbformat.write(notebook(), path)
        for seed in range(repeats + 1):
            for arm in ARMS:
                row = run_arm(arm, path, Path(temporary) / f"{arm}-{seed}", seed)
                print(f"{arm:10s} {row['seconds']:7.2f} s, of which {row['own_s']:.2f} s its own work"
                      f"{'  (not counted)' if seed == 0 else ''}", flush=True)
                rows += [row] if seed else []
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """A row an arm: medians, and the seconds beyond the own work."""
    found = []
    for arm, words in ARMS.items():
        mine = [row for row in rows if row["arm"] == arm]
        beyond = statistics.median(row["seconds"] - row["own_s"] for row in mine)
        found.append({"arm": arm, "what": words, "runs": len(mine), "beyond_s": beyond,
                      "seconds": statistics.median(row["seconds"] for row in mine),
                      "own_s": statistics.median(row["own_s"] for row in mine)})
    return [{**row, "times_the_forked": row["seconds"] / found[-1]["seconds"]} for row in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="only print")
    given = parser.parse_args()
    began_s = time.perf_counter()
    if reason := warm.obstacle():
        raise SystemExit(f"nothing can be forked here: {reason}")
    prepared_s = time.perf_counter() - began_s
    print(f"the warm process was ready after {prepared_s:.1f} s, once for all runs")
    rows = measure(given.repeats)
    table = summary(rows)
    for row in table:
        print(f"{row['what']:44s} {row['seconds']:6.2f} s a run, {row['beyond_s']:6.2f} s beyond its own "
              f"{row['own_s']:.2f} s, x{row['times_the_forked']:.1f}")
    if not given.no_write:
        from results import write

        write("notebook_runs", {"table": table, "runs": rows, "prepared_s": prepared_s})


if __name__ == "__main__":
    main()
