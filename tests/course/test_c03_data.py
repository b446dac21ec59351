"""Lesson 03: its answers are right, its wrong answers get their hints, and what ships with it fits the kit."""

import random
from pathlib import Path
from statistics import fmean

import pytest
import torch

from ftkit import hub, lengths
from ftkit.batches import collate_packed
from ftkit.chat import IGNORED, encode, encode_all
from ftkit.course import catalogue, recorded
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook
from ftkit.data import duplicates, personal
from ftkit.notebooks.parameters import declared_parameters
from ftkit.tiny import clinic

STEM = "03_data"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE = ROOT / "lessons" / f"{STEM}.md"
CLAIMS = ROOT / "lessons" / "claims.md"
TALK = {"messages": [{"role": "system", "content": "You are the desk."}, {"role": "user", "content": "Hello."},
                     {"role": "assistant", "content": "Good morning."}, {"role": "user", "content": "我头晕。"},
                     {"role": "assistant", "content": "请坐下。"}]}


@pytest.fixture(scope="module")
def tokenizer():
    return hub.load_model()[1]


# ---- the answers are what the package and other libraries compute

def test_the_ids_of_the_exercise_are_those_that_the_package_calls_valid():
    drawn, found = random.Random(0), 0
    for _ in range(3000):
        number = (f"110101{drawn.randint(1900, 1999)}{drawn.randint(1, 13):02}{drawn.randint(1, 31):02}"
                  f"{drawn.randrange(1000):03}{drawn.choice('0123456789X')}")
        valid = personal.valid_resident_id(number)
        found += valid
        assert catalogue.solution_value("03.3")(f"号码{number}。") == [number] * valid
    assert found > 100


def test_one_record_stays_of_each_cluster_of_the_package():
    texts = [record["input"] for record in clinic.records("train")[:150]]
    texts += [f"{text} Thank you." for text in texts[:40]]
    pairs = [pair[:2] for pair in duplicates.near_pairs(texts, 0.7)]
    assert pairs
    kept = catalogue.solution_value("03.2")(list(map(len, texts)), pairs)
    leaders = duplicates.clusters(texts, 0.7)
    assert sorted(leaders[place] for place in kept) == sorted(set(leaders))


