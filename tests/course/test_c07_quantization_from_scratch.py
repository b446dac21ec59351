"""Lesson 07: its answers are right, its wrong answers get their hints, and what ships with it fits the kit."""

from pathlib import Path
from statistics import fmean

import pytest
import torch

from ftkit import hub
from ftkit.course import catalogue, recorded
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook
from ftkit.files import read_json
from ftkit.notebooks.parameters import declared_parameters
from ftkit.quant import blocks, codebooks
from ftkit.quant.linear import QuantisedLinear, model_bytes, quantise_

STEM = "07_quantization_from_scratch"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE = ROOT / "lessons" / f"{STEM}.md"
CLAIMS = ROOT / "lessons" / "claims.md"


# ---- the answers are what the package and other libraries compute

def test_the_bytes_of_the_exercise_are_those_that_the_package_stores():
    model, _ = hub.load_model()
    shapes = {path: tuple(module.weight.shape) for path, module in model.named_modules()
              if isinstance(module, torch.nn.Linear) and path != "lm_head"}
    for bits, data_type in ((4, "nf4"), (8, "int8")):
        want = sum(blocks.storage_bytes(blocks.quantise(torch.ones(shape), data_type)) for shape in shapes.values())
        assert catalogue.solution_value("07.1")(shapes, (), bits, 64, 32) == want


def test_the_codebook_of_the_exercise_is_nf4_for_four_bits_of_a_normal_distribution():
    found = catalogue.solution_value("07.3")(torch.special.ndtri, 4)
    # its tail is not rounded, so the last bits differ
    torch.testing.assert_close(found, codebooks.codebook("nf4"), rtol=0, atol=1e-5)


def test_the_unpacking_of_the_exercise_is_the_packages_for_four_bits():
    packed = blocks.quantise(torch.randn(999, generator=torch.Generator().manual_seed(0)))
    found = catalogue.solution_value("07.4")(packed.packed[:, 0], 4, 999)
    assert torch.equal(found, blocks.codes_of(packed))


def test_rows_with_a_zero_point_go_through_the_product_of_the_last_exercise():
    drawn = torch.Generator().manual_seed(0)
    weight, x = torch.randn(5, 40, generator=drawn) + 1, torch.randn(3, 40, generator=drawn)
    codes, scale, zero = catalogue.solution_value("07.2")(weight, 8)
    y = catalogue.solution_value("07.6").apply(x, codes, scale[:, 0], zero[:, 0], None)
    # half a step for each of 40 weights, at most
    torch.testing.assert_close(y, x @ weight.T, rtol=0, atol=(x.abs().sum(1).max() * scale.max() / 2 + 1e-4).item())


# ---- the notebook

def test_the_solved_notebook_agrees_with_the_package_and_with_bitsandbytes(run, capsys):
    run(solved_notebook(NOTEBOOK, only=NEEDED_TAGS))
    said = capsys.readouterr().out
    assert said.count("this notebook and the package agree exactly") >= 11
    assert "bitsandbytes' bytes and ours, 48 times: this notebook and the package agree exactly" in said
    assert (score(STEM).passed, score(STEM).total) == (6, 6)


# ---- what ships: cards, page, claims

@pytest.fixture(scope="module")
def cards():
    return recorded.shipped(STEM, "points")


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_notebooks_own_settings(cards):
    assert {card.model["sha256"] for card in cards} == {hub.model_hash()} and len(cards) >= 3
    declared = declared_parameters(NOTEBOOK)
    for card in cards:
        assert all(card.parameters[name] == declared[name].default for name in ("scale", "texts", "questions"))


def test_attention_and_half_of_the_mlp_take_the_same_bytes(cards):
    for kind in ("nf4", "int4"):
        sizes = {card.metrics[f"{kind} 64{part} bytes"] for card in cards for part in (" attention", " half of MLP")}
        assert len(sizes) == 1


