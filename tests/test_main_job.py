"""The main job on records of one's own: `ftkit run 01_why_finetune -p data=FILE`, from a broken row to the adapter."""

import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ftkit import cli, files
from ftkit.errors import Refusal
from ftkit.runs import read_card, read_trace

STEM = "01_why_finetune"
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / f"{STEM}.ipynb"
SETTINGS = ["max_steps=8", "batch_size=4", "learning_rate=0.01", "seq_len=96", "answer_tokens=6", "held_out_share=0.25"]
ASKED = [{"ask": f"What is {number} plus one?", "reply": f"It is <b>{number + 1}</b>."} for number in range(47)]
TOO_LONG = {"ask": "Say nothing. " * 20, "reply": "Nothing."}
BROKEN = {"ask": "What is left out?", "reply": ""}


def save_model(folder):
    """A small random Llama with a byte tokenizer and no chat template, as a checkpoint of somebody else's."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator([row["ask"] for row in ASKED], trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


def run(place, *parameters):
    """The exit status of `ftkit run` in a folder, where the files of the parameters are."""
    before = Path.cwd()
    os.chdir(place)
    try:
        return cli.main(["run", STEM, *(word for pair in parameters for word in ("-p", pair)), "--out", "out"])
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with records, an exam, a scoring function and a model."""
    folder = tmp_path_factory.mktemp("mine")
    rows = [*ASKED[:20], BROKEN, *ASKED[20:], TOO_LONG]
    (folder / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "exam.csv").write_text("question,accepted\nWhat is 3 plus one?,4|four\nWhat is 5 plus one?,6\n", "utf-8")
    (folder / "points.py").write_text("def points(answer, accepted):\n    return float(len(answer) > 0)\n", "utf-8")
    save_model(folder / "checkpoint")
    return folder


@pytest.fixture(scope="module")
def job(place):
    """The folder of one finished main job and what the command printed."""
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = run(place, "data=records.jsonl", "columns=instruction=ask,output=reply", "model=checkpoint",
                     "exam=exam.csv", "scoring=contains", *SETTINGS)
    assert status == 0, said.getvalue()
    return place / "out", said.getvalue()


def run_folder(job):
    return next(job[0].glob("main-job-*"))


def test_the_result_says_what_was_read_trained_measured_and_saved(job):
    said = job[1]
    for words in ("48 records from 1 file(s); set aside: 1 x reply must be text that is not empty",
                  "1 rows were set aside, see rejected.jsonl", "1 dropped", "checkpoint by lora",
                  "8 steps, rate 0.01", "perplexity  before ", "loss of a record -", "paired",
                  "your exam   before 0 [0, 0.6576] (n=2), after "):
        assert words in said, f"{words!r} is not in:\n{said}"
    assert "Part one is left out" not in said  # said in the notebook; the command prints results


def test_the_perplexity_falls_on_records_that_were_held_out(job):
    metrics = read_card(run_folder(job)).metrics
    assert metrics["perplexity_after"] < metrics["perplexity_before"] and metrics["loss_change"] < 0
    assert metrics["steps"] == 8 and metrics["scores_before"] == 0.0


def test_ten_answers_stand_side_by_side_and_none_of_their_markup_acts(job):
    executed = nbformat.read(job[0] / f"{STEM}.ipynb", as_version=4)
    shown = next(cell for cell in executed.cells if cell.id == "job-answers").outputs[0].data
    assert shown["text/html"].count("<tr>") == 11 and shown["text/html"].count("&lt;b&gt;") >= 10
    assert "<b>" not in shown["text/html"]


def test_a_row_that_was_set_aside_is_kept_with_its_line_and_field(job):
    kept = [json.loads(line) for line in (job[0] / "rejected.jsonl").read_text("utf-8").splitlines()]
    assert [(row["file"], row["line"], row["field"]) for row in kept] == [("records.jsonl", 21, "reply")]


def test_the_card_names_data_and_model_by_hash_and_holds_no_path(job, place):
    card, text = read_card(run_folder(job)), (run_folder(job) / "card.json").read_text("utf-8")
    assert card.data == [{"name": "records.jsonl", "sha256": files.sha256(place / "records.jsonl")}]
    assert card.model["name"] == "checkpoint" and card.status == "done" and card.name == "main_job"
    assert str(place) not in text and str(place) not in (job[0] / f"{STEM}.html").read_text("utf-8")


