"""Our LoRA beside peft's: the same numbers, the same files; merged, taken out, refused."""

import json
import math

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, Qwen2Config

from ftkit import lora, peft_layout, targets
from ftkit.errors import Refusal
from ftkit.lora import LoraConfig, LoRALayer
from ftkit.low_rank import low_rank_linear

IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def a_model(dtype=torch.float32, tied=False):
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config).to(dtype)


def adapted(dtype=torch.float32, **settings):
    """A model with an adapter whose B is no longer zero."""
    model = lora.add_lora_(a_model(dtype), LoraConfig(**settings), seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in lora.lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    return model


def logits(model):
    return model(input_ids=IDS, use_cache=False).logits


def largest_difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


# --- the layer ---


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("x_needs_gradient", [True, False])
def test_hand_written_gradients_agree_with_finite_differences(bias, x_needs_gradient):
    torch.manual_seed(0)
    x, weight, A, B = (torch.randn(*shape, dtype=torch.float64) for shape in [(2, 3, 5), (4, 5), (2, 5), (4, 2)])
    x.requires_grad_(x_needs_gradient)
    b = torch.randn(4, dtype=torch.float64) if bias else None

    def output(x, A, B):
        return low_rank_linear(x, weight, b, A, B, 0.7)

    assert torch.autograd.gradcheck(output, (x, A.requires_grad_(), B.requires_grad_()))


def test_the_hand_written_product_is_the_equation():
    torch.manual_seed(0)
    x, weight, b, A, B = (torch.randn(*shape, dtype=torch.float64) for shape in [(3, 5), (4, 5), (4,), (2, 5), (4, 2)])
    want = torch.stack([weight @ row + b + 0.7 * (B @ (A @ row)) for row in x])
    torch.testing.assert_close(low_rank_linear(x, weight, b, A, B, 0.7), want, rtol=1e-12, atol=1e-12)


def test_a_layer_of_the_hand_written_product_has_no_gradient_for_the_frozen_input_or_weight():
    layer = LoRALayer(nn.Linear(5, 4), rank=2, alpha=4)
    x = torch.randn(3, 5)
    layer(x).sum().backward()
    assert layer.base.weight.grad is None and layer.base.bias.grad is None and x.grad is None
    assert layer.lora_B.grad.abs().sum() > 0


def test_a_new_layer_computes_what_its_base_does_and_can_learn():
    base = nn.Linear(48, 32)
    layer = LoRALayer(base, rank=4, alpha=8, generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 48)
    torch.testing.assert_close(layer(x), base(x), rtol=1e-6, atol=1e-6)  # two ways through the same product
    assert (layer.lora_B == 0).all() and layer.lora_A.abs().max() <= 1 / math.sqrt(48)
    assert layer.lora_A.std().item() == pytest.approx(1 / math.sqrt(3 * 48), rel=0.15)  # 192 draws of a uniform
    layer(x).square().sum().backward()
    assert (layer.lora_B.grad != 0).any()  # A's is zero at first, since B is


def test_the_seed_decides_the_start_and_nothing_else_does():
    def start(seed):
        torch.rand(seed + 1)  # the global generator plays no part
        return torch.cat([layer.lora_A.flatten() for layer in
                          lora.lora_layers(lora.add_lora_(a_model(), LoraConfig(), seed)).values()])

    assert torch.equal(start(3), start(3)) and not torch.equal(start(3), start(4))


@pytest.mark.parametrize(("use_rslora", "scaling"), [(False, 16 / 4), (True, 16 / 2)])
def test_the_addition_is_scaled_by_alpha_over_rank_or_its_root(use_rslora, scaling):
    assert LoRALayer(nn.Linear(5, 4), rank=4, alpha=16, use_rslora=use_rslora).scaling == scaling


@pytest.mark.parametrize("change", ["hook", "replaced forward", "trained bias", "autocast"])
def test_a_base_layer_that_is_more_than_a_plain_one_keeps_its_own_forward(change):
    layer, x = LoRALayer(nn.Linear(5, 4), rank=2, alpha=4), torch.randn(3, 5)
    nn.init.normal_(layer.lora_B)
    want, calls = layer(x), []
    if change == "hook":
        layer.base.register_forward_hook(lambda *_: calls.append(1))
    elif change == "replaced forward":
        forward = layer.base.forward
        layer.base.forward = lambda x: (calls.append(1), forward(x))[1]
    elif change == "trained bias":
        layer.base.bias.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        got = layer(x)
    got.float().sum().backward()
    assert bool(calls) == (change in ("hook", "replaced forward"))
    assert (layer.base.bias.grad is not None) == (change == "trained bias")
    assert got.dtype == (torch.bfloat16 if change == "autocast" else torch.float32)
    torch.testing.assert_close(got.float(), want, rtol=3e-2 if change == "autocast" else 1e-5,
                               atol=3e-2 if change == "autocast" else 1e-6)  # bfloat16 has three figures, float32 seven


def test_on_a_bfloat16_base_the_adapter_is_float32_and_the_output_bfloat16():
    layer = LoRALayer(nn.Linear(5, 4, dtype=torch.bfloat16), rank=2, alpha=4)
    assert layer.lora_A.dtype == torch.float32
    assert layer(torch.randn(3, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert layer.weight is layer.base.weight and layer.bias is layer.base.bias


# --- beside peft ---


def copied_into_peft(model, **settings):
    theirs = get_peft_model(a_model(next(model.parameters()).dtype),
                            PeftConfig(task_type="CAUSAL_LM", **settings), autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, tensor in lora.lora_state(model).items():
            theirs.get_parameter(name.replace(".weight", ".default.weight")).copy_(tensor)
    return theirs


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("use_rslora", [False, True])
def test_logits_and_gradients_equal_those_of_peft(dtype, most, use_rslora):
    ours = adapted(dtype, rank=4, alpha=6, use_rslora=use_rslora)
    theirs = copied_into_peft(ours, r=4, lora_alpha=6, use_rslora=use_rslora, target_modules="all-linear")
    assert {name for name, p in theirs.named_parameters() if p.requires_grad} == {
        name.replace(".weight", ".default.weight") for name in lora.lora_state(ours)}
    assert largest_difference(logits(ours), logits(theirs)) <= most
    logits(ours).logsumexp(-1).sum().backward()
    logits(theirs).logsumexp(-1).sum().backward()
    for path, layer in lora.lora_layers(ours).items():
        other = theirs.get_submodule(f"base_model.model.{path}")
        for got, want in ((layer.lora_A, other.lora_A.default.weight), (layer.lora_B, other.lora_B.default.weight)):
            assert largest_difference(got.grad, want.grad) <= 3 * most, path  # sums over 22 tokens, in another order


def test_only_the_adapter_is_trained_and_a_step_leaves_the_base_bit_for_bit():
    model = adapted()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert set(targets.trainable(model)) == {
        f"{path}.{name}" for path in lora.lora_layers(model) for name in ("lora_A", "lora_B")}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    logits(model).logsumexp(-1).sum().backward()
    optimizer.step()
    assert all(torch.equal(dict(model.named_parameters())[name], was) for name, was in frozen.items())


def test_an_adapter_saved_here_opens_in_peft_with_equal_logits(tmp_path):
    ours = adapted(rank=4, alpha=6, dropout=0.25, target_modules=ATTENTION).eval()
    lora.save_adapter(ours, tmp_path, base_name="ftkit-tiny")
    theirs = PeftModel.from_pretrained(a_model(), tmp_path).eval()
    assert largest_difference(logits(ours), logits(theirs)) <= 1e-6  # float32
    config = theirs.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.base_model_name_or_path) == (
        4, 6, 0.25, "ftkit-tiny")
    assert config.target_modules == set(ATTENTION)


def test_an_adapter_on_some_layers_opens_in_peft_on_those_layers(tmp_path):
    ours = adapted(rank=4, target_modules=["model.layers.1.mlp.up_proj"])
    lora.save_adapter(ours, tmp_path, base_name="ftkit-tiny")
    theirs = PeftModel.from_pretrained(a_model(), tmp_path)
    assert largest_difference(logits(ours), logits(theirs)) <= 1e-6  # float32
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == 1


@pytest.mark.parametrize("settings", [
    {"target_modules": "all-linear"}, {"target_modules": ["q_proj"], "use_rslora": True},
    {"target_modules": ["q_proj", "lm_head"]}, {"target_modules": ["up_proj"], "layers_to_transform": [1]}])
def test_an_adapter_saved_by_peft_opens_here_with_equal_logits(tmp_path, settings):
    theirs = get_peft_model(a_model(), PeftConfig(r=4, lora_alpha=6, lora_dropout=0.1, task_type="CAUSAL_LM",
                                                  init_lora_weights=False, **settings)).eval()
    theirs.save_pretrained(tmp_path, save_embedding_layers=False)
    ours = lora.load_adapter_(a_model(), tmp_path).eval()
    assert largest_difference(logits(ours), logits(theirs)) <= 1e-6  # float32
    layer = next(iter(lora.lora_layers(ours).values()))
    assert (layer.rank, layer.alpha, layer.dropout) == (4, 6, 0.1)
    assert set(targets.trainable(ours)) == {
        f"{path}.{name}" for path in lora.lora_layers(ours) for name in ("lora_A", "lora_B")}


def test_an_adapter_comes_back_bit_for_bit(tmp_path):
    ours = adapted(rank=3, alpha=5, use_rslora=True)
    lora.save_adapter(ours, tmp_path, base_name="ftkit-tiny")
    again = lora.load_adapter_(a_model(), tmp_path)
    assert torch.equal(logits(again), logits(ours))
    assert all(torch.equal(tensor, lora.lora_state(again)[name]) for name, tensor in lora.lora_state(ours).items())


# --- merging ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_twice_changes_nothing_and_unmerging_restores_every_bit(dtype):
    model = adapted(dtype)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    first = {name: p.detach().clone() for name, p in lora.merge_(model).named_parameters()}
    second = dict(lora.merge_(model).named_parameters())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.layers.0.mlp.up_proj.base.weight"],
                           before["model.layers.0.mlp.up_proj.base.weight"])
    lora.unmerge_(lora.unmerge_(model))
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_a_merged_model_computes_the_same_and_stays_so_without_its_adapter():
    model = adapted()
    apart = logits(model)
    merged = logits(lora.merge_(model))
    assert largest_difference(merged, apart) <= 1e-5  # W + BA is rounded to float32 once per weight
    lora.remove_lora_(model)
    assert torch.equal(logits(model), merged) and not lora.lora_layers(model)
    assert set(model.state_dict()) == set(a_model().state_dict())


def test_taking_an_unmerged_adapter_out_gives_the_base_back():
    assert torch.equal(logits(lora.remove_lora_(adapted())), logits(a_model()))


# --- dropout ---


def test_two_runs_of_one_seed_drop_the_same_and_dropout_rests_in_evaluation():
    model = adapted(dropout=0.5).train()

    def run(seed):
        torch.manual_seed(seed)
        return logits(model)

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    model.eval()
    assert torch.equal(run(0), run(1))


def test_dropout_rests_in_evaluation_on_a_base_of_another_type_too():
    layer = LoRALayer(nn.Linear(64, 3, dtype=torch.bfloat16), rank=2, alpha=4, dropout=0.5).eval()
    nn.init.normal_(layer.lora_B)
    x = torch.randn(4, 64, dtype=torch.bfloat16)
    assert torch.equal(layer(x), layer(x)) and not torch.equal(layer.train()(x), layer(x))


def test_dropout_keeps_the_mean_and_touches_the_addition_alone():
    layer, x = LoRALayer(nn.Linear(64, 3), rank=2, alpha=4, dropout=0.3).train(), torch.randn(1, 64)
    nn.init.normal_(layer.lora_B)
    torch.manual_seed(0)
    additions = layer(x.expand(20000, -1)) - layer.base(x)
    want = layer.eval()(x) - layer.base(x)
    error = additions.std(0) / math.sqrt(20000)
    assert ((additions.mean(0) - want[0]).abs() < 4 * error).all()  # four standard errors of the mean


def test_dropout_under_activation_checkpointing_has_the_gradients_it_has_without():
    layer, x = LoRALayer(nn.Linear(16, 8), rank=2, alpha=4, dropout=0.5).train(), torch.randn(3, 16)
    nn.init.normal_(layer.lora_B)
    found = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        layer.zero_grad()
        torch.manual_seed(0)
        run(x).square().sum().backward()
        found.append(layer.lora_A.grad.clone())
    assert torch.equal(*found)


# --- refusals ---


@pytest.mark.parametrize(("settings", "words"), [
    ({"rank": 0}, "rank must be a whole number, 1 or more, got 0. Take 8"),
    ({"rank": 2.0}, "rank must be a whole number, 1 or more, got 2.0"),
    ({"rank": True}, "rank must be a whole number, 1 or more, got True"),
    ({"alpha": 0}, "alpha must be a number above 0, got 0. Take twice the rank"),
    ({"alpha": "16"}, "alpha must be a number above 0, got '16'"),
    ({"alpha": math.nan}, "alpha must be a number above 0, got nan"),
    ({"dropout": 1.0}, "dropout must be a share, 0 or more and below 1, got 1.0"),
    ({"dropout": -0.1}, "dropout must be a share, 0 or more and below 1, got -0.1"),
    ({"target_modules": []}, r"target_modules must be at least one name, got \(\). Take 'all-linear'"),
])
def test_a_setting_out_of_range_is_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        LoraConfig(**settings)


def test_the_settings_survive_json():
    config = LoraConfig(rank=4, target_modules=("q_proj", "v_proj"))
    assert LoraConfig(**json.loads(json.dumps(vars(config)))) == config


@pytest.mark.parametrize(("call", "words"), [
    (lambda: lora.add_lora_(adapted(), LoraConfig()), "model must be one without an adapter, got '14 adapted layers'"),
    (lambda: lora.add_lora_(a_model(), LoraConfig(target_modules="q_pro")), "names that this model has, got 'q_pro'"),
    (lambda: lora.merge_(a_model()), "model must be one with a LoRA adapter, got 'Qwen2ForCausalLM'. Add one"),
    (lambda: lora.lora_state(a_model()), "model must be one with a LoRA adapter"),
    (lambda: lora.merge_(lora.add_lora_(a_model(tied=True), LoraConfig(target_modules="lm_head"))),
     "lm_head must be a layer with a weight of its own, got 'one shared with model.embed_tokens'. Merging would"),
])
def test_a_model_that_does_not_fit_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


def test_a_quantised_weight_is_not_merged():
    model = adapted()
    layer = model.model.layers[0].mlp.up_proj
    layer.base.weight = nn.Parameter(torch.zeros(48, 32, dtype=torch.int8), requires_grad=False)
    with pytest.raises(Refusal, match="up_proj must be a layer with floating-point weights, got 'torch.int8'.*unquant"):
        lora.merge_(model)
    untouched = model.model.layers[0].self_attn.q_proj
    assert untouched.unmerged_weight is None  # refused as a whole


def test_layers_with_settings_of_their_own_are_not_saved_as_one_adapter(tmp_path):
    model = adapted()
    model.model.layers[0].mlp.up_proj.alpha = 3
    with pytest.raises(Refusal, match="adapter must be one with the same settings in all layers, got .*add_lora_"):
        lora.save_adapter(model, tmp_path, "ftkit-tiny")


def spoilt(folder, how):
    config = json.loads((folder / peft_layout.CONFIG_NAME).read_text())
    if isinstance(how, dict):
        (folder / peft_layout.CONFIG_NAME).write_text(json.dumps(config | how))
    elif how == "no config":
        (folder / peft_layout.CONFIG_NAME).unlink()
    elif how == "no rank":
        (folder / peft_layout.CONFIG_NAME).write_text(json.dumps({"peft_type": "LORA"}))
    elif how in ("no tensors", "pickled"):
        (folder / peft_layout.TENSORS_NAME).unlink()
        if how == "pickled":
            (folder / "adapter_model.bin").write_bytes(b"")
    else:
        (folder / peft_layout.TENSORS_NAME).write_bytes((folder / peft_layout.TENSORS_NAME).read_bytes()[:-20])
    return folder


REFUSED = [
    ({"use_dora": True}, "use_dora in adapter_config.json must be empty: plain LoRA has no such part, got True"),
    ({"rank_pattern": {"q_proj": 2}}, "rank_pattern in adapter_config.json must be empty.*'q_proj': 2"),
    ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern in adapter_config.json must be empty"),
    ({"modules_to_save": ["lm_head"]}, r"modules_to_save in adapter_config.json must be empty.*\['lm_head'\]"),
    ({"bias": "all"}, "bias in adapter_config.json must be empty.*'all'. Open this adapter with peft"),
    ({"lora_bias": True}, "lora_bias in adapter_config.json must be empty"),
    ({"fan_in_fan_out": True}, "fan_in_fan_out in adapter_config.json must be empty"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices in adapter_config.json must be empty"),
    ({"a_later_idea": {"x": 1}}, "a_later_idea in adapter_config.json must be empty"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights .* must be true, false, gaussian or orthogonal, got 'pissa'. "
                                     "This start also changes the base weights"),
    ({"peft_type": "IA3"}, "peft_type in adapter_config.json must be LORA, got 'IA3'. Open other kinds"),
    ("no config", "adapter folder must be one that holds adapter_config.json, got .*an adapter is a folder"),
    ("no rank", "adapter_config.json must be one that names r and lora_alpha, got 'no r'"),
    ("no tensors", "adapter folder must be one that holds adapter_model.safetensors"),
    ("pickled", "adapter weights must be safetensors, got 'adapter_model.bin'. A pickled file can run any code"),
    ("cut short", "adapter_model.safetensors must be a whole safetensors file, got .*Copy or save it again"),
]


@pytest.mark.parametrize(("how", "words"), REFUSED, ids=[str(how) for how, _ in REFUSED])
def test_a_saved_adapter_that_is_more_or_less_than_lora_is_refused(tmp_path, how, words):
    lora.save_adapter(adapted(target_modules=["q_proj"]), tmp_path, "ftkit-tiny")
    with pytest.raises(Refusal, match=words):
        lora.load_adapter_(a_model(), spoilt(tmp_path, how))


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.pop("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"),
     "pairs of lora_A and lora_B weights, got 'no base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight'"),
    (lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(2)}),
     "pairs of lora_A and lora_B weights, got 'base_model.model.lm_head.weight'. Only .*save_embedding_layers=False"),
    (lambda t: t.clear(), "pairs of lora_A and lora_B weights, got 'none'"),
    (lambda t: t.update({name.replace("layers.1", "layers.9"): t.pop(name) for name in list(t) if "layers.1" in name}),
     "adapter must be one made for this model, got 'a tensor for model.layers.9.self_attn.q_proj'.*but model.layers"),
    (lambda t: t.update({name.replace("q_proj", "rotary_emb").replace("self_attn.", "").replace("layers.1.", ""):
                         t.pop(name) for name in list(t) if "layers.1" in name}),
     "adapter must be one of nn.Linear modules, got 'model.rotary_emb, a Qwen2RotaryEmbedding'"),
    (lambda t: t.update({name: tensor[:2] for name, tensor in t.items() if "lora_A" in name}),
     r"one with shapes \(8, 32\) and \(32, 8\) at .*q_proj, got '\(2, 32\) and \(32, 8\)'. Was it trained on another"),
])
def test_tensors_that_do_not_fit_are_refused(tmp_path, change, words):
    lora.save_adapter(adapted(target_modules=["q_proj"]), tmp_path, "ftkit-tiny")
    tensors = load_file(tmp_path / peft_layout.TENSORS_NAME)
    change(tensors)
    save_file(tensors, tmp_path / peft_layout.TENSORS_NAME)
    model = a_model()
    with pytest.raises(Refusal, match=words):
        lora.load_adapter_(model, tmp_path)
    assert not lora.lora_layers(model)  # a refused adapter leaves the model as it was


def test_an_adapter_is_not_loaded_on_top_of_another(tmp_path):
    model = adapted()
    lora.save_adapter(model, tmp_path, "ftkit-tiny")
    with pytest.raises(Refusal, match="model must be one without an adapter.*remove_lora_"):
        lora.load_adapter_(model, tmp_path)
