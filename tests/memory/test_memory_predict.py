"""A plan moves as the training does: less with each way to save, its parts adding up, several processes sharing."""

import pytest

from ftkit.errors import Refusal
from ftkit.memory.models import known_models, model_named
from ftkit.memory.predict import predict
from ftkit.memory.setup import METHODS, Setup
from ftkit.memory.shape import shape_of

LLAMA, GPT2 = model_named("llama-2-7b").shape, {"model_type": "gpt2", "vocab_size": 100, "n_embd": 64, "n_layer": 2,
                                                "n_head": 4, "n_positions": 128}


@pytest.mark.parametrize("model", [model for model in known_models() if model.parameters < 10e9],
                         ids=lambda model: model.name)
def test_every_model_of_the_table_can_be_planned_for_by_every_method_that_it_can_take(model):
    for method in METHODS:
        try:
            found = predict(model, Setup(method, seq_len=128))
        except Refusal as refused:
            assert method == "bitfit" and "has no biases" in str(refused)
            continue
        assert sum(found.parts.values()) == found.peak_bytes == max(found.moments.values())
        assert found.peak_bytes > sum(found.weights.values()) and len(found.activations) == model.shape.layers


def test_less_is_kept_with_each_way_to_save():
    base = Setup("lora", batch_size=2, seq_len=1024, logits="all", attention="eager")
    less = [base, base.with_(attention="flash"), base.with_(attention="flash", logits="labels", label_share=0.3),
            base.with_(attention="flash", logits="labels", label_share=0.3, checkpointing="every:2"),
            base.with_(attention="flash", logits="labels", label_share=0.3, checkpointing=True)]
    peaks = [predict(LLAMA, setup).peak_bytes for setup in less]
    assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == len(peaks)


def test_a_frozen_layer_below_all_that_is_trained_keeps_nothing():
    found = predict(LLAMA, Setup("lora", {"layers": "last 2"}))
    assert max(found.activations[:30]) <= 2 * 512 * 4096 * 2 < min(found.activations[30:])


def test_checkpointed_layers_keep_their_input_alone():
    found = predict(LLAMA, Setup("lora", checkpointing=True))
    assert set(found.activations) == {2 * 512 * 4096}


def test_chunks_of_logits_do_not_grow_with_the_rows():
    peaks = [predict(model_named("qwen2.5-7b"), Setup("qlora", batch_size=rows, seq_len=2048, checkpointing=True,
                                                       logits=logits)).moments["loss"]
             for logits in ("labels", "chunked") for rows in (2, 4)]
    assert peaks[1] - peaks[0] > 4 * (peaks[3] - peaks[2])


def test_processes_share_out_more_with_each_kind_of_sharding():
    setups = [Setup("full", ranks=8, sharding=sharding) for sharding in ("none", "zero1", "zero2", "zero3")]
    peaks = [predict(LLAMA, setup).peak_bytes for setup in setups]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[3] < predict(LLAMA, Setup("full")).peak_bytes / 4


def test_paged_states_are_there_in_the_optimizer_step_alone():
    plain, paged = (predict(LLAMA, Setup("lora", seq_len=2048, optimizer=name)) for name in ("adamw", "paged_adamw"))
    assert plain.parts["optimizer"] > 0 == paged.parts["optimizer"]
    assert paged.moments["optimizer"] == plain.moments["optimizer"]


def test_several_micro_batches_keep_gradients_through_the_forward_pass():
    one, two = (predict(LLAMA, Setup("full", accumulation=count)).moments["forward"] for count in (1, 2))
    assert two - one > 0.9 * 2 * LLAMA.parameters


def test_rows_longer_than_the_places_that_a_model_knows_are_refused():
    with pytest.raises(Refusal, match="seq_len must be 128 or less, the places that this model knows, got 129"):
        predict(shape_of(GPT2), Setup("lora", seq_len=129))


def test_another_way_is_refused():
    with pytest.raises(Refusal, match="way must be one of ours, peft, got 'trl'"):
        predict(LLAMA, Setup(), "trl")
