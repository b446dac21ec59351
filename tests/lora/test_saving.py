"""An adapter's files: ours open in peft, peft's open here, with the same logits; what is more than LoRA is refused."""

import json

import pytest
import torch
import transformers
from peft import LoraConfig as PeftConfig
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

from ftkit import peft_layout, targets
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_, config_of, lora_layers, put_in_, remove_lora_, trained_copies
from ftkit.lora.config import LoraConfig
from ftkit.lora.saving import load_adapter_, lora_state, save_adapter

IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))
COMMON = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 4}
MODELS = {
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**COMMON, num_key_value_heads=2)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON, tie_word_embeddings=True)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=16)),
    "bert": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**COMMON, num_labels=3)),
    "roberta": lambda: transformers.RobertaForSequenceClassification(transformers.RobertaConfig(
        **COMMON, num_labels=3, pad_token_id=1)),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)),
}


def a_model(kind="qwen2"):
    torch.manual_seed(0)
    return MODELS[kind]().eval()


def adapted(kind="qwen2", **settings):
    """A model with an adapter whose every trained tensor has moved."""
    model = add_lora_(a_model(kind), LoraConfig(**settings), seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return model


def by_peft(folder, kind="qwen2", save=None, **settings):
    """peft's model, its adapter at random, saved in the folder."""
    model = get_peft_model(a_model(kind), PeftConfig(r=4, lora_alpha=6, init_lora_weights=False, **settings)).eval()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("modules_to_save" in name or name.endswith(".bias")):
            nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder, **save or {})
    return model


def logits(model):
    more = {"decoder_input_ids": IDS.flip(1)} if model.config.is_encoder_decoder else {}
    return model(input_ids=IDS, **more).logits.detach()


ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
SETTINGS = [
    ("qwen2", {"target_modules": "all-linear"}),
    ("qwen2", {"target_modules": ATTENTION, "use_rslora": True}),
    ("qwen2", {"target_modules": ATTENTION, "rank_pattern": {"q_proj": 2},
               "alpha_pattern": {"layers.1.self_attn.o_proj": 3}}),
    ("qwen2", {"target_modules": ["q_proj", "lm_head"]}),
    ("qwen2", {"target_modules": ["embed_tokens"]}),
    ("llama", {"target_modules": ["up_proj"], "modules_to_save": ["model.norm"]}),
    ("gpt2", {"target_modules": ["c_attn", "mlp.c_proj", "wpe"]}),
    ("bert", {"target_modules": ["query", "value"], "modules_to_save": ["classifier"]}),
    ("roberta", {"target_modules": ["query", "dense"], "modules_to_save": ["classifier"]}),
    ("t5", {"target_modules": ["q", "v"]}),
]


@pytest.mark.parametrize(("kind", "settings"), [
    *SETTINGS, ("qwen2", {"layers": "last 1"}), ("t5", {"layers": "first 1", "target_modules": ["q"]}),
    ("qwen2", {"target_modules": ["q_proj", "up_proj"], "train_biases": True}),
    ("gpt2", {"target_modules": ["c_attn"], "train_biases": True}),
    ("bert", {"target_modules": ["query"], "modules_to_save": ["classifier"], "train_biases": True}),
])
def test_an_adapter_saved_here_opens_in_peft_with_the_same_logits(tmp_path, kind, settings):
    if kind == "roberta":
        settings = settings | {"target_modules": ["query", "attention.output.dense"]}
    ours = adapted(kind, rank=4, alpha=6, dropout=0.25, **settings).eval()
    save_adapter(ours, tmp_path, base_name="ftkit-tiny")
    theirs = PeftModel.from_pretrained(a_model(kind), tmp_path).eval()
    assert torch.equal(logits(ours), logits(theirs)) and not torch.equal(logits(ours), logits(a_model(kind)))
    config = theirs.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.base_model_name_or_path) == (
        4, 6, 0.25, "ftkit-tiny")


