"""Lesson 08: its answers agree with the package, bitsandbytes and torch; what ships with it fits the kit."""

from pathlib import Path
from statistics import fmean, median
from types import SimpleNamespace

import bitsandbytes
import nbformat
import pytest
import torch

from ftkit import hub, loftq, methods, quantization, targets
from ftkit.course import catalogue, page, recorded
from ftkit.course.progress import score
from ftkit.course.solved import NEEDED_TAGS, solved_notebook
from ftkit.files import read_json
from ftkit.lora.adapter import lora_layers
from ftkit.merge.merging import WAYS
from ftkit.quant.blocks import dequantise, quantise

STEM = "08_qlora"
ROOT = Path(__file__).parents[2]
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
GRID = ROOT / "src" / "ftkit" / "course" / "assets" / "grids" / f"{STEM}.json"


# ---- the official answers beside what they stand for

def test_the_cast_of_the_exercise_is_what_peft_s_preparation_adds():
    from peft import prepare_model_for_kbit_training

    model, _ = hub.load_model(device="cpu", dtype="bfloat16", quantization="nf4")
    parameters = {name: (one.numel(), str(one.dtype).removeprefix("torch."), one.data_ptr())
                  for name, one in model.named_parameters(remove_duplicate=False)}
    before = sum(one.numel() * one.element_size() for one in model.parameters())
    prepared = prepare_model_for_kbit_training(model)
    after = sum(one.numel() * one.element_size() for one in prepared.parameters())
    assert catalogue.solution_value("08.1")(parameters) == after - before > 0


@pytest.mark.parametrize(("bits", "kind"), [(32, bitsandbytes.optim.AdamW), (8, bitsandbytes.optim.AdamW8bit)])
def test_the_moments_of_the_exercise_are_those_that_bitsandbytes_keeps(bits, kind):
    sizes = [100, 4095, 4096, 5000, 70_000]
    tensors = [torch.nn.Parameter(torch.ones(size)) for size in sizes]
    optimizer = kind(tensors, lr=1e-3)
    for one in tensors:
        one.grad = torch.ones_like(one)
    optimizer.step()
    held = [value for one in tensors for name, value in optimizer.state[one].items()
            if name in ("state1", "state2", "absmax1", "absmax2")]
    assert catalogue.solution_value("08.2")(sizes, bits, False) == (
        sum(one.numel() * one.element_size() for one in held), 0)


def test_the_gradients_of_the_exercise_are_those_of_a_layer_of_the_package():
    model = methods.prepare(hub.load_model(device="cpu", quantization="nf4")[0], "qlora", rank=4).model
    layer = lora_layers(model)["model.layers.1.self_attn.o_proj"].train()
    with torch.no_grad():
        layer.lora_B.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(9, 192, generator=torch.Generator().manual_seed(1)).requires_grad_()
    grad_y = torch.randn(9, 192, generator=torch.Generator().manual_seed(2))
    layer(x).backward(grad_y)
    found = catalogue.solution_value("08.3")(
        x.detach(), quantization.numbers_of(layer.base), layer.lora_A.detach(), layer.lora_B.detach(), layer.scaling,
        grad_y, torch.float32)
    for here, package in zip(found, (x.grad, layer.lora_A.grad, layer.lora_B.grad), strict=True):
        torch.testing.assert_close(here, package, rtol=1e-4, atol=1e-3)  # float32 sums in another order


def through(weight):
    return dequantise(quantise(weight, "nf4", 64, double=True))


def test_a_large_update_survives_a_merge_into_codes_and_a_small_one_within_a_block_does_not():
    def into_codes(weight):
        return dequantise(quantise(weight, "nf4", 64))  # plain scales: what was rounded once stays where it is

    base = into_codes(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))
    update = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    update[base.abs() == base.abs().amax(1, keepdim=True)] = 0.0  # a block is a row: its scale stays
    survives = catalogue.solution_value("08.4")
    assert survives(base, update, into_codes)[0] == pytest.approx(1, abs=0.05)
    assert survives(base, 1e-4 * update, into_codes) == (0.0, 0.0)


