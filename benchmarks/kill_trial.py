"""Kills a training again and again with SIGKILL, and compares what comes out with an uninterrupted run.

    python benchmarks/kill_trial.py              20 kills, 5 of them inside the writing of a checkpoint
    python benchmarks/kill_trial.py --threads 2  the same with two torch threads

Three quarters of the kills come from outside, at a random moment after a given step. The others the child gives itself
at a chosen point inside the writing of a checkpoint: it replaces functions of `os` and of the checkpoint module by ones
that kill, so the library has no hook for it. After every kill the run folder is read. At the end, trace (times and
memory aside) and weights must be those of the uninterrupted run, bit for bit. Writes results/kill_trial.json.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

STEPS, CHECKPOINT_EVERY = 63, 3
POINTS = ("a weight file half-written", "before the hashes", "third fsync", "before the rename", "after the rename",
          "while an old one is removed")
NOT_COMPARED = ("tokens_per_s", "peak_gib", "elapsed_s")


@dataclass(frozen=True)
class Kill:
    """One kill: after this step and a share of a second, or at a point of the writing of this step's checkpoint."""

    step: int
    point: str | None
    delay_s: float


def plan(kills: int, in_checkpoint: int, seed: int) -> list[Kill]:
    """Kills spread evenly over the training; those in a checkpoint go through all points."""
    generator, every = random.Random(seed), kills // max(in_checkpoint, 1)
    planned, points = [], 0
    for number in range(1, kills + 1):
        step = number * STEPS // (kills + 1)
        if in_checkpoint and number % every == 0 and points < in_checkpoint:
            step = max(2 * CHECKPOINT_EVERY, step - step % CHECKPOINT_EVERY)
            planned.append(Kill(step, POINTS[points % len(POINTS)], 0.0))
            points += 1
        else:
            planned.append(Kill(step, None, generator.random() * 0.05))
    return planned


def trial(folder: Path, kills: list[Kill]) -> dict:
    """Runs an uninterrupted and a killed training in two folders; says whether they came out the same."""
    whole, killed = folder / "whole", folder / "killed"
    _run(whole, None)
    rows = []
    for number, kill in enumerate(kills, start=1):
        last_step = _run(killed, kill)
        rows.append({"kill": number, **asdict(kill), "last_step_seen": last_step, **_readable(killed)})
    _run(killed, None)
    weights = {"uninterrupted": _weights(whole), "killed": _weights(killed)}
    return {"kills": rows, "steps": STEPS, "checkpoint_every": CHECKPOINT_EVERY,
            "same_trace": _trace(whole) == _trace(killed), "same_weights": len(set(weights.values())) == 1,
            "weights_sha256": weights}


def _run(folder: Path, kill: Kill | None) -> int:
    """Starts the child; returns the last step it said, once it is dead or done."""
    point = [str(kill.step), kill.point] if kill and kill.point else []
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with subprocess.Popen([sys.executable, __file__, "--child", str(folder), *point], env=environment, text=True,
                          stdout=subprocess.PIPE) as child:
        last = 0
        for line in child.stdout:
            last = int(line)
            if kill and not kill.point and last >= kill.step:
                time.sleep(kill.delay_s)
                child.send_signal(signal.SIGKILL)
                break
        code = child.wait()
    if code != (-signal.SIGKILL if kill else 0):
        raise SystemExit(f"the child ended with {code} at {kill}, last step {last}")
    return last


def _readable(folder: Path) -> dict:
    """What can be read after a kill; raises where something can't."""
    from ftkit.runs import collect, read_trace
    from ftkit.train import checkpoint

    table = collect(folder)
    if table.attrs["unreadable"]:
        raise SystemExit(f"unreadable: {table.attrs['unreadable']}")
    steps = [checkpoint.read(path).step for path in sorted((folder / checkpoint.FOLDER).glob("step_*"))]
    return {"records": len(read_trace(folder)), "checkpoints": steps}


def _trace(folder: Path) -> list[dict]:
    from ftkit.runs import read_trace

    return [{name: value for name, value in record.items() if name not in NOT_COMPARED}
            for record in read_trace(folder)]


def _weights(folder: Path) -> str:
    """The hash of the final weights, as the run's card has it."""
    from ftkit.runs import read_card

    return read_card(folder).metrics["weights_sha256"]


