"""The planner's error: predicted against measured peaks of memory, for models of 0.5 to 72 billion numbers.

    python benchmarks/memory_error.py --predict     # writes the predictions alone, and the commit that made them
    python benchmarks/memory_error.py               # measures what is not measured yet, beside those predictions
    python benchmarks/memory_error.py --gpu         # the same on a GPU, for what fits there
    python benchmarks/memory_error.py --drawn 6     # with any of these: configurations that a seed drew (`memory_draw`)
    python benchmarks/memory_error.py --drawn 6 --again     # those once more, with today's code

A prediction that stands in the file is not made anew: the formula was finished, and the predictions were written and
committed, before any of these configurations was measured. Those that were measured while the formula was made are
another set, `DEVELOPED_ON`: small models of the same families.

What the rows of seed 6 showed to be wrong was mended after they were measured, in the formula, in the meter and in the
training that both follow; `--again` predicts and measures them with today's code, beside what stood there first. Those
of seed 7 were drawn, predicted and measured once, after that.

Measured is the most that live tensors take at once in two steps of the whole training, all layers, run by the code
that trains for real, on tensors without storage (`ftkit.meter`); where a GPU computes otherwise than a CPU, its
kernels' tensors are modelled, which each row's notes say. Prints a table and writes
benchmarks/results/memory_error.json.
"""

import argparse
import gc
import statistics

import memory_draw
import results

from ftkit import cards, files
from ftkit.memory.models import model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import Setup
from ftkit.memory.shape import shape_of
from ftkit.tables import aligned
from ftkit.units import bytes_to_words, count_to_words

NAME, AGAIN = "memory_error", "mended"
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DEVELOPED_ON = [  # of 2 to 4 layers, 768 to 1024 numbers wide, 8,000 tokens or fewer in the vocabulary
    "llama: lora, qlora, qlora with checkpointing, full, full and lora in float32, lora on attention, lora with "
    "dropout, lora on the last layer, lora8bit, lora8bit with checkpointing, prompt, prefix, full and lora in mixed "
    "precision, lora with eager attention and with math, full with adamw8bit and with lion, full with accumulation, "
    "qlora with the float32 cast", "qwen2: bitfit", "qwen3: lora", "phi3: qlora, full with checkpointing", "gpt2: lora",
    "gpt_neo: lora", "gpt_neox: full", "gemma: qlora", "gemma2: lora", "falcon: lora"]