@pytest.mark.parametrize(("kind", "settings"), [
    *[one for one in SETTINGS if one[0] != "roberta"],
    ("roberta", {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}),  # saves the classifier by itself
    ("bert", {"target_modules": ["query"], "task_type": "SEQ_CLS", "modules_to_save": ["pooler"]}),
    ("qwen2", {"target_modules": ["up_proj"], "layers_to_transform": [1], "task_type": "CAUSAL_LM"}),
    ("qwen2", {"target_modules": r".*layers\.0.*_proj"}), ("gpt2", {"target_modules": ["c_attn"], "bias": "all"}),
    ("bert", {"target_modules": ["query"], "modules_to_save": ["classifier"], "bias": "all"}),
    ("qwen2", {"target_modules": "all-linear", "exclude_modules": ["down_proj"],
               "rank_pattern": {r"layers\.1.*up_proj": 7}}),
    ("t5", {"target_modules": "all-linear", "task_type": "SEQ_2_SEQ_LM"}),
])
def test_an_adapter_saved_by_peft_opens_here_with_the_same_logits(tmp_path, kind, settings):
    theirs = by_peft(tmp_path, kind, lora_dropout=0.1, **settings)
    ours = load_adapter_(a_model(kind), tmp_path).eval()
    assert torch.equal(logits(ours), logits(theirs)) and not torch.equal(logits(ours), logits(a_model(kind)))
    assert sum(p.numel() for p in ours.parameters() if p.requires_grad) == sum(
        p.numel() for p in theirs.parameters() if p.requires_grad)


def test_the_copy_of_the_bases_own_embeddings_that_peft_stores_is_passed_over(tmp_path):
    theirs = by_peft(tmp_path, "qwen2", target_modules=["q_proj", "lm_head"], save={"save_embedding_layers": True})
    assert any("base_layer" in name for name in load_file(tmp_path / peft_layout.TENSORS_NAME))
    assert torch.equal(logits(load_adapter_(a_model(), tmp_path).eval()), logits(theirs))


def test_an_adapter_comes_back_bit_for_bit_with_its_settings(tmp_path):
    ours = adapted("bert", rank=3, alpha=5, use_rslora=True, target_modules=["query", "output.dense"],
                   rank_pattern={"0.attention.self.query": 6}, modules_to_save=["classifier"], train_biases=True)
    save_adapter(ours, tmp_path, base_name="ftkit-tiny")
    again = load_adapter_(a_model("bert"), tmp_path)
    assert torch.equal(logits(again), logits(ours)) and config_of(again) == config_of(ours)
    assert all(torch.equal(tensor, lora_state(again)[name]) for name, tensor in lora_state(ours).items())
    assert set(targets.trainable(again)) == set(targets.trainable(ours))


def test_layers_with_settings_of_their_own_are_not_saved_as_one_adapter(tmp_path):
    model = adapted()
    model.model.layers[0].mlp.up_proj.dropout = 0.5
    with pytest.raises(Refusal, match="adapter must be one with the same dropout and use_rslora in all layers"):
        save_adapter(model, tmp_path, "ftkit-tiny")


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
    ({"rank_pattern": {"q_proj": 2}}, r"adapter must be one with shapes \(2, 32\) and \(32, 2\) at .*q_proj"),
    ({"modules_to_save": ["lm_head"]}, "adapter must be one that holds lm_head, a module to save, got 'no"),
    ({"rank_pattern": [1]}, "rank_pattern in adapter_config.json must be a mapping from regular expressions to numb"),
    ({"alpha_pattern": {"(": 1}}, "alpha_pattern in adapter_config.json must be a mapping .*It cannot be read: "),
    ({"lora_dropout": "much"}, "dropout must be a share, 0 or more and below 1, got 'much'"),
    ({"target_parameters": ["experts.weight"]}, "target_parameters in adapter_config.json must be empty"),
    ({"bias": "lora_only"}, "bias in adapter_config.json must be none or all, got 'lora_only'. Open this adapter with"),
    ({"bias": "all"}, "adapter must be one that holds model.layers.0.self_attn.q_proj.bias, a bias of this model, got"),
    ({"lora_bias": True}, "lora_bias in adapter_config.json must be empty"),
    ({"trainable_token_indices": [3]}, "trainable_token_indices in adapter_config.json must be empty"),
    ({"a_later_idea": {"x": 1}}, "a_later_idea in adapter_config.json must be empty"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights .* must be true, false, gaussian, orthogonal or eva, got "
                                     "'pissa'. Other starts change the base weights too"),
    ({"peft_type": "IA3"}, "peft_type in adapter_config.json must be LORA, got 'IA3'. Open other kinds"),
    ("no config", "adapter folder must be one that holds adapter_config.json, got .*an adapter is a folder"),
    ("no rank", "adapter_config.json must be one that names r and lora_alpha, got 'no r'"),
    ("no tensors", "adapter folder must be one that holds adapter_model.safetensors"),
    ("pickled", "adapter weights must be safetensors, got 'adapter_model.bin'. A pickled file can run any code"),
    ("cut short", "adapter_model.safetensors must be a whole safetensors file, got .*Copy or save it again"),
]


