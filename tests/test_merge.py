"""An adapter merged in three ways is what the arithmetic says, and what is saved is what a fresh process computes."""

import copy
import warnings
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from torch import nn

from ftkit import methods, quantization
from ftkit.errors import Refusal
from ftkit.hub import load_model
from ftkit.lora.adapter import add_lora_, lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.merge import checking
from ftkit.merge.merging import dequantise_, merge_into_, merge_quantised_, merged
from ftkit.quant.blocks import dequantise, quantise
from ftkit.quant.linear import quantise_, quantised_layers

IDS = torch.tensor([[5, 6, 7, 8, 9], [300, 301, 302, 303, 304]])
UP = "model.layers.2.mlp.up_proj"


def base(kind=None, **settings):
    return load_model(device="cpu", dtype="float32", quantization=kind, **settings)[0]


def moved_(model):
    """The model with an adapter that does something, the same one whenever it is asked for."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in lora_layers(model).values():
            layer.lora_B.normal_(std=0.01, generator=generator)
    return model


def adapted(kind=None, **settings):
    method = {"nf4": "qlora", "fp4": "qlora", "int8": "lora8bit", None: "lora"}[kind]
    return moved_(methods.prepare(base(kind, **settings), method, rank=4, seed=2).model)


@pytest.mark.parametrize("kind", [None, "nf4", "fp4"])
def test_merged_into_the_dequantised_base_is_what_was_computed_before(kind):
    model = adapted(kind)
    before = checking.logits_of(model, IDS)
    one = merged(model, "dequantised")
    assert not lora_layers(one) and not any(map(quantization.bits_of, one.modules()))
    # the same products in float32, in another order
    assert checking.largest_difference(checking.logits_of(one, IDS), before) < 1e-3


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_dequantised_model_computes_in_the_type_that_it_is_stored_in(kind):
    model = load_model(device="cpu", dtype="bfloat16", quantization=kind)[0]
    one = dequantise_(model)
    assert {parameter.dtype for parameter in one.parameters()} == {torch.bfloat16}
    assert one(IDS).logits.isfinite().all()


def test_merged_into_the_codes_is_peft_s_bytes():
    ours = merge_quantised_(adapted("nf4"))
    peft = get_peft_model(base("nf4"), PeftConfig(r=4, lora_alpha=16, target_modules="all-linear",
                                                  task_type="CAUSAL_LM"))
    for path, layer in lora_layers(adapted("nf4")).items():
        theirs = peft.base_model.model.get_submodule(path)
        theirs.lora_A["default"].weight.data.copy_(layer.lora_A)
        theirs.lora_B["default"].weight.data.copy_(layer.lora_B)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that merging into 4 bits rounds
        whole = peft.merge_and_unload()
    for path, layer in ours.named_modules():
        if quantization.kind_of(layer):
            assert torch.equal(layer.weight.data, whole.get_submodule(path).weight.data), path
    assert quantization.kind_of(ours.get_submodule(UP)) == "nf4"


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_codes_hold_the_sum_rounded_again(kind):
    model = adapted(kind)
    layer = lora_layers(model)[UP]
    want = quantization.numbers_of(layer.base) + layer.addition()
    step = want.abs().max() * (0.2 if kind == "nf4" else 0.01)
    got = quantization.numbers_of(merge_quantised_(model).get_submodule(UP))
    assert 0 < (got - want).abs().max() < step


def test_our_own_codes_are_merged_as_well():
    model = moved_(add_lora_(quantise_(base(), double=True), LoraConfig(rank=4), seed=2))
    layer = lora_layers(model)[UP]
    want = quantise(dequantise(layer.base.quantised) + layer.addition(), double=True)
    other = copy.deepcopy(model)
    assert torch.equal(merge_quantised_(model).get_submodule(UP).weight.data, want.packed)
    before = checking.logits_of(other, IDS)
    plain = merged(other, "dequantised")
    assert not quantised_layers(plain)
    assert checking.largest_difference(checking.logits_of(plain, IDS), before) < 1e-3


def test_the_original_takes_the_adapter_and_nothing_of_the_codes():
    model, plain = adapted("nf4"), adapted()
    assert torch.equal(lora_layers(model)[UP].lora_A, lora_layers(plain)[UP].lora_A)
    one = merged(model, "original", base())
    assert checking.largest_difference(checking.logits_of(one, IDS), checking.logits_of(plain, IDS)) < 1e-3
    assert checking.largest_difference(checking.logits_of(one, IDS), checking.logits_of(model, IDS)) > 1e-2


def test_plain_layers_beside_quantised_ones_are_merged_as_plain():
    one = merge_quantised_(adapted("nf4", unquantised=["mlp"]))
    assert quantization.kind_of(one.get_submodule(UP)) == "" and quantization.kind_of(
        one.model.layers[2].self_attn.q_proj) == "nf4"
    assert torch.equal(one.get_submodule(UP).weight, merged(adapted(), "dequantised").get_submodule(UP).weight)


def test_a_module_that_was_trained_whole_stays_trained():
    model = base("nf4")
    methods.prepare(model, "qlora", rank=4, modules_to_save=("norm",))
    with torch.no_grad():
        model.model.norm.trained.weight.fill_(2.0)
    one = merge_quantised_(model)
    assert (one.model.norm.weight == 2.0).all() and not any(each.requires_grad for each in one.parameters())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The three merges of one adapter on disk, what each computed before, and what a fresh process makes of them."""
    folder, wanted = tmp_path_factory.mktemp("merged"), {}
    tokenizer = load_model(device="cpu")[1]
    prepared = methods.prepare(base("nf4"), "qlora", rank=4, seed=2)
    moved_(prepared.model)
    wanted["adapter"] = checking.logits_of(prepared.model, IDS)
    methods.save(prepared, folder / "adapter")
    for way in ("quantised", "dequantised", "original"):
        one = merged(methods.load(base("nf4"), folder / "adapter").model, way, base() if way == "original" else None)
        wanted[way] = checking.logits_of(one, IDS)
        checking.save_model(one, tokenizer, folder / way)
    stored = [checking.Stored(adapter=str(folder / "adapter"), quantization="nf4", dtype="float32"),
              *(checking.Stored(str(folder / way), dtype="float32") for way in list(wanted)[1:])]
    return folder, wanted, dict(zip(wanted, checking.reload(stored, IDS), strict=True)), tokenizer


