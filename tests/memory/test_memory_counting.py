"""Numbers and bytes by arithmetic are those of real models: built on the meta device, prepared, or stored."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ftkit import methods
from ftkit.errors import Refusal
from ftkit.memory.chosen import USUAL_RATIO
from ftkit.memory.counting import count, lora_parameters, weight_bytes
from ftkit.memory.models import known_models, model_named
from ftkit.memory.setup import METHODS, Setup
from ftkit.memory.shape import shape_of

SIZES = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4}
FAMILIES = {
    "llama": SIZES | {"num_key_value_heads": 2},
    "llama with biases": SIZES | {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": SIZES | {"num_key_value_heads": 2, "head_dim": 16},
    "qwen2": SIZES | {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": SIZES | {"num_key_value_heads": 2, "head_dim": 12},
    "gemma": SIZES | {"num_key_value_heads": 1, "head_dim": 16},
    "gemma2": SIZES | {"num_key_value_heads": 2, "head_dim": 16},
    "phi3": SIZES | {"num_key_value_heads": 2, "pad_token_id": 0},
    "gpt2": {"vocab_size": 61, "n_embd": 32, "n_layer": 5, "n_head": 4, "n_positions": 40},
    "gpt_neo": {"vocab_size": 61, "hidden_size": 32, "num_layers": 5, "num_heads": 4, "max_position_embeddings": 40,
                "attention_types": [[["global"], 5]]},
    "gpt_neox": SIZES,
    "gpt_neox in a row": SIZES | {"model_type": "gpt_neox", "use_parallel_residual": False},
    "falcon": {name: value for name, value in SIZES.items() if name != "intermediate_size"},
    "falcon, new": {"model_type": "falcon", "vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 5,
                    "num_attention_heads": 4, "new_decoder_architecture": True, "num_kv_heads": 2, "bias": True},
}
SETTINGS = {
    "full": [{}], "bitfit": [{}], "prompt": [{"virtual_tokens": 7}],
    "freeze": [{}, {"layers": 2}, {"freeze_ratio": 0.5, "part": "top", "embeddings_and_head": True},
               {"modules": ("mlp",)}, {"modules": ("attention",)}],
    "adapter": [{}, {"bottleneck": 5, "place": "pfeiffer"}],
    "prefix": [{"virtual_tokens": 3}, {"virtual_tokens": 3, "projection": 6, "start": "random"}],
    "lora": [{}, {"rank": 3, "layers": "last 2"}, {"rank": 2, "layers": (0, 3)}],
}
PUBLISHED = {"qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "gpt-neo-1.3b": 1_315_575_808,
             "phi-3-mini": 3_821_079_552, "yi-6b": 6_061_035_520, "chatglm3-6b": 6_243_584_000,
             "llama-2-7b": 6_738_415_616, "mistral-7b": 7_241_732_096, "falcon-7b": 6_921_720_704,
             "baichuan2-7b": 7_505_973_248, "qwen2.5-7b": 7_615_616_512, "qwen-7b": 7_721_324_544,
             "llama-3-8b": 8_030_261_248, "qwen3-8b": 8_190_735_360, "gemma-2-9b": 9_241_705_984,
             "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192, "qwen2.5-72b": 72_706_203_648}
"""Numbers of the models as their checkpoints' indexes add up to, tied heads once."""


def config_of(family):
    return {"model_type": family} | FAMILIES[family]


def a_model(family):
    config = config_of(family)
    settings = {name: value for name, value in config.items() if name != "model_type"}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shape_has_as_many_numbers_as_the_model(family):
    with torch.device("meta"):
        model = a_model(family)
    shape = shape_of(config_of(family))
    assert shape.parameters == sum(one.numel() for one in model.parameters())
    names = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert {f"{shape.stack}.2.{one.name}" for one in (*shape.linears, *shape.norms)} <= names
    assert shape.embedding_name in names


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_method_trains_as_many_numbers_as_prepare_says(family, method):
    for settings in SETTINGS[method]:
        try:
            prepared = methods.prepare(a_model(family), method, **settings)
        except Refusal as refused:
            with pytest.raises(Refusal) as counted:
                count(shape_of(config_of(family)), Setup(method, settings))
            assert str(counted.value) == str(refused)
            continue
        found = count(shape_of(config_of(family)), Setup(method, settings))
        assert (found.trainable, found.total) == (prepared.trainable, prepared.total), settings


def test_lora_on_some_names_the_head_and_biases_is_counted_as_it_is_prepared():
    for settings in ({"rank": 2, "target_modules": ("q_proj", "lm_head")}, {"target_modules": ("self_attn.v_proj",)},
                     {"target_modules": ("model.layers.1.mlp.up_proj",)}, {"rank_pattern": {"down_proj": 5}},
                     {"train_biases": True}):
        model = a_model("llama with biases")
        prepared = methods.prepare(model, "lora", **settings)
        found = count(shape_of(FAMILIES["llama with biases"]), Setup("lora", settings))
        assert (found.trainable, found.total) == (prepared.trainable, prepared.total), settings


