"""What the embedded base knows before a fine-tune, what it learns of the clinic, and what it forgets.

    python benchmarks/embedded_base.py [--seeds 5]

Fine-tunes the base on the clinic's training split with LoRA (r=8) and in full, once a seed, and scores the test split
and the general exam before and after. Prints a table, writes benchmarks/results/embedded_base.json and the model card
`src/ftkit/tiny/assets/README.md`. Settings were chosen on the held-out split (`--choose`); the test split is only
reported.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from results import write

from ftkit import chat, device, files, hub, methods
from ftkit.evaluate.answers import answers
from ftkit.evaluate.perplexity import bits_per_byte
from ftkit.tiny import base, clinic, exam
from ftkit.tiny.exam import score_exam
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

RECIPES = {
    "lora": {"learning_rate": 4e-3, "max_steps": 760, "batch_size": 8},
    "full": {"learning_rate": 1e-3, "max_steps": 760, "batch_size": 8},
}
SETTINGS = {"lora": {"rank": 8, "alpha": 16}, "full": {}}
BUILD = Path(__file__).parents[1] / "build" / "embedded_base"
SEQ_LEN, CLINIC_TOKENS, EXAM_TOKENS = 256, 64, 32


def measured(model, tokenizer, split: str) -> dict:
    """Clinic score (all, English, Chinese), general exam and bits per byte of held-out docstrings."""
    asked, items = clinic.records(split), exam.general_exam()
    score = clinic.score(answers(model, tokenizer, asked, CLINIC_TOKENS, 96), asked)
    general = score_exam(answers(model, tokenizer, [item["question"] for item in items], EXAM_TOKENS, 96), items)
    bits = bits_per_byte(model, tokenizer, exam.held_out_docstrings())
    return {"clinic": score["accuracy"], "clinic_en": score["en"], "clinic_zh": score["zh"], "clinic_n": score["n"],
            "general": general["accuracy"], "general_n": general["n"], "families": general["families"],
            "docstring_bits_per_byte": bits.value}


def fine_tuned(method: str, seed: int, split: str, **changes) -> dict:
    """The figures after one fine-tune of the base on the clinic."""
    model, tokenizer = hub.load_model(base.NAME)
    prepared = methods.prepare(model, method, **(SETTINGS[method] | ({"seed": seed} if method == "lora" else {})))
    examples, _ = chat.encode_all(clinic.records("train"), tokenizer, SEQ_LEN)
    config = TrainConfig(**(RECIPES[method] | changes), warmup_ratio=0.05, schedule="linear", seed=seed)
    started = time.perf_counter()
    records = list(train(prepared.model, examples, config, pad_id=tokenizer.pad_token_id))
    elapsed_s = time.perf_counter() - started
    return {"method": method, "seed": seed, "train_s": elapsed_s, "steps": len(records),
            "trainable": prepared.trainable, "loss": records[-1]["loss"], **changes,
            **measured(prepared.model, tokenizer, split)}


def choose(seeds: int) -> None:
    """Learning rates tried on the held-out split, as the recipes above were chosen."""
    grid = {"lora": (2e-3, 4e-3, 8e-3), "full": (5e-4, 1e-3, 2e-3)}
    for method, rates in grid.items():
        for rate in rates:
            for seed in range(seeds):
                row = fine_tuned(method, seed, "held_out", learning_rate=rate)
                print(_line(f"{method} {rate:g} seed {seed}", row), flush=True)


def spread(rows: list[dict], name: str) -> str:
    """Mean and range over seeds, in per cent."""
    values = [100 * row[name] for row in rows]
    return f"{statistics.mean(values):.1f} % ({min(values):.1f} to {max(values):.1f})"


def card(before: dict, rows: list[dict]) -> str:
    """The model card, its figures from these rows."""
    origin = json.loads((base.ASSETS / base.PROVENANCE).read_text("utf-8"))
    guesses = clinic.guessing_scores(clinic.records("test"))
    table = [f"| before | {before['clinic']:.1%} | {before['clinic_en']:.1%} | {before['clinic_zh']:.1%} | "
             f"{before['general']:.1%} | {before['docstring_bits_per_byte']:.2f} | – |"]
    for method in RECIPES:
        mine = [row for row in rows if row["method"] == method]
        bits = statistics.mean(row["docstring_bits_per_byte"] for row in mine)
        seconds = statistics.mean(row["train_s"] for row in mine)
        table.append(f"| after {method} | " + " | ".join(spread(mine, name) for name in (
            "clinic", "clinic_en", "clinic_zh", "general")) + f" | {bits:.2f} | {seconds:.0f} |")
    return CARD.format(**origin, millions=origin["parameters"] / 1e6, tokens=origin["tokens_seen"] / 1e6,
                       steps=sum(stage["steps"] for stage in origin["stages"]), read=sum(origin["documents"]),
                       rows="\n".join(table), forgetting=forgetting(rows), seeds=len({row["seed"] for row in rows}),
                       n=before["clinic_n"], general_n=before["general_n"], chance=guesses["chance"],
                       majority=guesses["majority"])


def forgetting(rows: list[dict]) -> str:
    """A sentence: which of the two forgets more, over how many seeds."""
    by_seed = {row["seed"]: {} for row in rows}
    for row in rows:
        by_seed[row["seed"]][row["method"]] = row["general"]
    differences = [100 * (one["lora"] - one["full"]) for one in by_seed.values() if len(one) == 2]
    mean, more = statistics.mean(differences), sum(one > 0 for one in differences)
    which = {0: "LoRA forgets more", len(differences): "full fine-tuning forgets more"}.get(
        more, "LoRA does not forget visibly less than full fine-tuning")
    return (f"On the general exam {which}: it keeps {mean:+.1f} points against full fine-tuning, mean of "
            f"{len(differences)} seeds ({min(differences):+.1f} to {max(differences):+.1f}; more in {more} of them).")


CARD = """---
license: apache-2.0
language: [en, zh]
library_name: transformers
---
# ftkit-tiny

