"""Lesson 05's grid of twelve points: `ftkit sweep`, with and without pruning, beside twelve runs of papermill.

    python benchmarks/sweep.py [--steps 160] [--jobs 2] [--build build/sweep]

Each of papermill's runs is its command line, as it comes, on the notebook of `peft_notebook.py`, which trains the same
setting on the same records with peft and Trainer, measures the same curve and asks the same questions; one after the
other, with all cores for each. The sweep runs lesson 05's notebook with `point_only`, so many points at once as
`--jobs` says. Half of papermill's runs come before the sweeps and half after, so that a machine that grows slower
favours none. What is done is kept in the build folder: the command can be stopped and started again, but a sweep that
was stopped begins anew. Prints a table and writes benchmarks/results/sweep.json.

To try it: --steps 10 --points 2 --no-write, and --target ftkit.trials:run_trial for a sweep without a notebook.
"""

import argparse
import itertools
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from ftkit.files import read_json, write_json  # noqa: E402
from ftkit.notebooks.kernel import kernel_env  # noqa: E402
from ftkit.units import GIB, KIB  # noqa: E402

GRID = {"rank": (2, 8, 32), "learning_rate": (0.001, 0.002, 0.004, 0.008)}
FIXED = {"alpha": 16.0, "batch_size": 8}
SEEDS = (0, 1, 2)  # of the best setting, for the spread between seeds; the grid itself has the first
LESSON = "05_rank_alpha_dropout"
SAMPLE_EVERY_S = 0.5


class Memory:
    """The peak of a process and all below it, in GiB, each page counted once where the system can tell."""

    def __init__(self, pid: int):
        self.peak_bytes, self._root, self._done = 0, psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """The peak in GiB."""
        self._done.set()
        self._thread.join()
        return self.peak_bytes / GIB

    def _watch(self):
        while not self._done.wait(SAMPLE_EVERY_S):
            try:
                family = [self._root, *self._root.children(recursive=True)]
            except psutil.Error:
                continue
            self.peak_bytes = max(self.peak_bytes, sum(_bytes_of(one) for one in family))


def _bytes_of(process: psutil.Process) -> int:
    """Its share of the pages it holds: those that several processes share are divided among them."""
    try:
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * KIB
    except OSError:
        pass
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has ended
        return 0


def run(command: list[str], cwd: Path, log: Path) -> dict:
    """Seconds and peak memory of one command, which is to succeed."""
    env = {**kernel_env({}), "HF_DATASETS_CACHE": str(cwd / "datasets")}
    env.pop("OMP_NUM_THREADS", None)  # whoever runs without a sweep has all cores
    with log.open("w") as file:
        began_s = time.perf_counter()
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=file, stderr=subprocess.STDOUT)
        memory = Memory(process.pid)
        try:
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        seconds = time.perf_counter() - began_s
    if code:
        raise SystemExit(f"{' '.join(command[:6])} …: exit status {code}\n{log.read_text()[-3000:]}")
    return {"seconds": seconds, "peak_gib": memory.stop()}


def papermill_point(notebook: Path, build: Path, setting: dict, steps: int) -> dict:
    """One ordinary run from the command line; of an earlier one where it is done."""
    folder = build / "papermill" / "-".join(f"{name}={value}" for name, value in setting.items())
    kept = folder / "point.json"
    if not kept.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        from ftkit.hub import find_model

        given = {**FIXED, **setting, "max_steps": steps, "base": str(find_model()), "folder": str(notebook.parent)}
        command = [sys.executable, "-m", "papermill", str(notebook), "executed.ipynb", "--no-progress-bar"]
        for name, value in given.items():
            command += ["-p", name, str(value)]
        measured = run(command, folder, folder / "log.txt")
        write_json(kept, setting | measured | _scored(read_json(folder / "result.json")))
    row = read_json(kept)
    print(f"papermill  {_words(setting)}  {row['seconds']:6.1f} s, of which training {row['train_s']:.1f} s, "
          f"{row['peak_gib']:.2f} GiB, held-out loss {row['held_out_loss']:.4f}, right {row['clinic']:.3f}", flush=True)
    return row


def _scored(result: dict) -> dict:
    """The notebook's result with the share of questions answered right in place of the answers."""
    from ftkit.tiny import clinic

    answers = result.pop("answers")
    return result | {"clinic": clinic.score(answers, clinic.records("held_out"))["accuracy"]}


def sweep(name: str, build: Path, options: argparse.Namespace, grid: dict, seeds: tuple, *more: str) -> dict:
    """One sweep from the command line, timed as a whole, and the points it finished."""
    folder, kept = build / name, build / f"{name}.json"
    if not kept.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        build.mkdir(parents=True, exist_ok=True)
        write_json(build / "grid.json", {"points": points(grid)[:options.points], "seeds": list(seeds),
                                         "fixed": FIXED | {"max_steps": options.steps} | options.fixed})
        command = [sys.executable, "-m", "ftkit.cli", "sweep", options.target, "--grid-file", str(build / "grid.json"),
                   "--jobs", str(options.jobs), "--out", str(folder), *more]
        write_json(kept, run(command, build, build / f"{name}.log") | {"command": command[2:4]})
    measured = read_json(kept)
    rows = []
    for path in sorted(folder.glob("points/*/point.json")):
        point = read_json(path)
        metrics = point["metrics"] or {}
        rows.append({**{key: point["parameters"][key] for key in (*grid, "seed")}, "status": point["status"],
                     "elapsed_s": point["elapsed_s"], "train_s": metrics.get("train_s"),
                     "held_out_loss": metrics.get("held_out_loss"), "clinic": metrics.get("clinic")})
    done = [row for row in rows if row["status"] == "done"]
    print(f"{name}: {measured['seconds']:.1f} s, {len(done)} of {len(rows)} points done, "
          f"{measured['peak_gib']:.2f} GiB", flush=True)
    return {**measured, "points": rows}