def test_the_settings_are_those_of_the_methods():
    for method, settings in METHODS.items():
        if method in methods._METHODS:
            known = methods.defaults(method)
            assert set(settings) == set(known)
            if method != "freeze":
                assert settings == known
    assert methods.defaults("freeze")["freeze_ratio"] == USUAL_RATIO  # that a config of it puts in for None


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_model_of_the_table_has_the_numbers_it_is_published_with(name):
    assert model_named(name).parameters == PUBLISHED[name]


def test_every_model_of_the_table_names_matrices_that_it_has():
    for model in known_models():
        assert lora_parameters(model.shape, 8, model.target_modules) > 0
        assert model.code == ("native" if model.shape.native else "remote")


def test_a_seven_billion_model_trains_8_388_608_numbers_with_rank_8_on_attention():
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    shape = model_named("llama-2-7b").shape
    assert lora_parameters(shape, 8, names) == 32 * 4 * 8 * (4096 + 4096) == 8_388_608
    assert 419_430 % 8  # the number that is going round cannot be one of rank 8


def test_weights_in_four_bits_take_the_bytes_that_bitsandbytes_stores():
    import bitsandbytes.functional as bnb

    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(0))
    for double in (True, False):
        packed, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=double)
        stored = [packed, state.absmax, state.code]
        stored += [state.offset, state.state2.absmax, state.state2.code] if double else []
        config = config_of("llama") | {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 1}
        sizes = weight_bytes(shape_of(config), Setup("qlora", double_quant=double))
        one = shape_of(config).linears[4]
        from ftkit.memory.counting import bytes_of_linear

        assert (one.inside, one.outside) == (64, 48)
        counted = bytes_of_linear(one, Setup("qlora", double_quant=double), quantised=True)
        assert sum(counted.values()) == sum(part.numel() * part.element_size() for part in stored)
        assert set(sizes) == {"nf4 codes", "nf4 scales", "bfloat16"}


def test_parts_left_unquantised_are_held_as_they_are():
    shape = shape_of(config_of("llama"))
    sizes = [weight_bytes(shape, Setup("qlora", unquantised=parts)) for parts in ((), ("mlp",), ("layers.1.mlp", ))]
    mlp = sum(one.inside * one.outside for one in shape.linears if one.part == "mlp")
    assert sizes[1]["bfloat16"] - sizes[0]["bfloat16"] == 2 * mlp * shape.layers
    assert sizes[2]["bfloat16"] - sizes[0]["bfloat16"] == 2 * mlp


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Setup("lora", {"target_modules": ("query",)}), "target_modules must be names that this model has, got "
     "'query'. A layer of it has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj."),
    (lambda: Setup("lora", {"rank": 0}), "rank must be a whole number, 1 or more, got 0. Take 8 to begin with."),
    (lambda: Setup("lora", {"modules_to_save": ("norm",)}), "modules_to_save must be model.embed_tokens or lm_head for "
     "a plan, got 'norm'. Others are not planned for."),
    (lambda: Setup("freeze", {"layers": 9}), "layers must be a whole number from 1 to 5, the layers of this model, got "
     "9."),
    (lambda: Setup("freeze", {"layers": 2, "freeze_ratio": 0.5}), "layers must be left out beside freeze_ratio or "
     "modules, got 2. Take one of them."),
    (lambda: Setup("freeze", {"freeze_ratio": 1.0}), "freeze_ratio must be small enough for one of 5 layers to be "
     "trained, got 1.0. Or set embeddings_and_head=True."),
    (lambda: Setup("freeze", {"modules": ("norm9",)}), "modules must be 'attention', 'mlp' or names of modules in the "
     "layers, got 'norm9'."),
    (lambda: Setup("bitfit"), "method must be one that this model can take, got 'bitfit'. This model has no biases to "
     "train."),
    (lambda: Setup("qlora", unquantised=("experts",)), "unquantised must be names of linear layers, or of parts of a "
     "layer, got 'experts'. A layer of this model has self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, "
     "self_attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj."),
], ids=lambda value: "" if callable(value) else value[:20])
def test_what_a_model_does_not_have_is_refused(make, words):
    with pytest.raises(Refusal) as refused:
        count(shape_of(config_of("llama")), make())
    assert str(refused.value) == words


def test_a_copy_of_a_tied_head_is_refused():
    with pytest.raises(Refusal, match="modules_to_save must be empty where the head is tied to the embedding"):
        count(shape_of(config_of("qwen2")), Setup("lora", {"modules_to_save": ("lm_head",)}))


@pytest.mark.parametrize(("config", "words"), [
    ([], "config must be a dict with model_type, as config.json has it, got \\[\\]"),
    ({"model_type": "lama"}, "model_type must be one of .* Did you mean llama"),
    ({"model_type": "llama", "hidden_size": 8}, "num_attention_heads in the config must be a whole number, 0 or more, "
     "got None. Take the config.json that comes with the model."),
    (SIZES | {"model_type": "llama", "num_hidden_layers": 0}, "config must be that of a model with layers, heads and a "
     "vocabulary"),
])
def test_a_config_that_says_no_shape_is_refused(config, words):
    with pytest.raises(Refusal, match=words):
        shape_of(config)
