"""A made-up star of trials, in the form in which the shipped ones come; and random checkpoints of several families."""

import math
import shutil
from itertools import chain

import pytest

from ftkit.cards import Card

WIDE = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": None, "eos_token_id": 0}
GROUPED = WIDE | {"num_key_value_heads": 2}
FAMILIES = {"qwen2": GROUPED, "qwen3": GROUPED | {"head_dim": 32}, "llama": GROUPED, "mistral": GROUPED,
            "phi3": GROUPED, "falcon": WIDE, "gpt_neox": WIDE,
            "mixtral": GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2},
            "mamba": {"hidden_size": 128, "num_hidden_layers": 2, "state_size": 8, "eos_token_id": 0},
            "rwkv": {"hidden_size": 128, "num_hidden_layers": 2, "context_length": 512, "rescale_every": 1}}

BASE = {"rank": 8, "alpha": 16.0, "dropout": 0.0, "target_modules": "all-linear", "use_rslora": False, "layers": "all",
        "rank_pattern": {}, "modules_to_save": [], "seed": 0}
CHANGES = [{}, *({"rank": rank} for rank in (1, 2, 32)), *({"alpha": alpha} for alpha in (4.0, 64.0)),
           {"dropout": 0.1}, {"learning_rate": 2e-3}, {"target_modules": ["q_proj", "v_proj"]}]


def card_of(change, seed, method="lora", status="done", **metrics):
    """One run of the star; its losses are made up, and are lower with a higher rank."""
    rate = change.get("learning_rate", 8e-3)
    settings = BASE | {name: value for name, value in change.items() if name != "learning_rate"} | {"seed": seed}
    rank = settings["rank"]
    end = 0.3 - 0.02 * math.log2(rank) + 0.005 * seed + (rate != 8e-3) * 0.1
    curve = [[step, end * (1 + 160 / step) / 2] for step in range(20, 161, 20)]
    found = {"held_out_loss": end, "loss": end, "curve": curve, "clinic": 0.5 - end, "trainable": 30_000 * rank,
             "total": 4_500_000, "saved_bytes": 120_000 * rank, "optimizer_bytes": 240_000 * rank, "step_cpu_s": 0.1,
             "train_s": 16.0 + seed} | metrics
    parameters = {"method": method, "settings": settings, "learning_rate": rate, "max_steps": 160, "batch_size": 8,
                  "records": 0, "model": "ftkit-tiny", "data": "", "columns": "", "score": "held_out"}
    return Card("trial", parameters, seed, "2026-01-01", status=status, metrics=found)


def save_random(folder, family="qwen2", dtype="bfloat16"):
    """A random checkpoint of a family, two layers of 128, with the embedded base's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from ftkit.tiny import base

    tokens = len(AutoTokenizer.from_pretrained(base.folder()))
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, vocab_size=tokens, **FAMILIES[family])
    AutoModelForCausalLM.from_config(config).to(getattr(torch, dtype)).save_pretrained(folder)
    for path in base.folder().iterdir():
        if path.name.startswith(("token", "chat", "special")):
            shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture
def random_checkpoint():
    """Makes a folder: `random_checkpoint(tmp_path / "falcon", "falcon")`."""
    return save_random


@pytest.fixture
def trial_card():
    """Makes a card: `trial_card({"rank": 4}, seed=1)`."""
    return card_of


@pytest.fixture
def star():
    """Nine settings, one change at a time around a default, three seeds each."""
    return list(chain.from_iterable([card_of(change, seed) for seed in range(3)] for change in CHANGES))
