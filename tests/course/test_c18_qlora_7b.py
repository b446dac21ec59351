"""Lesson 18: its answers agree with the package, its road leads through other families, its figures are measured."""

import json
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import nbformat
import pytest
import torch

from ftkit import hub, methods, targets
from ftkit.batches import collate
from ftkit.chat import encode_all, prompt_ids
from ftkit.course import catalogue, page, recorded
from ftkit.course.evidence import snapshot
from ftkit.evaluate.intervals import student_mean
from ftkit.files import read_json
from ftkit.lora.adapter import merge_, remove_lora_
from ftkit.losses import label_loss
from ftkit.memory.counting import lora_parameters, weight_bytes
from ftkit.memory.models import known_models, model_named
from ftkit.memory.setup import Setup
from ftkit.tiny import clinic
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

STEM = "18_qlora_7b"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
BENCH = ROOT / "benchmarks" / "results" / "bench_7b.json"
ROWS = {"all_linear": "all linear layers, rank 16", "four_names": "q, k, v and o alone, rank 16",
        "four_names_wide": "q, k, v and o alone, rank 38"}
FOUR = {"q_proj", "k_proj", "v_proj", "o_proj"}


# ---- the official answers beside what they stand for

def test_the_adapter_of_the_exercise_is_as_large_as_the_planner_counts_it():
    qwen = model_named("qwen2.5-7b")
    adapted = [(3584, 3584), (3584, 512), (3584, 512), (3584, 3584), (3584, 18944), (3584, 18944), (18944, 3584)] * 28
    beside, merged = catalogue.solution_value("18.1")(qwen.parameters, adapted, 16, 1)
    assert beside - 2 * qwen.parameters == 4 * lora_parameters(qwen.shape, 16)
    assert merged == 2 * qwen.parameters


@pytest.mark.parametrize("family", ["llama", "phi3", "falcon", "gpt_neox", "qwen3"])
def test_the_names_of_the_exercise_are_what_all_linear_means(tmp_path, random_checkpoint, family):
    model, _ = hub.load_model(random_checkpoint(tmp_path / family, family), device="cpu", quantization="nf4")
    stack = targets.layers_of(model)[0].rpartition(".")[0]
    modules = [(path, type(module).__name__) for path, module in model.named_modules()]
    found = catalogue.solution_value("18.2")(modules, stack, 2)
    assert set(found) == {path.split(".")[-1] for path in targets.find(model, "all-linear")}


def test_records_of_the_package_have_none_of_the_faults_of_the_exercise():
    _, tokenizer = hub.load_model(device="cpu")
    records = clinic.records("held_out")[:40]
    for record, example in zip(records, encode_all(records, tokenizer)[0], strict=True):
        end = [label for label in example.labels if label != -100][-1]
        assert end in (tokenizer.eos_token_id, *tokenizer.all_special_ids)
        faults = catalogue.solution_value("18.3")(list(example.input_ids), list(example.labels),
                                                  prompt_ids(record, tokenizer), end)
        assert faults == []


def test_the_loss_of_the_exercise_is_the_packages_on_a_model():
    model, tokenizer = hub.load_model(device="cpu", dtype="float32")
    batch = collate(encode_all(clinic.records("held_out")[:3], tokenizer)[0], tokenizer.pad_token_id)
    with torch.no_grad():
        states = model.get_decoder()(**batch.model_inputs("sdpa", torch.float32)).last_hidden_state
        rows, before = (batch.labels[:, 1:] >= 0).nonzero(as_tuple=True)
        wanted, count = label_loss(model, batch)
        found, gradient = catalogue.solution_value("18.5")(
            states[rows, before], model.get_output_embeddings().weight, batch.labels[rows, before + 1], 7)
    assert found == pytest.approx(wanted.item() / count, rel=1e-4)  # float32, summed in another order
    assert gradient.shape == (count, model.config.hidden_size)


# ---- the road, on families that nobody chose

