"""The meter itself: bytes counted on fake tensors beside real ones, a method a row, and how long large models take.

    python benchmarks/memory_meter.py [--only lora,qlora,70B] [--process]

A model of 31 million numbers (Qwen2's architecture, random weights, float32) takes two optimizer steps on the CPU by
each method. Beside each other stand the peaks
- counted: live storages of fake tensors (`meter.measure(device="cpu")`), nothing allocated;
- allocator: what torch's CPU allocator gave out, by its profiler;
- process, with --process: by how much the resident memory of a process of its own grew, plus the model's bytes. In it
  is also what was freed and not given back, what libraries hold (packed matrices, threads), and Python's objects. Most
  of it is the first: training tells glibc to keep what it frees (`cpu.reuse_freed_memory_`). Full fine-tuning of this
  model, counted as 480 MiB, grows to 565 MiB with that and to 485 MiB without.

Below, the time of `measure` for architectures of 0.5 to 70 billion numbers (QLoRA, checkpointing, as on a CUDA device),
a step through all layers, in seconds of one processor, without imports. Prints both tables and writes
benchmarks/results/memory_meter.json.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict

from ftkit.memory.setup import Setup
from ftkit.meter.measuring import Measured, measure, measure_real
from ftkit.tables import aligned
from ftkit.units import GIB, MIB

SHAPE = {"model_type": "qwen2", "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
         "num_key_value_heads": 4, "intermediate_size": 1376, "vocab_size": 8_000, "max_position_embeddings": 1024,
         "tie_word_embeddings": False}
METHODS = {"full": {}, "freeze": {"layers": 2}, "bitfit": {}, "adapter": {}, "prefix": {}, "prompt": {}, "lora": {},
           "qlora": {}, "lora8bit": {}}
LARGE = {
    "0.5B": {"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
             "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151_936, "tie_word_embeddings": True},
    "7B": {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 32, "intermediate_size": 11_008, "vocab_size": 32_000, "tie_word_embeddings": False},
    "70B": {"model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
            "num_key_value_heads": 8, "intermediate_size": 28_672, "vocab_size": 32_000, "tie_word_embeddings": False},
}


def setup_of(method: str) -> Setup:
    """How the small model is trained."""
    return Setup(method, METHODS[method], batch_size=2, seq_len=128, precision="float32")


def of_process(method: str) -> Measured:
    """The growth of a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--child", method], stdout=subprocess.PIPE, check=True, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def compared(method: str, with_process: bool) -> dict:
    """A method's peaks, and how far the counted one is from the others."""
    ways = {"counted": measure(SHAPE, setup_of(method), device="cpu"),
            "allocator": measure_real(SHAPE, setup_of(method), device="cpu")}
    if with_process:
        ways["process"] = of_process(method)
    counted = ways["counted"].peak_bytes
    print(f"{method}: {counted / ways['allocator'].peak_bytes - 1:+.3%}", flush=True)
    return {"method": method, "errors": {name: counted / one.peak_bytes - 1 for name, one in ways.items()},
            "ways": {name: asdict(one) for name, one in ways.items()}}


def timed(size: str) -> dict:
    """A large model's peak, and the seconds that it took to measure it."""
    started_s = time.process_time()
    found = measure(LARGE[size], Setup("qlora", {"rank": 16}, seq_len=512, checkpointing=True))
    cpu_s = time.process_time() - started_s
    print(f"{size}: {found.peak_bytes / GIB:.2f} GiB in {cpu_s:.1f} s", flush=True)
    return {"size": size, "cpu_s": cpu_s, **asdict(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*METHODS, *LARGE)), help="methods and sizes, with commas")
    parser.add_argument("--process", action="store_true", help="measure whole processes, too")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        setup = setup_of(options.child)
        measure_real(SHAPE | {"num_hidden_layers": 2}, setup, device="cpu")  # so that libraries are loaded
        print(json.dumps(asdict(measure_real(SHAPE, setup, device="cpu", by_process=True))))
        return
    names = options.only.split(",")
    report([compared(name, options.process) for name in names if name in METHODS],
           [timed(name) for name in names if name in LARGE])


def report(methods: list[dict], large: list[dict]) -> None:
    """Prints both tables and writes the results."""
    import results  # beside this script

    ways = list(methods[0]["ways"]) if methods else []
    print(aligned(["method", *(f"{way}, MiB" for way in ways), *(f"counted / {way}" for way in ways[1:])],
                  [[row["method"], *(f"{row['ways'][way]['peak_bytes'] / MIB:.1f}" for way in ways),
                    *(f"{row['errors'][way]:+.2%}" for way in ways[1:])] for row in methods]))
    print(aligned(["model", "numbers", "peak, GiB", "seconds"],
                  [[row["size"], f"{row['total']:,}", f"{row['peak_bytes'] / GIB:.2f}", f"{row['cpu_s']:.1f}"]
                   for row in large]))
    print(results.write("memory_meter", {"shape": SHAPE, "methods": methods, "large": large}))


if __name__ == "__main__":
    main()
