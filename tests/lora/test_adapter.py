"""LoRA layers and adapters: how they begin, what they train; merged, taken out, refused."""

import json
import math

import pytest
import torch
import transformers
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, Qwen2Config

from ftkit import low_rank, targets
from ftkit.errors import Refusal
from ftkit.live_bytes import LiveBytes
from ftkit.lora.adapter import add_lora_, lora_layers, merge_, remove_lora_, trained_biases, unmerge_
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding, LoRALayer
from ftkit.lora.saving import lora_state

IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def a_model(dtype=torch.float32, tied=False):
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied)
    return AutoModelForCausalLM.from_config(config).to(dtype)


def adapted(dtype=torch.float32, **settings):
    """A model with an adapter whose B is no longer zero."""
    model = add_lora_(a_model(dtype), LoraConfig(**settings), seed=1)
    generator = torch.Generator().manual_seed(2)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.1, generator=generator)
    return model


def logits(model):
    return model(input_ids=IDS).logits


def largest_difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


# --- the layer ---


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
                          lora_layers(add_lora_(a_model(), LoraConfig(), seed)).values()])

    assert torch.equal(start(3), start(3)) and not torch.equal(start(3), start(4))


@pytest.mark.parametrize(("use_rslora", "scaling"), [(False, 16 / 4), (True, 16 / 2)])
def test_the_addition_is_scaled_by_alpha_over_rank_or_its_root(use_rslora, scaling):
    assert LoRALayer(nn.Linear(5, 4), rank=4, alpha=16, use_rslora=use_rslora).scaling == scaling


def test_on_a_bfloat16_base_the_adapter_is_float32_and_the_output_bfloat16():
    layer = LoRALayer(nn.Linear(5, 4, dtype=torch.bfloat16), rank=2, alpha=4)
    assert layer.lora_A.dtype == torch.float32
    assert layer(torch.randn(3, 5, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert layer.weight is layer.base.weight and layer.bias is layer.base.bias


def test_only_the_adapter_is_trained_and_a_step_leaves_the_base_bit_for_bit():
    model = adapted()
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert set(targets.trainable(model)) == {
        f"{path}.{name}" for path in lora_layers(model) for name in ("lora_A", "lora_B")}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    logits(model).logsumexp(-1).sum().backward()
    optimizer.step()
    assert all(torch.equal(dict(model.named_parameters())[name], was) for name, was in frozen.items())


# --- merging ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_merging_twice_changes_nothing_and_unmerging_restores_every_bit(dtype):
    model = adapted(dtype)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    first = {name: p.detach().clone() for name, p in merge_(model, keep=True).named_parameters()}
    second = dict(merge_(model).named_parameters())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["model.layers.0.mlp.up_proj.base.weight"],
                           before["model.layers.0.mlp.up_proj.base.weight"])
    unmerge_(unmerge_(model))
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_merging_holds_one_layer_beside_the_model_and_not_a_copy_of_all():
    model = adapted()
    with LiveBytes(model) as alive:
        before, largest = alive.now_bytes, max(layer.base.weight.nbytes for layer in lora_layers(model).values())
        merge_(model)
        assert alive.peak().bytes - before <= 3 * largest and alive.now_bytes - before < largest
    with pytest.raises(Refusal, match="q_proj must be merged with a copy of its weight.*got 'merged without one'"):
        unmerge_(model)
    assert all(layer.is_merged for layer in lora_layers(model).values())


def test_a_merged_model_computes_the_same_and_stays_so_without_its_adapter():
    model = adapted()
    apart = logits(model)
    merged = logits(merge_(model))
    assert largest_difference(merged, apart) <= 1e-5  # W + BA is rounded to float32 once per weight
    remove_lora_(model)
    assert torch.equal(logits(model), merged) and not lora_layers(model)
    assert set(model.state_dict()) == set(a_model().state_dict())


def test_taking_an_unmerged_adapter_out_gives_the_base_back():
    assert torch.equal(logits(remove_lora_(adapted())), logits(a_model()))


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
    ({"dropout": True}, "dropout must be a share, 0 or more and below 1, got True"),
    ({"use_rslora": "yes"}, "use_rslora must be True or False, got 'yes'"),
    ({"train_biases": 1}, "train_biases must be True or False, got 1"),
    ({"target_modules": None}, "target_modules must be names of modules, got None. Take 'all-linear'"),
    ({"target_modules": [1]}, r"target_modules must be names of modules, got \[1\]"),
    ({"modules_to_save": [1]}, r"modules_to_save must be names of modules, got \[1\]"),
    ({"rank_pattern": {"q_proj": 0}}, r"rank_pattern\['q_proj'\] must be a whole number, 1 or more, got 0"),
    ({"alpha_pattern": {"q_proj": -1}}, r"alpha_pattern\['q_proj'\] must be a number above 0, got -1"),
    ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be a mapping from names to values, got .*q_proj"),
    ({"target_modules": []}, r"target_modules must be at least one name, got \(\). Take 'all-linear'"),
])
def test_a_setting_out_of_range_is_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        LoraConfig(**settings)