def test_one_round_of_the_exercise_is_the_packages_loftq():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    numbers, lora_A, lora_B = catalogue.solution_value("08.5")(weight, through, 8, 2.0, 1)
    codes, their_A, their_B = loftq.loftq(weight, 8)
    torch.testing.assert_close(numbers, dequantise(codes))
    torch.testing.assert_close(2.0 * lora_B @ lora_A, their_B @ their_A, rtol=0, atol=1e-4)  # two decompositions


def test_the_product_in_slices_is_the_product_of_a_4_bit_layer():
    layer = hub.load_model(device="cpu", quantization="nf4")[0].model.layers[0].mlp.up_proj.train()
    numbers = quantization.numbers_of(layer)
    x = torch.randn(3, 192, generator=torch.Generator().manual_seed(0)).requires_grad_()
    other_x = x.detach().clone().requires_grad_()
    sliced = catalogue.solution_value("08.6").apply(x, lambda first, last: numbers[first:last], len(numbers), 100)
    torch.testing.assert_close(sliced, layer(other_x), rtol=1e-4, atol=1e-4)  # float32 in another order
    sliced.square().sum().backward()
    layer(other_x).square().sum().backward()
    torch.testing.assert_close(x.grad, other_x.grad, rtol=1e-4, atol=1e-3)


# ---- the notebook

def test_the_solved_notebook_agrees_with_the_package_peft_and_bitsandbytes(run, capsys):
    run(solved_notebook(ROOT / "notebooks" / f"{STEM}.ipynb", only=NEEDED_TAGS))
    said = capsys.readouterr().out
    assert said.count("this notebook and the package agree") == 12
    assert "losses of four steps, by this kit and by peft: this notebook and the package agree within 0.001" in said
    assert (score(STEM).passed, score(STEM).total) == (6, 6)


# ---- what ships: cards, page, claims

CODE = ("setup", "setup-more", "parameters", "rows", "cast-seven", "cards")  # what the page tells


def computed():
    """The names that the notebook's own cells define, with everything left out that trains or draws."""
    cells = {cell.id: cell.source for cell in nbformat.read(ROOT / "notebooks" / f"{STEM}.ipynb", as_version=4).cells}
    names = {"display": lambda _: None, "my_guess": None}
    for name in CODE:
        exec(compile(cells[name], name, "exec"), names)
        names |= {"whole": False, "lesson": SimpleNamespace(stem=STEM)}
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def lesson():
    return computed()


def lines(headers, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in [headers, ["---"] * len(headers), *rows])


def sizes():
    """The bytes of the base, by how it is stored."""
    asked = {"float32": {}, "int8": {"quantization": "int8"}, "nf4, plain scales": {
        "quantization": "nf4", "double_quant": False}, "fp4": {"quantization": "fp4"}, "nf4": {"quantization": "nf4"},
        "attention in nf4": {"quantization": "nf4", "unquantised": ["mlp"]},
        "MLP in nf4": {"quantization": "nf4", "unquantised": ["self_attn"]}}
    return {name: quantization.stored_bytes(hub.load_model(device="cpu", dtype="float32", **how)[0])
            for name, how in asked.items()}


def told(lesson, name, metric, form=".3f"):
    return lesson.told(lesson.student_mean(recorded.values(lesson.table[name], metric)), form)


def merges(lesson, name):
    """Of each way: loss, its difference from the unmerged, clinic, largest change of a logit."""
    cards, found = lesson.table[name], []
    for way in WAYS:
        less = lesson.student_mean([card.metrics[f"{way} loss"] - card.metrics["held_out_loss"] for card in cards])
        found.append([f"{name}, {way}", f"{fmean(recorded.values(cards, f'{way} bytes')) / 1e6:.1f}",
                      told(lesson, name, f"{way} loss"), lesson.told(less, "+.4f"),
                      told(lesson, name, f"{way} clinic", ".2f"),
                      f"{max(recorded.values(cards, f'{way} difference')):.2g}"])
    return found


PARTS = ("QLoRA", "MLP in nf4", "attention in nf4", "even MLPs in nf4", "odd MLPs in nf4")