@pytest.mark.filterwarnings("ignore:.*of the numbers of mixtral stay as they are")
@pytest.mark.parametrize("family", ["llama", "mistral", "phi3", "falcon", "gpt_neox", "qwen3", "mixtral", "mamba"])
def test_the_road_leads_through_other_families(tmp_path, random_checkpoint, family):
    folder, loading = random_checkpoint(tmp_path / family, family), {"device": "cpu", "dtype": "stored"}
    model, tokenizer = hub.load_model(folder, quantization="nf4", **loading)
    prepared = methods.prepare(model, "qlora", rank=4, seed=0)
    examples, _ = encode_all(clinic.records("train")[:4], tokenizer, 96)
    before = snapshot(model)
    losses = [record["loss"] for record in train(model, examples, TrainConfig(
        learning_rate=5e-3, max_steps=4, batch_size=4, schedule="constant", activation_checkpointing=True))]
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]
    assert snapshot(model).frozen_sha256 == before.frozen_sha256
    assert all((one != before.trained[name]).any() for name, one in model.named_parameters() if one.requires_grad)
    ids = collate(examples, 0).input_ids
    saved = methods.save(prepared, tmp_path / "adapter", family)
    with torch.no_grad():
        trained = model.eval()(ids).logits.float()
        again = methods.load(hub.load_model(folder, quantization="nf4", **loading)[0], saved).model.eval()(ids).logits
        original = methods.load(hub.load_model(folder, **loading)[0], saved).model
        merged = remove_lora_(merge_(original)).eval()(ids).logits.float()
    assert torch.equal(again.float(), trained)
    assert 0 < (merged - trained).abs().max() < trained.abs().max()  # other weights: those before they were rounded


def test_the_notebook_does_not_run_code_of_a_checkpoint_unless_told_to():
    parameters = next(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.id == "parameters")
    assert "trust_remote_code: bool = False" in parameters


# ---- what ships: cards, tables, claims

def computed():
    """What page and claims are made of."""
    cells = {cell.id: cell.source for cell in nbformat.read(NOTEBOOK, 4).cells}
    names = {}
    exec("import torch\nfrom transformers import AutoConfig, AutoModelForCausalLM\nfrom ftkit import targets\n"
         "guess, display, Table, my_guess = (lambda *_: None,) * 3 + (None,)\n" + cells["names-families"], names)
    exec("from ftkit.errors import Refusal\nfrom ftkit.memory.models import known_models\nfrom ftkit.memory.predict "
         "import predict\nfrom ftkit.memory.setup import Setup\nmy_guess, guess, display, Table = None, *(lambda *_: "
         "None,) * 3\n" + cells["table-run"], names)
    return SimpleNamespace(cards={name: recorded.shipped(STEM, name) for name in ROWS}, **names)


@pytest.fixture(scope="module")
def lesson():
    return computed()


def lines(headers, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [headers, ["---"] * len(headers), *rows])


def told(cards, metric, form):
    estimate = student_mean(recorded.values(cards, metric))
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"


def span(cards, metric):
    found = recorded.values(cards, metric)
    return f"{fmean(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def bench_table():
    """What the benchmark of a 7B found, or that nobody has run it."""
    if not BENCH.is_file():
        return "Not measured yet."
    found = read_json(BENCH)
    losses = [step["loss"] for step in found["steps"]]
    rows = [("numbers", f"{found['parameters']:,}"), ("on the disk in bfloat16", f"{found['on_disk_gb']:.1f} GB"),
            ("building, once", f"{found['build_s']:.0f} s"), ("loading in 4 bits", f"{found['load_s']:.0f} s"),
            ("highest anonymous memory, loading", f"{found['after_loading']['peak_anonymous_gib']:.2f} GiB"),
            ("highest anonymous memory, training", f"{found['peak_anonymous_gib']:.2f} GiB"),
            ("embeddings and head", found["embedding_dtype"]), ("trained", f"{found['trainable']:,} numbers"),
            (f"a step of {found['tokens']} tokens, {found['threads']} threads", f"{found['step_s']:.0f} s"),
            (f"loss over {len(losses)} steps", f"{losses[0]:.3f} to {losses[-1]:.3f}"),
            ("adapter", f"{found['adapter_mb']:.0f} MB")]
    hardware = found["hardware"]
    return lines([f"random weights, {hardware['cores']} cores of {hardware['cpu']}, {found['date']}", ""],
                 [[*row] for row in rows])


def tables(lesson):
    """The tables of the page, by name."""
    return {
        "models": lines(["model", "numbers", "licence", "code", "template", "usual names", *lesson.PLANNED], [
            [one.name, f"{one.parameters / 1e9:.2f} B", one.licence, one.code, one.template,
             one.target_modules if isinstance(one.target_modules, str) else ", ".join(one.target_modules),
             *(f"{gib:.1f}" if gib else "" for gib in lesson.foretold[one.name].values())]
            for one in known_models() if one.name in lesson.foretold]),
        "bench": bench_table(),
        "families": lines(["family", "of the four", "its own names"], [
            [family, str(len(lesson.fit[family])), ", ".join(targets.linear_names(network))]
            for family, network in lesson.shaped.items()]),
        "cards": lines(["adapted", "numbers trained", "held-out loss", "clinic, held out, share right"], [
            [words, f"{lesson.cards[name][0].metrics['trainable']:,}", told(lesson.cards[name], "held_out_loss", ".3f"),
             span(lesson.cards[name], "clinic")] for name, words in ROWS.items()]),
    }