def test_the_adapter_opens_in_peft_with_the_tokenizer_beside_it(job, place):
    base = AutoModelForCausalLM.from_pretrained(place / "checkpoint")
    adapted = PeftModel.from_pretrained(base, run_folder(job) / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(run_folder(job) / "adapter")
    assert tokenizer.chat_template and tokenizer.eos_token == "<|endoftext|>"
    moved = [name for name, one in adapted.named_parameters() if "lora_B" in name and one.abs().sum() > 0]
    assert len(moved) == 14  # seven linear maps in each of two layers


def test_part_one_did_not_run(job):
    executed = nbformat.read(job[0] / f"{STEM}.ipynb", as_version=4)
    outputs = {cell.id: cell.get("outputs") for cell in executed.cells}
    assert not any(outputs[name] for name in ("gap-answers", "remedies-run", "loop-run", "full-run", "overfit-run"))
    assert "Part one is left out" in outputs["config"][-1].text


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_weights(job, place, tmp_path):
    shutil.copytree(place, tmp_path / "copy")
    stopped = next((tmp_path / "copy" / "out").glob("main-job-*"))
    done = read_card(stopped).metrics["weights_sha256"]
    newest = sorted((stopped / "checkpoints").glob("step_*"))[-1]
    shutil.rmtree(newest)  # as a kill after the checkpoint before it would leave the folder
    card = json.loads((stopped / "card.json").read_text("utf-8")) | {"status": "running", "metrics": {}}
    (stopped / "card.json").write_text(json.dumps(card), "utf-8")
    (tmp_path / "copy" / "out" / f"{STEM}.ipynb").unlink()
    assert run(tmp_path / "copy", "data=records.jsonl", "columns=instruction=ask,output=reply", "model=checkpoint",
               "exam=exam.csv", "scoring=contains", *SETTINGS) == 0
    assert read_card(stopped).metrics["weights_sha256"] == done
    assert [record["step"] for record in read_trace(stopped)] == list(range(1, 9))


# ---- the rule of the exam, from the notebook's own cells

@pytest.fixture(scope="module")
def cells():
    return {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells}


@pytest.fixture
def exam_of(cells):
    """A function from the parameters `exam` and `scoring` to the questions and the scoring function."""
    def rule(exam, scoring="exact"):
        namespace = {"exam": exam, "scoring": scoring, "scored": RECORDS}
        for name in ("setup", "setup-more", "exam-scoring", "exam-rule"):
            exec(compile(cells[name], name, "exec"), namespace)
        return namespace["questions"], namespace["score_of"]

    return rule


RECORDS = [{"instruction": "Add.", "input": "2 3", "output": "5"},
           {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
                         {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}]


def test_without_an_exam_there_are_no_questions(exam_of):
    assert exam_of("") == ([], None)


def test_a_scoring_function_by_name_makes_the_held_out_records_the_exam(exam_of):
    questions, score = exam_of("f1")
    assert [item["accepted"] for item in questions] == [["5"], ["d"]] and score("d", ["d"]) == 1.0
    assert questions[0]["question"] == [{"role": "user", "content": "Add.\n2 3"}]
    assert [turn["content"] for turn in questions[1]["question"]] == ["a", "b", "c"]


def test_a_function_of_ones_own_scores_the_held_out_records_or_an_exam_file(exam_of, place):
    questions, score = exam_of(f"{place / 'points.py'}:points")
    assert len(questions) == 2 and (score("", ["x"]), score("y", ["x"])) == (0.0, 1.0)
    questions, score = exam_of(str(place / "exam.csv"), f"{place / 'points.py'}:points")
    assert questions[0]["accepted"] == ["4", "four"] and score.__name__ == "points"


@pytest.mark.parametrize(("exam", "scoring", "words"), [
    ("exat", "exact", "exam must be one of exact, contains, numeric, f1, file.py:function, an existing question file, "
                      "got 'exat'. Did you mean exact"),
    ("exam.csv", "exakt", "scoring must be one of exact, contains, numeric, f1, file.py:function, got 'exakt'. "
                          "Did you mean exact"),
    ("exam.csv", "nowhere.py:points", "scoring must be a function in an existing file, got 'nowhere.py'. "
                                  "Check the path"),
    ("points.py:point", "exact", "function in points.py must be one of points, got 'point'. Did you mean points"),
    ("records.jsonl", "exact", "records.jsonl, line 1: question must be text that is not empty"),
])
def test_an_exam_that_cannot_be_sat_is_refused_before_anything_is_trained(exam_of, place, monkeypatch, exam, scoring,
                                                                         words):
    monkeypatch.chdir(place)
    with pytest.raises(Refusal) as caught:
        exam_of(exam, scoring)
    assert words in str(caught.value)


def test_text_for_a_table_is_one_line_without_control_characters(cells):
    namespace = {}
    exec(cells["job-result"].split("\n\n\n")[0], namespace)
    assert namespace["shown"]("a\n\x1b[31mb\x00\u202e c") == "a [31mb c"
    assert namespace["shown"]("x" * 500) == "x" * 159 + "…"


# ---- real records

def test_real_records_are_learned_from(tmp_path, capsys):
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with the real data")
    real = Path(folder) / "huatuo_llama_data.json"
    assert run(tmp_path, f"data={real}", "exam=f1", "max_records=200", "max_steps=12", "max_scored=20",
               "answer_tokens=24", "batch_size=8") == 0
    said = capsys.readouterr().out
    card = read_card(next((tmp_path / "out").glob("main-job-*")))
    assert "200 records from 1 file(s); set aside: none" in said
    assert card.metrics["perplexity_after"] < card.metrics["perplexity_before"]
    assert card.data[0]["name"] == "huatuo_llama_data.json"