def tables(lesson):
    """The tables of the page, by name."""
    stored = sizes()
    rows = [lesson.line_of(name) for name in lesson.ROWS]
    return {
        "stored": lines(["stored in", "whole base, MB", "of float32"], [
            [name, f"{size / 1e6:.2f}", f"{size / stored['float32']:.1%}"] for name, size in stored.items()]),
        "cast": lines(["model", "added, GB"], [[name, f"{lesson.added_gb(*shape):.2f}"]
                                               for name, shape in lesson.SHAPES.items()]),
        "merges": lines(["base, merged into", "weights, MB", "held-out loss", "less the unmerged", "clinic",
                         "largest change of a logit, over seeds"],
                        [line for name in ("QLoRA", "8-bit LoRA") for line in merges(lesson, name)]),
        "table": lines(["row", "held-out loss", "less LoRA's, seed by seed", "clinic: right", "step, of LoRA's",
                        "peak, GiB", "saved, MB"], rows),
        "parts": lines(["in nf4", "held-out loss less LoRA's", "each seed"], [
            [name.removesuffix(" in nf4").replace("QLoRA", "all"), lesson.told(lesson.against(name), "+.3f"),
             ", ".join(f"{one - other:+.3f}" for one, other in lesson.pairs(name))] for name in PARTS]),
    }


def renewed(lesson):
    """The page with the figures of the cards in their places."""
    return page.filled(PAGE.read_text("utf-8"), tables(lesson))


def slower(lesson, name):
    """The median over seeds of the CPU time of a step, over LoRA's, and the lowest and highest seed's."""
    found, usual = (recorded.values(lesson.table[one], "step_cpu_s") for one in (name, "LoRA"))
    return (f"{median(found) / median(usual):.2f} (seeds from {min(found) / median(usual):.2f} to "
            f"{max(found) / median(usual):.2f})")


def evidence(lesson):
    """What claims.md says of each claim, by id."""
    table, n = lesson.table, len(lesson.table["LoRA"])
    trained = {name: {card.metrics["trainable"] for card in table[name]} for name in ("LoRA", "QLoRA")}
    share = trained["QLoRA"].pop() / (total := table["LoRA"][0].metrics["total"])
    stored = sizes()
    less = {name: lesson.told(lesson.against(name), "+.3f") for name in lesson.ROWS if name != "LoRA"}
    points = {name: lesson.told(lesson.against(name, "clinic"), "+.3f") for name in ("QLoRA", "QLoRA on fp4")}
    merged = {way: lesson.told(lesson.student_mean(
        [card.metrics[f"{way} loss"] - card.metrics["held_out_loss"] for card in table["QLoRA"]]), "+.4f")
        for way in WAYS}
    return {
        "C19": f"counted: the same factors on the same layers, {table['LoRA'][0].metrics['trainable']:,} numbers at "
               f"rank 8 with LoRA and with QLoRA, {share:.1%} of {total:,}; scale tiny",
        "C21": f"{n} seeds, median CPU time of a step over LoRA's: QLoRA {slower(lesson, 'QLoRA')}, fp4 "
               f"{slower(lesson, 'QLoRA on fp4')}, int8 {slower(lesson, '8-bit LoRA')}; one processor, beside other "
               "work; scale tiny",
        "C22": f"{n} seeds, one rate, less LoRA's: held-out loss {less['QLoRA']} with NF4, "
               f"{less['QLoRA on fp4']} with FP4, {less['8-bit LoRA']} with int8, {less['LoftQ']} with LoftQ; share of "
               f"right answers {points['QLoRA']} and {points['QLoRA on fp4']}; scale tiny",
        "C40": f"{n} seeds: merged into the codes the weights take {stored['nf4'] / 1e6:.1f} MB and stay in four bits, "
               f"dequantised or put into the original {stored['float32'] / 1e6:.1f} MB; held-out loss less the "
               f"unmerged: codes {merged['quantised']}, dequantised {merged['dequantised']}, original "
               f"{merged['original']}; scale tiny",
        "C42, trained on": f"{n} seeds, LoRA on all layers, held-out loss less that of LoRA on float32: attention in "
                           f"NF4 {less['attention in nf4']}, as many MLP weights {less['even MLPs in nf4']} (even "
                           f"layers) and {less['odd MLPs in nf4']} (odd layers); scale tiny",
        "C43": "no seeds, by construction: codes are integers without a gradient, and are the same bytes after a "
               "training as before (tested)",
    }