def renewed(lesson):
    """The page with the figures in their places."""
    return page.filled(PAGE.read_text("utf-8"), tables(lesson))


def evidence(lesson):
    """What claims.md says, by the claim's id."""
    table = [one for one in known_models() if one.name in lesson.foretold]
    whole = [one for one in table if {linear.name.split(".")[-1] for linear in one.shape.linears} >= FOUR]
    others = [one.name for one in table if one not in whole]
    losses = {name: told(cards, "held_out_loss", ".3f") for name, cards in lesson.cards.items()}
    seeds = len(lesson.cards["all_linear"])
    return {"C37, 7B": f"by the configs of {len(table)} models from 1 to 16 B: {len(whole)} have all four, not "
                       f"{', '.join(others)}; {seeds} seeds, QLoRA, 100 steps, held-out loss on all linear layers "
                       f"{losses['all_linear']}, on the four alone {losses['four_names']}, with as many numbers "
                       f"{losses['four_names_wide']}; scale tiny"}


def test_the_shipped_cards_are_of_the_shipped_base_and_train_what_they_say(lesson):
    for found in lesson.cards.values():
        assert {card.model["sha256"] for card in found} == {hub.model_hash()}
        assert sorted(card.seed for card in found) == [0, 1, 2, 3, 4]
    counted = {name: found[0].metrics["trainable"] for name, found in lesson.cards.items()}
    assert counted["all_linear"] == counted["four_names_wide"] > 2 * counted["four_names"]


def test_the_notebooks_own_training_is_the_shipped_one(lesson):
    declared = dict(line.split(": ", 1) for line in next(
        cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.id == "parameters").splitlines())
    theirs = lesson.cards["all_linear"][0].parameters
    for name, want in (("rank", theirs["settings"]["rank"]), ("max_steps", theirs["max_steps"]),
                       ("batch_size", theirs["batch_size"]), ("target_modules", theirs["settings"]["target_modules"])):
        assert json.loads(declared[name].split("=")[1].split("#")[0]) == want


def test_what_the_lesson_says_about_the_figures_is_so(lesson):
    losses = {name: recorded.values(cards, "held_out_loss") for name, cards in lesson.cards.items()}
    for name in ("four_names", "four_names_wide"):
        more = student_mean([other - one for one, other in zip(losses["all_linear"], losses[name], strict=True)])
        assert more.low > 0 and 1.8 < fmean(losses[name]) / fmean(losses["all_linear"]) < 2.6
    helped = [few - many for few, many in zip(losses["four_names"], losses["four_names_wide"], strict=True)]
    assert student_mean(helped).low < 0  # more rank on the four names: no gain that five seeds show
    training = clinic.records("train")
    assert (len(training), sum(one["kind"] == "glossary" for one in training)) == (3260, 60)
    right = {name: recorded.values(cards, "clinic") for name, cards in lesson.cards.items()}
    assert max(map(min, right.values())) < min(map(max, right.values()))  # spans that overlap
    table = [one for one in known_models() if one.name in lesson.foretold]
    assert (len(table), sum({linear.name.split(".")[-1] for linear in one.shape.linears} >= FOUR for one in table)) \
        == (18, 12)


def test_what_the_lesson_counts_of_qwen2_5_7b_is_so():
    qwen = model_named("qwen2.5-7b")
    stored = weight_bytes(qwen.shape, Setup("qlora"))
    tables = 2 * 152_064 * 3584
    assert 2 * tables == pytest.approx(2.18e9, rel=0.01)  # bytes, and as many more in float32
    assert tables / qwen.parameters == pytest.approx(1 / 7, rel=0.02)
    assert sum(stored.values()) == pytest.approx(5.5e9, rel=0.01)
    assert 0.38 < 2 * tables / sum(stored.values()) < 0.4
    assert 4 * lora_parameters(qwen.shape, 16) / (2 * qwen.parameters) == pytest.approx(0.01, rel=0.1)


def test_the_figures_on_the_page_and_in_the_claims_are_measured_ones(lesson):
    assert renewed(lesson) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(lesson), check=True)


if __name__ == "__main__":
    made = computed()
    PAGE.write_text(renewed(made), "utf-8")
    page.refresh_claims(CLAIMS, evidence(made))