def test_shipped_bytes_and_errors_are_what_the_package_has_today(cards):
    model = quantise_(hub.load_model()[0], "nf4", 64, double=True)
    assert model_bytes(model) == cards[0].metrics["nf4 64 double bytes"]
    assert sum(isinstance(module, QuantisedLinear) for module in model.modules()) == 56
    normal = torch.randn(1024, 1024, generator=torch.Generator().manual_seed(cards[0].seed))
    error = (normal - blocks.dequantise(blocks.quantise(normal, "int4"))).pow(2).mean().sqrt() / normal.std()
    assert 100 * error.item() == pytest.approx(cards[0].metrics["rmse int4 64"], rel=1e-4)  # a sum in another order


PAPER = {"int4 64": "34.34", "e2m1 64": "31.07", "e3m0 64": "29.48", "nf4 64 double": "27.41"}
NAMES = ("int8 64", "nf4 64", "nf4 64 double", "e2m1 64", "int4 64", "fp4 64", "e3m0 64")
SIZES = (64, 128, 256, 512, 1024, 2048, 4096)


def over_seeds(cards, metric, form):
    found = recorded.values(cards, metric)
    return f"{fmean(found):{form}} ({min(found):{form}} to {max(found):{form}})"


def table_of_types(cards):
    """The page's first table: a row a data type."""
    lines = ["| blocks of 64, all linear layers | RMSE on N(0, 1), % of std | docstrings' perplexity rises by | "
             "perplexity of answers | exam | QLoRA's table 2 |", "|---|---|---|---|---|---|",
             f"| base | | | {over_seeds(cards, 'base answers', '.3f')} | {over_seeds(cards, 'base exam', '.3f')} | |"]
    lines += [f"| {name.replace(' 64', '')} | {over_seeds(cards, 'rmse ' + name.removesuffix(' double'), '.2f')} | "
              f"{over_seeds(cards, name + ' rise', '.1%')} | {over_seeds(cards, name + ' answers', '.3f')} | "
              f"{over_seeds(cards, name + ' exam', '.3f')} | {PAPER.get(name, '')} |" for name in NAMES]
    return "\n".join(lines)


def table_of_blocks(cards):
    """The page's second table: a row a block size."""
    kinds = ("nf4", "int4", "fp4", "int8")
    lines = [f"| numbers a block | 4 bits and scales | {' | '.join(f'RMSE, {kind}' for kind in kinds)} | "
             f"{' | '.join(f'perplexity rises by, {kind}' for kind in kinds)} |", f"|---|---|{'---|' * 2 * len(kinds)}"]
    for size in SIZES:
        errors = " | ".join(f"{fmean(recorded.values(cards, f'rmse {kind} {size}')):.2f}" for kind in kinds)
        rises = " | ".join(over_seeds(cards, f"{kind} {size} rise", ".1%") for kind in kinds)
        lines.append(f"| {size} | {4 + 32 / size:.3f} | {errors} | {rises} |")
    return "\n".join(lines)


def table_of_parts(cards):
    """The page's third table: which layers are quantised."""
    lines = ["| quantised, blocks of 64 | whole model, MB | docstrings' perplexity rises by | exam |",
             "|---|---|---|---|"]
    for kind in ("nf4", "int4"):
        for part in (" attention", " half of MLP", " MLP", ""):
            name = f"{kind} 64{part}"
            lines.append(f"| {kind},{part or ' all'} | {cards[0].metrics[name + ' bytes'] / 1e6:.2f} | "
                         f"{over_seeds(cards, name + ' rise', '.1%')} | {over_seeds(cards, name + ' exam', '.3f')} |")
    return "\n".join(lines)