def child(folder: Path, step: int = 0, point: str | None = None) -> None:
    """Trains a very small model, printing each step; dies at a point of a checkpoint if told so."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from ftkit.lora.adapter import add_lora_
    from ftkit.lora.config import LoraConfig
    from ftkit.runs import open_run
    from ftkit.train.config import TrainConfig
    from ftkit.train.loop import train

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                         num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64))
    add_lora_(model, LoraConfig(rank=4, dropout=0.1), seed=0)
    config = TrainConfig(learning_rate=1e-2, max_steps=STEPS, batch_size=4, accumulation=2,
                         schedule="cosine", warmup_steps=5, eval_every=7, checkpoint_every=CHECKPOINT_EVERY,
                         patience=100)
    if point:
        _arm(step, point)
    with open_run(folder, asdict(config), name="kill trial", seed=config.seed) as run:
        for record in train(model, _examples(200, 1), config, held_out=_examples(8, 2), run=run,
                            evaluate=lambda _: {"drawn": random.random()}):
            print(record["step"], flush=True)
        run.finish()


def _examples(count: int, seed: int) -> list[tuple[list[int], list[int]]]:
    generator, examples = random.Random(seed), []
    for _ in range(count):
        ids = [generator.randrange(64)]
        while len(ids) < 6 or generator.random() < 0.95 and len(ids) < 24:
            ids.append((ids[-1] * 5 + 3) % 16)  # can be learned, so the last weights are the best
        examples.append((ids, [-100] * 3 + ids[3:]))
    return examples


def _arm(step: int, point: str) -> None:
    """Makes this process kill itself at a point of the writing of the checkpoint of a step."""
    from ftkit.train import checkpoint

    write = checkpoint.write

    def armed(run_folder: Path, snapshot: checkpoint.Snapshot) -> Path:
        if snapshot.step == step:
            _replace_function(checkpoint, point)
        return write(run_folder, snapshot)

    checkpoint.write = armed


def _replace_function(checkpoint: object, point: str) -> None:
    calls = {"fsync": 0}
    save, fsync, replace, rmtree = checkpoint.save_file, os.fsync, os.replace, shutil.rmtree

    def half(tensors: dict, path: Path) -> None:
        save(tensors, path)
        os.truncate(path, path.stat().st_size // 2)
        _die()

    def third(handle: int) -> None:
        calls["fsync"] += 1
        _die() if calls["fsync"] == 3 else fsync(handle)

    def after(source: Path, target: Path) -> None:
        replace(source, target)
        _die()

    def removing(path: Path, **settings: object) -> None:
        if Path(path).name.startswith(".step") and Path(path).exists():
            next(Path(path).iterdir()).unlink()
            _die()
        rmtree(path, **settings)

    module, name, function = {POINTS[0]: (checkpoint, "save_file", half), POINTS[1]: (checkpoint, "sha256", _die),
                              POINTS[2]: (os, "fsync", third), POINTS[3]: (os, "replace", _die),
                              POINTS[4]: (os, "replace", after), POINTS[5]: (shutil, "rmtree", removing)}[point]
    setattr(module, name, function)


def _die(*arguments: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--in-checkpoint", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    from results import write

    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        result = trial(Path(folder), plan(options.kills, options.in_checkpoint, options.seed))
    print(f"{'kill':>4}  {'step':>4}  {'where':<28}  {'last step':>9}  {'records':>7}  checkpoints")
    for row in result["kills"]:
        where = row["point"] or f"{row['delay_s'] * 1000:.0f} ms after the step"
        print(f"{row['kill']:>4}  {row['step']:>4}  {where:<28}  {row['last_step_seen']:>9}  {row['records']:>7}  "
              f"{row['checkpoints']}")
    print(f"trace the same: {result['same_trace']}; weights the same: {result['same_weights']}")
    write("kill_trial" + (f"_{options.threads}_threads" if options.threads > 1 else ""), result)
    return 0 if result["same_trace"] and result["same_weights"] else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(Path(sys.argv[2]), *([int(sys.argv[3]), sys.argv[4]] if len(sys.argv) > 4 else []))
    else:
        raise SystemExit(main())
