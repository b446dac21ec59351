"""The memory of a training, counted on tensors that are not there, and on real ones by torch's own allocator."""

import json
from dataclasses import asdict
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from ftkit.device import resident_peak_gib
from ftkit.errors import Refusal
from ftkit.live_bytes import LiveBytes
from ftkit.memory.setup import Setup
from ftkit.meter import building, measuring, on_cuda
from ftkit.meter.measuring import Measured, measure, measure_real, watch
from ftkit.meter.steps import OurSteps, examples_of, label_tokens

SMALL = {"model_type": "qwen2", "hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 8,
         "num_key_value_heads": 4, "intermediate_size": 512, "vocab_size": 2000, "max_position_embeddings": 1024,
         "tie_word_embeddings": False}
LLAMA_2_7B = {"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
              "num_key_value_heads": 32, "intermediate_size": 11008, "vocab_size": 32000,
              "max_position_embeddings": 4096, "tie_word_embeddings": False}
METHODS = {"full": {}, "freeze": {"layers": 1}, "bitfit": {}, "adapter": {}, "prefix": {}, "prompt": {}, "lora": {},
           "qlora": {}, "lora8bit": {}}


def small(method, **changes):
    return Setup(method, METHODS[method], **{"batch_size": 2, "seq_len": 128, "precision": "float32"} | changes)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_counted_without_memory_is_what_torch_allocates(method):
    """Within 3 %: operators' own scratch, such as packed matrices, is given out by the allocator and is no tensor."""
    setup = small(method)
    counted, real = (one(SMALL, setup, device="cpu") for one in (measure, measure_real))
    assert counted.before_bytes == real.before_bytes  # weights, scales, adapters: to the byte
    assert counted.peak_bytes == pytest.approx(real.peak_bytes, rel=0.03)
    assert (counted.trainable, counted.total) == (real.trainable, real.total)


@pytest.mark.parametrize("changes", [{"checkpointing": True}, {"attention": "eager"}, {"accumulation": 2},
                                     {"optimizer": "adamw8bit"}, {"optimizer": "sgd"}, {"mixed": "bfloat16"},
                                     {"label_share": 0.1}], ids=str)
def test_other_settings_are_counted_as_they_are_allocated(changes):
    setup = small("lora", **changes)
    counted, real = (one(SMALL, setup, device="cpu") for one in (measure, measure_real))
    assert counted.peak_bytes == pytest.approx(real.peak_bytes, rel=0.03)  # as above


def test_the_usual_way_is_counted_as_it_is_allocated():
    setup = small("qlora", logits="all", float32_cast=True, precision="bfloat16")
    counted, real = (one(SMALL, setup, device="cpu", way="peft") for one in (measure, measure_real))
    assert counted.before_bytes == real.before_bytes
    assert counted.peak_bytes == pytest.approx(real.peak_bytes, rel=0.03)  # as above


def test_a_7b_is_measured_without_its_memory():
    before_gib = resident_peak_gib()
    measured = measure(LLAMA_2_7B | {"num_hidden_layers": 4}, Setup("qlora", {"rank": 16}, checkpointing=True))
    assert measured.peak_bytes > 2**30 and resident_peak_gib() - before_gib < 0.5
    assert sum(measured.by.values()) == measured.peak_bytes
    assert set(measured.phases) == {"forward", "backward", "recompute", "step"}
    assert measured.peak_bytes == max(measured.phases.values())


def test_nothing_of_it_stays_behind():
    """Fake tensors left in a cache would break the next real training."""
    setup = small("lora")
    measure(SMALL, setup, device="cpu")
    assert measure_real(SMALL, setup, device="cpu", steps=1).peak_bytes > 0


def test_weights_of_a_7b_take_what_arithmetic_says():
    linears = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
    rest = 2 * 32000 * 4096 + (2 * 32 + 1) * 4096
    with FakeTensorMode():
        model = building.build(LLAMA_2_7B, Setup("qlora"), fake=True)
        with LiveBytes(model, granule_bytes=1) as live:
            held = live.peak().by["parameters"]
    blocks = linears // 64
    codes = 7 * 32 * (16 + 256) * 4 + 7 * 32 * 4  # both tables and the offset, of each layer
    assert held == linears // 2 + blocks + 4 * -(-blocks // 256) + codes + 2 * rest


