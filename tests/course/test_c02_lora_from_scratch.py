"""Lesson 02: its answers agree with torch, peft and the package; what ships with it fits the kit."""

import re
from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from ftkit import hub, targets
from ftkit.course import catalogue, page, recorded
from ftkit.files import read_json, write_atomic
from ftkit.lora.adapter import add_lora_, lora_layers, merge_
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding, LoRALayer
from ftkit.notebooks.parameters import declared_parameters

STEM = "02_lora_from_scratch"
ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / f"{STEM}.ipynb"
PAGE, CLAIMS = ROOT / "lessons" / f"{STEM}.md", ROOT / "lessons" / "claims.md"
USUAL = ["q_proj", "k_proj", "v_proj", "o_proj"]


def random_factors(out_features, in_features, rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator) for shape in
            ((out_features, in_features), (rank, in_features), (out_features, rank))]


# ---- the official answers beside what they stand for

@pytest.mark.parametrize(("kind", "transposed"), [(nn.Linear, False), (transformers.pytorch_utils.Conv1D, True)])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_merged_weight_of_the_exercise_is_that_of_the_package(kind, transposed, use_rslora):
    layer = LoRALayer(nn.Linear(24, 40) if kind is nn.Linear else kind(40, 24), 5, 7, use_rslora=use_rslora)
    nn.init.normal_(layer.lora_B)
    before = layer.base.weight.detach().clone()
    merge_(nn.Sequential(layer))
    found = catalogue.solution_value("02.5")(before, layer.lora_A, layer.lora_B, 7, use_rslora, transposed)
    torch.testing.assert_close(found, layer.base.weight, rtol=1e-6, atol=1e-6)  # scaled before or after the product


def test_the_embedding_of_the_exercise_is_that_of_the_package():
    layer = LoRAEmbedding(nn.Embedding(50, 12), 3, 9)
    nn.init.normal_(layer.lora_A)
    ids = torch.tensor([[1, 49, 1], [0, 7, 9]])
    found = catalogue.solution_value("02.4")(ids, layer.base.weight, layer.lora_A, layer.lora_B, 9)
    torch.testing.assert_close(found, layer(ids), rtol=1e-6, atol=1e-6)  # scaled before or after the sum


def test_the_gradients_of_the_exercise_are_those_of_autograd_through_the_package():
    weight, lora_A, lora_B = random_factors(6, 5, 3)
    layer = LoRALayer(nn.Linear(5, 6, bias=False), 3, 6)
    with torch.no_grad():
        for one, value in ((layer.base.weight, weight), (layer.lora_A, lora_A), (layer.lora_B, lora_B)):
            one.copy_(value)
    x, grad = torch.randn(7, 5, requires_grad=True), torch.randn(7, 6)
    layer(x).backward(grad)
    found = catalogue.solution_value("02.6")(x.detach(), weight, lora_A, lora_B, 2.0, grad)
    for one, want in zip(found, (x.grad, layer.lora_A.grad, layer.lora_B.grad), strict=True):
        torch.testing.assert_close(one, want, rtol=1e-5, atol=1e-5)  # float32, sums over 7 tokens in another order


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_smaller_adapter_of_the_exercise_is_the_cut_singular_value_decomposition(rank):
    _, lora_A, lora_B = (one.double() for one in random_factors(20, 30, 6))
    small_A, small_B = catalogue.solution_value("02.7")(lora_A, lora_B, rank)
    left, sizes, right = torch.linalg.svd(lora_B @ lora_A, full_matrices=False)
    torch.testing.assert_close(small_B @ small_A, (left[:, :rank] * sizes[:rank]) @ right[:rank])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_targets_of_the_exercise_are_those_of_the_package(k):
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=12, num_attention_heads=2, vocab_size=9))
    paths = [path for path, _ in model.named_modules() if path]
    assert catalogue.solution_value("02.3")(paths, ["v_proj", "mlp.up_proj"], k) == targets.find(
        model, ["v_proj", "mlp.up_proj"], f"last {k}")


