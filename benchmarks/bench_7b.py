"""A 7B on this machine: random weights in the shape of Qwen2.5-7B, loaded in 4 bits and trained for a few steps.

    python benchmarks/bench_7b.py [--layers 28] [--steps 6] [--tokens 128] [--threads 2] [--folder DIR] [--keep]

No weights of a 7B are needed, and nothing is downloaded. The checkpoint is written in shards of a layer each (15.2 GB
for 28 layers) and never is in memory as a whole; a shard stands under its name only when it is whole, so that a build
that was stopped goes on where it stopped. Then a fresh process loads it as lesson 18 does and takes QLoRA steps on one
row of records, again and again. The weights are random: time, memory and sizes are those of the real model, what the
model says means nothing, and the loss shows only that the adapter learns. Afterwards the checkpoint is deleted, unless
`--keep`. Prints a table and writes benchmarks/results/bench_7b.json (with all layers only).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

from ftkit import checkpoints, device, files, footprint, methods, progress, tables, targets
from ftkit.chat import encode_all
from ftkit.hub import load_model
from ftkit.tiny import base, clinic
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train
from ftkit.units import GIB

QWEN = {"vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False, "bos_token_id": None, "eos_token_id": 3, "pad_token_id": 1}  # as its config.json
SPREAD = 0.02  # of a weight, as its config.json says a fresh one has
SAMPLE_EVERY_S = 0.02
BUILD = Path(__file__).parents[1] / "build" / "bench_7b"


def shards_of(config: dict) -> list[dict[str, tuple[int, ...]]]:
    """Names and shapes of all tensors, a shard a layer, embeddings and head each in one of their own."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", **config))
    shards: dict[str, dict] = {}
    for name, one in model.state_dict().items():
        part = ".".join(name.split(".")[:3]) if ".layers." in name else name
        shards.setdefault(part, {})[name] = tuple(one.shape)
    return list(shards.values())


def build(folder: Path, layers: int) -> Path:
    """The checkpoint, built as far as it is not there yet."""
    config = QWEN | {"num_hidden_layers": layers}
    shards = shards_of(config)
    paths = [folder / f"model-{place:05}-of-{len(shards):05}.safetensors" for place in range(1, len(shards) + 1)]
    left = sum(2 * count(shapes) for path, shapes in zip(paths, shards, strict=True) if not path.is_file())
    footprint.refuse_small_disk(folder, "the shards that are not written yet", left)
    folder.mkdir(parents=True, exist_ok=True)
    lines = progress.Lines("building")
    for place, (path, shapes) in enumerate(zip(paths, shards, strict=True)):
        if not path.is_file():
            write_shard(path, shapes, seed=place)
        lines.reach((place + 1) / len(shards), f"shard {place + 1} of {len(shards)}")
    weight_map = {name: path.name for path, shapes in zip(paths, shards, strict=True) for name in shapes}
    files.write_json(folder / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(2 * count(shapes) for shapes in shards)}, "weight_map": weight_map})
    own = AutoConfig.for_model("qwen2", architectures=["Qwen2ForCausalLM"], dtype="bfloat16", **config)
    own.save_pretrained(folder)
    for path in base.folder().iterdir():  # a tokenizer with fewer tokens than the model has rows will do
        if path.name.startswith(("tokenizer", "chat_template")):
            shutil.copy(path, folder / path.name)
    return checkpoints.check(folder)