def test_the_labels_of_the_exercise_are_those_of_the_package(tokenizer):
    whole = encode(TALK, tokenizer)
    opening = tokenizer("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    labels = catalogue.solution_value("03.5")
    assert labels(whole.input_ids, opening, end, [True, True]) == whole.labels
    first = encode({"messages": TALK["messages"][:3]}, tokenizer)
    alone = labels(whole.input_ids, opening, end, [True, False])
    assert alone == first.labels + [IGNORED] * (len(whole.labels) - len(first.labels))


def test_the_length_of_the_exercise_loses_what_the_package_says_it_does(tokenizer):
    examples, _ = encode_all(clinic.records("train")[:200], tokenizer)
    pairs = [(next(place for place, label in enumerate(labels) if label != IGNORED),
              sum(label != IGNORED for label in labels)) for _, labels in examples]
    chosen = catalogue.solution_value("03.6")(pairs, 0.05, 4)
    measured = lengths.measure(examples)
    shorter, this = lengths.costs(measured, [chosen - 4, chosen])
    assert this.lost <= 0.05 < shorter.lost


def test_what_a_token_sees_in_the_exercise_is_what_the_packages_mask_lets_it_see(tokenizer):
    examples, _ = encode_all(clinic.records("train")[:6], tokenizer)
    batch = collate_packed([examples[:3], examples[3:5], examples[5:]], tokenizer.pad_token_id, seq_len=400)
    mask = batch.model_inputs()["attention_mask"]
    assert torch.equal(catalogue.solution_value("03.7")(batch.position_ids), mask[:, 0])


def test_the_split_of_the_exercise_leaves_no_near_duplicate_on_the_other_side():
    records = clinic.records("train")[:200]
    texts = [f"{record['instruction']} {record['input']}" for record in records]
    clusters = duplicates.clusters(texts, 0.6)
    kinds = [record["language"] for record in records]
    held_out = catalogue.solution_value("03.4")(clusters, kinds, 0.2)
    assert {clusters[place] for place in held_out}.isdisjoint(
        clusters[place] for place in range(200) if place not in held_out)
    for language in clinic.LANGUAGES:
        assert 0.1 < sum(kinds[place] == language for place in held_out) / kinds.count(language) <= 0.2


# ---- the notebook

def test_the_solved_notebook_agrees_with_the_package_and_with_datasketch(run, capsys):
    run(solved_notebook(NOTEBOOK, only=NEEDED_TAGS))
    said = capsys.readouterr().out
    assert said.count("this notebook and the package agree exactly") >= 7
    assert "a signature, with datasketch's: this notebook and the package agree exactly" in said
    assert (score(STEM).passed, score(STEM).total) == (7, 7)


# ---- what ships: cards, page, claims

@pytest.fixture(scope="module")
def cards():
    return recorded.shipped(STEM, "points")


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_notebooks_own_settings(cards):
    assert {card.model["sha256"] for card in cards} == {hub.model_hash()} and len(cards) >= 3
    declared = declared_parameters(NOTEBOOK)
    for card in cards:
        assert all(card.parameters[name] == declared[name].default for name in ("scale", "steps", "near", "languages"))


POINTS = ("30", "100", "300", "1000", "all", "dirty", "prepared", "prepared and read", "answers from 50",
          "100 augmented", "templates")


def over_seeds(cards, metric, form=".3f"):
    found = recorded.values(cards, metric)
    return f"{fmean(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def table_of_points(cards):
    """The page's table: a row a training."""
    lines = ["| trained on | records | held-out loss | English | Chinese | in the other template | training loss |",
             "|---|---|---|---|---|---|---|"]
    for name in POINTS:
        cells = [over_seeds(cards, f"{name} {what}") for what in ("loss", "en", "zh", "other", "training loss")]
        lines.append(f"| {name} | {fmean(recorded.values(cards, f'{name} records')):.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_seed(cards, one, other, what="loss"):
    """The difference of two points, seed by seed: its mean, and in how many seeds the first is lower."""
    apart = [a - b for a, b in zip(recorded.values(cards, f"{one} {what}"), recorded.values(cards, f"{other} {what}"),
                                   strict=True)]
    return f"{fmean(apart):+.3f} ({min(apart):+.3f} to {max(apart):+.3f})"


def evidence(cards):
    """What claims.md says of C27, C28, C47 and C48, by id."""
    n, steps = len(cards), cards[0].parameters["steps"]
    same = f"{n} seeds, {steps} steps of 4 records each, LoRA; scale tiny"
    counts = ", ".join(f"{over_seeds(cards, f'{name} loss')} with {words}" for name, words in (
        ("30", "30 records"), ("100", "100"), ("300", "300"), ("1000", "1,000"), ("all", "all 3,260")))
    short = fmean(recorded.values(cards, "short"))
    return {
        "C27": f"held-out loss (nats a token) {counts}; {same}",
        "C28": "300 clean records, 360 with trouble planted among them: held-out loss "
               f"{over_seeds(cards, 'dirty loss')} "
               f"as they are, {over_seeds(cards, 'prepared loss')} after the pipeline ({by_share(cards)}), "
               f"{over_seeds(cards, '300 loss')} on the clean ones. Without answers under 50 characters, which are "
               f"{short:.0%} of the clean ones: Chinese {over_seeds(cards, 'answers from 50 zh', '.1f')} instead of "
               f"{over_seeds(cards, '300 zh')}; {same}",
        "C47": f"held-out loss {over_seeds(cards, '100 loss')} with 100 records, "
               f"{over_seeds(cards, '100 augmented loss')} with up to two rewritten questions for each "
               f"(difference {by_seed(cards, '100 augmented', '100')}), {over_seeds(cards, '300 loss')} with 300 real "
               f"ones; {same}",
        "C48": f"300 records, half of them in another template: held-out loss in the own template "
               f"{over_seeds(cards, 'templates loss')} instead of {over_seeds(cards, '300 loss')} "
               f"(difference {by_seed(cards, 'templates', '300')}), in the other one "
               f"{over_seeds(cards, 'templates other')} instead of {over_seeds(cards, '300 other')}; {same}",
    }


def by_share(cards):
    """By how much less the prepared records' loss is than the dirty ones', seed by seed."""
    less = [a / b - 1 for a, b in zip(recorded.values(cards, "prepared loss"), recorded.values(cards, "dirty loss"),
                                      strict=True)]
    return f"{fmean(less):+.0%}, {min(less):+.0%} to {max(less):+.0%}"


def renewed(cards):
    """The page and the claims with the figures of the cards in their places."""
    page, claims = PAGE.read_text("utf-8"), CLAIMS.read_text("utf-8")
    first, last = "<!-- points -->\n", "<!-- end of points -->"
    page = page[:page.index(first) + len(first)] + table_of_points(cards) + "\n" + page[page.index(last):]
    for claim, text in evidence(cards).items():
        row = next(line for line in claims.splitlines() if line.startswith(f"| {claim} "))
        cells = row.split(" | ")
        cells[3] = text
        claims = claims.replace(row, " | ".join(cells))
    return page, claims


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(cards):
    page, claims = renewed(cards)
    assert page == PAGE.read_text("utf-8"), f"renew the page's figures: python tests/course/{Path(__file__).name}"
    assert claims == CLAIMS.read_text("utf-8"), f"renew the claims: python tests/course/{Path(__file__).name}"


def test_what_the_page_says_about_the_figures_is_so(cards):
    def each(one, other, what="loss"):
        pairs = zip(*(recorded.values(cards, f"{name} {what}") for name in (one, other)), strict=True)
        return [first - second for first, second in pairs]

    assert min(each("30", "100")) > 0.5 and max(recorded.values(cards, "30 training loss")) < 0.05
    assert min(each("100", "1000")) > 0 and 0 < fmean(each("300", "1000")) < 0.05 > abs(fmean(each("all", "1000")))
    assert max(each("prepared", "dirty")) < 0 and abs(fmean(each("prepared", "300"))) < 0.05
    assert min(each("prepared and read", "prepared")) < 0 < max(each("prepared and read", "prepared"))
    assert min(each("answers from 50", "300", "zh")) > 5 and 0.4 < fmean(recorded.values(cards, "short")) < 0.55
    assert not any(len(record["output"]) >= 50 for record in clinic.records("train") if record["language"] == "zh")
    assert min(each("100 augmented", "100")) > 0
    assert min(each("templates", "300")) < 0 < max(each("templates", "300"))
    assert max(each("templates", "300", "other")) < -0.3


if __name__ == "__main__":
    for path, text in zip((PAGE, CLAIMS), renewed(recorded.shipped(STEM, "points")), strict=True):
        path.write_text(text, "utf-8")
