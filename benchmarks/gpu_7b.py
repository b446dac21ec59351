"""QLoRA on architectures of 7 B parameters, on one GPU: ours beside the usual stack, and what each change is worth.

    python benchmarks/gpu_7b.py [--minutes 9] [--library bitsandbytes] [--to FOLDER]
    python benchmarks/gpu_7b.py --tiny --device cpu      tries all of it on small shapes; its numbers mean nothing

Qwen2.5-7B's and Llama-2-7B's shapes with RANDOM weights, NF4 with double quantisation, rank 16 on all linear layers.
No network, nothing read from disk. The losses are those of learning a short cycle of tokens: they show that gradients
arrive, not how good a model becomes. Where bitsandbytes is missing or fails, codes are in our own layers (the same
layout), and the usual stack's Trainer and peft run over them as a stand-in, which no goal counts. Where torch's
compiler fails, a training is measured without it, too, and says so.

Speeds are real tokens, padding not counted, over all timed steps. The share of the matmul rate counts the large
products that are really computed, repeated ones included, and neither attention nor LoRA, over the rate of a bfloat16
product of 8,192 x 8,192 matrices measured in the same run.

Written after each row to benchmarks/results/gpu_7b.json (--to another folder), so a run that is stopped leaves what
it has; each row's time is bounded. A whole run is copied to where lesson 18 shows it.
"""

import argparse
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import gpu_arms
import results
import torch
from gpu_arms import AGAIN, DOCUMENTED, NEVER, OURS, STAND_IN, TRL, USUAL, Arm, one_row
from random_models import build, works
from torch import nn

from ftkit import files
from ftkit.course.ladder import MEASURED
from ftkit.tables import aligned

FOLDER = results.FOLDER
STEP_TOKENS, ROW_LIMIT_S, LEAST_S = 8192, 90, 12
NOT_COMPILED = ", not compiled"
QWEN, LLAMA = "Qwen2.5-7B", "Llama-2-7B"
MEMORY_TOKENS = {QWEN: 2048, LLAMA: 512}
NAMES = {QWEN: "tiny qwen2", LLAMA: "tiny llama"}  # with --tiny
PACKAGES = ("torch", "transformers", "accelerate", "peft", "trl", "datasets", "bitsandbytes", "triton")


MEASURED_ROW, OUT_OF_MEMORY = "measured", "not measured: out of memory"
NO_TIME, TOO_LONG = "not measured: no time left", "not measured: took longer than"


class TooLong(BaseException):
    """A row took longer than it may; no package between here and there takes it for an error of its own."""


class Report:
    """The rows so far, written to a file after each."""

    def __init__(self, name: str, about: dict):
        self.name, self.about, self.rows = name, about, []

    def add(self, row: dict) -> None:
        """One more row, in the file at once."""
        self.rows.append(row)
        results.write(self.name, self.about | {"goals": goals(self.rows), "rows": self.rows})
        print(line(row), flush=True)