def test_checkpointing_and_shorter_rows_take_less():
    one, other = (measure(SMALL, small("lora", precision="bfloat16", **changes)).peak_bytes
                  for changes in ({}, {"checkpointing": True}))
    assert other < one
    assert measure(SMALL, small("lora", precision="bfloat16", seq_len=64)).peak_bytes < one


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
def test_paged_state_lies_elsewhere():
    measured = {name: measure(SMALL, small("full", optimizer=name), device="cuda")
                for name in ("adamw", "paged_adamw")}
    assert measured["paged_adamw"].peak_bytes < measured["adamw"].peak_bytes
    assert any("paged" in note for note in measured["paged_adamw"].notes)


def test_what_was_modelled_is_said():
    notes = " ".join(measure(SMALL, small("lora8bit", precision="bfloat16", mixed="bfloat16")).notes)
    assert "modelled" in notes and "flash" in notes and "outlier" in notes and "mixed precision" in notes
    assert measure(SMALL, small("lora"), device="cpu").notes == ()


def test_who_wants_to_know_sees_all_that_was_alive():
    live, (trainable, total) = watch(SMALL, small("lora", precision="bfloat16"), device="cuda")
    assert 0 < trainable < total
    assert {"gradients", "optimizer"} <= {one.kind for one in live.peak("step").held}
    assert any(one.place.endswith("q_proj") for one in live.peak("backward").held)


@pytest.mark.parametrize("heads", [4, 2], ids=["as many keys", "grouped keys"])
def test_the_flash_kernel_makes_what_torchs_own_description_of_it_makes(heads):
    with FakeTensorMode():
        query, key = torch.empty(2, 4, 100, 64, dtype=torch.bfloat16), torch.empty(2, heads, 100, 64,
                                                                                    dtype=torch.bfloat16)
        out, sums, *_ = torch.ops.aten._scaled_dot_product_flash_attention(query, key, key, 0.0, True)
        ours = on_cuda._result_of(query, query.shape[2], 64)
    assert [(one.shape, one.dtype) for one in ours] == [(one.shape, one.dtype) for one in (out, sums)]
    assert ours[0].transpose(1, 2).is_contiguous()  # so that what transformers does next copies nothing


@pytest.mark.parametrize(("kernel", "kept"), [("flash", 100), ("efficient", 128), ("math", None)])
def test_each_attention_keeps_its_own(kernel, kept):
    with FakeTensorMode(), on_cuda.on_cuda(kernel):
        query, key = (torch.empty(2, heads, 100, 64, dtype=torch.bfloat16, requires_grad=True) for heads in (4, 2))
        with LiveBytes(query, key) as live:
            out = F.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
            made = live.now_bytes - live.before_bytes
            out.sum().backward()
    plain = 2 * 4 * 100 * 64 * 2  # the output
    if kernel == "math":
        assert made > 2 * 4 * 100 * 100 * 4  # scores in float32
    else:
        repeated = 2 * plain if kernel == "efficient" else 0
        assert made == plain + 2 * 4 * kept * 4 + repeated
    assert query.grad.shape == query.shape and key.grad.shape == key.shape


def test_a_mask_takes_the_other_kernel():
    with FakeTensorMode(), on_cuda.on_cuda("flash"), LiveBytes() as live:
        query = torch.empty(1, 4, 100, 64, dtype=torch.bfloat16)
        F.scaled_dot_product_attention(query, query, query, attn_mask=torch.empty(100, 100, dtype=torch.bool))
    assert 4 * 128 * 4 in [one.bytes for one in live.peak().held]


def test_unequal_heads_that_nobody_called_groups_take_plain_products():
    """As in falcon-7b, which has one head of keys for all."""
    with FakeTensorMode(), on_cuda.on_cuda("flash"), LiveBytes() as live:
        query, key = torch.empty(1, 4, 100, 64, dtype=torch.bfloat16), torch.empty(1, 1, 100, 64, dtype=torch.bfloat16)
        out = F.scaled_dot_product_attention(query, key, key, is_causal=True)
    assert out.shape == query.shape and (1, 4, 100, 100) in {one.shape for one in live.peak().held}


