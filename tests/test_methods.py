"""A method's name decides exactly what is trained; what was trained comes back on a fresh base."""

import json
from dataclasses import asdict

import bitsandbytes
import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from ftkit import methods, targets
from ftkit.errors import Refusal
from ftkit.hub import load_model
from ftkit.lora.adapter import lora_layers
from ftkit.lora.config import LoraConfig
from ftkit.quantization import numbers_of
from ftkit.runs import open_run
from ftkit.train.config import TrainConfig
from ftkit.train.learner import frozen_of
from ftkit.train.loop import train

IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))


def a_model(layers=3, width=32):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(Qwen2Config(
        vocab_size=61, hidden_size=width, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=True))


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def trained(method, **settings):
    prepared = methods.prepare(base_for(method), method, **settings)
    parameters = [p for p in prepared.model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.5)
    for _ in range(2):  # the first step moves only B of an adapter
        optimizer.zero_grad()
        prepared.model(input_ids=IDS, use_cache=False).logits.logsumexp(-1).mean().backward()
        optimizer.step()
    return prepared


def test_full_trains_every_parameter():
    model = a_model()
    targets.freeze_(model)
    prepared = methods.prepare(model, "full")
    assert prepared.trainable == prepared.total == sum(p.numel() for p in model.parameters())


def test_lora_trains_rank_times_in_and_out_of_every_linear_layer():
    prepared = methods.prepare(a_model(), "lora", rank=2, seed=3)
    by_hand = 3 * 2 * (4 * (32 + 32) + 3 * (32 + 48))
    assert prepared.trainable == by_hand
    assert prepared.total == methods.prepare(a_model(), "full").total + by_hand
    assert prepared.settings == asdict(LoraConfig(rank=2)) | {"seed": 3}


def test_freeze_trains_the_top_layers_alone():
    prepared = methods.prepare(a_model(), "freeze", layers=1)
    assert all(name.startswith("model.layers.2.") for name in targets.trainable(prepared.model))
    assert prepared.trainable == sum(p.numel() for p in prepared.model.model.layers[2].parameters())


def test_bitfit_trains_the_biases_alone():
    prepared = methods.prepare(a_model(), "bitfit")
    assert prepared.trainable == 3 * 3 * 32
    assert all(name.endswith(".bias") for name in targets.trainable(prepared.model))


def test_biases_of_norms_are_trained_too_where_a_family_has_them():
    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4))
    by_hand = 2 * (2 * 32 + 3 * 32 + 32 + 4 * 32 + 32) + 32  # norms, c_attn, c_proj, c_fc, c_proj of a layer; last norm
    assert methods.prepare(gpt2, "bitfit").trainable == by_hand


@pytest.mark.parametrize(("method", "settings"), [
    ("full", {}), ("lora", {"rank": 2, "dropout": 0.1, "seed": 5}), ("lora", {"train_biases": True}),
    ("freeze", {"layers": 2}), ("freeze", {"modules": "mlp", "freeze_ratio": 0.5, "embeddings_and_head": True}),
    ("bitfit", {}), ("adapter", {"bottleneck": 3, "place": "pfeiffer", "init_std": 0.1, "seed": 5}),
    ("prefix", {"virtual_tokens": 3, "seed": 5}), ("prompt", {"virtual_tokens": 3, "start": "random", "seed": 5})])
def test_what_was_trained_comes_back_on_a_fresh_base(tmp_path, method, settings):
    before = trained(method, **settings)
    assert not torch.equal(logits(before.model.eval()), logits(a_model().eval()))
    methods.save(before, tmp_path, base_name="ftkit-tiny")
    after = methods.load(a_model(), tmp_path)
    assert torch.equal(logits(before.model), logits(after.model.eval()))
    assert (after.method, after.trainable, after.total) == (method, before.trainable, before.total)
    assert targets.trainable(after.model) == targets.trainable(before.model)
    wanted = before.settings if method != "lora" else before.settings | {"target_modules": (
        "down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")}
    assert after.settings == wanted


EXAMPLES = [([1 + (7 * row + place) % 60 for place in range(6 + row)],
             [-100] * 3 + [1 + place for place in range(3 + row)]) for row in range(4)]
EVERY = [("full", {}), ("freeze", {"part": "top", "freeze_ratio": 0.5}), ("freeze", {"modules": "attention"}),
         ("bitfit", {}), ("adapter", {"bottleneck": 3}), ("prefix", {"virtual_tokens": 3}),
         ("prefix", {"virtual_tokens": 3, "start": "random", "projection": 5}), ("prompt", {"virtual_tokens": 3}),
         ("lora", {"rank": 2}), ("qlora", {"rank": 2}), ("lora8bit", {"rank": 2}), ("loftq", {"rank": 2})]


