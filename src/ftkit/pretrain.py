"""Builds the embedded base from nothing: corpus, tokenizer, weights, model card (`python -m ftkit.pretrain`).

Knows nothing about fine-tuning; what the finished base scores before and after one is measured by
`benchmarks/embedded_base.py`.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save as save_bytes
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ftkit import cpu, files
from ftkit.errors import refusal
from ftkit.tiny import base, corpus, docstrings, tokenizer

QUESTION_WEIGHT = 0.15  # of a question's tokens in the loss; an answer's tokens weigh 1
BETAS = (0.9, 0.95)
PRINTED_EVERY = 50
CHECKED = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
           "chat_template.jinja")


@dataclass(frozen=True)
class Stage:
    """One stretch of training; each starts from the stored weights of the one before.

    Args:
        steps: optimizer steps.
        learning_rate: the highest, above 0.
        long_share: of the steps, the last ones, on long rows.
        review: 1 for more of the questions that are learned last, 2 for more of their phrasings, too.
        row_length: tokens of a row; of a long row, `long_row_length`.
        warmup_steps: in which the learning rate rises.
        cooldown_share: of the steps, the last ones, in which the learning rate falls to zero.
    """

    steps: int
    learning_rate: float
    long_share: float = 0.15
    review: int = 0
    row_length: int = 128
    long_row_length: int = 512
    tokens_per_step: int = 8192
    warmup_steps: int = 40
    cooldown_share: float = 0.5
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise refusal("steps", "1 or more", self.steps, "Take a few to try it out.")


STAGES = (Stage(steps=2000, learning_rate=4e-3),
          Stage(steps=600, learning_rate=2e-3, long_share=0.1, review=1, cooldown_share=0.8),
          Stage(steps=400, learning_rate=1.5e-3, long_share=0.1, review=2, cooldown_share=0.8))
SEED = 1


def architecture() -> Qwen2Config:
    """The shape of the base: Qwen2, 8 layers, width 192."""
    return Qwen2Config(
        vocab_size=tokenizer.VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=8,
        num_attention_heads=3, num_key_value_heads=3, max_position_embeddings=1024, tie_word_embeddings=True,
        dtype="float32", bos_token_id=0, pad_token_id=1, eos_token_id=3)


def encoded(documents: Iterator[tuple[str, list[str]]], words: PreTrainedTokenizerFast,
            at_once: int = 2000) -> Iterator[tuple[list[int], list[float]]]:
    """Token ids and loss weights of each document; questions and answers as turns of the chat template."""
    end_of_text, _, turn_start, turn_end = (words.convert_tokens_to_ids(token) for token in (
        tokenizer.END_OF_TEXT, tokenizer.PAD, tokenizer.TURN_START, tokenizer.TURN_END))
    user, assistant, newline = (words(text).input_ids for text in ("user\n", "assistant\n", "\n"))
    while batch := list(islice(documents, at_once)):
        pieces = iter(words([text for _, texts in batch for text in texts], verbose=False).input_ids)
        for kind, texts in batch:
            ids, weights = [end_of_text], [0.0]
            for number in range(len(texts)):
                piece = next(pieces)
                if kind != corpus.QUESTIONS:
                    turn, weight = piece, [1.0] * len(piece)
                elif number % 2 == 0:
                    turn = [turn_start, *user, *piece, turn_end, *newline]
                    weight = [QUESTION_WEIGHT] * len(turn)
                else:
                    turn = [turn_start, *assistant, *piece, turn_end, *newline]
                    weight = [QUESTION_WEIGHT] * (1 + len(assistant)) + [1.0] * (len(piece) + 1) + [QUESTION_WEIGHT]
                ids, weights = ids + turn, weights + weight
            yield ids + ([end_of_text] if kind != corpus.QUESTIONS else []), weights + (
                [1.0] if kind != corpus.QUESTIONS else [])


def rows(tokens: Iterator[tuple[list[int], list[float]]], length: int, many: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The next `many` rows of `length` tokens, documents one after another, as ids and weights."""
    ids, weights = [], []
    while len(ids) < many * length:
        document, weight = next(tokens)
        ids += document
        weights += weight
    shape = (many, length)
    return (torch.tensor(ids[:many * length]).view(shape), torch.tensor(weights[:many * length]).view(shape))


def learning_rate_share(step: int, stage: Stage) -> float:
    """The share of the learning rate at a step: warm-up, plateau, linear cooldown to zero."""
    cooldown = stage.cooldown_share * stage.steps
    return min(1.0, (step + 1) / stage.warmup_steps, (stage.steps - step) / cooldown)


def optimizers(model: torch.nn.Module, stage: Stage) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [torch.optim.Muon(matrices, lr=stage.learning_rate, weight_decay=stage.weight_decay,
                             adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=stage.learning_rate, betas=BETAS, weight_decay=0.0)]