@pytest.mark.parametrize("way", ["adapter", "quantised", "dequantised", "original"])
def test_a_fresh_process_computes_the_same_from_the_files_alone(saved, way):
    _, wanted, again, tokenizer = saved
    assert checking.largest_difference(again[way].logits, wanted[way]) < 1e-4  # float32; threads add up differently
    assert again[way].template == tokenizer.chat_template and again[way].load_s > 0


def test_merging_into_codes_leaves_a_4_bit_model_on_disk_and_the_other_ways_the_original_s_size(saved):
    folder, *_ = saved
    size = {way: checking.folder_bytes(folder / way) for way in ("quantised", "dequantised", "original", "adapter")}
    assert size["adapter"] < size["quantised"] < 0.5 * size["dequantised"]
    assert size["dequantised"] == pytest.approx(size["original"], rel=0.01)
    assert quantization.kind_of(base_of(folder / "quantised").get_submodule(UP)) == "nf4"
    assert quantization.kind_of(load_model(folder / "quantised", quantization="nf4")[0].get_submodule(UP)) == "nf4"
    with pytest.raises(Refusal, match=r"which is stored quantised already \(nf4\), got 'int8'. Load it as"):
        load_model(folder / "quantised", quantization="int8")


def base_of(folder):
    return load_model(folder, device="cpu", dtype="float32")[0]


def test_a_model_that_is_loaded_in_its_codes_can_be_trained_on_again(saved):
    folder, *_ = saved
    model = methods.prepare(base_of(folder / "quantised"), "qlora", rank=4).model
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(layer.lora_B.grad.abs().max() > 0 for layer in lora_layers(model).values())


def test_what_was_saved_opens_in_peft_on_the_same_4_bit_base(saved):
    folder, wanted, *_ = saved
    theirs = PeftModel.from_pretrained(base("nf4"), folder / "adapter")
    assert checking.largest_difference(checking.logits_of(theirs, IDS), wanted["adapter"]) < 1e-3


def test_a_saved_folder_is_whole_or_not_there(tmp_path, monkeypatch):
    model, tokenizer = load_model(device="cpu")
    monkeypatch.setattr(type(tokenizer), "save_pretrained", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        checking.save_model(model, tokenizer, tmp_path / "whole")
    assert not list(tmp_path.iterdir())


def test_a_model_is_saved_without_a_bar_and_without_what_a_killed_save_left(tmp_path, capsys):
    (tmp_path / ".whole.partial").mkdir()
    (tmp_path / ".whole.partial" / "model-00007-of-00009.safetensors").write_bytes(b"half")
    model, tokenizer = load_model(device="cpu")
    folder = checking.save_model(model, tokenizer, tmp_path / "whole")
    assert not list(folder.glob("*of*")) and [path.name for path in tmp_path.iterdir()] == ["whole"]
    assert "Writing" not in "".join(capsys.readouterr())


def test_a_model_that_the_disk_has_no_room_for_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("ftkit.footprint.shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(Refusal, match="free disk space for whole must be .* or more for the model, got '1.00 MiB'"):
        checking.save_model(*load_model(device="cpu"), tmp_path / "whole")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("call", "words"), [
    (lambda: merged(adapted(), "orginal"), "way must be one of quantised, dequantised, original.* Did you mean origi"),
    (lambda: merged(adapted(), "original"), "original must be a model for way='original', and None for the others"),
    (lambda: merged(adapted(), "quantised", base()), "original must be a model for way='original', and None"),
    (lambda: merged(base("nf4"), "quantised"), "model must be one with a LoRA adapter"),
    (lambda: merge_into_(base("nf4"), adapted("nf4")), "original must be unquantised, got 'model.layers.0.self_attn.q_"
     "proj in codes'. Load it without quantization"),
    (lambda: checking.save_model(adapted(), None, "nowhere"), "model must be one without an adapter, got '56 adapted"),
    (lambda: checking.save_model(quantise_(base()), None, "nowhere"), "model must be one that transformers loads, got "
     "\"56 layers in this kit's own codes\". Dequantise it first, with merging.dequantise_"),
    (lambda: checking.largest_difference(torch.ones(2), torch.ones(3)), r"other must be of shape \(2,\), got \(3,\)"),
    (lambda: checking.largest_difference(torch.ones(1), torch.tensor([torch.nan])), "difference must be finite, got"),
    (lambda: checking.reload([checking.Stored("no/such/folder")], IDS),
     "stored must be what a fresh process can load, got .*no/such/folder.*model must be"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_dequantising_leaves_nothing_that_calls_the_model_quantised():
    model = dequantise_(base("int8"))
    assert not hasattr(model.config, "quantization_config") and not getattr(model, "is_quantized", False)
    assert all(type(one) is nn.Linear for one in model.modules() if isinstance(one, nn.Linear))