def write_shard(path: Path, shapes: dict[str, tuple[int, ...]], seed: int) -> None:
    """One shard of random weights; norms are ones and biases zeros, as a fresh model has them."""
    drawn = torch.Generator().manual_seed(seed)
    tensors = {name: torch.zeros(shape, dtype=torch.bfloat16) if name.endswith("bias")
               else torch.ones(shape, dtype=torch.bfloat16) if len(shape) == 1
               else torch.empty(shape, dtype=torch.bfloat16).normal_(0, SPREAD, generator=drawn)
               for name, shape in shapes.items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        with files.needs_room(path.parent, path.name, 2 * count(shapes), "Then run it again: what is built stays."):
            save_file(tensors, partial, metadata={"format": "pt"})
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def count(shapes: dict[str, tuple[int, ...]]) -> int:
    """How many numbers these shapes hold."""
    return sum(torch.Size(shape).numel() for shape in shapes.values())


class Memory:
    """The highest memory of this process that is no file's, sampled by a thread; on a GPU the allocator's own figure.

    Files that are mapped count as resident but not as anonymous: the system takes their pages back when it needs them.
    """

    def __init__(self):
        self._peak = {"anonymous": 0, "file": 0}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text("ascii", errors="replace").splitlines():
                name, _, value = line.partition(":")
                if name in ("RssAnon", "RssFile"):
                    kind = "anonymous" if name == "RssAnon" else "file"
                    self._peak[kind] = max(self._peak[kind], int(value.split()[0]) * 1024)
            time.sleep(SAMPLE_EVERY_S)

    def peaks(self) -> dict[str, float]:
        """Highest so far, in GiB."""
        time.sleep(2 * SAMPLE_EVERY_S)
        on_gpu = {"gpu": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {}
        return {f"peak_{kind}_gib": round(value / GIB, 3) for kind, value in (self._peak | on_gpu).items()}


def measure(folder: Path, steps: int, tokens: int, threads: int) -> Iterator[dict]:
    """What a fresh process finds, a piece at a time: loading, preparing, each step, saving."""
    torch.set_num_threads(threads)
    memory, began_s = Memory(), time.perf_counter()
    model, tokenizer = load_model(folder, dtype="stored", quantization="nf4")
    yield {"load_s": time.perf_counter() - began_s, "after_loading": memory.peaks(),
           "embedding_dtype": str(model.get_input_embeddings().weight.dtype).removeprefix("torch."),
           "parameters": targets.counts(model)[1]}
    prepared = methods.prepare(model, "qlora", rank=16, alpha=32)
    examples = one_row(encode_all(clinic.records("train"), tokenizer, tokens)[0], tokens)
    config = TrainConfig(learning_rate=5e-4, schedule="constant", max_steps=steps, batch_size=1, grouping="packed",
                         seq_len=tokens, activation_checkpointing=True)
    yield {"trainable": prepared.trainable, "learning_rate": config.learning_rate}
    began_s = time.perf_counter()
    for record in train(prepared.model, examples, config, pad_id=tokenizer.pad_token_id):
        yield {"step": {"loss": record["loss"], "grad_norm": record["grad_norm"], "tokens": record["real_tokens"],
                        "s": time.perf_counter() - began_s}}
        began_s = time.perf_counter()
    saved = methods.save(prepared, folder / "adapter", "random weights")
    yield {"adapter_mb": sum(path.stat().st_size for path in saved.iterdir()) / 1e6} | memory.peaks()


def one_row(examples: list, tokens: int) -> list:
    """So many of the examples that they fill a row of tokens, so that every step sees the same."""
    taken, room = [], tokens
    for one in examples:
        if len(one.input_ids) <= room:
            taken, room = [*taken, one], room - len(one.input_ids)
    return taken


def measured(folder: Path, options: argparse.Namespace) -> dict:
    """What `measure` finds in a process of its own, whose memory is nobody else's."""
    command = [sys.executable, __file__, "--measure", "--folder", str(folder), "--steps", str(options.steps),
               "--tokens", str(options.tokens), "--threads", str(options.threads)]
    found: dict = {"steps": []}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            for line in child.stdout:
                if not line.startswith("{"):
                    print(line, end="")
                    continue
                piece = json.loads(line)
                if "step" in piece:
                    found["steps"].append(piece["step"])
                    print(f"step {len(found['steps'])}: loss {piece['step']['loss']:.3f}, {piece['step']['s']:.1f} s",
                          flush=True)
                else:
                    found |= piece
        except BaseException:
            child.terminate()
            raise
    if child.returncode:
        raise SystemExit(f"measuring ended with {child.returncode}. What is built stays in {folder}.")
    return found


def main() -> None:
    """Build, measure, print, write, delete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=QWEN["num_hidden_layers"], help="2 to try it")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=128, help="of a row")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--keep", action="store_true", help="leave the checkpoint where it is")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder or BUILD / f"random-qwen2.5-{options.layers}-layers"
    if options.measure:
        for piece in measure(folder, options.steps, options.tokens, options.threads):
            print(json.dumps(piece), flush=True)
        return
    began_s = time.perf_counter()
    try:
        build(folder, options.layers)
        build_s = time.perf_counter() - began_s
        found = measured(folder, options)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped. What is built stays in {folder}: run it again to go on, or delete it.") from None
    report(found | {"build_s": build_s}, folder, options)
    if not options.keep:
        shutil.rmtree(folder)


def report(found: dict, folder: Path, options: argparse.Namespace) -> None:
    """Prints what was found; with all layers it is written to the results, too."""
    seconds = sorted(step["s"] for step in found["steps"][1:] or found["steps"])
    found |= {"weights": "random, in the shapes of Qwen2.5-7B", "layers": options.layers, "threads": options.threads,
              "tokens": options.tokens, "step_s": seconds[len(seconds) // 2], "device": str(device.choose_device()),
              "on_disk_gb": sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e9}
    losses = [step["loss"] for step in found["steps"]]
    rows = [["parameters", f"{found['parameters']:,}"], ["on the disk", f"{found['on_disk_gb']:.2f} GB"],
            ["building", f"{found['build_s']:.0f} s"], ["loading in 4 bits", f"{found['load_s']:.0f} s"],
            ["highest anonymous memory after loading", f"{found['after_loading']['peak_anonymous_gib']:.2f} GiB"],
            ["highest anonymous memory in all", f"{found['peak_anonymous_gib']:.2f} GiB"],
            ["trained", f"{found['trainable']:,}"], ["a step (median, without the first)", f"{found['step_s']:.1f} s"],
            ["loss", f"{losses[0]:.3f} → {losses[-1]:.3f}"], ["adapter", f"{found['adapter_mb']:.1f} MB"]]
    print("\nrandom weights in the shapes of Qwen2.5-7B: the words of this model mean nothing")
    print(tables.aligned([f"{options.layers} layers, {options.tokens} tokens a step", ""], rows))
    if options.layers == QWEN["num_hidden_layers"]:
        from results import write

        print(f"written to {write('bench_7b', found).name}")


if __name__ == "__main__":
    main()