def matmul_rate(device: str) -> float:
    """Floating-point operations a second of a large bfloat16 product of random matrices: the median of ten."""
    size = 8192 if device == "cuda" else 256
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        started_s = time.perf_counter()
        one @ other
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started_s)
    return 2 * size**3 / statistics.median(times[3:])


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises `TooLong` inside when so much time has passed."""
    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def rows_of(model: nn.Module, shape: str, arm: Arm, library: str, flops_per_s: float, given,
            ends_s: float) -> Iterator[dict]:
    """What an arm measured, or why it did not; and where the compiler may be why, what it measures without it."""
    if library != "bitsandbytes" and arm.stack in (USUAL, TRL):
        if arm.stack == TRL:
            return
        arm = replace(arm, stack=STAND_IN)
    plain = replace(arm, name=arm.name + NOT_COMPILED, settings=arm.settings | {"compiled": False})
    arms = [arm] if not arm.settings.get("compiled") else [arm, plain] if given.compiles else [plain]
    failed = ""
    for arm in arms:
        row = row_of(model, shape, arm, flops_per_s, given, ends_s - time.perf_counter())
        yield row
        if row["status"] == MEASURED_ROW and failed and TOO_LONG not in failed:
            given.compiles = False  # and need not be tried again
        if row["status"] in (MEASURED_ROW, OUT_OF_MEMORY, NO_TIME):
            return
        failed = row["status"]


def row_of(model: nn.Module, shape: str, arm: Arm, flops_per_s: float, given, left_s: float) -> dict:
    """What an arm measured, or why it did not; nothing but the user's own interruption ends a run."""
    row = {"model": shape, "group": arm.group, "arm": arm.name, "stack": arm.stack, "settings": arm.settings}
    limit_s = min(ROW_LIMIT_S, left_s)
    if limit_s < given.least_s:
        return row | {"status": NO_TIME}
    if arm.stack == TRL and not {"trl", "datasets"} <= versions().keys():
        return row | {"status": "not measured: trl and datasets are not both installed"}
    started_s = time.perf_counter()
    try:
        with at_most(limit_s):
            if arm.group == "agreement":
                found = gpu_arms.agreement(model, arm, given.step_tokens)
            else:
                found = gpu_arms.measure(model, arm, given.step_tokens, flops_per_s, given.steps)
        row |= {"status": MEASURED_ROW, **found}
    except TooLong:
        row["status"] = f"{TOO_LONG} {limit_s:.0f} s"
    except Exception as error:  # of whatever package: one row's failure must not cost the others
        row["status"] = OUT_OF_MEMORY if is_memory(error) else f"not measured: {said(error)}"
    gpu_arms.cleaned_(model)
    return row | {"took_s": round(time.perf_counter() - started_s, 1)}


def is_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is one of too little memory."""
    return error is not None and (isinstance(error, torch.OutOfMemoryError) or is_memory(error.__cause__))


def said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def goals(rows: list[dict]) -> list[dict]:
    """Each goal with what was measured; None where it was not. The usual stack is the fastest that was measured."""
    def of(shape: str, name: str, field: str, *stacks: str) -> float | None:
        return max((row[field] for row in rows if row["group"] == "headline" and row["status"] == MEASURED_ROW
                    and row["model"] == shape and row["stack"] in (stacks or (OURS,))
                    and row["arm"].removesuffix(NOT_COMPILED) == name), default=None)

    found = [(f"peak of {shape}, one row of {MEMORY_TOKENS[shape]:,} tokens, GiB", of(shape, one_row(
              MEMORY_TOKENS[shape]), "peak_allocated_gib"), most, "at most") for shape, most in ((LLAMA, 5.0),
                                                                                                (QWEN, 7.5))]
    for shape in (QWEN, LLAMA):
        again = of(shape, AGAIN, "tokens_per_s")
        usual = of(shape, DOCUMENTED, "tokens_per_s", USUAL, TRL)
        found += [(f"tokens/s of {shape}, {AGAIN}", again, 9_000, "at least"),
                  (f"tokens/s of {shape}, {NEVER}", of(shape, NEVER, "tokens_per_s"), 12_500, "at least"),
                  (f"times the usual stack's tokens/s, {shape}", again / usual if again and usual else None, 1.5,
                   "at least")]
    return [{"goal": name, "measured": measured, "rule": rule, "limit": limit, "reached": None if measured is None else
             measured <= limit if rule == "at most" else measured >= limit} for name, measured, limit, rule in found]


def line(row: dict) -> str:
    """A row in a line of text."""
    words = [row["model"], row["group"], "" if row["stack"] == OURS else row["stack"], row["arm"], row["status"]]
    if "tokens_per_s" in row:
        words += [f"{row['tokens_per_s']:,.0f} tokens/s"]
    return " · ".join(word for word in words if word)


def table(rows: list[dict]) -> str:
    """The measured rows and the others' reasons."""
    stacks = {USUAL: " (usual stack)", TRL: " (trl)", STAND_IN: " (stand-in)"}

    def cell(row: dict, name: str, form: str) -> str:
        return format(row[name], form) if row.get(name) is not None else "–"

    timed = [row for row in rows if row["group"] != "agreement"]
    return aligned(["model", "rows", "training", "tokens/s", "matmul", "GiB", "reserved", "loss", "grad norm"], [
        [row["model"], row["group"], row["arm"] + stacks.get(row["stack"], ""),
         cell(row, "tokens_per_s", ",.0f") if row["status"] == MEASURED_ROW else row["status"],
         cell(row, "matmul_share", ".2f"), cell(row, "peak_allocated_gib", ".2f"),
         cell(row, "peak_reserved_gib", ".2f"),
         f"{row['loss'][0]:.2f} to {row['loss'][-1]:.2f}" if "loss" in row else "–",
         f"{row['grad_norm'][0]:.2f} to {row['grad_norm'][-1]:.2f}" if "grad_norm" in row else "–"] for row in timed])