def test_the_settings_survive_json():
    config = LoraConfig(rank=4, target_modules=("q_proj", "v_proj"), layers=(0, 2), modules_to_save="score",
                        rank_pattern={"q_proj": 2})
    assert LoraConfig(**json.loads(json.dumps(vars(config)))) == config


@pytest.mark.parametrize(("call", "words"), [
    (lambda: add_lora_(adapted(), LoraConfig()), "model must be one without an adapter, got '14 adapted layers'"),
    (lambda: add_lora_(a_model(), LoraConfig(target_modules="q_pro")), "names that this model has, got 'q_pro'"),
    (lambda: merge_(a_model()), "model must be one with a LoRA adapter, got 'Qwen2ForCausalLM'. Add one"),
    (lambda: lora_state(a_model()), "model must be one with a LoRA adapter"),
    (lambda: merge_(add_lora_(a_model(tied=True), LoraConfig(target_modules="lm_head"))),
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
        merge_(model)
    untouched = model.model.layers[0].self_attn.q_proj
    assert not untouched.is_merged  # refused as a whole


# --- other kinds of modules, other models ---


def small(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(
            vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=16)).eval()
    if kind == "t5":
        return transformers.T5ForConditionalGeneration(transformers.T5Config(
            vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)).eval()
    return transformers.BertForSequenceClassification(transformers.BertConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)).eval()


def moved(model):
    """The model, its trained tensors at random."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


@pytest.mark.parametrize(("kind", "names"), [("gpt2", ["c_attn", "c_fc"]), ("gpt2", ["wpe"]), ("bert", ["query"]),
                                             ("bert", ["word_embeddings"])])
def test_merging_fits_every_kind_of_module_and_unmerging_restores_it(kind, names):
    model = moved(add_lora_(small(kind), LoraConfig(rank=3, target_modules=names)))
    apart = logits(model)
    assert largest_difference(apart, logits(small(kind))) > 1e-4
    assert largest_difference(logits(merge_(model, keep=True)), apart) <= 1e-5  # W + BA is rounded to float32 once
    remove_lora_(unmerge_(model))
    assert torch.equal(logits(model), logits(small(kind)))


def test_a_new_embedding_is_the_base_and_its_first_gradient_reaches_the_factor_of_zeros():
    layer = LoRAEmbedding(nn.Embedding(9, 6), rank=2, alpha=4, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 8, 1]])
    assert torch.equal(layer(ids), layer.base(ids)) and (layer.lora_A == 0).all() and layer.bias is None
    layer(ids).square().sum().backward()
    assert set(layer.lora_A.grad.abs().sum(0).nonzero().flatten().tolist()) == {1, 8}


def test_the_last_layers_of_both_stacks_are_adapted():
    model = add_lora_(small("t5"), LoraConfig(target_modules=("q", "v"), layers="last 1"))
    assert {path.split(".layer.")[0] for path in lora_layers(model)} == {"encoder.block.1", "decoder.block.1"}


def test_patterns_set_rank_and_alpha_by_the_end_of_a_path():
    config = LoraConfig(rank=4, alpha=8, rank_pattern={"down_proj": 2, "mlp.down_proj": 3},
                        alpha_pattern={"1.mlp.up_proj": 1})
    layers = lora_layers(add_lora_(a_model(), config))
    assert {path: layer.rank for path, layer in layers.items() if layer.rank != 4} == {
        f"model.layers.{at}.mlp.down_proj": 2 for at in range(2)}
    assert [path for path, layer in layers.items() if layer.alpha != 8] == ["model.layers.1.mlp.up_proj"]


def test_a_module_to_save_is_trained_whole_and_put_back_with_the_adapter():
    model = add_lora_(small("bert"), LoraConfig(target_modules="all-linear", modules_to_save=["classifier"]))
    assert "classifier" not in lora_layers(model) and "bert.pooler.dense" in lora_layers(model)
    assert {name for name in targets.trainable(model) if "lora_" not in name} == {
        "classifier.trained.weight", "classifier.trained.bias"}
    assert model.classifier.weight is model.classifier.trained.weight
    moved(model)
    merged = logits(merge_(model))
    assert torch.equal(logits(remove_lora_(model)), merged)  # after merging, the trained copy is the model's own


def test_biases_are_trained_beside_the_factors_where_asked_for_and_frozen_again_when_the_adapter_goes():
    model = add_lora_(a_model(), LoraConfig(target_modules=("q_proj",), train_biases=True))
    biases = {f"model.layers.{at}.self_attn.{one}.bias" for at in range(2) for one in ("q_proj", "k_proj", "v_proj")}
    assert set(trained_biases(model)) == biases
    assert {name for name in targets.trainable(model) if "lora_" not in name} == {
        name.replace("q_proj.bias", "q_proj.base.bias") for name in biases}
    with low_rank.fewest_steps():
        logits(model).logsumexp(-1).sum().backward()
    assert all(bias.grad.abs().max() > 0 for name, bias in trained_biases(model).items() if "k_proj" not in name)
    assert targets.trainable(remove_lora_(model)) == {}


def test_a_model_without_biases_has_none_to_train():
    with pytest.raises(Refusal, match="train_biases must be False for a model without biases, got True"):
        add_lora_(nn.ModuleDict({"up": nn.Linear(4, 4, bias=False)}), LoraConfig(train_biases=True))


def test_torchs_own_encoder_layers_call_their_adapted_parts_in_evaluation_too():
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), 2)
    moved(add_lora_(model, LoraConfig(rank=2)))
    x, padding = torch.randn(2, 5, 16), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    with torch.no_grad():
        want = model.train()(x, src_key_padding_mask=padding)
        torch.testing.assert_close(model.eval()(x, src_key_padding_mask=padding), want)


class Twice(nn.Module):
    """One linear module in two places."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first


class Scaled(nn.Embedding):
    """An embedding that scales what it looks up, as Gemma's does."""

    def forward(self, ids):
        return super().forward(ids) * 2


@pytest.mark.parametrize(("make", "settings", "words"), [
    (Twice, {}, "first must be a module that stands in one place, got 'also second'. Only one of the two"),
    (lambda: small("t5"), {"target_modules": ["shared"]},
     "shared must be an embedding with a weight of its own, got 'one shared with encoder.embed_tokens'. The model may"),
    (lambda: nn.ModuleDict({"e": Scaled(5, 4)}), {"target_modules": ["e"]},
     "base must be an nn.Embedding that looks rows up and no more, got 'Scaled'. This one"),
    (lambda: nn.ModuleDict({"e": nn.Embedding(5, 4, max_norm=1.0)}), {"target_modules": ["e"]}, "looks rows up and no"),
    (lambda: small("bert"), {"modules_to_save": ["classifer"]},
     "modules_to_save must be names of modules of this model, got 'classifer'. It has bert, dropout, classifier at"),
    (lambda: small("bert"), {"target_modules": ["classifier"], "modules_to_save": ["classifier"]},
     "target_modules must be names outside modules_to_save, got 'classifier'. Train it whole or adapt it"),
    (lambda: small("gpt2"), {"modules_to_save": ["lm_head"]},
     "modules_to_save must be modules with weights of their own, got 'lm_head'. transformer.wte.weight is tied"),
    (lambda: small("gpt2"), {"layers": "last 9"}, "layers must be 'all', 'first K' or 'last K' with K from 1 to 2"),
])
def test_a_module_that_cannot_be_adapted_is_refused_and_the_model_left_as_it_was(make, settings, words):
    model = make()
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(Refusal, match=words):
        add_lora_(model, LoraConfig(**settings))
    assert not lora_layers(model)
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(("kind", "base"), [(LoRALayer, nn.Conv1d(2, 2, 1)), (LoRAEmbedding, nn.Linear(2, 2))])
def test_a_layer_of_another_kind_is_refused(kind, base):
    with pytest.raises(Refusal, match="base must be an nn.(Linear or a Conv1D|Embedding).*, got '"):
        kind(base, rank=2, alpha=4)


def test_a_table_with_a_head_tied_to_it_is_adapted_apart_and_not_merged():
    model = moved(add_lora_(a_model(tied=True), LoraConfig(target_modules=["embed_tokens"])))
    assert model.lm_head.weight is model.model.embed_tokens.weight  # the head keeps the base's weight
    with pytest.raises(Refusal, match="model.embed_tokens must be a layer with a weight of its own, got 'one shared"):
        merge_(model)


# --- what only looks like an ordinary module ---


class Thrice(nn.Linear):
    """A linear module that does more than multiply."""

    def forward(self, x):
        return super().forward(x) * 3


class TiedByHand(nn.Module):
    """A second name of a weight, read in the forward pass."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.kernel = self.fc.weight

    def forward(self, x):
        return self.fc(x) @ self.kernel


class SameData(nn.Sequential):
    """Two parameters over one storage."""

    def __init__(self):
        super().__init__(nn.Linear(4, 4), nn.Linear(4, 4))
        self[1].weight.data = self[0].weight.data


@pytest.mark.parametrize(("make", "words"), [
    (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), "by a weight of its own and no mo"),
    (lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))), "a weight of its own and no mor"),
    (lambda: nn.Sequential(Thrice(4, 4)), "0 must be a layer that multiplies by a weight .*, got 'Thrice'. Keep the"),
    (TiedByHand, "fc must be a layer with a weight of its own, got 'one shared with kernel'"),
    (SameData, "0 must be a layer with a weight of its own, got 'one shared with 1'"),
])
def test_a_weight_that_merging_would_miss_or_change_twice_is_refused(make, words):
    model = moved(add_lora_(make().eval(), LoraConfig(rank=2)))
    with pytest.raises(Refusal, match=words):
        merge_(model)
    assert not any(layer.is_merged for layer in lora_layers(model).values())


def test_one_block_in_two_places_is_adapted_in_both():
    block = nn.Sequential(nn.Linear(4, 4))
    model, x = nn.Sequential(block, block), torch.randn(3, 4)
    moved(add_lora_(model, LoraConfig(rank=2)))
    assert list(lora_layers(model)) == ["0.0"] and torch.equal(model(x), block(block(x)))
    torch.testing.assert_close(merge_(model, keep=True)(x), unmerge_(model)(x))


def two_same():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "fc": nn.Linear(4, 4)})
    model["b"] = model["a"]
    return model


def quantised():
    model = nn.ModuleDict({"head": nn.Linear(4, 4), "fc": nn.Linear(4, 4)})
    model.head.weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)
    return model


@pytest.mark.parametrize(("make", "settings", "words"), [
    (lambda: nn.Linear(4, 4), {}, "target_modules must be names of linear modules, got 'all-linear'. This model has n"),
    (lambda: nn.Sequential(nn.LazyLinear(4)), {}, "base must be a linear module that knows its shape, got 'LazyLinear"),
    (lambda: nn.ModuleDict({"e": nn.Embedding(5, 4, sparse=True)}), {"target_modules": ["e"]}, "or has sparse gradien"),
    (two_same, {"target_modules": ["fc"], "modules_to_save": ["a"]}, "got 'a'. b is tied to it, and would not follow"),
    (two_same, {"target_modules": ["fc"], "modules_to_save": ["b"]}, "got 'b'. b is tied to it, and would not|got 'b'"),
    (TiedByHand, {"modules_to_save": ["fc"], "target_modules": ["fc"]}, "names outside modules_to_save"),
    (quantised, {"target_modules": ["fc"], "modules_to_save": ["head"]}, "with floating-point weights, got 'head'. It"),
    (lambda: small("bert"), {"target_modules": ["query"], "modules_to_save": ["dropout"]}, "floating-point.*is a Drop"),
    (lambda: small("bert"), {"target_modules": ["pooler.dense"], "modules_to_save": ["encoder.layer"]}, "a ModuleList"),
    (lambda: nn.ModuleDict({"pre_head": nn.Linear(4, 4), "head": nn.Linear(4, 4), "fc": nn.Linear(4, 4)}),
     {"target_modules": ["fc"], "modules_to_save": ["head"]}, "got 'head'. So does pre_head, and peft would look for"),
    (lambda: small("bert"), {"target_modules": ["query"], "rank_pattern": {"qury": 2}}, "names of target modules, got"),
    (lambda: get_peft_model(small("bert"), PeftConfig(target_modules=["query"])), {}, "got \"one of peft's\". Take pe"),
])
def test_what_cannot_be_done_right_is_refused_before_anything_is_changed(make, settings, words):
    model = make()
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with pytest.raises(Refusal, match=words):
        add_lora_(model, LoraConfig(**settings))
    assert not lora_layers(model) and before == {name: p.requires_grad for name, p in model.named_parameters()}


def test_a_linear_module_that_returns_no_tensor_is_named():
    class Router(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(Refusal, match="base must be a linear module that returns a tensor, got 'Router'. Take its"):
        LoRALayer(Router(4, 4), rank=2, alpha=4)(torch.randn(3, 4))


def test_what_models_read_of_an_embedding_is_there():
    layer = LoRAEmbedding(nn.Embedding(9, 6, padding_idx=2), rank=2, alpha=4)
    assert (layer.num_embeddings, layer.embedding_dim, layer.padding_idx) == (9, 6, 2)