def points(grid: dict) -> list[dict]:
    """Every combination, the values of the last name side by side."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def _words(setting: dict) -> str:
    return " ".join(f"{name}={value}" for name, value in setting.items())


def summary(theirs: list[dict], ours: dict, pruned: dict, seeded: dict) -> dict:
    """The times side by side, and whether the results are equal within the spread between seeds."""
    loss_of = {(row["rank"], row["learning_rate"]): row["held_out_loss"] for row in ours["points"]}
    apart = [loss_of[row["rank"], row["learning_rate"]] - row["held_out_loss"] for row in theirs]
    losses = [row["held_out_loss"] for row in seeded["points"]]
    winner = min((row for row in pruned["points"] if row["status"] == "done"), key=lambda row: row["held_out_loss"])
    total_s = sum(row["seconds"] for row in theirs)
    return {"papermill_s": total_s, "sweep_s": ours["seconds"], "pruned_s": pruned["seconds"],
            "times_faster": total_s / ours["seconds"], "times_faster_pruned": total_s / pruned["seconds"],
            "clinic": statistics.fmean(row["clinic"] for row in ours["points"]),
            "papermill_clinic": statistics.fmean(row["clinic"] for row in theirs),
            "trainer_s": statistics.median(row["train_s"] for row in theirs),
            "shortest_trainer_s": min(row["train_s"] for row in theirs),
            "papermill_gib": max(row["peak_gib"] for row in theirs), "sweep_gib": ours["peak_gib"],
            "pruned_gib": pruned["peak_gib"], "mean_difference": statistics.fmean(apart),
            "largest_difference": max(map(abs, apart)), "seed_spread": max(losses) - min(losses),
            "best_of_all": min(loss_of.values()), "best_of_pruned": winner["held_out_loss"],
            "pruned_points": sum(row["status"] == "pruned" for row in pruned["points"])}


def show(found: dict, count: int) -> None:
    """The summary in words."""
    print(f"{count} runs of papermill {found['papermill_s']:8.1f} s  {found['papermill_gib']:.2f} GiB   Trainer's own "
          f"training {found['trainer_s']:.1f} s a run (median; the shortest {found['shortest_trainer_s']:.1f} s)\n"
          f"ftkit sweep          {found['sweep_s']:8.1f} s  {found['sweep_gib']:.2f} GiB   "
          f"x{found['times_faster']:.1f}\n"
          f"ftkit sweep --prune  {found['pruned_s']:8.1f} s  {found['pruned_gib']:.2f} GiB   "
          f"x{found['times_faster_pruned']:.1f}, {found['pruned_points']} points pruned\n"
          f"held-out loss, ours less theirs: mean {found['mean_difference']:+.4f}, largest "
          f"{found['largest_difference']:.4f}; spread of {len(SEEDS)} seeds at the best setting "
          f"{found['seed_spread']:.4f}\nquestions right, mean of the grid: {found['clinic']:.3f}, theirs "
          f"{found['papermill_clinic']:.3f}\nbest of all {found['best_of_all']:.4f}, with pruning "
          f"{found['best_of_pruned']:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=160, help="of each training")
    parser.add_argument("--points", type=int, default=12, help="the first so many of the grid")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="points of the sweep at once")
    parser.add_argument("--target", default=LESSON, help="what the sweep runs")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "sweep")
    parser.add_argument("--no-write", action="store_true", help="only print")
    options = parser.parse_args()
    options.fixed = {} if ":" in options.target else {"point_only": True}
    build = options.build.resolve() / f"{options.steps}-{options.points}-{options.target.replace(':', '.')}"
    from peft_notebook import build as build_notebook

    notebook, wanted = build_notebook(build / "peft"), points(GRID)[:options.points]
    half = (len(wanted) + 1) // 2
    theirs = [papermill_point(notebook, build, {**one, "seed": SEEDS[0]}, options.steps) for one in wanted[:half]]
    ours = sweep("whole", build, options, GRID, SEEDS[:1])
    pruned = sweep("pruned", build, options, GRID, SEEDS[:1], "--prune")
    theirs += [papermill_point(notebook, build, {**one, "seed": SEEDS[0]}, options.steps) for one in wanted[half:]]
    best = min(ours["points"], key=lambda row: row["held_out_loss"])
    seeded = sweep("seeds", build, options, {name: (best[name],) for name in GRID}, SEEDS)
    found = summary(theirs, ours, pruned, seeded)
    show(found, len(wanted))
    if not options.no_write:
        from results import write

        write("sweep", {"steps": options.steps, "jobs": options.jobs, "target": options.target, "grid": GRID,
                        "summary": found, "papermill": theirs, "sweep": ours, "pruned": pruned, "seeds": seeded})


if __name__ == "__main__":
    main()