def train(model: Qwen2ForCausalLM, tokens: Iterator, stage: Stage, *, workers: int = 2) -> Iterator[dict]:
    """One record a step: `step`, `loss` (nats, weighted mean), `tokens`, `elapsed_s`.

    Each worker is a thread with its share of the rows; the gradients are added in a fixed order.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    opts, started = optimizers(model, stage), time.perf_counter()
    threads = cpu.Workers()
    with sdpa_kernel(SDPBackend.MATH):
        for step in range(stage.steps):
            is_long = step >= stage.steps * (1 - stage.long_share)
            length = stage.long_row_length if is_long else stage.row_length
            ids, weights = rows(tokens, length, stage.tokens_per_step // length)
            total = weights[:, 1:].sum()
            shards = [(*shard, total) for shard in zip(ids.chunk(workers), weights.chunk(workers), strict=True)]
            parts = threads.map(lambda shard: _gradients(model, parameters, *shard), shards)
            for parameter, *gradients in zip(parameters, *(gradients for _, gradients in parts), strict=True):
                parameter.grad = torch.stack(gradients).sum(0)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for opt in opts:
                for group in opt.param_groups:
                    group["lr"] = stage.learning_rate * learning_rate_share(step, stage)
                opt.step()
            loss = sum(loss for loss, _ in parts)
            yield {"step": step + 1, "loss": loss, "tokens": ids.numel(), "elapsed_s": time.perf_counter() - started}


def _gradients(model: Qwen2ForCausalLM, parameters: list, ids: torch.Tensor, weights: torch.Tensor,
               total: torch.Tensor) -> tuple[float, tuple]:
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    kept = weights[:, 1:] > 0
    losses = F.cross_entropy(model.lm_head(hidden[kept]), ids[:, 1:][kept], reduction="none")
    loss = (losses * weights[:, 1:][kept]).sum() / total
    return loss.item(), torch.autograd.grad(loss, parameters)


def build(folder: str | Path, stages: Sequence[Stage] = STAGES, seed: int = SEED) -> Path:
    """Trains the base and writes it as a checkpoint folder with tokenizer and provenance; prints its progress."""
    folder, started = Path(folder), time.perf_counter()
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")  # matrix products in bfloat16 where the processor has them
    cpu.reuse_freed_memory_()
    library = docstrings.read()
    model = Qwen2ForCausalLM(architecture())
    save(model, tokenizer.train(corpus.tokenizer_texts(seed, library)), folder)
    words = AutoTokenizer.from_pretrained(folder)  # transformers gives Qwen2's own splitting to it: train on that
    taken = []
    for number, stage in enumerate(stages):
        taken.append(_trained(model, words, stage, corpus.documents(seed + number, library, stage.review)))
        save(model, words, folder)
        model = Qwen2ForCausalLM.from_pretrained(folder)  # as stored, in bfloat16
    made = (corpus.documents(seed + number, library, stage.review) for number, stage in enumerate(stages))
    documents = chain.from_iterable(islice(one, many) for one, many in zip(made, taken, strict=True))
    write_provenance(folder, {
        "seed": seed, "stages": [asdict(stage) for stage in stages], "documents": taken,
        "corpus_sha256": corpus.fingerprint(documents),
        "tokens_seen": sum(stage.steps * stage.tokens_per_step for stage in stages),
        "build_minutes": round((time.perf_counter() - started) / 60, 1),
        "parameters": model.num_parameters(), "interpreter": docstrings.interpreter()})
    return folder


def _trained(model: Qwen2ForCausalLM, words: PreTrainedTokenizerFast, stage: Stage, documents: Iterator) -> int:
    """Trains the model through a stage; returns how many documents were read."""
    taken, average = [0], None
    for record in train(model, encoded(_counted(documents, taken), words), stage):
        average = record["loss"] if average is None else 0.95 * average + 0.05 * record["loss"]
        if record["step"] % PRINTED_EVERY == 0:
            print(f"step {record['step']:5d}  loss {average:.3f}  {record['elapsed_s']:.0f} s", flush=True)
    return taken[0]


def _counted(documents: Iterator, taken: list[int]) -> Iterator:
    for document in documents:
        taken[0] += 1
        yield document


def save(model: Qwen2ForCausalLM, words: PreTrainedTokenizerFast, folder: Path) -> None:
    """The checkpoint in bfloat16 with float32 in its config, and the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    words.save_pretrained(folder)
    weights = {name: value.detach().to(torch.bfloat16).contiguous() for name, value in model.state_dict().items()
               if name != "lm_head.weight"}  # tied to the embeddings
    files.write_atomic(folder / "model.safetensors", save_bytes(weights, metadata={"format": "pt"}))
    config = model.config.to_dict() | {"dtype": "float32", "architectures": ["Qwen2ForCausalLM"]}
    config.pop("_name_or_path", None)  # a path of the machine that builds
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "generation_config.json",
                     {"bos_token_id": 0, "eos_token_id": [0, 3], "pad_token_id": 1, "do_sample": False})


def write_provenance(folder: Path, origin: dict) -> None:
    """Where the base comes from, and the hash of each of its files, which loading it checks."""
    hashes = {name: files.sha256(folder / name) for name in CHECKED}
    files.write_json(folder / base.PROVENANCE, origin | {"torch": torch.__version__.split("+")[0], "sha256": hashes})


def main() -> None:
    """`python -m ftkit.pretrain [--out FOLDER] [--seed N]`."""
    parser = argparse.ArgumentParser(description="Build the embedded base.")
    parser.add_argument("--out", default=str(base.ASSETS), help="folder to write; the package's own by default")
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    build(given.out, seed=given.seed)


if __name__ == "__main__":
    main()