ROWS = [
    ("qwen2.5-0.5b", {"method": "full", "batch_size": 4}),
    ("qwen2.5-0.5b", {"method": "full", "precision": "float32", "mixed": "bfloat16", "batch_size": 2}),
    ("qwen2.5-0.5b", {"method": "lora", "batch_size": 8, "seq_len": 256, "precision": "float32",
                      "attention": "efficient"}),
    ("qwen2.5-1.5b", {"method": "qlora", "settings": {"rank": 16}, "batch_size": 4, "seq_len": 1024,
                      "checkpointing": True}),
    ("qwen2.5-1.5b", {"method": "bitfit", "batch_size": 2}),
    ("gpt-neo-1.3b", {"method": "lora", "batch_size": 2, "attention": "eager"}),
    ("phi-3-mini", {"method": "qlora", "settings": {"rank": 16}, "batch_size": 2, "seq_len": 1024}),
    ("phi-3-mini", {"method": "lora", "settings": {"target_modules": ["qkv_proj", "o_proj"]}, "seq_len": 2000,
                    "checkpointing": True}),
    ("yi-6b", {"method": "qlora", "settings": {"target_modules": ATTENTION}, "seq_len": 2048}),
    ("llama-2-7b", {"method": "qlora", "settings": {"rank": 16}, "checkpointing": True}),
    ("llama-2-7b", {"method": "lora", "settings": {"rank": 8, "target_modules": ATTENTION}}),
    ("llama-2-7b", {"method": "lora8bit", "settings": {"rank": 16}}),
    ("llama-2-7b", {"method": "full", "optimizer": "adamw8bit", "checkpointing": True}),
    ("llama-2-7b", {"method": "prompt", "batch_size": 4, "seq_len": 256}),
    ("mistral-7b", {"method": "qlora", "settings": {"rank": 64}, "batch_size": 2, "seq_len": 1024, "label_share": 0.25,
                    "checkpointing": True}),
    ("qwen2.5-7b", {"method": "qlora", "settings": {"rank": 16}, "seq_len": 2048}),
    ("qwen2.5-7b", {"method": "qlora", "settings": {"rank": 16}, "seq_len": 1024, "float32_cast": True, "logits": "all",
                    "checkpointing": True, "way": "peft"}),
    ("qwen2.5-7b", {"method": "freeze", "settings": {"layers": 2}, "batch_size": 2}),
    ("llama-3-8b", {"method": "qlora", "settings": {"rank": 16}, "seq_len": 4096, "checkpointing": True}),
    ("llama-3-8b", {"method": "adapter", "seq_len": 1024}),
    ("qwen3-8b", {"method": "qlora", "settings": {"rank": 32, "dropout": 0.05}, "seq_len": 1024}),
    ("gemma-2-9b", {"method": "qlora", "settings": {"target_modules": ATTENTION}, "seq_len": 1024,
                    "attention": "eager"}),
    ("llama-2-13b", {"method": "qlora", "settings": {"rank": 16}, "seq_len": 1024}),
    ("llama-2-13b", {"method": "prefix", "attention": "efficient"}),
    ("llama-2-70b", {"method": "qlora", "settings": {"rank": 16}, "seq_len": 1024, "checkpointing": True}),
    ("qwen2.5-72b", {"method": "qlora", "settings": {"layers": "last 20"}, "quantization": "fp4"}),
]


def rows_so_far(seed: int | None) -> list[dict]:
    """The rows of the file; new ones, with a prediction made now, where it has none."""
    there = (_written().get("drawn", {}).get(str(seed), {}) if seed else _written()).get("rows", [])
    known = {_key(row["model"], row["setup"]): row for row in there}
    return [known.get(_key(model, setup)) or _predicted(model, setup)
            for model, setup in (memory_draw.drawn(seed) if seed else ROWS)]


def config_of(model: str | dict) -> dict:
    """A row's model, by its name in the table or as a config."""
    return model if isinstance(model, dict) else dict(model_named(model).config)


def measure(row: dict, device: str) -> None:
    """Measures a row beside its prediction: without storage, or on a GPU."""
    from ftkit.meter import measuring

    config, setup, way = _read(row["model"], row["setup"])
    found = measuring.measure_real(config, setup, device="cuda", way=way) if device == "gpu" else \
        measuring.measure(config, setup, way=way)
    predicted = predict(config, setup, way).peak_bytes if device == AGAIN else row["predicted_bytes"]
    row[device] = {"predicted_bytes": predicted} if device == AGAIN else {}
    row[device] |= {"measured_bytes": found.peak_bytes, "error": predicted / found.peak_bytes - 1,
                   "phase": found.phase, "counted": found.counted, "notes": list(found.notes),
                   "elapsed_s": round(found.elapsed_s, 1)}


def summary(rows: list[dict], device: str) -> dict:
    """Median and worst of the errors without their sign, over the measured rows."""
    errors = sorted(abs(row[device]["error"]) for row in rows if device in row)
    families = {config_of(row["model"])["model_type"] for row in rows if device in row}
    return {"configurations": len(errors), "median_error": statistics.median(errors) if errors else None,
            "worst_error": errors[-1] if errors else None, "families": sorted(families),
            "qlora": sum(row["setup"]["method"] == "qlora" for row in rows if device in row)}


