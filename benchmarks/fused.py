"""Several LoRA trainings on one frozen base: together (`sweep.fused`) beside one after the other (`ftkit.train`).

    python benchmarks/fused.py [--steps 12] [--repeats 5]
    python benchmarks/fused.py --gpu [--tokens 128 256 512 1024 2048 4096] [--members 1 2 4 8 16]

On the CPU the embedded base learns the clinic's records; on a GPU a model of Qwen2.5-0.5B's shape with random weights,
in bfloat16, learns random tokens, since only time is measured. A step's time is the median over steps, without the
first ones, which allocate; arms alternate, and a figure is the median over repeats.

The law: with t0 the tokens that would take as long to compute as a step's fixed costs, N members of T tokens each run
N·(T + t0)/(N·T + t0) times faster than one after the other. c and t0 are fitted to the times of single trainings,
seconds = c·(T + t0), over all T; the law's figure stands beside what was measured. Prints a table and writes
benchmarks/results/fused.json (fused_gpu.json with --gpu).
"""

import argparse
import random
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_, lora_layers, remove_lora_
from ftkit.lora.config import LoraConfig
from ftkit.sweep.fused import Fused
from ftkit.sweep.members import Member
from ftkit.tables import aligned
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

ROW_TOKENS, LABELS = 128, 8  # of a row on a GPU; few labels, so that a wide vocabulary takes little of the memory
FIRST_STEPS = 3  # not counted
QWEN_05B = {"vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
            "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 4096,
            "tie_word_embeddings": True}


def random_model(shape: dict, device: str, dtype: torch.dtype) -> torch.nn.Module:
    """A model of this shape with random weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        return Qwen2ForCausalLM(Qwen2Config(**shape)).to(dtype)


def random_rows(count: int, vocabulary: int, width: int = ROW_TOKENS) -> list[tuple[list[int], list[int]]]:
    """Rows of one width of random tokens, of which the last few carry loss."""
    draw, silent = random.Random(0), width - LABELS
    rows = [[draw.randrange(vocabulary) for _ in range(width)] for _ in range(count)]
    return [(ids, [-100] * silent + ids[silent:]) for ids in rows]


def member(number: int, examples: Sequence, rows: int, steps: int) -> Member:
    """One of several members: they differ in learning rate, alpha and seed."""
    config = TrainConfig(learning_rate=1e-3 * (1 + number), max_steps=steps, batch_size=rows, seed=number)
    return Member(LoraConfig(rank=8, alpha=8 + number), config, examples, None, seed=number)


def step_seconds(records: Sequence[dict]) -> float:
    """The median time of a step, from the records' clock."""
    return statistics.median(np.diff([record["elapsed_s"] for record in records])[FIRST_STEPS - 1 :])


def alone(model: torch.nn.Module, one: Member) -> dict:
    """A single training, as `ftkit.train` does it: seconds a step, tokens a step, peak GiB."""
    add_lora_(model, one.lora, one.seed)
    records = list(train(model, one.examples, one.train))
    remove_lora_(model)
    return measured(records)


def together(model: torch.nn.Module, members: Sequence[Member]) -> dict:
    """Their steps in one pass of the model each."""
    records = [record for record in Fused(model, members).records() if record["member"] == 0]
    return measured(records)


def measured(records: Sequence[dict]) -> dict:
    """Seconds and tokens of a step, and the peak of memory."""
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_initialized() else records[-1]["peak_gib"]
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    return {"step_s": step_seconds(records), "peak_gib": peak,
            "tokens": statistics.mean(record["real_tokens"] for record in records)}


def measure(model: torch.nn.Module, examples: Sequence, rows: Sequence[int], counts: Sequence[int], steps: int,
            repeats: int) -> Iterator[list[dict]]:
    """For each number of rows and of members: the medians of alternating repeats; None where memory is too small.

    Yielded after each repeat, so that a run that is stopped leaves what it has.
    """
    found: dict[tuple[int, int], list[dict | None]] = {}
    for repeat in range(repeats):
        for batch in rows:
            for count in (0, *counts):  # 0: a single training by `ftkit.train`
                members = [member(number, examples, batch, steps) for number in range(max(1, count))]
                found.setdefault((batch, count), []).append(fitting(model, members, count))
            print(f"repeat {repeat + 1} of {repeats}, {batch} rows a member", flush=True)
        yield [{"rows": batch, "members": count, **median_of(one)} for (batch, count), one in found.items()]


