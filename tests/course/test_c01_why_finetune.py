"""Lesson 01: its answers and its loop against others', and what ships with it fits the kit.

Its exercises are tried in test_answers.
"""

import random
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from ftkit import hub, methods
from ftkit.chat import encode
from ftkit.course import catalogue, page, recorded
from ftkit.course.solved import solved_notebook
from ftkit.evaluate.perplexity import bits_per_byte, record_losses
from ftkit.notebooks.parameters import declared_parameters

STEM = "01_why_finetune"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE = ROOT / "lessons" / f"{STEM}.md"
CLAIMS = ROOT / "lessons" / "claims.md"



def test_the_bits_of_the_exercise_are_those_of_the_package():
    model, tokenizer = hub.load_model()
    text = "The triage desk is invented. 分诊台是虚构的。"
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    sums, counts = record_losses(model, [(ids, ids)])
    found = catalogue.solution_value("01.1")(sums[0] / counts[0], counts[0], text)
    assert found == pytest.approx(bits_per_byte(model, tokenizer, [text]).value, rel=1e-9)


def test_the_record_loss_of_the_exercise_is_the_mean_of_torch_losses_row_by_row():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, 5, generator=generator)
    labels = torch.randint(5, (3, 6), generator=generator)
    labels[0, :4], labels[1, 3:] = -100, -100
    rows = [torch.nn.functional.cross_entropy(logits[row, :-1], labels[row, 1:]) for row in range(3)]
    # sums of float32 in another order
    assert catalogue.solution_value("01.3")(logits, labels).item() == pytest.approx(sum(rows).item() / 3, rel=1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_the_sign_test_of_the_exercise_is_the_exact_binomial_test(seed):
    draw = random.Random(seed)
    before, after = ([draw.randint(0, 1) for _ in range(12)] for _ in range(2))
    lost = sum(was > now for was, now in zip(before, after, strict=True))
    changed = sum(was != now for was, now in zip(before, after, strict=True))
    expected = binomtest(lost, changed).pvalue if changed else 1.0
    assert catalogue.solution_value("01.4")(before, after) == pytest.approx(expected, rel=1e-12)


def test_the_notebooks_loop_is_that_of_the_package(run, capsys):
    run(solved_notebook(NOTEBOOK, only={"setup", "parameters", "config", "agree"}))
    assert "losses of full fine-tuning: this notebook and the package agree within" in capsys.readouterr().out


def test_every_training_record_of_the_clinic_ends_its_answer_inside_the_loss():
    from ftkit.tiny import clinic

    _, tokenizer = hub.load_model()
    for record in clinic.records("train")[:50]:
        assert tokenizer.eos_token_id in encode(record, tokenizer).labels


# ---- what ships: cards, page, claims

@pytest.fixture(scope="module")
def cards():
    return recorded.shipped(STEM, "main_job")


def points(cards):
    found = {}
    for card in cards:
        found.setdefault((card.parameters["method"], card.parameters["learning_rate"]), []).append(card)
    return found


def test_the_shipped_cards_are_of_the_shipped_base_with_three_seeds_or_more(cards):
    assert {card.model["sha256"] for card in cards} == {hub.model_hash()}
    assert min(len(chosen) for chosen in points(cards).values()) >= 3


def test_the_run_that_the_notebook_makes_is_among_the_shipped_ones_and_so_is_a_usual_rate(cards):
    default = declared_parameters(NOTEBOOK)
    method = default["method"].default
    rates = {kind: methods.default_learning_rate(kind, methods.SMALL_MODEL) for kind in (method, "full")}
    assert (method, rates[method]) in points(cards)
    assert {("full", 1e-5), ("full", 5e-5), ("full", rates["full"])} <= points(cards).keys()


def test_without_its_adapter_every_shipped_lora_run_is_the_base_again(cards):
    adapted = [card for card in cards if card.parameters["method"] == "lora"]
    assert {card.metrics["base_same"] for card in adapted} == {1.0}
    assert all(card.metrics["general_removed"] == card.metrics["general_before"] for card in adapted)


def evidence_of(cards):
    """What claims.md says of C13: the point that the notebook runs, against the base."""
    adapted = points(cards)["lora", methods.default_learning_rate("lora", methods.SMALL_MODEL)]
    before, after = (sum(recorded.values(adapted, f"general_{when}")) / len(adapted) for when in ("before", "after"))
    spread = recorded.interval(adapted, "general_after", bounds=recorded.SHARE)
    return (f"{len(adapted)} seeds: general exam {before:.3f} before, {after:.3f} with the adapter (a new seed lies in "
            f"{spread.low:.3f} to {spread.high:.3f}), {before:.3f} and the same bits without it; scale tiny")


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(cards):
    assert not page.refresh(PAGE, check=True), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, {"C13": evidence_of(cards)}, check=True)


if __name__ == "__main__":
    page.refresh(PAGE)
    page.refresh_claims(CLAIMS, {"C13": evidence_of(recorded.shipped(STEM, "main_job"))})
