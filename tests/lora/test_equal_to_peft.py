"""Our LoRA and peft's, side by side: the same weights give the same logits, the same gradients, the same training.

Both take the same steps in the same order, so most of what follows asks for the same bits. Where whole models are
compared, the tolerance is the one the lesson states: 1e-6 in float32 and 1e-12 in float64, relative to the largest.
"""

import pytest
import torch
import transformers
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from peft.tuners.lora import layer as peft_layers
from torch import nn
from transformers.pytorch_utils import Conv1D

from ftkit.lora.adapter import add_lora_, lora_layers, merge_
from ftkit.lora.config import LoraConfig
from ftkit.lora.layers import LoRAEmbedding, LoRALayer
from ftkit.lora.saving import lora_state

MOST = {torch.float32: 1e-6, torch.float64: 1e-12}
IDS = torch.randint(0, 61, (2, 11), generator=torch.Generator().manual_seed(4))
COMMON = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 4, "attn_implementation": "eager"}
FAMILIES = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**COMMON, num_key_value_heads=2)),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**COMMON, num_key_value_heads=2)),
    "mistral": lambda: transformers.MistralForCausalLM(transformers.MistralConfig(**COMMON, num_key_value_heads=4)),
    "phi3": lambda: transformers.Phi3ForCausalLM(transformers.Phi3Config(**COMMON, pad_token_id=0)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=16, attn_implementation="eager")),
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**COMMON)),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0)),
}


def a_base(family, dtype=torch.float32):
    """A small model of a family, the same each time, without dropout."""
    torch.manual_seed(0)
    return FAMILIES[family]().to(dtype).eval()


def logits(model):
    config = model.config if hasattr(model, "config") else model.base_model.config
    more = {"decoder_input_ids": IDS.flip(1)} if config.is_encoder_decoder else {}
    return model(input_ids=IDS, **more).logits


def ours_and_theirs(family, dtype=torch.float32, target_modules="all-linear", **settings):
    """Two models with the same base and the same adapter, B no longer zero: ours, and peft's."""
    names = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
    ours = add_lora_(a_base(family, dtype), LoraConfig(target_modules=target_modules, **settings), seed=1)
    theirs = get_peft_model(a_base(family, dtype), PeftConfig(
        target_modules=target_modules, **{names.get(name, name): value for name, value in settings.items()}),
        autocast_adapter_dtype=False)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in lora_layers(ours).values():
            for factor in (layer.lora_A, layer.lora_B):
                nn.init.normal_(factor, std=0.1, generator=generator)
        copied = 0
        for name, tensor in lora_state(ours).items():
            parameter = theirs.get_parameter(
                name.replace(".weight", ".default.weight") if name.endswith(".weight") else f"{name}.default")
            copied += parameter.copy_(tensor).numel()
    assert copied == sum(p.numel() for p in theirs.parameters() if p.requires_grad)  # peft adapts nothing else
    return ours, theirs


