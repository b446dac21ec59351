"""Training speed of ftkit beside trl's SFTTrainer with peft, on the same records, recipe and machine.

    python benchmarks/train_speed.py [--repeats 3] [--steps 40] [--only clinic]

Each arm is a process of its own; arms alternate, so that a busy machine slows all alike. The records of the second data
set are those of a file given in the variable FTKIT_REAL_DATA (a folder); without it that part is left out and says so.
Prints a table and writes benchmarks/results/train_speed.json. `--profile` prints where our own time goes.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, RANK, ALPHA, LEARNING_RATE, WARMUP_STEPS, SEQ_LEN = 16, 8, 16, 5e-3, 10, 512
RECORDS, HELD_OUT = 1600, 144
ARMS = {
    "ftkit": "ftkit as it comes",
    "trl": "trl as it comes",
    "trl_grouped": "trl, lengths grouped, nothing recomputed",
    "trl_grouped_float32": "trl, lengths grouped, nothing recomputed, float32",
    "trl_packed": "trl, packed rows, nothing recomputed, float32",
}
PEER = "trl"


def records_of(name: str) -> tuple[list[dict], list[dict]]:
    """Training and held-out records of a data set; the lengths of real records, or of the clinic's."""
    if name == "clinic":
        from ftkit.tiny import clinic

        return clinic.records("train")[:RECORDS], clinic.records("held_out")[:HELD_OUT]
    from ftkit.data.reading import read

    found = read(Path(os.environ["FTKIT_REAL_DATA"]) / "huatuo_llama_data.json").records
    random.Random(0).shuffle(found)
    return found[:RECORDS], found[RECORDS:RECORDS + HELD_OUT]


def run_arm(arm: str, data: str, steps: int, seed: int) -> dict:
    """One training in this process: real tokens a second, peak memory, held-out loss afterwards."""
    import torch

    from ftkit import chat, hub
    from ftkit.device import peak_gib

    train_records, held_records = records_of(data)
    model, tokenizer = hub.load_model("ftkit-tiny")
    examples, _ = chat.encode_all(train_records, tokenizer, SEQ_LEN)
    held_out, _ = chat.encode_all(held_records, tokenizer, SEQ_LEN)
    if arm == "ftkit":
        model, elapsed_s, tokens = _train_ftkit(model, tokenizer, examples, steps, seed)
    else:
        model, elapsed_s, tokens = _train_trl(arm, model, tokenizer, train_records, examples, steps, seed)
    peak = peak_gib()
    torch.set_float32_matmul_precision("highest")
    from ftkit.batches import collate
    from ftkit.losses import label_loss

    model.eval()
    with torch.no_grad():
        parts = [label_loss(model, collate(held_out[i:i + 16], tokenizer.pad_token_id))
                 for i in range(0, len(held_out), 16)]
    loss = sum(float(total) for total, _ in parts) / sum(count for _, count in parts)
    return {"arm": arm, "data": data, "seed": seed, "steps": steps, "real_tokens": tokens, "train_s": elapsed_s,
            "tokens_per_s": tokens / elapsed_s, "peak_gib": peak, "held_out_loss": loss}


def _train_ftkit(model, tokenizer, examples, steps, seed):
    from ftkit import methods
    from ftkit.train.config import TrainConfig
    from ftkit.train.loop import train

    prepared = methods.prepare(model, "lora", rank=RANK, alpha=ALPHA, seed=seed)
    config = TrainConfig(learning_rate=LEARNING_RATE, max_steps=steps, batch_size=ROWS, warmup_steps=WARMUP_STEPS,
                         schedule="linear", seed=seed)
    training = train(prepared.model, examples, config, pad_id=tokenizer.pad_token_id)
    started = time.perf_counter()
    records = list(training)
    return prepared.model, time.perf_counter() - started, sum(record["real_tokens"] for record in records)


