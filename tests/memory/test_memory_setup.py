"""The settings of a training: what contradicts itself is refused, and a record brings the same settings back."""

import json

import pytest

from ftkit.errors import Refusal
from ftkit.memory.setup import Setup


def test_a_record_in_json_brings_the_same_setup_back():
    setup = Setup("lora", {"target_modules": ("q_proj", "v_proj"), "layers": (0, 2)}, unquantised=("mlp",),
                  quantization="nf4", mixed="bfloat16")
    assert Setup(**json.loads(json.dumps(setup.record()))) == setup


def test_another_method_keeps_the_settings_that_it_knows():
    setup = Setup("qlora", {"rank": 4})
    assert setup.with_(method="lora").settings == {"rank": 4} and setup.with_(method="lora").quantization is None
    assert setup.with_(method="full").settings == {} and Setup("full").with_(method="lora8bit").quantization == "int8"


def test_every_second_layer_computes_its_activations_again():
    assert [Setup(checkpointing=again).recomputes(place) for again in (False, True, "every:2") for place in range(3)] \
        == [False] * 3 + [True] * 3 + [True, False, True]


def test_label_tokens_are_a_share_of_all_but_the_first_of_each_row():
    assert Setup(batch_size=2, seq_len=101, label_share=0.5).label_tokens == 100
    assert Setup(seq_len=2, label_share=0.01).label_tokens == 1


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Setup("loar"), "method must be one of full, .* Did you mean lora"),
    (lambda: Setup("lora", {"rnak": 4}), "a setting of lora must be one of .* Did you mean rank"),
    (lambda: Setup(batch_size=0), "batch_size must be a whole number, 1 or more, got 0"),
    (lambda: Setup(seq_len=1), "seq_len must be a whole number, 2 or more, got 1"),
    (lambda: Setup(label_share=0), "label_share must be a share above 0 and up to 1, got 0"),
    (lambda: Setup(precision="bf16"), "precision must be one of float32, bfloat16, float16"),
    (lambda: Setup(mixed="float32"), "mixed must be one of bfloat16, float16, None"),
    (lambda: Setup(quantization="nf5"), "quantization must be one of nf4, fp4, int8, None"),
    (lambda: Setup(checkpointing=1), "checkpointing must be True, False or 'every:<2 or more>', got 1"),
    (lambda: Setup("lora8bit", quantization="nf4"), "quantization must be int8 with lora8bit, got 'nf4'"),
    (lambda: Setup("qlora", quantization="int8"), "quantization must be nf4 or fp4 with qlora, got 'int8'"),
    (lambda: Setup("full", quantization="nf4"), "quantization must be None with full, got 'nf4'"),
    (lambda: Setup("prefix", checkpointing=True), "checkpointing must be False with a trained prefix"),
    (lambda: Setup(sharding="zero2"), "ranks must be 2 or more with zero2, got 1"),
    (lambda: Setup(attention="sdpa"), "attention must be one of flash, efficient, math, eager"),
])
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(Refusal, match=words):
        make()