def test_the_rank_of_the_budget_exercise_is_the_largest_that_the_package_can_add():
    model = hub.load_model()[0]
    shapes = [tuple(model.get_submodule(path).weight.shape) for path in targets.find(model, USUAL)]
    rank = catalogue.solution_value("02.2")(shapes, 100_000)
    add_lora_(model, LoraConfig(rank=rank, target_modules=USUAL))
    trained = targets.counts(model)[0]
    assert trained <= 100_000 < trained * (rank + 1) // rank and len(lora_layers(model)) == len(shapes)


# ---- what ships: cards, page, claims

@pytest.fixture(scope="module")
def cards():
    return {name: recorded.shipped(STEM, name) for name in ("update", "start")}


def by_start(cards):
    return {how: [card for card in cards["start"] if card.parameters["start_from"] == how]
            for how in ("B zero", "A zero", "both zero", "both random")}


def test_the_shipped_cards_are_of_the_shipped_base_and_of_the_settings_that_the_notebook_runs(cards):
    assert {card.model["sha256"] for chosen in cards.values() for card in chosen} == {hub.model_hash()}
    default = {name: one.default for name, one in declared_parameters(NOTEBOOK).items()}
    for name in ("rank", "alpha", "dropout", "target_modules", "max_steps"):
        assert {card.parameters[name] for card in cards["start"]} == {default[name]}
    assert min(len(chosen) for chosen in by_start(cards).values()) >= 3 and default["start_from"] in by_start(cards)


def test_both_factors_at_zero_never_left_the_base(cards):
    for card in by_start(cards)["both zero"]:
        assert card.metrics["first_gradient"] == 0 and card.metrics["loss_after"] == card.metrics["loss_before"]


def shape_of(config):
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config)


def shares():
    """What share an adapter trains: by model, modules and rank."""
    qwen = transformers.Qwen2Config(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, vocab_size=151936,
                                    num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True)
    found = {}
    for model, network in (("ftkit-tiny", hub.load_model()[0]), ("Qwen2.5-0.5B", shape_of(qwen)),
                           ("Llama-2-7B", shape_of(transformers.LlamaConfig()))):
        for choice, names in (("q, v", ["q_proj", "v_proj"]), ("q, k, v, o", USUAL), ("all linear", "all-linear")):
            sides = [sum(targets.widths(network.get_submodule(path))) for path in targets.find(network, names)]
            found |= {(model, choice, rank): rank * sum(sides) / targets.counts(network)[1] for rank in (8, 64)}
    return found


def counts_table(found):
    rows = ["| model | modules | r = 8 | r = 64 |", "|---|---|---|---|"]
    pairs = dict.fromkeys((model, choice) for model, choice, _ in found)
    return "\n".join(rows + [f"| {model} | {choice} | {found[model, choice, 8]:.3%} | {found[model, choice, 64]:.3%} |"
                             for model, choice in pairs])


def with_counts(text):
    start, end = text.index("<!-- counts -->") + len("<!-- counts -->\n"), text.index("\n<!-- end of counts -->")
    return text[:start] + counts_table(shares()) + text[end:]


def speed_sentence():
    """What the page says of the layer's speed, from the benchmark's results."""
    results = read_json(ROOT / "benchmarks" / "results" / "lora_layer.json")
    narrow = [row["plain"] for row in results["rows"] if row["size"] == 256]
    wide = [row["plain"] for row in results["rows"] if row["size"] >= 1024]
    medians = {name: (min(one["median"] for one in found), max(one["median"] for one in found))
               for name, found in (("narrow", narrow), ("wide", wide))}
    cpu = results["hardware"]["cpu"]
    return (f"At a width of 256 it takes {medians['narrow'][0]:.2f} to {medians['narrow'][1]:.2f} of peft's time, from "
            f"1,024 up {medians['wide'][0]:.2f} to {medians['wide'][1]:.2f}\n(medians; the 95 % intervals end at "
            f"{max(one['high'] for one in wide):.2f} at most; {cpu}, {results['threads']} thread; "
            "`benchmarks/results/lora_layer.json`).")


