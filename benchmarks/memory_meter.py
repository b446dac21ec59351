"""The meter itself: bytes counted on fake tensors beside real ones, a method a row, and how long large models take.

    python benchmarks/memory_meter.py [--only lora,qlora]

A model of 75 million numbers (Qwen2's architecture, random weights, float32) takes two optimizer steps on the CPU by
each method, each in a process of its own. Beside each other stand the peaks
- counted: live storages of fake tensors (`meter.measure(device="cpu")`), nothing allocated;
- allocator: what torch's CPU allocator gave out, by its profiler;
- process: by how much the process's resident memory grew, plus the model's bytes. In it is also what was freed and not
  given back, what libraries hold (packed matrices, threads), and Python's objects.

Below, the time of `measure` for architectures of 0.5 to 70 billion numbers (QLoRA, checkpointing, as on a CUDA device),
a step through all layers. Prints both tables and writes benchmarks/results/memory_meter.json.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import asdict

from ftkit.memory.setup import Setup
from ftkit.meter.measuring import measure, measure_real
from ftkit.tables import aligned
from ftkit.units import GIB

SHAPE = {"model_type": "qwen2", "hidden_size": 640, "num_hidden_layers": 12, "num_attention_heads": 10,
         "num_key_value_heads": 5, "intermediate_size": 1728, "vocab_size": 16_000, "max_position_embeddings": 1024,
         "tie_word_embeddings": False}
METHODS = {"full": {}, "freeze": {"layers": 3}, "bitfit": {}, "adapter": {}, "prefix": {}, "prompt": {}, "lora": {},
           "qlora": {}, "lora8bit": {}}
WAYS = ("counted", "allocator", "process")
LARGE = {
    "0.5B": {"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151_936, "tie_word_embeddings": True},
    "7B": {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 32, "intermediate_size": 11_008, "vocab_size": 32_000, "tie_word_embeddings": False},
    "70B": {"model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
            "num_key_value_heads": 8, "intermediate_size": 28_672, "vocab_size": 32_000, "tie_word_embeddings": False},
}


def row_of(name: str, way: str) -> dict:
    """One measurement: of a method by one of `WAYS`, or of a large model."""
    if name in LARGE:
        return asdict(measure(LARGE[name], Setup("qlora", {"rank": 16}, seq_len=512, checkpointing=True)))
    setup = Setup(name, METHODS[name], batch_size=2, seq_len=256, precision="float32")
    if way == "counted":
        return asdict(measure(SHAPE, setup, device="cpu"))
    return asdict(measure_real(SHAPE, setup, device="cpu", by_process=way == "process"))


def in_a_process(name: str, way: str) -> dict:
    """The same in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--row", name, way], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*METHODS, *LARGE)), help="methods and sizes, with commas")
    parser.add_argument("--row", nargs=2, metavar=("NAME", "WAY"), help="one measurement, as JSON")
    options = parser.parse_args()
    if options.row:
        print(json.dumps(row_of(*options.row)))
        return
    names = options.only.split(",")
    methods = [{"method": name, **{way: in_a_process(name, way) for way in WAYS}} for name in names if name in METHODS]
    large = [{"size": name, **in_a_process(name, "counted")} for name in names if name in LARGE]
    report(methods, large)


def report(methods: list[dict], large: list[dict]) -> None:
    """Prints both tables and writes the results."""
    import results  # beside this script

    for row in methods:
        row["error"] = row["counted"]["peak_bytes"] / row["allocator"]["peak_bytes"] - 1
        row["error_of_process"] = row["counted"]["peak_bytes"] / row["process"]["peak_bytes"] - 1
    print(aligned(["method", "before, GiB", *(f"{way}, GiB" for way in WAYS), "to allocator", "to process"],
                  [[row["method"], f"{row['counted']['before_bytes'] / GIB:.3f}",
                    *(f"{row[way]['peak_bytes'] / GIB:.3f}" for way in WAYS),
                    f"{row['error']:+.2%}", f"{row['error_of_process']:+.2%}"] for row in methods]))
    print(aligned(["model", "numbers", "peak, GiB", "seconds"],
                  [[row["size"], f"{row['total']:,}", f"{row['peak_bytes'] / GIB:.2f}", f"{row['elapsed_s']:.1f}"]
                   for row in large]))
    print(results.write("memory_meter", {"shape": SHAPE, "methods": methods, "large": large}))


if __name__ == "__main__":
    main()