def test_dropout_keeps_a_byte_a_number():
    with FakeTensorMode(), on_cuda.on_cuda("flash"):
        x = torch.empty(1000, requires_grad=True)
        with LiveBytes(x) as live:
            y = F.dropout(x, 0.1)
            assert live.now_bytes - live.before_bytes == 4000 + 1000
            assert F.dropout(x, 0.1, training=False) is x and F.dropout(x, 0.0) is x
            y.sum().backward()


@pytest.mark.parametrize("double", [False, True])
def test_the_written_out_4_bit_product_is_bitsandbytes_own(double):
    torch.manual_seed(0)
    weight, x = torch.randn(128, 64), torch.randn(3, 64, requires_grad=True)
    packed, state = bnb.functional.quantize_4bit(weight, compress_statistics=double, quant_type="nf4")
    theirs = bnb.matmul_4bit(x, packed.t(), state)
    with on_cuda.Exchanged(on_cuda.four_bit_operators()):
        ours = bnb.matmul_4bit(x, packed.t(), state)
    assert torch.equal(ours, theirs)


def test_the_written_out_4_bit_product_makes_the_weight():
    x = torch.randn(3, 64)
    packed, state = bnb.functional.quantize_4bit(torch.randn(128, 64), quant_type="nf4")
    with LiveBytes() as live, on_cuda.Exchanged(on_cuda.four_bit_operators()):
        bnb.matmul_4bit(x, packed.t(), state)
    assert any(one.shape == (128, 64) and one.dtype == "float32" for one in live.peak().held)


@pytest.mark.parametrize(("changes", "takes"), [({}, "flash"), ({"kind": torch.float32}, "efficient"),
                                                ({"wide": 32}, "efficient")])
def test_flash_is_taken_for_what_it_can_do_alone(changes, takes):
    kind, wide = changes.get("kind", torch.bfloat16), changes.get("wide", 64)
    with FakeTensorMode(), on_cuda.on_cuda("flash"), LiveBytes() as live:
        query = torch.empty(1, 4, 100, 64, dtype=kind)
        out = F.scaled_dot_product_attention(query, query, torch.empty(1, 4, 100, wide, dtype=kind))
    sums = 4 * {"flash": 100, "efficient": 128}[takes] * 4
    assert out.shape[-1] == wide and sums in [one.bytes for one in live.peak().held]


def test_dropout_without_a_kernel_keeps_a_byte_a_share_on_a_gpu():
    with FakeTensorMode(), on_cuda.on_cuda("math"), LiveBytes() as live:
        query = torch.empty(1, 4, 100, 64, dtype=torch.bfloat16, requires_grad=True)
        out = F.scaled_dot_product_attention(query, query, query, attn_mask=torch.empty(100, 100), dropout_p=0.1)
    assert ((1, 4, 100, 100), "bool") in {(one.shape, one.dtype) for one in live.peak().held}
    assert (out.shape, out.dtype) == (query.shape, query.dtype)