def test_the_notebooks_rows_are_those_of_the_grid(lesson):
    groups = read_json(GRID)["groups"]
    assert {group for group, *_ in lesson.ROWS.values()} == set(groups)
    for group, method, stored in lesson.ROWS.values():
        [point] = groups[group]["points"]
        assert point["method"] == method
        assert {name: point[name] for name in point.keys() & {"quantization", "double_quant", "unquantised"}} == stored


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_notebooks_own_settings(lesson):
    for name, (group, method, stored) in lesson.ROWS.items():
        found = lesson.table[name]
        assert {card.model["sha256"] for card in found} == {hub.model_hash()}, group
        planned = read_json(GRID)
        assert [card.seed for card in found] == list(range(planned["groups"][group].get("seeds", planned["seeds"])))
        for card in found:
            assert card.parameters["method"] == method and card.parameters["learning_rate"] == lesson.learning_rate
            assert card.parameters["settings"]["rank"] == lesson.rank
            assert {key: value for key, value in card.parameters.items() if key in stored} == stored
            assert card.parameters["max_steps"] == lesson.max_steps


def test_the_three_parts_at_equal_bytes_hold_as_many_weights(lesson):
    model = hub.load_model(device="cpu")[0]
    linear = targets.find(model, "all-linear")
    held = {name: sum(model.get_submodule(path).weight.numel() for path in linear if path not in
                      quantization.paths_left(model, lesson.ROWS[name][2]["unquantised"])) for name in PARTS[2:]}
    assert len(set(held.values())) == 1


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_the_cards(lesson):
    assert renewed(lesson) == PAGE.read_text("utf-8"), f"renew them: python tests/course/{Path(__file__).name}"
    assert not page.refresh_claims(CLAIMS, evidence(lesson), check=True)


def test_what_the_lesson_says_about_the_figures_is_so(lesson):
    less = {name: lesson.against(name) for name in lesson.ROWS if name != "LoRA"}
    assert [name for name, one in less.items() if not one.low < 0 < one.high] == ["QLoRA with plain scales"]
    for name in less:  # at the level that nine comparisons ask for, no base can be told from another
        strict = lesson.student_mean([one - usual for one, usual in lesson.pairs(name)], 1 - 0.05 / len(less))
        assert strict.low < 0 < strict.high
    assert less["QLoRA"].high < 0.1 * fmean(recorded.values(lesson.table["LoRA"], "held_out_loss"))
    usual = median(recorded.values(lesson.table["LoRA"], "step_cpu_s"))
    assert all(median(recorded.values(lesson.table[name], "step_cpu_s")) > usual for name in less)
    least = max(recorded.values(lesson.table["LoRA"], "peak_gib"))
    assert all(min(recorded.values(lesson.table[name], "peak_gib")) > least for name in less)
    assert len({f"{size / 1e6:.2f}" for found in lesson.table.values() for size in recorded.values(
        found, "saved_bytes")}) == 1
    for card in lesson.table["QLoRA"]:
        cost = {way: card.metrics[f"{way} loss"] - card.metrics["held_out_loss"] for way in WAYS}
        assert cost["quantised"] > 0.004 < cost["original"] and abs(cost["dequantised"]) < 2e-4
    for card in lesson.table["8-bit LoRA"]:
        assert all(abs(card.metrics[f"{way} loss"] - card.metrics["held_out_loss"]) < 5e-4 for way in WAYS)
    quieter = {method: fmean(card.metrics["step_cpu_s"] for card in recorded.shipped("06_methods_compared", "table")
                             if card.parameters["method"] == method
                             and card.parameters["settings"]["target_modules"] == "all-linear")
               for method in ("lora", "qlora")}
    assert f"{quieter['qlora'] / quieter['lora']:.2f} times" in PAGE.read_text("utf-8")


if __name__ == "__main__":
    found = computed()
    PAGE.write_text(renewed(found), "utf-8")
    page.refresh_claims(CLAIMS, evidence(found))