@pytest.mark.parametrize(("how", "words"), REFUSED, ids=[str(how) for how, _ in REFUSED])
def test_a_saved_adapter_that_is_more_or_less_than_lora_is_refused(tmp_path, how, words):
    save_adapter(adapted(target_modules=["q_proj"]), tmp_path, "ftkit-tiny")
    with pytest.raises(Refusal, match=words):
        load_adapter_(a_model(), spoilt(tmp_path, how))


@pytest.mark.parametrize(("change", "words"), [
    (lambda t: t.pop("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"),
     "pairs of lora_A and lora_B weights, got 'no base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight'"),
    (lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(2)}),
     "adapter must be one whose other tensors are this base's own, got 'lm_head.weight'. It belongs to no module"),
    (lambda t: t.update({"base_model.model.lm_head.lora_magnitude_vector": torch.zeros(2)}),
     "pairs of lora_A and lora_B weights, got 'base_model.model.lm_head.lora_magnitude_vector'. Only adapters of"),
    (lambda t: t.update({"lm_head.weight": torch.zeros(2)}), "pairs of lora_A and lora_B weights, got 'lm_head."),
    (lambda t: t.clear(), "pairs of lora_A and lora_B weights, got 'none'"),
    (lambda t: t.update({name.replace("layers.1", "layers.9"): t.pop(name) for name in list(t) if "layers.1" in name}),
     "adapter must be one made for this model, got 'a tensor for model.layers.9.self_attn.q_proj'.*but model.layers"),
    (lambda t: t.update({name.replace("q_proj", "rotary_emb").replace("self_attn.", "").replace("layers.1.", ""):
                         t.pop(name) for name in list(t) if "layers.1" in name}),
     "adapter must be one of linear modules and embeddings, got 'model.rotary_emb, a Qwen2RotaryEmbedding'"),
    (lambda t: t.update({name: tensor[:2] for name, tensor in t.items() if "lora_A" in name}),
     r"one with shapes \(8, 32\) and \(32, 8\) at .*q_proj, got '\(2, 32\) and \(32, 8\)'. Was it trained on another"),
])
def test_tensors_that_do_not_fit_are_refused(tmp_path, change, words):
    save_adapter(adapted(target_modules=["q_proj"]), tmp_path, "ftkit-tiny")
    tensors = load_file(tmp_path / peft_layout.TENSORS_NAME)
    change(tensors)
    save_file(tensors, tmp_path / peft_layout.TENSORS_NAME)
    model = a_model()
    with pytest.raises(Refusal, match=words):
        load_adapter_(model, tmp_path)
    assert not lora_layers(model)  # a refused adapter leaves the model as it was


def test_an_adapter_is_not_loaded_on_top_of_another(tmp_path):
    model = adapted()
    save_adapter(model, tmp_path, "ftkit-tiny")
    with pytest.raises(Refusal, match="model must be one without an adapter.*remove_lora_"):
        load_adapter_(model, tmp_path)


