"""Small parts fused by torch's compiler: the same loss and gradients, and nothing is left behind.

The compiler's own back end is tried once; all else runs by its tracing alone, which takes no seconds.
"""

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.models.qwen2 import modeling_qwen2

from ftkit import compiled as compiled_parts
from ftkit import frozen_codes, losses, low_rank
from ftkit.batches import collate
from ftkit.compiled import compiled
from ftkit.errors import Refusal
from ftkit.lora.adapter import add_lora_
from ftkit.lora.config import LoraConfig
from ftkit.quant.linear import quantise_

SIZES = {"vocab_size": 61, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
CONFIGS = {"qwen2": Qwen2Config, "llama": LlamaConfig, "mistral": MistralConfig, "qwen3": Qwen3Config}


@pytest.fixture
def traced(monkeypatch):
    monkeypatch.setattr(compiled_parts, "BACKEND", "aot_eager")


def a_model(config, codes=False):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).train()
    if not codes:
        return model
    add_lora_(quantise_(model, double=True), LoraConfig(rank=4, target_modules="all-linear"), seed=0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def a_batch(*lengths):
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randint(1, 61, (length,), generator=generator).tolist() for length in lengths]
    return collate([(ids, ids) for ids in drawn], pad_id=0)


def loss_and_gradients(model, batch, inside):
    model.zero_grad()
    with compiled(model) if inside else torch.enable_grad(), low_rank.over_codes():
        loss, _ = losses.label_loss(model, batch)
        loss.backward()
    return loss.detach(), {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def assert_the_same(model, *lengths):
    batch = a_batch(*lengths)
    (want, slopes), (got, ours) = (loss_and_gradients(model, batch, one) for one in (False, True))
    torch.testing.assert_close(got, want, rtol=2e-6, atol=0)  # float32, fused: rounded in other places
    assert ours.keys() == slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-4, atol=2e-5 * float(slope.abs().max() + 1e-6))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_family_gives_the_same_loss_and_gradients(kind, traced):
    assert_the_same(a_model(CONFIGS[kind](**SIZES)), 9, 14)


def test_another_family_runs_as_it_is_and_so_does_another_activation(traced, monkeypatch):
    calls = []
    monkeypatch.setattr(compiled_parts, "_gated", lambda gate, up: calls.append(1))
    compiled_parts._compiled.cache_clear()
    assert_the_same(a_model(GPT2Config(vocab_size=61, n_embd=32, n_layer=1, n_head=4, n_positions=64, resid_pdrop=0,
                                       embd_pdrop=0, attn_pdrop=0)), 9, 14)
    assert_the_same(a_model(Qwen2Config(**SIZES, hidden_act="gelu")), 9, 14)
    assert not calls


def test_the_parts_are_really_taken(traced, monkeypatch):
    taken, make = [], compiled_parts._compiled
    monkeypatch.setattr(compiled_parts, "_compiled", lambda function, *rest: (taken.append(function.__name__),
                                                                              make(function, *rest))[1])
    loss_and_gradients(a_model(Qwen2Config(**SIZES), codes=True), a_batch(9), True)
    assert set(taken) == {"decode", "_norm", "_rotated", "_gated"}


def test_a_batch_of_another_width_compiles_nothing_again(monkeypatch):
    graphs = []
    monkeypatch.setattr(compiled_parts, "BACKEND", lambda graph, inputs: (graphs.append(graph), graph.forward)[1])
    torch._dynamo.reset()  # what other tests compiled
    model, found = a_model(Qwen2Config(**SIZES)), []
    for widths in ((9,), (14,), (11,)):
        loss_and_gradients(model, a_batch(*widths), True)
        found.append(len(graphs))
    assert found == [found[0]] * 3 and found[0] >= 3  # norm, rotation and gate at least


def test_by_the_compiler_itself_a_model_in_codes_that_computes_layers_again_has_the_same_loss_and_gradients():
    model = a_model(Qwen2Config(**SIZES), codes=True)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={
        "use_reentrant": False, "context_fn": low_rank.kept_the_second_time})
    assert_the_same(model, 9, 14)


@pytest.mark.parametrize("shape", [(192, 128), (128, 192), (1000, 64)])
def test_by_the_compiler_itself_codes_are_decoded_where_the_last_block_of_scales_is_not_full(shape):
    bitsandbytes = pytest.importorskip("bitsandbytes.functional")
    packed, state = bitsandbytes.quantize_4bit(torch.randn(shape, generator=torch.Generator().manual_seed(0)),
                                               quant_type="nf4", compress_statistics=True)
    codes = frozen_codes._codes_of(packed, state)
    given = (codes.packed, codes.table, codes.scales, codes.scale_table, codes.scale_scales, codes.offset,
             codes.block_size, codes.scales_in_block, codes.dtype, torch.float32)
    torch.testing.assert_close(compiled_parts.decoder()(*given), frozen_codes.decode(*given), rtol=0, atol=0)


def test_afterwards_all_parts_are_what_they_were_even_after_an_error(traced):
    before = (modeling_qwen2.Qwen2RMSNorm.forward, modeling_qwen2.Qwen2MLP.forward,
              modeling_qwen2.apply_rotary_pos_emb)
    with pytest.raises(KeyError), compiled(a_model(Qwen2Config(**SIZES))):
        assert modeling_qwen2.Qwen2MLP.forward is not before[1]
        raise KeyError
    assert before == (modeling_qwen2.Qwen2RMSNorm.forward, modeling_qwen2.Qwen2MLP.forward,
                      modeling_qwen2.apply_rotary_pos_emb)


@pytest.mark.parametrize("kind, words", [
    ("cpu", r"compiled must be False without a C\+\+ compiler, got True\. Install g\+\+ or clang"),
    ("cuda", r"compiled must be False without Triton, got True\. Install triton"),
])
def test_without_what_the_compiler_needs_it_is_refused(kind, words, monkeypatch):
    from torch._inductor import cpp_builder, exc
    from torch.utils import _triton

    def none_there():
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none_there)
    monkeypatch.setattr(_triton, "has_triton", lambda: False)
    compiled_parts.refuse_without_compiler.cache_clear()
    with pytest.raises(Refusal, match=words):
        compiled_parts.refuse_without_compiler(torch.device(kind))
