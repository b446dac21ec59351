"""What fits is said with the step that makes it fit; what a card lacks is said; the largest that fits does fit."""

import pytest

from ftkit.errors import Refusal
from ftkit.memory import fit
from ftkit.memory.fit import judge, largest, playbook, verdict_of
from ftkit.memory.gpus import Gpu, gpu_named, known_gpus
from ftkit.memory.models import model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import Setup

LLAMA, TINY = model_named("llama-2-7b").shape, model_named("ftkit-tiny").shape
GIB = 2**30


def test_full_fine_tuning_of_a_7b_fits_nowhere_below_its_four_copies():
    copies = 4 * 2 * LLAMA.parameters  # weights, gradients, two moments, all in two bytes
    assert predict(LLAMA, Setup("full")).peak_bytes >= copies
    assert judge(LLAMA, Setup("full"), gpu_named("A100-40")).word == "fits if"


def test_a_70b_does_not_fit_24_gb_whatever_is_done():
    verdict = judge(model_named("llama-2-70b"), Setup("qlora", checkpointing=True), gpu_named(24))
    assert verdict.word == "does not fit" and verdict.free_bytes < 0
    assert not any(step.fits for step in verdict.steps)


def test_the_playbook_goes_in_its_order_each_step_on_top_of_those_before():
    setup = Setup("full", batch_size=8, seq_len=2048, logits="all")
    steps = playbook(LLAMA, setup)
    assert [step.name for step in steps] == [
        "4-bit weights with LoRA (qlora)", "batch of 1, 8 micro-batches a step", "rows of 256 tokens",
        "LoRA on attention alone", "LoRA on the last 8 layers alone", "activations computed again (checkpointing)",
        "logits at label positions alone"]
    needed = [predict(LLAMA, setup).needed_bytes, *(step.needed_bytes for step in steps)]
    assert [step.saves_bytes for step in steps] == [one - other for one, other in zip(needed, needed[1:], strict=False)]
    assert steps[-1].setup.method == "qlora" and steps[-1].setup.accumulation == 8 and steps[-1].setup.checkpointing


def test_the_playbook_ends_with_the_first_step_that_fits_and_takes_no_more_of_it_than_needed():
    setup = Setup("qlora", batch_size=16, seq_len=1024)
    gpu = gpu_named(24)
    steps = playbook(LLAMA, setup, gpu)
    assert [step.fits for step in steps] == [True]
    rows = steps[0].setup.batch_size
    assert steps[0].setup.accumulation * rows == 16
    assert predict(LLAMA, setup.with_(batch_size=2 * rows)).needed_bytes > gpu.memory_bytes


@pytest.mark.parametrize("name", ["batch_size", "seq_len"])
def test_the_largest_that_fits_does_and_one_more_does_not(name):
    gpu, setup = Gpu("small", 3 * GIB), Setup("lora", batch_size=2, seq_len=128)
    most = largest(TINY, setup, gpu, name)
    needed = [predict(TINY, setup.with_(**{name: value})).needed_bytes for value in (most, most + 1)]
    assert needed[0] <= gpu.memory_bytes < needed[1]


def test_where_nothing_fits_the_largest_is_none():
    assert largest(LLAMA, Setup("lora"), Gpu("small", 4 * GIB), "seq_len") == 0


def test_the_largest_of_something_else_is_refused():
    with pytest.raises(Refusal, match="name must be one of batch_size, seq_len, got 'rank'"):
        largest(TINY, Setup(), gpu_named(8), "rank")


def test_volta_and_turing_have_no_bfloat16_and_the_way_out_is_said():
    without = [gpu.name for gpu in known_gpus() if "bfloat16" not in gpu.types]
    assert without == ["T4", "V100-16", "V100-32"]
    warnings = judge(TINY, Setup("lora"), gpu_named("V100")).warnings
    assert "V100-16 (Volta) has no bfloat16: take float16 for the frozen weights" in warnings[0]
    assert not judge(TINY, Setup("lora", precision="float16"), gpu_named("V100")).warnings
    assert gpu_named("t4").refuses(Setup("lora", precision="float32", mixed="bfloat16"))


def test_a_model_whose_code_takes_no_kernel_is_told_of():
    warnings = judge(model_named("gpt-neo-1.3b"), Setup("lora"), gpu_named("A100")).warnings
    assert warnings == ("gpt_neo attends without a kernel (eager): the scores of all pairs of tokens are kept, and "
                        "planned for.",)


@pytest.mark.parametrize(("name", "memory"), [("a100", 80 * GIB), ("24", 24 * GIB), (24, 24 * GIB), ("24 GB", 24 * GIB),
                                              ("NVIDIA T4", 15 * GIB), ("16.5", 16.5 * GIB), ("RTX4090", 24564 * 2**20),
                                              ("GeForce RTX 3090", 24 * GIB), ("a100-40gb", 40 * GIB)])
def test_a_card_is_known_by_name_or_by_gigabytes(name, memory):
    assert gpu_named(name).memory_bytes == memory


@pytest.mark.parametrize(("name", "words"), [("A1000", "gpu must be one of T4, .* Did you mean A10"),
                                             ("-3", "gpu must be a name, or a number of gigabytes above 0, got '-3'"),
                                             ("Apple M2", "gpu must be Apple-M-16, Apple-M-64 or the gigabytes of its "
                                                          "memory, got 'Apple M2'")])
def test_an_unknown_card_is_refused(name, words):
    with pytest.raises(Refusal, match=words):
        gpu_named(name)


def test_a_model_not_in_the_table_is_refused_with_the_nearest():
    with pytest.raises(Refusal, match="Did you mean llama-2-7b"):
        model_named("llama2-7b")


@pytest.mark.parametrize("way_to_attend", ["flash", "eager"])
def test_the_largest_is_found_in_a_few_predictions(way_to_attend, monkeypatch):
    asked = []
    monkeypatch.setattr(fit, "predict", lambda *given: asked.append(given) or predict(*given))
    setup = Setup("lora", attention=way_to_attend)
    assert largest(LLAMA, setup, gpu_named("A100"), "seq_len") > 2000 and len(asked) <= 15


def test_a_verdict_can_be_said_in_a_sentence():
    gpu = gpu_named(12)
    words = [judge(LLAMA, setup, gpu).words for setup in (Setup("qlora", checkpointing=True), Setup("lora"))]
    assert words == ["fits", "fits with the step below"]
    assert judge(LLAMA, Setup("full"), gpu_named(2)).words == "does not fit, not even with the steps below"
    assert verdict_of(predict(LLAMA, Setup("full")), Setup("full"), gpu).words == "does not fit"