def largest_difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def gradients(model):
    return {name.replace(".default", "").replace("base_model.model.", "").removesuffix(".weight"): p.grad
            for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("dtype", MOST)
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_gradients_are_those_of_peft(family, dtype):
    ours, theirs = ours_and_theirs(family, dtype, rank=4, alpha=6)
    found, wanted = logits(ours), logits(theirs)
    assert largest_difference(found, wanted) <= MOST[dtype]
    found.logsumexp(-1).sum().backward()
    wanted.logsumexp(-1).sum().backward()
    theirs_by_name = gradients(theirs)
    assert set(gradients(ours)) == set(theirs_by_name)
    for name, gradient in gradients(ours).items():
        assert largest_difference(gradient, theirs_by_name[name]) <= MOST[dtype], name


@pytest.mark.parametrize(("family", "settings"), [
    ("llama", {"use_rslora": True, "alpha": 7}),
    ("llama", {"rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6}, "alpha_pattern": {"up_proj": 3}}),
    ("gpt2", {"target_modules": ["c_attn", "mlp.c_proj"]}),
    ("gpt2", {"target_modules": ["wte", "wpe", "c_attn"]}),  # embeddings, one of them tied to the head
    ("qwen2", {"target_modules": ["embed_tokens", "lm_head"]}),
    ("bert", {"target_modules": ["query", "word_embeddings", "token_type_embeddings"]}),
    ("t5", {"target_modules": ["SelfAttention.q", "EncDecAttention.v", "wo"]}),
])
def test_every_setting_that_is_supported_means_what_it_means_in_peft(family, settings):
    ours, theirs = ours_and_theirs(family, **{"rank": 4, "alpha": 6} | settings)
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_optimizer_steps_end_in_the_same_weights(family):
    models = ours_and_theirs(family, rank=4, alpha=8, dropout=0.1)
    for model in models:
        torch.manual_seed(3)  # of dropout: the adapter's and the model's own
        model.train()
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for _ in range(10):
            optimizer.zero_grad()
            logits(model).logsumexp(-1).mean().backward()
            optimizer.step()
    ours, theirs = models
    theirs_by_name = dict(theirs.named_parameters())
    for name, tensor in lora_state(ours).items():
        wanted = theirs_by_name[name.replace(".weight", ".default.weight")]
        assert torch.equal(tensor, wanted), name
        assert tensor.abs().sum() > 0


def test_a_merged_model_has_the_weights_of_pefts_merged_one():
    for family in ("llama", "gpt2"):
        ours, theirs = ours_and_theirs(family, rank=4, alpha=6)
        merge_(ours)
        theirs.merge_adapter()
        for path, layer in lora_layers(ours).items():
            assert torch.equal(layer.base.weight, theirs.get_submodule(f"base_model.model.{path}").base_layer.weight)


# --- single layers: the same bits ---


LAYERS = {
    "linear": (lambda: nn.Linear(24, 40), LoRALayer, peft_layers.Linear),
    "no bias": (lambda: nn.Linear(24, 40, bias=False), LoRALayer, peft_layers.Linear),
    "conv1d": (lambda: Conv1D(40, 24), LoRALayer, peft_layers.Linear),
    "embedding": (lambda: nn.Embedding(61, 40, padding_idx=3), LoRAEmbedding, peft_layers.Embedding),
}


def a_pair(kind, rank, alpha, dropout, dtype, use_rslora=False):
    """One adapted layer of ours and one of peft's, over the same base and with the same factors."""
    make, our_class, their_class = LAYERS[kind]
    bases = []
    for _ in range(2):
        torch.manual_seed(0)
        bases.append(make().to(dtype))
    settings = PeftConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, use_rslora=use_rslora,
                          fan_in_fan_out=kind == "conv1d")
    ours = our_class(bases[0], rank, alpha, dropout, use_rslora=use_rslora)
    theirs = their_class(bases[1], "default", config=settings, r=rank, lora_alpha=alpha)
    theirs.get_base_layer().requires_grad_(False)
    pairs = [(theirs.lora_embedding_A, ours.lora_A), (theirs.lora_embedding_B, ours.lora_B)] if kind == "embedding" \
        else [(theirs.lora_A, ours.lora_A), (theirs.lora_B, ours.lora_B)]
    for theirs_held, factor in pairs:
        nn.init.normal_(factor)
        held = theirs_held["default"]
        if kind == "embedding":
            theirs_held["default"] = nn.Parameter(factor.detach().clone())
        else:
            held.weight = nn.Parameter(factor.detach().clone())
    return ours, theirs, [held["default"] if kind == "embedding" else held["default"].weight for held, _ in pairs]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("rank", "alpha", "dropout", "use_rslora"), [
    (1, 1, 0.0, False), (4, 7, 0.0, False), (5, 16, 0.3, False), (8, 3.3, 0.0, True), (64, 16, 0.5, True)])
def test_a_single_layer_gives_the_same_bits_forward_and_backward(kind, dtype, rank, alpha, dropout, use_rslora):
    ours, theirs, held = a_pair(kind, rank, alpha, dropout, dtype, use_rslora)
    generator = torch.Generator().manual_seed(5)
    outputs, input_gradients = [], []
    for layer in (ours, theirs):
        x = (IDS if kind == "embedding" else
             torch.randn(3, 5, 24, generator=generator.manual_seed(5)).to(dtype).requires_grad_())
        torch.manual_seed(6)  # of dropout
        outputs.append(layer.train()(x))
        outputs[-1].square().sum().backward()
        input_gradients.append(x.grad)
    assert torch.equal(*outputs)
    assert torch.equal(ours.lora_A.grad, held[0].grad) and torch.equal(ours.lora_B.grad, held[1].grad)
    assert kind == "embedding" or torch.equal(*input_gradients)


@pytest.mark.parametrize("kind", ["linear", "embedding"])
def test_the_start_has_pefts_distribution(kind):
    make, our_class, _ = LAYERS[kind]
    ours = our_class(make(), rank=64, alpha=16, generator=torch.Generator().manual_seed(0))
    _, theirs, held = a_pair(kind, 64, 16, 0.0, torch.float32)
    theirs.reset_lora_parameters("default", True)
    for our_factor, their_factor in zip((ours.lora_A, ours.lora_B), held, strict=True):
        assert bool((our_factor == 0).all()) == bool((their_factor == 0).all())
        # some 1,500 draws: a standard deviation is known to 2 %, and 5 times that is beyond chance
        assert our_factor.std().item() == pytest.approx(their_factor.std().item(), rel=0.1)
