"""A notebook that fine-tunes with peft and transformers' Trainer the usual way; `sweep.py` compares with it.

Its cells use nothing of ftkit: records as JSON lines, `apply_chat_template`, `get_peft_model`, `Trainer` with its own
evaluation eight times over the training, then the loss of the held-out records and answers to the held-out questions by
`generate`. The recipe is that of `ftkit.trials`: batch, steps, rate, a linear schedule to zero without warm-up, AdamW,
gradients clipped at norm 1, all linear modules, loss on the answers alone; the answers are scored afterwards.
"""

import json
from pathlib import Path

import nbformat
from transformers import AutoTokenizer

from ftkit.chat import IGNORED, encode, messages_of, with_template
from ftkit.hub import find_model
from ftkit.material import LOSS_RECORDS, SEQ_LEN
from ftkit.tiny import clinic
from ftkit.trials import ANSWER_TOKENS, CURVE_POINTS

PARAMETERS = """rank: int = 8
alpha: float = 16.0
dropout: float = 0.0
learning_rate: float = 0.008
seed: int = 0
max_steps: int = 160
batch_size: int = 8
base: str = "base"
folder: str = "records\""""
IMPORTS = """import json
import time

import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments
from transformers import set_seed

set_seed(seed)"""
TOKENIZE = """tokenizer = AutoTokenizer.from_pretrained(base)


def tokenize(example):
    messages = example["messages"]
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False)
    answer = tokenizer(messages[-1]["content"] + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
    return {"input_ids": (prompt + answer)[:SEQ_LEN], "attention_mask": [1] * len((prompt + answer)[:SEQ_LEN]),
            "labels": ([-100] * len(prompt) + answer)[:SEQ_LEN]}""".replace("SEQ_LEN", str(SEQ_LEN))
DATA = """files = {"train": f"{folder}/train.jsonl", "held_out": f"{folder}/held_out.jsonl"}
dataset = load_dataset("json", data_files=files)
dataset = dataset.map(tokenize, remove_columns=dataset["train"].column_names)
dataset"""
MODEL = """model = AutoModelForCausalLM.from_pretrained(base)
config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
model = get_peft_model(model, config)
model.print_trainable_parameters()"""
TRAIN = """collator = DataCollatorForSeq2Seq(tokenizer, padding=True)
arguments = TrainingArguments(
    output_dir="trainer", per_device_train_batch_size=batch_size, max_steps=max_steps, learning_rate=learning_rate,
    lr_scheduler_type="linear", seed=seed, logging_steps=20, save_strategy="no", report_to="none", use_cpu=True,
    eval_strategy="steps", eval_steps=max(1, max_steps // CURVE_POINTS))
trainer = Trainer(model=model, args=arguments, train_dataset=dataset["train"], eval_dataset=dataset["held_out"],
                  data_collator=collator)
began_s = time.perf_counter()
trainer.train()
evaluating_s = sum(one.get("eval_runtime", 0.0) for one in trainer.state.log_history)
train_s = time.perf_counter() - began_s - evaluating_s""".replace("CURVE_POINTS", str(CURVE_POINTS))
EVALUATE = """model.eval()
total, count = 0.0, 0
with torch.no_grad():
    for start in range(0, len(dataset["held_out"]), 16):
        batch = collator([dataset["held_out"][i] for i in range(start, min(start + 16, len(dataset["held_out"])))])
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        labels = batch["labels"][:, 1:]
        total += torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="sum").item()
        count += (labels != -100).sum().item()
held_out_loss = total / count
print(f"held-out loss {held_out_loss:.4f} nats a token after {train_s:.0f} s of training")"""
ASK = """tokenizer.padding_side = "left"
asked = [json.loads(line)["messages"] for line in open(f"{folder}/asked.jsonl", encoding="utf-8")]
answers = []
for start in range(0, len(asked), 64):
    batch = tokenizer.apply_chat_template(asked[start : start + 64], add_generation_prompt=True, padding=True,
                                          return_dict=True, return_tensors="pt")
    with torch.no_grad():
        written = model.generate(**batch, max_new_tokens=ANSWER_TOKENS, do_sample=False)
    answers += tokenizer.batch_decode(written[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
json.dump({"held_out_loss": held_out_loss, "train_s": train_s, "answers": answers}, open("result.json", "w"))
answers[:2]""".replace("ANSWER_TOKENS", str(ANSWER_TOKENS))


def build(folder: Path) -> Path:
    """The notebook in a folder, with the records it reads and the base it starts from beside it.

    Raises:
        AssertionError: it would train on other tokens or labels than `ftkit.trials` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = with_template(AutoTokenizer.from_pretrained(find_model()))
    for name, records in (("train", clinic.records("train")), ("held_out", clinic.records("held_out")[:LOSS_RECORDS])):
        turns = [messages_of(record) for record in records]
        for messages in turns[:50]:
            _check_same(messages, tokenizer)
        lines = [json.dumps({"messages": messages}, ensure_ascii=False) for messages in turns]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    asked = [{"messages": messages_of(record)[:-1]} for record in clinic.records("held_out")]
    (folder / "asked.jsonl").write_text("\n".join(json.dumps(one, ensure_ascii=False) for one in asked) + "\n", "utf-8")
    cells = [nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(source) for source in (IMPORTS, TOKENIZE, DATA, MODEL, TRAIN, EVALUATE, ASK)]
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    path = folder / "peft_trainer.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def _check_same(messages: list[dict], tokenizer) -> None:
    """That the notebook's tokens and labels are ours, up to what a template writes after the answer has ended."""
    ours = encode(messages, tokenizer, SEQ_LEN)
    names = {"tokenizer": tokenizer}
    exec(TOKENIZE.partition("\n")[2], names)
    theirs = names["tokenize"]({"messages": messages})
    end = len(theirs["input_ids"])  # the template writes a line's end after the answer's
    assert theirs["input_ids"] == list(ours.input_ids[:end]) and theirs["labels"] == list(ours.labels[:end])
    assert set(ours.labels[end:]) <= {IGNORED}