def base_for(method):
    return {"qlora": four_bit, "lora8bit": eight_bit}.get(method, a_model)()


def learnt(method, settings, folder, stop_after=None):
    """The model after eight steps of the training loop, evaluated half-way; or left after fewer of them."""
    prepared = methods.prepare(base_for(method), method, **settings)
    config = TrainConfig(learning_rate=0.02, max_steps=8, batch_size=2, eval_every=4, checkpoint_every=3)
    with open_run(folder, {"method": method}, name="test", seed=0) as run:
        for record in train(prepared.model, EXAMPLES, config, held_out=EXAMPLES[:2], run=run):
            if record["step"] == stop_after:
                break
    return prepared.model


@pytest.mark.parametrize(("method", "settings"), EVERY)
def test_what_is_frozen_stays_bit_for_bit_and_all_that_is_trained_moves(tmp_path, method, settings):
    before = methods.prepare(base_for(method), method, **settings).model
    after = learnt(method, settings, tmp_path)
    frozen, kept = frozen_of(before), frozen_of(after)
    assert frozen.keys() == kept.keys() and all(torch.equal(frozen[name], kept[name]) for name in frozen)
    still = {name for name, one in after.named_parameters()
             if one.requires_grad and torch.equal(one, before.get_parameter(name))}
    assert still <= {name for name in still if name.endswith("k_proj.bias")}  # attention does not change with it


@pytest.mark.parametrize(("method", "settings"), EVERY)
def test_a_training_cut_short_goes_on_to_the_same_bits(tmp_path, method, settings):
    whole = learnt(method, settings, tmp_path / "whole")
    learnt(method, settings, tmp_path / "cut", stop_after=5)
    again = learnt(method, settings, tmp_path / "cut")
    for (name, one), other in zip(whole.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other), name


def four_bit():
    model = a_model(width=64)  # whole blocks a row
    for path in targets.find(model, "all-linear"):
        linear = model.get_submodule(path)
        made = bitsandbytes.nn.Linear4bit(linear.in_features, linear.out_features, linear.bias is not None,
                                          compute_dtype=torch.float32, quant_type="nf4")
        made.load_state_dict(linear.state_dict())
        made = made.to("cpu")
        if made.weight.quant_state is None:  # on a CPU it quantises when it is moved
            made.weight = made.weight._quantize("cpu")
        targets.replace_(model, path, made)
    return model


def eight_bit():
    model = a_model(width=64)
    for path in targets.find(model, "all-linear"):
        linear = model.get_submodule(path)
        made = bitsandbytes.nn.Linear8bitLt(linear.in_features, linear.out_features, linear.bias is not None,
                                            has_fp16_weights=False, threshold=6.0)
        made.load_state_dict(linear.state_dict())
        made.weight = bitsandbytes.nn.Int8Params(linear.weight.data, requires_grad=False).to("cpu")
        targets.replace_(model, path, made)
    return model


