"""Modules found by name in models of several families; what does not fit is refused with what the model has."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    Llama4TextConfig,
    MambaConfig,
    MixtralConfig,
    Phi3Config,
    Qwen2Config,
    T5Config,
    T5ForConditionalGeneration,
)

from ftkit import targets
from ftkit.errors import Refusal

SIZES = {"vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
         "num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0}


def a_model(config_class=Qwen2Config, **changes):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config_class(**SIZES | changes))


def test_a_name_is_found_in_every_layer_in_the_models_order():
    assert targets.find(a_model(), ["v_proj", "q_proj"]) == [
        f"model.layers.{layer}.self_attn.{name}" for layer in range(3) for name in ("q_proj", "v_proj")]


def test_one_name_may_be_given_as_plain_text():
    assert targets.find(a_model(), "mlp.up_proj") == [f"model.layers.{layer}.mlp.up_proj" for layer in range(3)]


def test_a_full_path_asks_for_its_one_place():
    assert targets.find(a_model(), ["model.layers.2.self_attn.q_proj"]) == ["model.layers.2.self_attn.q_proj"]


@pytest.mark.parametrize("tied", [True, False])
def test_all_linear_leaves_out_the_head_and_nothing_else(tied):
    model = a_model(tie_word_embeddings=tied)
    every = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    assert sorted(targets.find(model, "all-linear")) == sorted(set(every) - {"lm_head"})
    assert len(every) == 3 * 7 + 1


def test_a_subset_of_letters_is_not_a_match():
    with pytest.raises(Refusal, match="target_modules must be names that this model has, got 'proj'"):
        targets.find(a_model(), ["proj"])


@pytest.mark.parametrize(("config_class", "names", "words"), [
    (Qwen2Config, ["q_porj"], r"got 'q_porj'. Did you mean q_proj or .* This model has q_proj \(3\), k_proj \(3\)"),
    (Phi3Config, ["q_proj", "o_proj"], r"got 'q_proj'.*This model has o_proj \(3\), qkv_proj \(3\)"),
    (Qwen2Config, ["self_attn"], "modules or embeddings, got 'self_attn'. model.layers.0.self_attn is a Qwen2Att"),
    (Qwen2Config, ["q_porj"], "embeddings: model.embed_tokens"),
    (Qwen2Config, [], r"target_modules must be at least one name, got \(\). This model has q_proj"),
])
def test_a_name_that_does_not_fit_is_refused_with_what_the_model_has(config_class, names, words):
    with pytest.raises(Refusal, match=words):
        targets.find(a_model(config_class), names)


def a_gpt2():
    return AutoModelForCausalLM.from_config(GPT2Config(vocab_size=61, n_embd=16, n_layer=2, n_head=2, n_positions=8))


def a_t5(layers=1, decoder_layers=2):
    return T5ForConditionalGeneration(T5Config(vocab_size=9, d_model=8, d_ff=8, num_layers=layers, num_heads=2, d_kv=4,
                                               num_decoder_layers=decoder_layers))


def test_the_conv1d_of_gpt2_is_a_linear_module():
    model = a_gpt2()
    assert targets.find(model, ["c_attn"]) == ["transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn"]
    assert len(targets.find(model, "all-linear")) == 2 * 4 and "lm_head" not in targets.find(model, "all-linear")
    assert targets.widths(model.transformer.h[0].attn.c_attn) == (16, 48)
    assert {name: len(paths) for name, paths in targets.linear_names(model).items()} == {
        "c_attn": 2, "c_proj": 4, "c_fc": 2, "lm_head": 1}


def test_an_embedding_is_found_by_its_name_alone():
    assert targets.find(a_model(), ["embed_tokens"]) == ["model.embed_tokens"]


@pytest.mark.parametrize(("layers", "places"), [("all", [0, 1, 2]), ("first 1", [0]), ("last 2", [1, 2]),
                                                ((2, 0, 2), [0, 2])])
def test_layers_are_chosen_by_side_or_by_place(layers, places):
    assert targets.find(a_model(), ["q_proj"], layers) == [f"model.layers.{at}.self_attn.q_proj" for at in places]


def test_each_stack_of_an_encoder_decoder_gives_its_own_last_layers():
    found = targets.find(a_t5(2, 3), "all-linear", "last 1")
    assert {path.split(".layer.")[0] for path in found} == {"encoder.block.1", "decoder.block.2"}


def test_a_name_that_is_in_none_of_the_chosen_layers_is_refused():
    assert "lm_head" in targets.find(a_model(), ["q_proj", "lm_head"])
    assert targets.find(a_model(), ["q_proj", "lm_head"], "first 1", allow_partial=True) == [
        "model.layers.0.self_attn.q_proj"]
    with pytest.raises(Refusal, match="names found in the chosen layers, got 'lm_head'. This model has"):
        targets.find(a_model(), ["q_proj", "lm_head"], "first 1")


def test_layers_are_those_of_the_stacks_in_which_the_names_are():
    model = nn.ModuleDict({"eye": nn.ModuleList(nn.ModuleDict({"fc": nn.Linear(2, 2)}) for _ in range(2)),
                           "text": nn.ModuleList(nn.ModuleDict({"up": nn.Linear(2, 2)}) for _ in range(4))})
    assert targets.find(model, ["up"], "last 3") == ["text.1.up", "text.2.up", "text.3.up"]
    with pytest.raises(Refusal, match="K from 1 to 2"):
        targets.find(model, ["up", "fc"], "last 3")


@pytest.mark.parametrize("layers", ["first 4", "last 0", "first", "mid 2", (3,), (-1,), (), ("1",), (True,), 2, None])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(Refusal, match="layers must be 'all', 'first K' or 'last K' with K from 1 to 3, or places from"):
        targets.find(a_model(), ["q_proj"], layers)


def test_a_partial_match_is_taken_where_it_is_asked_for():
    names = ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert targets.find(a_model(Phi3Config), names, allow_partial=True) == [
        f"model.layers.{layer}.self_attn.o_proj" for layer in range(3)]
    model = a_model()
    del model.model.layers[1].self_attn.q_proj
    assert len(targets.find(model, ["q_proj"], allow_partial=True)) == 2
    with pytest.raises(Refusal, match="names of which one at least is there, got 'q_pro'"):
        targets.find(model, ["q_pro"], allow_partial=True)


def test_the_projection_that_multihead_attention_never_calls_is_no_target():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    assert targets.find(model, "all-linear") == [f"layers.{at}.linear{n}" for at in range(2) for n in (1, 2)]
    with pytest.raises(Refusal, match="got 'out_proj'. layers.0.self_attn.out_proj stands in a MultiheadAttention"):
        targets.find(model, ["out_proj"])


def test_the_step_size_of_a_state_space_layer_is_no_target():
    model = a_model(MambaConfig)
    assert {path.split(".")[-1] for path in targets.find(model, "all-linear")} == {"in_proj", "x_proj", "out_proj"}
    with pytest.raises(Refusal, match="dt_proj stands in a MambaMixer, which reads its weight and never calls it"):
        targets.find(model, ["dt_proj"])


def test_a_router_that_returns_more_than_its_product_is_not_among_all_linear_layers():
    model = a_model(Llama4TextConfig)
    assert "router" in targets.linear_names(model)
    assert not any(path.endswith("router") for path in targets.find(model, "all-linear"))


def test_a_name_missing_in_some_layers_is_refused_naming_them():
    model = a_model()
    model.model.layers[1].self_attn.q_proj = nn.Identity()
    targets.replace_(model, "model.layers.1.mlp.up_proj", nn.ModuleDict({"inner": nn.Linear(2, 2)}))
    with pytest.raises(Refusal, match="is a Identity"):
        targets.find(model, ["q_proj"])
    del model.model.layers[1].self_attn.q_proj
    words = "names found in every layer, or full paths, got 'q_proj'. It is in 2 layers and missing in model.layers.1. "
    with pytest.raises(Refusal, match=words):
        targets.find(model, ["q_proj"])


def test_layers_come_bottom_first_whatever_the_family_calls_them():
    assert targets.layers_of(a_model()) == ["model.layers.0", "model.layers.1", "model.layers.2"]
    assert targets.layers_of(a_gpt2()) == ["transformer.h.0", "transformer.h.1"]
    assert targets.layers_of(nn.ModuleList([nn.Sequential(nn.Linear(2, 2))])) == ["0"]
    assert targets.layers_of(a_t5()) == ["decoder.block.0", "decoder.block.1"]


def test_many_experts_are_not_taken_for_layers():
    model = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList(
        nn.Linear(2, 2) for _ in range(8))}) for _ in range(3))})
    assert targets.layers_of(model) == ["layers.0", "layers.1", "layers.2"]
    assert len(targets.layers_of(a_model(MixtralConfig))) == 3


def test_a_module_is_replaced_in_its_place():
    model, new = a_model(), nn.Identity()
    targets.replace_(model, "model.layers.1.mlp", new)
    assert model.model.layers[1].mlp is new and model.model.layers[0].mlp is not new


def test_freezing_leaves_exactly_the_named_parts_trainable():
    model = a_model()
    targets.freeze_(model, except_=["model.layers.2.mlp", "model.norm.weight"])
    assert set(targets.trainable(model)) == {
        *(f"model.layers.2.mlp.{name}_proj.weight" for name in ("gate", "up", "down")), "model.norm.weight"}
    targets.freeze_(model)
    assert targets.trainable(model) == {}


def test_counts_agree_with_arithmetic_and_take_tied_weights_once():
    layer = 4 * 16 * 16 + 3 * 16 + 3 * 16 * 24 + 2 * 16  # attention, its three biases, MLP, two norms
    tied = 3 * layer + 61 * 16 + 16
    assert targets.counts(a_model(tie_word_embeddings=True)) == (tied, tied)
    assert targets.counts(a_model(tie_word_embeddings=False))[1] == tied + 61 * 16


def test_a_4_bit_weight_counts_its_numbers_not_its_bytes():
    packed = nn.Linear(8, 4, bias=False)
    packed.weight = nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)
    packed.weight.quant_state = type("State", (), {"shape": (4, 8)})()
    assert targets.counts(packed) == (0, 32)


@pytest.mark.parametrize(("call", "words"), [
    (lambda m: targets.replace_(m, "model.layer.0", None), "path must be that of.*Did you mean model.layers.0"),
    (lambda m: targets.replace_(m, "", None), "path must be that of a module of this model, got ''"),
    (lambda m: targets.freeze_(m, ["lm_haed"]), "except_ must be paths that hold parameters.*Did you mean lm_head"),
    (lambda m: targets.layers_of(m.lm_head), "model must be one with a list of layers, got 'Linear'"),
    (lambda m: targets.find(nn.ReLU(), "all-linear"), "This model has none: its modules are ReLU"),
    (lambda m: targets.find(nn.ReLU(), "q_proj"), "got 'q_proj'. This model has no linear module at all"),
])
def test_bad_input_is_refused_in_a_sentence(call, words):
    with pytest.raises(Refusal, match=words):
        call(a_model())