def test_a_family_without_a_kernel_attends_as_it_can():
    own = {"model_type": "gpt_neo", "hidden_size": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100,
           "attention_types": [[["global"], 2]], "max_position_embeddings": 64}
    flash, eager = (measure(own, small("lora", seq_len=32, attention=name)).peak_bytes for name in ("flash", "eager"))
    assert flash == eager


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v3"])
def test_experts_and_other_families_are_counted_as_they_are_allocated(family):
    own = SMALL | {"model_type": family, "num_local_experts": 4, "n_routed_experts": 4, "moe_intermediate_size": 64,
                   "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "kv_lora_rank": 32, "q_lora_rank": 32}
    setup = small("lora", precision="bfloat16", attention="eager", seq_len=32)
    counted, real = (one(own, setup, device="cpu") for one in (measure, measure_real))
    assert counted.peak_bytes == pytest.approx(real.peak_bytes, rel=0.03)  # as above


def test_8_bit_layers_sum_up_in_whole_numbers_on_a_gpu():
    with FakeTensorMode():
        layer = building.build(SMALL, small("lora8bit", precision="bfloat16"), fake=True).model.layers[0].mlp.up_proj
        x = torch.empty(1, 100, 256, dtype=torch.bfloat16)
        with LiveBytes(layer) as live, on_cuda.on_cuda("flash"):
            y = layer(x)
    held = {(one.shape, one.dtype) for one in live.peak().held}
    assert {((100, 512), "int32"), ((100, 256), "int8"), ((512, 256), "int8"), ((512,), "float32")} <= held
    assert y.shape == (1, 100, 512) and y.dtype == torch.bfloat16


def test_labels_are_shared_out_over_the_rows():
    setup = Setup("lora", batch_size=3, seq_len=11, label_share=0.5)
    rows = examples_of(setup)
    assert [sum(label >= 0 for label in labels) for _, labels in rows] == [5, 5, 5] and label_tokens(setup) == 15
    assert {len(ids) for ids, _ in rows} == {11}
    few = Setup("lora", batch_size=3, seq_len=11, label_share=0.01)
    assert label_tokens(few) == 3  # a row without any would be refused


@pytest.mark.parametrize(("call", "words"), [
    (lambda: measure(SMALL, small("lora"), device="tpu"), "device"),
    (lambda: measure(SMALL, small("lora"), way="theirs"), "way"),
    (lambda: measure(SMALL, small("lora"), steps=0), "steps must be a whole number, 1 or more, got 0"),
    (lambda: measure(SMALL, small("lora", ranks=2)), "ranks must be 1, got 2"),
    (lambda: measure(SMALL, small("lora"), way="peft"), "logits must be 'all' with way='peft', got 'labels'"),
    (lambda: measure(SMALL, small("full", logits="all"), way="peft"), "method must be lora, qlora or lora8bit with"),
    (lambda: measure({"model_type": "chatglm"}, small("lora")), "model_type must be a causal language model's"),
])
def test_what_cannot_be_measured_is_refused(call, words):
    with pytest.raises(Refusal, match=words):
        call()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(Refusal, match="device must be one that is here, got 'cuda'"):
        measure_real(SMALL, small("lora"), device="cuda")


def test_on_a_gpu_the_peak_is_that_of_the_steps_alone(monkeypatch):
    """There is none here: torch's figures are made up, the steps are real ones on the CPU."""
    model = building.prepare(building.build(SMALL, small("lora"), fake=False), small("lora"))
    taken, order = OurSteps(model, small("lora"), as_on_cuda=False), []
    for name, figure in (("synchronize", None), ("reset_peak_memory_stats", None), ("memory_allocated", 100),
                         ("max_memory_allocated", 300)):
        monkeypatch.setattr(torch.cuda, name, lambda name=name, figure=figure: order.append(name) or figure)
    monkeypatch.setattr(taken, "take", lambda count, take=taken.take: (take(count), order.append("steps")))
    assert measuring._on_gpu(model, taken, 1) == (100, 300)
    assert order == ["synchronize", "reset_peak_memory_stats", "memory_allocated", "steps", "synchronize",
                     "max_memory_allocated"]


@pytest.mark.skipif(not measuring.CLEAR_REFS.exists(), reason="only Linux tells how far a process grew")
def test_a_whole_process_can_be_measured_instead():
    measured = measure_real(SMALL, small("lora"), device="cpu", steps=1, by_process=True)
    assert measured.counted == "resident memory of the process"
    assert measured.before_bytes <= measured.peak_bytes < measured.before_bytes + 2**30


def test_a_process_that_does_not_tell_how_far_it_grew_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "CLEAR_REFS", tmp_path / "none")
    with pytest.raises(Refusal, match="by_process must be False on a GPU, and on systems other than Linux, got True"):
        measure_real(SMALL, small("lora"), device="cpu", by_process=True)


def test_the_published_counts_are_those_of_the_allocator():
    published = json.loads((Path(__file__).parents[1] / "benchmarks/results/memory_meter.json").read_text("utf-8"))
    assert [row["method"] for row in published["methods"]] == list(METHODS)
    for row in published["methods"]:
        counted, allocated = (row["ways"][way]["peak_bytes"] for way in ("counted", "allocator"))
        assert counted == pytest.approx(allocated, rel=0.03)  # what is promised for one real run a method
    assert [row["size"] for row in published["large"]] == ["0.5B", "7B", "70B"]


def test_a_measurement_can_be_written_down():
    measured = measure(SMALL, small("lora"), device="cpu")
    assert Measured(**asdict(measured)) == measured
