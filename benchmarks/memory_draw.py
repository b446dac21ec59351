"""Configurations that nobody chose: models and trainings drawn by a seed over all that the planner says it knows.

A draw that the planner refuses (no biases for BitFit, a prefix with checkpointing) is drawn again; nothing else is
left out. `memory_error.py --drawn` predicts and measures them.
"""

import random
from collections.abc import Iterator

from ftkit.errors import Refusal
from ftkit.memory.models import known_models
from ftkit.memory.predict import predict
from ftkit.memory.setup import ATTENTIONS, METHODS, OPTIMIZERS, Setup

COUNTS = {6: 36, 7: 24}
"""How many were drawn by each seed: the first before the formula was mended, the second after."""
FROM_TABLE = 0.3  # share of models that are the table's; the others are drawn number by number
QLORA = 0.35  # share of QLoRA; the other methods are equally likely
LARGEST = 10e9  # numbers of a model of the table; above, one measurement takes minutes
VOCABULARIES = (32_000, 50_257, 65_024, 100_352, 128_256, 151_936, 256_000)
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "gpt2", "gpt_neo", "gpt_neox", "falcon")
WITHOUT_GROUPS = ("gpt2", "gpt_neo", "gpt_neox")
NAMES = {"gpt2": ("n_embd", "n_layer", "n_head", "n_inner", "n_positions"),
         "gpt_neo": ("hidden_size", "num_layers", "num_heads", "intermediate_size", "max_position_embeddings"),
         "falcon": ("hidden_size", "num_hidden_layers", "num_attention_heads", "ffn_hidden_size",
                    "max_position_embeddings")}
USUAL_NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
               "max_position_embeddings")
PLACES = 32_768


def drawn(seed: int) -> Iterator[tuple[dict, dict]]:
    """Pairs of a config and a setup's values ("way" among them), the same for the same seed."""
    chance, count = random.Random(seed), COUNTS[seed]
    while count:
        config, values = _config(chance), _values(chance)
        try:
            setup, way = Setup(**{name: value for name, value in values.items() if name != "way"}), values["way"]
            predict(config, setup, way)
        except Refusal:
            continue
        yield config, values
        count -= 1


def _config(chance: random.Random) -> dict:
    if chance.random() < FROM_TABLE:
        return dict(chance.choice([model for model in known_models() if model.shape.native and
                                   0.4e9 < model.parameters < LARGEST]).config)
    family = chance.choice(FAMILIES)
    head_dim = 256 if family.startswith("gemma") else chance.choice((64, 80, 96, 128))
    heads = 4 * chance.randint(2, 8) if head_dim == 256 else 4 * chance.randint(2, 16)
    hidden = head_dim * heads
    wide = 64 * round(hidden * chance.uniform(2, 5) / 64)
    sizes = hidden, chance.randint(3, 20), heads, wide, chance.choice((2048, PLACES))
    config = {"model_type": family, "vocab_size": chance.choice(VOCABULARIES)}
    config |= dict(zip(NAMES.get(family, USUAL_NAMES), sizes, strict=True))
    config["tie_word_embeddings"] = chance.random() < 0.5
    if family not in WITHOUT_GROUPS:
        groups = chance.choice([one for one in (1, 2, 4, 8, heads) if heads % one == 0])
        config |= _grouped(family, heads // groups, head_dim, chance)
    if family == "gpt_neo":
        config["attention_types"] = [[["global"], config["num_layers"]]]
    if family == "phi3":
        config["pad_token_id"] = 0  # its own lies beyond a small vocabulary
    return config


def _grouped(family: str, kv_heads: int, head_dim: int, chance: random.Random) -> dict:
    if family == "falcon":
        return chance.choice([{"multi_query": True, "new_decoder_architecture": False},
                              {"new_decoder_architecture": True, "num_kv_heads": kv_heads}])
    return {"num_key_value_heads": kv_heads} | ({} if family == "phi3" else {"head_dim": head_dim})


def _values(chance: random.Random) -> dict:
    method = "qlora" if chance.random() < QLORA else chance.choice([one for one in METHODS if one != "qlora"])
    held, mixed = chance.choice((("bfloat16", None), ("bfloat16", None), ("float16", None), ("float32", None),
                                 ("float32", "bfloat16"), ("float32", "float16")))
    values = {"method": method, "settings": _settings(method, chance), "batch_size": round(2 ** chance.uniform(0, 6)),
              "seq_len": 8 * round(2 ** chance.uniform(4, 12)), "label_share": round(chance.uniform(0.1, 1), 2),
              "accumulation": chance.choice((1, 1, 2)), "precision": held, "mixed": mixed,
              "attention": chance.choice(("flash", *ATTENTIONS)), "logits": chance.choice(("labels", "chunked", "all")),
              "checkpointing": chance.choice((False, True, "every:2", "every:3")),
              "optimizer": chance.choice(("adamw", "adamw", *OPTIMIZERS)), "way": "ours"}
    if method in ("qlora", "lora8bit") or method in ("bitfit", "adapter", "prefix", "prompt") and chance.random() < 0.3:
        values |= {"quantization": "int8" if method == "lora8bit" else chance.choice(("nf4", "fp4")),
                   "double_quant": chance.random() < 0.7, "float32_cast": chance.random() < 0.3}
    if method in ("lora", "qlora", "lora8bit") and chance.random() < 0.3:
        values |= {"way": "peft", "logits": "all", "settings": {"rank": values["settings"]["rank"]}}
    return values


def _settings(method: str, chance: random.Random) -> dict:
    if method in ("lora", "qlora", "lora8bit"):
        return {"rank": chance.choice((4, 8, 16, 64, 128)), "dropout": chance.choice((0.0, 0.0, 0.1)),
                "layers": chance.choice(("all", "all", "last 2", "first 3"))}
    if method == "freeze":
        return {"layers": chance.randint(1, 3), "embeddings_and_head": chance.random() < 0.3}
    if method in ("prefix", "prompt"):
        return {"virtual_tokens": chance.choice((8, 20, 100))}
    return {"bottleneck": chance.choice((16, 64)), "place": chance.choice(("houlsby", "pfeiffer"))} \
        if method == "adapter" else {}