def evidence(cards):
    """What claims.md says of C20 and C42, by id."""
    normal = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    saved = {double: blocks.bits_per_number(blocks.quantise(normal.repeat(16, 16), double=double))
             for double in (False, True)}
    whole = hub.load_model()[0]
    share = 1 - cards[0].metrics["nf4 64 double bytes"] / model_bytes(whole)
    worse = over_seeds(cards, "int4 64 rise", ".1%"), over_seeds(cards, "nf4 64 rise", ".1%")
    parts = {kind: [over_seeds(cards, f"{kind} 64{part} rise", ".1%") for part in (" attention", " half of MLP")]
             for kind in ("nf4", "int4")}
    n = len(cards)
    return {
        "C20": f"counted on a stored 4096 × 4096 matrix: {saved[False]:.3f} bits a weight in NF4 with blocks of 64, "
               f"{saved[True]:.3f} with double quantisation, so {1 - saved[False] / 16:.1%} and "
               f"{1 - saved[True] / 16:.1%} of 16 bits, {1 - saved[False] / 32:.1%} and {1 - saved[True] / 32:.1%} of "
               f"32; of the whole base in float32 {share:.0%}. {n} seeds of texts: perplexity of docstrings rises by "
               f"{worse[0]} with integers (int4) and by {worse[1]} with NF4, in the same bits; scale tiny",
        "C42": "the same number of weights quantised and the same bytes, in attention or in a random half of the MLP: "
               f"perplexity of docstrings rises by {parts['nf4'][0]} or {parts['nf4'][1]} in NF4, by "
               f"{parts['int4'][0]} or {parts['int4'][1]} in int4; {n} seeds of texts and of halves; scale tiny",
    }


def renewed(cards):
    """The page and the claims with the figures of the cards in their places."""
    page, claims = PAGE.read_text("utf-8"), CLAIMS.read_text("utf-8")
    for name, table in (("types", table_of_types), ("blocks", table_of_blocks), ("parts", table_of_parts)):
        first, last = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        page = page[:page.index(first) + len(first)] + table(cards) + "\n" + page[page.index(last):]
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
    def mean(metric):
        return fmean(recorded.values(cards, metric))

    assert all(mean(f"rmse nf4 {size}") < mean(f"rmse {kind} {size}") for size in SIZES
               for kind in ("e2m1", "int4", "fp4", "e3m0"))
    assert all(mean(f"rmse fp4 {size}") > mean(f"rmse int4 {size}") for size in SIZES)
    assert mean("rmse e2m1 32") > mean("rmse int4 32") and mean("rmse e2m1 64") < mean("rmse int4 64")
    less = {kind: [card.metrics[f"{kind} 64 attention rise"] < card.metrics[f"{kind} 64 half of MLP rise"]
                   for card in cards] for kind in ("nf4", "int4")}
    assert all(less["nf4"]) and (sum(less["int4"]), len(cards)) == (3, 5)
    assert min(range(len(SIZES)), key=lambda place: mean(f"nf4 {SIZES[place]} rise")) == SIZES.index(512)
    assert mean("nf4 64 rise") < mean("int4 64 rise") / 3 and mean("fp4 64 rise") > mean("int4 64 rise")


def test_the_speeds_in_readme_and_page_are_the_measured_ones():
    rows = read_json(ROOT / "benchmarks" / "results" / "quant.json")["rows"]

    def times(what, size=None):
        return [row["ratio"] for row in rows if row["what"] == what and size in (None, row["size"])]

    quantising, large, small = times("quantise"), times("dequantise", 4096), times("dequantise", 1024)
    words = [f"{min(quantising):.1f} to {max(quantising):.1f} times as fast",
             f"{1 / max(large):.1f} to {1 / min(large):.1f} times as long at 4096²",
             f"{1 / max(small):.1f} to {1 / min(small):.1f} times at 1024²"]
    for path in (ROOT / "README.md", PAGE):
        text = " ".join(path.read_text("utf-8").split())
        assert all(each in text for each in words), words


if __name__ == "__main__":
    for path, text in zip((PAGE, CLAIMS), renewed(recorded.shipped(STEM, "points")), strict=True):
        path.write_text(text, "utf-8")