def fitting(model: torch.nn.Module, members: Sequence[Member], count: int) -> dict | None:
    """What an arm takes; None where the GPU's memory is too small."""
    try:
        return together(model, members) if count else alone(model, members[0])
    except (torch.OutOfMemoryError, Refusal) as error:
        if isinstance(error, Refusal) and "memory" not in str(error):
            raise
    if lora_layers(model):  # here, where the error no longer holds what filled the memory
        remove_lora_(model)
    torch.cuda.empty_cache()
    return None


def median_of(one: Sequence[dict | None]) -> dict:
    """The medians of repeats."""
    if None in one:
        return {"step_s": None, "peak_gib": None, "tokens": None}
    return {name: statistics.median(each[name] for each in one) for name in ("step_s", "peak_gib", "tokens")}


def law(count: int, tokens: float, fixed_tokens: float) -> float:
    """How many times faster the law says that so many members are."""
    return count * (tokens + fixed_tokens) / (count * tokens + fixed_tokens)


def fitted(rows: Sequence[dict]) -> tuple[float, float]:
    """c in seconds a token and t0 in tokens, by least squares of relative errors over the single trainings."""
    single = [row for row in rows if row["members"] == 0 and row["step_s"]]
    tokens, seconds = (np.array([row[name] for row in single]) for name in ("tokens", "step_s"))
    slope, fixed = np.linalg.lstsq(np.stack([tokens / seconds, 1 / seconds], 1), np.ones(len(single)), rcond=None)[0]
    return float(slope), float(fixed / slope)


def with_ratios(rows: Sequence[dict], fixed_tokens: float) -> list[dict]:
    """The rows of fused trainings, with the ratio to as many single ones, and the law's."""
    single = {row["rows"]: row for row in rows if row["members"] == 0}
    found = []
    for row in rows:
        alone_s, tokens = single[row["rows"]]["step_s"], single[row["rows"]]["tokens"]
        if row["members"] and alone_s and row["step_s"]:
            found.append({**row, "tokens": tokens, "one_after_the_other_s": row["members"] * alone_s,
                          "faster": row["members"] * alone_s / row["step_s"],
                          "law": law(row["members"], tokens, fixed_tokens)})
    return found


def report(name: str, rows: Sequence[dict], about: dict) -> None:
    """Prints the table and writes the results."""
    per_token_s, fixed_tokens = fitted(rows)
    table = with_ratios(rows, fixed_tokens)
    print(aligned(["tokens", "members", "ms a step", "one after the other", "faster", "the law", "peak GiB"],
                  [[f"{row['tokens']:.0f}", row["members"], f"{1e3 * row['step_s']:.1f}",
                    f"{1e3 * row['one_after_the_other_s']:.1f}", f"{row['faster']:.2f}", f"{row['law']:.2f}",
                    f"{row['peak_gib']:.1f}"] for row in table]))
    print(f"a single step takes {per_token_s:.2e} s·(T + t0), t0 = {fixed_tokens:.0f} tokens")
    import results

    results.write(name, {**about, "per_token_s": per_token_s, "t0_tokens": fixed_tokens, "table": table, "rows": rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 4, 8, 16], help="of a member, on the CPU")
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("--members", type=int, nargs="+")
    given = parser.parse_args()
    about = {"steps": given.steps}
    if given.gpu:
        model = random_model(QWEN_05B, "cuda", torch.bfloat16)
        rows = [tokens // ROW_TOKENS for tokens in given.tokens]
        examples = random_rows(8 * max(rows), QWEN_05B["vocab_size"])
        for done, found in enumerate(
                measure(model, examples, rows, given.members or [1, 2, 4, 8, 16], given.steps, given.repeats), 1):
            report("fused_gpu", found, about | {"repeats": done, "shape": QWEN_05B, "dtype": "bfloat16"})
        return
    from ftkit import hub, trials

    model, _ = hub.load_model("ftkit-tiny", device="cpu", dtype="float32")
    for done, found in enumerate(measure(model, trials.material().examples, given.rows, given.members or [1, 2, 4, 8],
                                         given.steps, given.repeats), 1):
        report("fused", found, about | {"repeats": done})


if __name__ == "__main__":
    main()