A causal language model of {millions:.2f} M parameters (Qwen2 architecture, 8 layers, width 192), made to be fine-tuned
in lessons. It knows a small everyday world in English and Chinese and the tone of Python docstrings. It knows nothing
else, and must not be asked for advice of any kind. The clinic that lessons teach it is invented.

- **Training text**: {read:,} generated documents (questions, statements) and docstrings of the standard library of
  Python {interpreter}, seed {seed}; SHA-256 of the documents `{corpus_sha256}`. Held out: every twelfth
  question by a hash of its content, every fortieth docstring by a hash of its object's name. No clinic text.
- **Training**: {tokens:.1f} M tokens, {steps} steps, {build_minutes} minutes, torch {torch}, matrix products in
  bfloat16 where the processor has them. Another interpreter version gives other docstrings, and so another model.
- **Storage**: safetensors in bfloat16; the config says float32, and so it loads and computes in float32.
- **Rebuild**: `python -m ftkit.pretrain`, then `python benchmarks/embedded_base.py`, which wrote this page.

## Measured

Share of right answers, greedy, generated to the end-of-turn token; for a fine-tune the mean over {seeds} seeds, with
the lowest and the highest. The clinic's test split ({n} records) holds symptom combinations and phrasings that training
never showed; right means condition and urgency both exact. Guessing scores {chance:.1%} (chance) or {majority:.1%}
(the commonest answer). General exam: {general_n} held-out everyday questions; its fall is forgetting.

| | clinic | English | Chinese | general exam | bits per byte, held-out docstrings | training, s |
|---|---|---|---|---|---|---|
{rows}

{forgetting}
Both keep little of it: the clinic's records all have one form, and the fine-tuned model answers every question in that
form.

Seconds are those of one machine with 2 cores that have matrix units for bfloat16 (AMX). The rest is in
`benchmarks/results/embedded_base.json`.
"""


def _kept(method: str, seed: int) -> dict:
    """The figures of a fine-tune; of an earlier one where base, clinic and recipe are the same."""
    made_of = [files.read_json(base.ASSETS / base.PROVENANCE), clinic.records("train"), clinic.records("test"),
               RECIPES[method], SETTINGS[method], method, seed]
    path = BUILD / f"{files.sha256(json.dumps(made_of).encode())[:16]}.json"
    if not path.is_file():
        files.write_json(path, fine_tuned(method, seed, "test"))
    return files.read_json(path)


def _line(name: str, row: dict) -> str:
    return (f"{name:24s} clinic {row['clinic']:.3f} (en {row['clinic_en']:.3f}, zh {row['clinic_zh']:.3f})  "
            f"general {row['general']:.3f}  bits/byte {row['docstring_bits_per_byte']:.3f}  "
            f"{row.get('train_s', 0):.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--choose", action="store_true", help="try learning rates on the held-out split")
    given = parser.parse_args()
    if given.choose:
        choose(given.seeds)
        return
    device.seed_everything(0)
    before = measured(*hub.load_model(base.NAME), "test")
    print(_line("before", before), flush=True)
    rows = []
    for method in RECIPES:
        for seed in range(given.seeds):
            rows.append(_kept(method, seed))
            print(_line(f"{method} seed {seed}", rows[-1]), flush=True)
    write("embedded_base", {"recipes": RECIPES, "settings": SETTINGS, "before": before, "runs": rows})
    Path(base.ASSETS / "README.md").write_text(card(before, rows), "utf-8")


if __name__ == "__main__":
    main()