def _train_trl(arm, model, tokenizer, train_records, examples, steps, seed):
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from ftkit.chat import messages_of

    turns = [messages_of(record) for record in train_records]
    dataset = Dataset.from_list([{"prompt": one[:-1], "completion": one[-1:]} for one in turns])
    mean_length = statistics.mean(len(example.input_ids) for example in examples)
    rows = max(1, round(ROWS * mean_length / SEQ_LEN)) if arm == "trl_packed" else ROWS
    best = {"gradient_checkpointing": False} if arm != PEER else {}
    if "grouped" in arm:
        best["train_sampling_strategy"] = "group_by_length"
    if arm == "trl_packed":
        best |= {"packing": True, "max_length": SEQ_LEN}
    if arm in ("trl_packed", "trl_grouped_float32"):
        best["bf16"] = False
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(output_dir=folder, use_cpu=True, per_device_train_batch_size=rows, max_steps=steps,
                           learning_rate=LEARNING_RATE, warmup_steps=WARMUP_STEPS, seed=seed, save_strategy="no",
                           logging_steps=steps, disable_tqdm=True, report_to="none", **best)
        trainer = SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer,
                             peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear"))
        counted = _count_real_tokens(trainer)
        started = time.perf_counter()
        trainer.train()
        return trainer.model, time.perf_counter() - started, counted[0]


def _count_real_tokens(trainer) -> list[int]:
    """Counts what each collated batch holds besides padding; the counting costs microseconds a batch."""
    counted, collate = [0], trainer.data_collator

    def counting(features):
        batch = collate(features)
        mask = batch.get("attention_mask")
        counted[0] += int(mask.sum()) if mask is not None else batch["input_ids"].numel()
        return batch

    trainer.data_collator = counting
    return counted


def measure(datas: list[str], arms: list[str], repeats: int, steps: int) -> list[dict]:
    """Every arm on every data set, alternating, each in a process of its own."""
    rows = []
    for repeat in range(repeats):
        for data in datas:
            for arm in arms:
                command = [sys.executable, __file__, "--arm", arm, "--data", data, "--steps", str(steps),
                           "--seed", str(repeat)]
                done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
                if done.returncode:
                    raise SystemExit(f"{arm} on {data} failed:\n{done.stderr[-3000:]}")
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                row = rows[-1]
                print(f"{data:8s} {arm:14s} seed {repeat}  {row['tokens_per_s']:8.0f} real tokens/s  "
                      f"{row['peak_gib']:.2f} GiB  held-out loss {row['held_out_loss']:.4f}", flush=True)
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """One row for each data set and arm: medians, the ratio to trl as it comes, the spread of the held-out loss."""
    table = []
    for data, arm in dict.fromkeys((row["data"], row["arm"]) for row in rows):
        mine = [row for row in rows if (row["data"], row["arm"]) == (data, arm)]
        peers = {row["seed"]: row for row in rows if (row["data"], row["arm"]) == (data, PEER)}
        ratios = [row["tokens_per_s"] / peers[row["seed"]]["tokens_per_s"] for row in mine if row["seed"] in peers]
        losses = [row["held_out_loss"] for row in mine]
        table.append({"data": data, "arm": arm, "tokens_per_s": statistics.median(r["tokens_per_s"] for r in mine),
                      "ratio_to_trl": statistics.median(ratios) if ratios else None,
                      "peak_gib": max(row["peak_gib"] for row in mine), "held_out_loss": statistics.mean(losses),
                      "held_out_spread": max(losses) - min(losses), "repeats": len(mine)})
    return table


def profile(steps: int) -> None:
    """Where our own time goes: torch's profile of one training on one thread, by operation."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiled

    with profiled(activities=[ProfilerActivity.CPU]) as found:
        run_arm("ftkit", "clinic", steps, 0)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=44))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", choices=["clinic", "real"])
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(run_arm(given.arm, given.data, given.steps, given.seed)))
        return
    if given.profile:
        profile(given.steps)
        return
    datas = [given.only] if given.only else ["clinic", "real"]
    if "real" in datas and not os.environ.get("FTKIT_REAL_DATA"):
        print("FTKIT_REAL_DATA is not set: the lengths of real records are not measured.")
        datas.remove("real")
    rows = measure(datas, given.arms.split(","), given.repeats, given.steps)
    table = summary(rows)
    for row in table:
        ratio = f"{row['ratio_to_trl']:.2f}" if row["ratio_to_trl"] else "-"
        print(f"{row['data']:8s} {ARMS[row['arm']]:52s} {row['tokens_per_s']:8.0f} tokens/s  x{ratio}  "
              f"{row['peak_gib']:.2f} GiB  loss {row['held_out_loss']:.4f} (spread {row['held_out_spread']:.4f})")
    from results import write

    write("train_speed", {"table": table, "runs": rows})


if __name__ == "__main__":
    main()