def with_speed(text):
    start, end = text.index("<!-- speed -->") + len("<!-- speed -->\n"), text.index("<!-- end of speed -->")
    return f"{text[:start]}{speed_sentence()}\n{text[end:]}"


def test_the_readme_says_the_same_of_the_layers_speed():
    narrow, wide = re.findall(r"\d\.\d\d to \d\.\d\d", speed_sentence())
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if "benchmarks/lora_layer.py" in line)
    assert f"{narrow} of peft's time" in row and f"{wide} from 1,024 up" in row


def families():
    small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    kinds = {"Llama": transformers.LlamaConfig, "Qwen2": transformers.Qwen2Config, "Phi-3": transformers.Phi3Config,
             "Mistral": transformers.MistralConfig, "Falcon": transformers.FalconConfig, "ViT": transformers.ViTConfig,
             "BERT": transformers.BertConfig}
    configs = {name: kind(**small) for name, kind in kinds.items()}
    configs["GPT-2"] = transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4)
    configs["T5"] = transformers.T5Config(d_model=64, d_ff=96, num_layers=2, num_heads=4, d_kv=16)
    with torch.device("meta"):
        return {name: transformers.AutoModel.from_config(config) for name, config in configs.items()}


def evidence(cards):
    """What claims.md says of C01, C02 and C37."""
    counted, started = shares(), by_start(cards)
    has = {name: sorted(set(USUAL) & set(targets.linear_names(model))) for name, model in families().items()}
    whole = [name for name, found in has.items() if len(found) == 4]
    part = [f"{name} {', '.join(found)}" for name, found in has.items() if 0 < len(found) < 4]
    none = [name for name, found in has.items() if not found]
    llama = [counted["Llama-2-7B", choice, 8] for choice in ("q, v", "all linear")]
    losses = {how: [sum(recorded.values(chosen, f"loss_{when}")) / len(chosen) for when in ("before", "after")]
              for how, chosen in started.items()}
    return {
        "C01": f"no seeds, arithmetic: rank 8 trains {llama[0]:.3%} (q, v) to {llama[1]:.3%} (all linear modules) of a "
               f"Llama-2-7B, {counted['Qwen2.5-0.5B', 'all linear', 8]:.2%} of a Qwen2.5-0.5B, "
               f"{counted['ftkit-tiny', 'q, v', 8]:.2%} to {counted['ftkit-tiny', 'all linear', 8]:.2%} of the tiny "
               f"base; rank 64 up to {counted['ftkit-tiny', 'all linear', 64]:.1%}",
        "C02": f"{len(started['both zero'])} seeds: held-out loss {losses['both zero'][0]:.2f} before and "
               f"{losses['both zero'][1]:.2f} after with both at zero, first gradient exactly 0; "
               f"{losses['B zero'][1]:.2f} after with B alone at zero; scale tiny",
        "C37": f"no seeds: of {len(has)} families {len(whole)} have all four ({', '.join(whole)}), {len(part)} some "
               f"({'; '.join(part)}), {len(none)} none ({', '.join(none)}); transformers 5",
    }


def test_the_figures_on_the_page_and_in_the_claims_are_those_of_cards_and_models(cards):
    assert not page.refresh(PAGE, check=True), f"renew them: python tests/course/{Path(__file__).name}"
    assert with_speed(with_counts(PAGE.read_text("utf-8"))) == PAGE.read_text("utf-8")
    assert not page.refresh_claims(CLAIMS, evidence(cards), check=True)


if __name__ == "__main__":
    page.refresh(PAGE)
    write_atomic(PAGE, with_speed(with_counts(PAGE.read_text("utf-8"))))
    page.refresh_claims(CLAIMS, evidence({name: recorded.shipped(STEM, name) for name in ("update", "start")}))