def shown(rows: list[dict], device: str) -> str:
    """The rows as a table."""
    cells = []
    for row in rows:
        one, setup = row.get(device), row["setup"]
        cells.append([_name(row["model"]), setup["method"], setup.get("batch_size", 1), setup.get("seq_len", 512),
                      ", ".join(name for name in ("checkpointing", "float32_cast", "mixed", "way")
                                if setup.get(name) not in (None, False, "ours")),
                      bytes_to_words((one or row).get("predicted_bytes", row["predicted_bytes"])),
                      bytes_to_words(one["measured_bytes"]) if one else "",
                      f"{one['error']:+.2%}" if one else "not measured", row["moment"]])
    return aligned(["model", "method", "rows", "tokens", "with", "predicted", "measured", "error", "highest in"], cells)


def _predicted(model: str, setup: dict) -> dict:
    found = predict(*_read(model, setup))
    return {"model": model, "setup": setup, "predicted_bytes": found.peak_bytes, "moment": found.moment,
            "predicted_by": cards.commit()}


def _read(model: str | dict, setup: dict) -> tuple[dict, Setup, str]:
    settings = dict(setup)
    way = settings.pop("way", "ours")
    return config_of(model), Setup(**settings), way


def _key(model: str | dict, setup: dict) -> str:
    return f"{model} {sorted((name, str(value)) for name, value in setup.items())}"


def _name(model: str | dict) -> str:
    return model if isinstance(model, str) else f"{model['model_type']} {count_to_words(shape_of(model).parameters)}"


def _written() -> dict:
    path = results.FOLDER / f"{NAME}.json"
    return files.read_json(path) if path.is_file() else {}


def _write(rows: list[dict], seed: int | None) -> None:
    summaries = {"without_storage": summary(rows, "fake"), "on_a_gpu": summary(rows, "gpu")}
    tables = {name: _written()[name] for name in ("developed_on", "without_storage", "on_a_gpu", "rows", "drawn")
              if name in _written()}
    if seed:
        tables.setdefault("drawn", {})[str(seed)] = {**summaries, AGAIN: summary(rows, AGAIN), "rows": rows}
    results.write(NAME, tables if seed else tables | {"developed_on": DEVELOPED_ON, **summaries, "rows": rows})


def main() -> None:
    """Predicts, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predict", action="store_true", help="write the predictions alone")
    parser.add_argument("--gpu", action="store_true", help="measure on a GPU what fits there")
    parser.add_argument("--drawn", type=int, choices=memory_draw.COUNTS, help="the table that this seed drew")
    parser.add_argument("--again", action="store_true", help="a drawn table once more, with today's code")
    parser.add_argument("--only", nargs="*", metavar="MODEL", help="measure the rows of these models alone")
    options = parser.parse_args()
    if options.again and not options.drawn:
        parser.error("--again takes a drawn table: give its seed with --drawn")
    rows, device = rows_so_far(options.drawn), AGAIN if options.again else "gpu" if options.gpu else "fake"
    _write(rows, options.drawn)
    if options.gpu:
        from random_models import rename_
        from transformers import PreTrainedModel

        rename_(PreTrainedModel)
    for row in rows if not options.predict else ():
        if device in row or (options.only and _name(row["model"]) not in options.only):
            continue
        if options.gpu and not _has_room(row):
            print(f"{_name(row['model'])}, {row['setup']['method']}: no room on this GPU, not measured", flush=True)
            continue
        try:
            measure(row, device)
        except Exception as error:  # whatever a library raises for a configuration that it cannot run
            row["unmeasured"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        _write(rows, options.drawn)
        print(shown([row], device).splitlines()[-1], flush=True)
    print(shown(rows, device), summary(rows, device), sep="\n")


def _has_room(row: dict) -> bool:
    import torch

    whole = 2 * shape_of(config_of(row["model"])).parameters  # it is made in bfloat16 and quantised then
    needed = max(row["predicted_bytes"], whole if row["setup"].get("precision") != "float32" else 2 * whole)
    gc.collect()
    torch.cuda.empty_cache()  # of the row before: what torch keeps for itself is not free
    return torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > 1.1 * needed


if __name__ == "__main__":
    main()
