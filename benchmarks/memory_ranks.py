"""The planner's error for one of several data-parallel processes: torch's own code for them, real tensors on the CPU.

    python benchmarks/memory_ranks.py

A model of 26 million numbers (Llama's architecture, random weights, float32) takes three optimizer steps as one of four
processes, by `DistributedDataParallel` ("none"), with `ZeroRedundancyOptimizer` ("zero1"), by `fully_shard` with layers
that stay together after the forward pass ("zero2") or do not ("zero3"). What the other three would send is left out, and
takes no memory. Beside what torch's CPU allocator gave out stands what the planner says. Prints a table and writes
benchmarks/results/memory_ranks.json.
"""

import results

from ftkit.memory.predict import predict
from ftkit.memory.setup import SHARDINGS, Setup
from ftkit.meter.ranks import measure_rank
from ftkit.tables import aligned
from ftkit.units import MIB

SHAPE = {"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8,
         "num_key_value_heads": 4, "intermediate_size": 1376, "vocab_size": 8_000, "max_position_embeddings": 1024,
         "tie_word_embeddings": False}
METHODS = {"full": {}, "freeze": {"layers": 2}, "adapter": {}, "lora": {"rank": 8}}
RANKS = 4


def compared(method: str, sharding: str) -> dict:
    """A row: measured, predicted, and how far the latter is off."""
    setup = Setup(method, METHODS[method], batch_size=2, seq_len=128, precision="float32", attention="eager",
                  logits="all", ranks=RANKS, sharding=sharding)
    measured, predicted = measure_rank(SHAPE, setup).peak_bytes, predict(SHAPE, setup).peak_bytes
    return {"method": method, "sharding": sharding, "measured_bytes": measured, "predicted_bytes": predicted,
            "error": predicted / measured - 1}


def main() -> None:
    """Measures, prints and writes."""
    rows = [compared(method, sharding) for method in METHODS for sharding in SHARDINGS]
    print(aligned(["method", "sharding", "measured, MiB", "predicted, MiB", "error"], [
        [row["method"], row["sharding"], f"{row['measured_bytes'] / MIB:.1f}", f"{row['predicted_bytes'] / MIB:.1f}",
         f"{row['error']:+.2%}"] for row in rows]))
    print(results.write("memory_ranks", {"shape": SHAPE, "ranks": RANKS, "rows": rows}))


if __name__ == "__main__":
    main()