def parts(given) -> Iterator[tuple[str, int | None, list[Arm]]]:
    """What is measured, the most important first: shape, layers if not its own number, trainings."""
    for shape in (QWEN, LLAMA):
        yield shape, None, gpu_arms.headline(given.memory_tokens or MEMORY_TOKENS[shape])
    yield QWEN, 2, gpu_arms.agreeing()
    yield QWEN, None, gpu_arms.ladder()


def versions() -> dict[str, str]:
    """Of the packages that decide speed; the missing ones are missing here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="small shapes, a few steps; writes gpu_7b_tiny.json")
    parser.add_argument("--minutes", type=float, default=9, help="after which no further row begins")
    parser.add_argument("--library", choices=["bitsandbytes", "ftkit"], help="whose 4-bit layers; else as installed")
    parser.add_argument("--groups", nargs="+", default=["agreement", "headline", "together", "alone"])
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder of the results")
    given = parser.parse_args()
    given.step_tokens, given.steps = (512, 2) if given.tiny else (STEP_TOKENS, gpu_arms.STEPS)
    given.memory_tokens, given.least_s = (128, 0) if given.tiny else (None, LEAST_S)
    given.compiles = True  # until it has failed
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA device here: nothing is measured. --tiny --device cpu tries the program.")
    if given.device == "cpu" and not given.tiny:
        parser.error("a 7 B model on a CPU is not what this measures: add --tiny.")
    return given


def measure(report: Report, given, library: str, flops_per_s: float, ends_s: float) -> None:
    """Every part of what is asked for, one model at a time; one that cannot be built costs its own rows alone."""
    for shape, layers, arms in parts(given):
        arms = [arm for arm in arms if arm.group in given.groups]
        shape, model, reason = NAMES[shape] if given.tiny else shape, None, NO_TIME  # no goal is about a tiny one
        torch._dynamo.reset()  # what was compiled for another width of layers
        if arms and ends_s - time.perf_counter() > given.least_s:
            started_s = time.perf_counter()
            try:
                model = build(shape, library, given.device, layers)
                built_s = time.perf_counter() - started_s
                print(f"{shape}, {model.config.num_hidden_layers} layers: built in {built_s:.0f} s", flush=True)
            except Exception as error:  # as in `row_of`
                reason = f"not measured: the model could not be built: {said(error)}"
        gpu_arms.cleaned_(model)
        for arm in arms:
            if model is None:
                report.add({"model": shape, "group": arm.group, "arm": arm.name, "stack": arm.stack, "status": reason})
                continue
            for row in rows_of(model, shape, arm, library, flops_per_s, given, ends_s):
                report.add(row)


def main() -> None:
    given, started_s = arguments(), time.perf_counter()
    library = given.library or ("bitsandbytes" if works("bitsandbytes", given.device) else "ftkit")
    results.FOLDER = given.to
    flops_per_s = matmul_rate(given.device)
    report = Report("gpu_7b_tiny" if given.tiny else "gpu_7b", {
        "weights": "random", "library": library, "packages": versions(), "matmul_tflops": flops_per_s / 1e12,
        "step_tokens": given.step_tokens, "rank": gpu_arms.RANK, "steps": given.steps, "tiny": given.tiny})
    print(f"4-bit layers: {library}'s. A large bfloat16 product: {flops_per_s / 1e12:,.0f} TFLOP/s", flush=True)
    measure(report, given, library, flops_per_s, started_s + 60 * given.minutes)
    if not given.tiny and given.to == FOLDER:
        files.write_json(MEASURED, files.read_json(given.to / f"{report.name}.json"))
    print(table(report.rows))
    print(aligned(["goal", "measured", "limit", "reached"], [
        [one["goal"], "not measured" if one["measured"] is None else f"{one['measured']:,.2f}",
         f"{one['rule']} {one['limit']:,}", {None: "–", True: "yes", False: "no"}[one["reached"]]]
        for one in goals(report.rows)]))


if __name__ == "__main__":
    main()
