"""The whole preparation pipeline over more and more records: seconds, peak memory, records a second, cores in use.

    python benchmarks/data.py [--sizes 1000 3000 10000 30000 100000] [--processes 2]

The records are text-like, half English and half Chinese, of 100 characters on average, made from word lists with a
seed. Planted in them: exact duplicates, near duplicates, junk and personal data; the pipeline must find them, or the
run fails. Each size runs in a process of its own; memory is the sum over it and its workers, looked at twenty times
a second, with what they share counted once. On a machine that others use, too, look at the processor's seconds and at
the load before. Prints a table and writes benchmarks/results/data.json.

The exponent is the slope of log(seconds) over log(records), start-up (imports of presidio and spaCy) taken off, printed
beside that of n log n over the same sizes.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import statistics
import sys
import threading
import time

import psutil

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
PLANTED = {"exact": 0.05, "near": 0.05, "junk": 0.03, "personal": 0.10}
LIMITS = {"seconds": 120, "peak_gib": 2}
JUNK = ("哈" * 40, "asdkj qwhkz xzxcv bqhjk lqwzx vkjhq", "\ufffd\ufffd broken \ufffd text", "N/A")


def vocabulary(generator: random.Random) -> tuple[list[str], list[str]]:
    """4,000 English-like words of letter pairs that English has, and 2,000 Chinese words of two common characters."""
    syllables = [a + b + c for a in "bcdfglmnprst" for b in "aeiou" for c in ("", "n", "r", "s", "l")]
    english = ["".join(generator.choices(syllables, k=generator.choice((1, 2, 2, 3)))) for _ in range(4000)]
    common = [bytes([lead, trail]).decode("gb2312") for lead in range(0xB0, 0xC8) for trail in range(0xA1, 0xFF)]
    return english, ["".join(generator.choices(common, k=2)) for _ in range(2000)]


def record(generator: random.Random, words: tuple[list[str], list[str]]) -> dict:
    """A question and an answer of about 100 characters together."""
    english, chinese = words
    if generator.random() < 0.5:
        asked, told = ("".join(generator.choices(chinese, k=count)) for count in (14, 34))
        return {"instruction": f"{asked}，怎么办？", "input": "", "output": f"{told}。"}
    asked, told = (" ".join(generator.choices(english, k=count)) for count in (6, 12))
    return {"instruction": f"What does {asked} mean?", "input": "", "output": f"It is {told}."}


def records(count: int, seed: int = 0) -> list[dict]:
    """So many records, some of them planted."""
    generator = random.Random(seed)
    words, made = vocabulary(generator), []
    while len(made) < count:
        new, lot = record(generator, words), generator.random()
        for kind, share in PLANTED.items():
            if lot < share and made:
                new = planted(kind, new, made, generator)
                break
            lot -= share
        made.append(new)
    return made


def planted(kind: str, new: dict, made: list[dict], generator: random.Random) -> dict:
    """A record of the kind; duplicates are of one that is there already."""
    if kind == "junk":
        return {**new, "output": generator.choice(JUNK)}
    if kind == "personal":
        phone = f"1{generator.choice('3578')}{generator.randrange(10**9):09d}"
        return {**new, "output": f"{new['output']}请联系{phone}u{generator.randrange(10**6)}@example.com"}
    old = generator.choice(made)
    return dict(old) if kind == "exact" else {**old, "output": f"{old['output']}谢谢"}


def tree_bytes() -> int:
    """Memory of this process and its workers in bytes, what they share counted once where the system tells."""
    total = 0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            memory = process.memory_full_info()
            total += getattr(memory, "pss", memory.uss)
        except psutil.Error:  # ended while it was being looked at
            continue
    return total


def measure(count: int, processes: int, pipe) -> None:
    """One size, in a process of its own: the figures go into the pipe."""
    from ftkit.data.personal import find
    from ftkit.data.pipeline import prepare
    from ftkit.data.quality import language

    given = records(count)
    length = statistics.fmean(len(each["instruction"]) + len(each["output"]) for each in given)
    started = time.perf_counter()
    find("13800000000"), language("The start of all that is loaded once.")
    start_up_s = time.perf_counter() - started
    peak, done = [tree_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak.append(tree_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    load, before, started = os.getloadavg()[0], os.times(), time.perf_counter()
    prepared = prepare(given, processes=processes, progress=show)
    elapsed_s = time.perf_counter() - started
    done.set(), watcher.join()
    after = os.times()
    used_s = sum(getattr(after, field) - getattr(before, field) for field in (
        "user", "system", "children_user", "children_system"))
    steps = {row["step"]: row for row in prepared.report.rows()}
    assert steps["personal"]["notes"]["PHONE"] >= 0.9 * PLANTED["personal"] * count
    assert all(steps[name]["dropped"] >= share * count for name, share in (
        ("exact duplicates", 0.015), ("near duplicates", 0.03), ("quality", 0.015)))
    pipe.send({"records": count, "mean_characters": length, "elapsed_s": elapsed_s, "start_up_s": start_up_s,
               "peak_gib": max(peak) / 2**30, "records_per_s": count / elapsed_s, "cores": used_s / elapsed_s,
               "processor_s": used_s, "load_before": load,
               "left": len(prepared.records), "steps": list(steps.values())})


def show(step: str, done: int, total: int) -> None:
    """Progress on one line of the terminal."""
    print(f"\r  {step}: {done:,} of {total:,}   ", end="", file=sys.stderr, flush=True)


def exponent(rows: list[dict], what: str) -> float:
    """The slope of log seconds, of the clock or of the processor, over log records."""
    points = [(math.log(row["records"]), math.log(row[what])) for row in rows]
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def main() -> None:
    """Measures every size, prints the table and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    rows = []
    for count in given.sizes:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(count, given.processes, there))
        process.start()
        there.close()
        rows.append(here.recv())
        process.join()
        row = rows[-1]
        print(f"\r{count:8,} records  {row['elapsed_s']:7.2f} s  {row['peak_gib']:5.2f} GiB  "
              f"{row['records_per_s']:7.0f} records/s  {row['cores']:.2f} cores  "
              f"{row['processor_s']:6.1f} processor s  load before {row['load_before']:.1f}  "
              f"{row['left']:,} left", flush=True)
    measured = {"processes": given.processes, "limits": LIMITS, "rows": rows}
    if len(rows) > 1:
        n_log_n = [{"records": count, "seconds": count * math.log(count)} for count in given.sizes]
        measured["exponents"] = {"elapsed": exponent(rows, "elapsed_s"), "processor": exponent(rows, "processor_s"),
                                 "n_log_n": exponent(n_log_n, "seconds")}
        print("exponents: " + ", ".join(f"{name} {value:.2f}" for name, value in measured["exponents"].items()))
    if tuple(given.sizes) == SIZES:
        from results import write

        write("data", json.loads(json.dumps(measured)))


if __name__ == "__main__":
    main()