class Nested(nn.Module):
    """Paths that are the ends of other paths."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.sub = nn.ModuleDict({"fc": nn.Linear(4, 4)})
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(self.sub["fc"](x).relu())


@pytest.mark.parametrize("settings", [
    {"alpha": 64, "alpha_pattern": {"sub.fc": 4}}, {"rank_pattern": {"sub.fc": 3}, "alpha": 5}])
def test_a_path_that_is_the_end_of_another_keeps_its_own_rank_and_alpha(tmp_path, settings):
    ours, x = add_lora_(Nested(), LoraConfig(rank=2, **settings)), torch.randn(3, 4)
    for parameter in ours.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    save_adapter(ours, tmp_path, "nested")
    assert torch.equal(load_adapter_(Nested(), tmp_path)(x), ours(x))
    assert torch.equal(PeftModel.from_pretrained(Nested(), tmp_path)(x), ours(x))


def test_an_adapter_of_one_of_two_such_paths_opens_on_that_one_alone(tmp_path):
    ours, x = Nested(), torch.randn(3, 4)
    put_in_(ours, {"fc": (2, 4)}, LoraConfig(), [])
    nn.init.normal_(ours.fc.lora_B)
    save_adapter(ours, tmp_path, "nested")
    assert list(lora_layers(load_adapter_(Nested(), tmp_path))) == ["fc"]
    theirs = PeftModel.from_pretrained(Nested(), tmp_path)
    assert torch.equal(theirs(x), ours(x)) and sum("lora_A" in name for name, _ in theirs.named_parameters()) == 1


def test_patterns_of_peft_on_such_paths_are_read_as_peft_reads_them(tmp_path):
    theirs, x = get_peft_model(Nested(), PeftConfig(r=4, lora_alpha=6, init_lora_weights=False, target_modules=["fc"],
                                                    alpha_pattern={r"^sub\.fc$": 64}, rank_pattern={"sub.fc": 2})), \
        torch.randn(3, 4)
    theirs.save_pretrained(tmp_path)
    assert torch.equal(load_adapter_(Nested(), tmp_path)(x), theirs(x))


def test_a_model_that_reads_no_token_ids_opens_in_pefts_plain_wrapper(tmp_path):
    def whisper():
        torch.manual_seed(0)
        return transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(
            vocab_size=61, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=8, max_source_positions=10,
            max_target_positions=12, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            suppress_tokens=None, begin_suppress_tokens=None)).eval()

    ours = add_lora_(whisper(), LoraConfig(target_modules=["q_proj", "v_proj"]))
    for layer in lora_layers(ours).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    save_adapter(ours, tmp_path, "whisper")
    theirs = PeftModel.from_pretrained(whisper(), tmp_path)
    given = {"input_features": torch.randn(1, 8, 20), "decoder_input_ids": IDS[:1]}
    assert torch.equal(ours(**given).logits, theirs(**given).logits)


def test_a_compiled_model_saves_and_loads_the_names_of_the_model_inside(tmp_path):
    ours = adapted(target_modules=["q_proj"]).eval()
    save_adapter(torch.compile(ours, backend="eager"), tmp_path, "ftkit-tiny")
    assert torch.equal(logits(load_adapter_(a_model(), tmp_path)), logits(ours))
    again = load_adapter_(torch.compile(a_model(), backend="eager"), tmp_path)
    assert torch.equal(again(input_ids=IDS).logits, logits(ours))


@pytest.mark.parametrize("change", [
    lambda t: t.update({name: tensor[:2] for name, tensor in t.items() if "classifier" in name}),
    lambda t: t.pop("base_model.model.classifier.bias")])
def test_a_module_that_was_saved_in_another_shape_is_refused(tmp_path, change):
    save_adapter(adapted("bert", target_modules=["query"], modules_to_save=["classifier"]), tmp_path, "ftkit-tiny")
    tensors = load_file(tmp_path / peft_layout.TENSORS_NAME)
    change(tensors)
    save_file(tensors, tmp_path / peft_layout.TENSORS_NAME)
    with pytest.raises(Refusal, match="adapter must be one with classifier of shapes .*got .*another base model"):
        load_adapter_(a_model("bert"), tmp_path)


def test_without_its_adapter_a_model_has_the_bases_own_modules_again(tmp_path):
    model = adapted("bert", target_modules=["query"], modules_to_save=["classifier"])
    assert list(trained_copies(model)) == ["classifier"] and model.classifier.out_features == 3
    remove_lora_(model)
    assert torch.equal(logits(model), logits(a_model("bert"))) and not lora_layers(model) and not trained_copies(model)