@pytest.mark.parametrize(("base", "method"), [(four_bit, "qlora"), (eight_bit, "lora8bit")])
def test_lora_on_codes_is_lora_on_the_dequantised_base(base, method):
    """In training: in evaluation LLM.int8() rounds the activations, too."""
    ours, plain = methods.prepare(base(), method, rank=2, seed=1).model.train(), a_model(width=64)
    for path, layer in lora_layers(ours).items():
        with torch.no_grad():
            plain.get_submodule(path).weight.copy_(numbers_of(layer.base))
    methods.prepare(plain, "lora", rank=2, seed=1)
    for model in (ours, plain):
        model(input_ids=IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
    torch.testing.assert_close(logits(ours), logits(plain), rtol=1e-5, atol=1e-5)  # float32, added up in another order
    for path, layer in lora_layers(ours).items():
        torch.testing.assert_close(layer.lora_B.grad, plain.get_submodule(path).lora_B.grad, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_lowest_layer_after_an_evaluation_as_before():
    model = four_bit()
    codes = model.model.layers[0].mlp.up_proj.state_dict()["weight"].clone()
    methods.prepare(model, "qlora", rank=2)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        model.train()(input_ids=IDS, use_cache=False).logits.logsumexp(-1).sum().backward()
        gradients.append(lora_layers(model)["model.layers.0.mlp.up_proj"].lora_B.grad.clone())
        logits(model.eval())
    assert gradients[0].abs().max() > 0 and torch.equal(*gradients)
    weight = model.model.layers[0].mlp.up_proj.base.weight
    assert weight.dtype == torch.uint8 and torch.equal(weight.reshape(-1), codes.reshape(-1))


def test_what_qlora_trained_comes_back_on_a_4_bit_base_and_on_a_plain_one(tmp_path):
    before = trained("qlora", rank=2)
    methods.save(before, tmp_path)
    after = methods.load(four_bit(), tmp_path)
    assert torch.equal(logits(before.model.eval()), logits(after.model.eval()))
    assert (after.method, after.trainable, after.total) == ("qlora", before.trainable, before.total)
    assert methods.load(a_model(width=64), tmp_path).trainable == before.trainable


def test_a_prompt_and_a_prefix_saved_by_peft_open_here(tmp_path):
    for kind, method in ((PromptTuningConfig, "prompt"), (PrefixTuningConfig, "prefix")):
        theirs = get_peft_model(a_model(), kind(task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
        theirs.save_pretrained(tmp_path / method)
        loaded = methods.load(a_model(), tmp_path / method)
        assert loaded.method == method and loaded.settings == methods.defaults(method)
        with torch.no_grad():
            want = theirs(input_ids=IDS).logits[:, -IDS.shape[1]:]
        torch.testing.assert_close(logits(loaded.model.eval()), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_a_text_to_start_with_is_read_by_the_tokenizer_of_the_base(method):
    model, tokenizer = load_model(device="cpu")
    ids = tokenizer("Answer in one word.")["input_ids"]
    question = torch.tensor([tokenizer("Is water wet?")["input_ids"]])
    with torch.no_grad():
        want = model(input_ids=torch.cat([torch.tensor([ids]), question], 1)).logits[:, len(ids):]
        methods.prepare(model, method, start="text", start_text="Answer in one word.", virtual_tokens=len(ids))
        got = model(input_ids=question).logits
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)  # logits of ten, in float32 in another order


def test_only_the_trained_part_is_saved(tmp_path):
    methods.save(trained("bitfit"), tmp_path)
    assert set(load_file(tmp_path / "trained.safetensors")) == set(targets.trainable(trained("bitfit").model))


def test_a_saved_lora_opens_in_peft_and_one_from_peft_opens_here(tmp_path):
    ours = trained("lora", rank=2)
    methods.save(ours, tmp_path / "ours", base_name="ftkit-tiny")
    theirs = PeftModel.from_pretrained(a_model(), tmp_path / "ours")
    torch.testing.assert_close(logits(theirs), logits(ours.model), rtol=1e-5, atol=1e-6)  # float32, in another order
    other = get_peft_model(a_model(), PeftConfig(r=4, lora_alpha=6, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    other.save_pretrained(tmp_path / "theirs")
    loaded = methods.load(a_model(), tmp_path / "theirs")
    assert loaded.settings == asdict(LoraConfig(rank=4, alpha=6, target_modules=("q_proj",)))


@pytest.mark.parametrize(("loaded_from", "written"), [("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B"), ("", "unknown")])
def test_an_adapter_names_its_base(tmp_path, loaded_from, written):
    prepared = methods.prepare(a_model(), "lora")
    prepared.model.config.name_or_path = loaded_from
    methods.save(prepared, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == written


def test_an_adapter_does_not_say_where_its_base_is_kept(tmp_path):
    (tmp_path / "my base").mkdir()
    prepared = methods.prepare(a_model(), "lora")
    prepared.model.config.name_or_path = str(tmp_path / "my base")
    methods.save(prepared, tmp_path)
    assert str(tmp_path) not in (tmp_path / "adapter_config.json").read_text()
    assert '"my base"' in (tmp_path / "adapter_config.json").read_text()


def test_every_method_has_a_learning_rate_and_small_models_the_larger_one():
    assert set(methods.LEARNING_RATES) == set(methods._METHODS)
    for method in methods.LEARNING_RATES:
        small, large = (methods.default_learning_rate(method, n) for n in (5_000_000, 7_000_000_000))
        assert small > large > 0
    assert methods.default_learning_rate("lora", 5_000_000) > methods.default_learning_rate("full", 5_000_000)


def repacked():
    model = four_bit()
    model.model.layers[0].self_attn.q_proj.weight.quant_state.packing_format_for_cpu = True
    return model


def without_biases(kind):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(kind())  # in the family's own shape, of 7 billion parameters


def quantised():
    model = a_model()
    model.lm_head.weight = nn.Parameter(torch.zeros(61, 32, dtype=torch.uint8), requires_grad=False)
    return model


@pytest.mark.parametrize(("call", "words"), [
    (lambda: methods.prepare(a_model(), "loar"), "method must be one of full, .*lora, .*qlora, got 'loar'. "
                                                 "Did you mean lora"),
    (lambda: methods.prepare(a_model(), "lora", rnak=4), "a setting of lora must be one of rank.* Did you mean rank"),
    (lambda: methods.prepare(a_model(), "full", rank=4), r"setting of full must be one of \(none known\), got 'rank'"),
    (lambda: methods.prepare(a_model(), "lora", rank=0), "rank must be a whole number, 1 or more, got 0"),
    (lambda: methods.prepare(a_model(), "freeze", layers=4), "layers must be a whole number from 1 to 3, .*got 4"),
    (lambda: methods.prepare(a_model(), "freeze", layers=0), "layers must be a whole number from 1 to 3, .*got 0"),
    *[(lambda kind=kind: methods.prepare(without_biases(kind), "bitfit"),
       "method must be one that this model can take, got 'bitfit'. This model has no biases to train")
      for kind in (LlamaConfig, MistralConfig)],
    (lambda: methods.prepare(quantised(), "full"), "method must be one that adds to a quantised model, such as qlora, "
                                                   "got 'full'. lm_head.weight is stored as torch.uint8"),
    (lambda: methods.prepare(quantised(), "freeze"), "one that adds to a quantised model, such as qlora, got 'freeze'"),
    (lambda: methods.prepare(methods.prepare(a_model(), "lora").model, "full"),
     "model must be one without an adapter, got 'an adapted one'. Load it anew"),
    (lambda: methods.prepare(methods.prepare(a_model(), "adapter").model, "bitfit"), "adapter, got 'an adapted one'"),
    (lambda: methods.prepare(methods.prepare(a_model(), "prompt").model, "full"), "got 'one with a trained prompt'"),
    (lambda: methods.prepare(methods.prepare(a_model(), "prefix").model, "lora"), "got 'one with a trained prefix'"),
    (lambda: methods.prepare(a_model(), "qlora"), "model must be one with 4-bit weights for qlora, got 'torch.float32 "
                                                  "alone'. Load it with hub.load_model"),
    (lambda: methods.prepare(eight_bit(), "qlora"), "model must be one with 4-bit weights for qlora, got 'torch."),
    (lambda: methods.prepare(four_bit(), "lora8bit"), "model must be one with 8-bit weights for lora8bit, got .* "
     "Load it with hub.load_model.*quantization='int8'"),
    (lambda: methods.prepare(four_bit(), "loftq"), "model.layers.0.self_attn.q_proj must be|must be a plain nn.Linear"),
    (lambda: methods.prepare(repacked(), "qlora"), "model.layers.0.self_attn.q_proj must be as it was loaded, got "
                                                   "'repacked by bitsandbytes, which rounds its scales'. Load"),
    (lambda: methods.prepare(a_model(), "prompt", start="text", start_text="Hi"),
     "start_text must be given with a model that was loaded by name or from a folder, got 'Hi'"),
    (lambda: methods.defaults("lroa"), "method must be one of full.* got 'lroa'. Did you mean lora"),
    (lambda: methods.default_learning_rate("ful", 1), "method must be one of full.* got 'ful'. Did you mean full"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def cut_short(folder):
    path = folder / "trained.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def renamed(folder):
    tensors = load_file(folder / "trained.safetensors")
    save_file({name.replace("layers.2", "layers.7"): t for name, t in tensors.items()}, folder / "trained.safetensors")


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda folder: (folder / "method.json").unlink(), "folder must be one that holds method.json or adapter_config"),
    (lambda folder: (folder / "method.json").write_text("[]"), r"method.json must be an object with method.*got \[\]"),
    (lambda folder: (folder / "method.json").write_text('{"method": "bitfti", "settings": {}}'), "Did you mean bitfit"),
    (lambda folder: (folder / "trained.safetensors").unlink(), "trained.safetensors must be a whole safetensors file"),
    (cut_short, "trained.safetensors must be a whole safetensors file, got .*Copy or save it again"),
    (renamed, r"model.layers.2.self_attn.k_proj.bias in trained.safetensors must be of shape \(32,\), got 'nothing'"),
])
def test_a_damaged_folder_is_refused(tmp_path, spoil, words):
    methods.save(methods.prepare(a_model(), "bitfit"), tmp_path)
    spoil(tmp_path)
    with pytest.raises(Refusal, match=words):
        methods.load(a_model(), tmp_path)


@pytest.mark.parametrize(("other", "words"), [
    (lambda: a_model(width=48), r"must be of shape \(48,\), got \(32,\). Was it trained on another base model"),
    (lambda: a_model(layers=2), r"layers.2.self_attn.k_proj.bias in trained.safetensors must be absent, got \(32"),
])
def test_what_another_model_learned_is_refused(tmp_path, other, words):
    methods.save(methods.prepare(a_model(), "bitfit"), tmp_path)
    with pytest.raises(Refusal, match=words):
        methods.load(other(), tmp_path)
