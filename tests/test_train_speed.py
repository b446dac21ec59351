"""What makes a step faster or smaller changes no training: the same losses and norms, each alone and all together."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import FalconConfig, FalconForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ftkit import compiled as compiled_parts
from ftkit import low_rank, methods
from ftkit.errors import Refusal
from ftkit.quant.linear import QuantisedLinear, quantise_
from ftkit.train.config import TrainConfig
from ftkit.train.learner import Learner, ready_to_learn
from ftkit.train.loop import train

SHAPE = {"vocab_size": 61, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64}
PACKED = TrainConfig(learning_rate=1e-2, max_steps=4, batch_size=2, grouping="packed", seq_len=32,
                     matmul_precision="highest")
ALONE = {"chunked": {"logits": "chunked"}, "all": {"logits": "all"}, "by segment": {"packed_attention": "by_segment"},
         "again": {"activation_checkpointing": True}, "every second": {"activation_checkpointing": "every:2"},
         "fewest": {"quantised_products": "fewest"}, "compiled": {"compiled": True}}
TOGETHER = {"logits": "chunked", "packed_attention": "by_segment", "activation_checkpointing": "every:2",
            "quantised_products": "kept", "compiled": True}


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    monkeypatch.setattr(compiled_parts, "BACKEND", "aot_eager")  # the compiler itself is tried in test_compiled


def a_model():
    torch.manual_seed(0)
    model = quantise_(Qwen2ForCausalLM(Qwen2Config(**SHAPE)), double=True)
    return methods.prepare(model, "qlora", rank=4, target_modules="all-linear").model


def examples():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(5, 17, (20,), generator=generator).tolist()
    drawn = [torch.randint(1, 61, (length,), generator=generator).tolist() for length in lengths]
    return [(ids, [-100] * 2 + ids[2:]) for ids in drawn]


def course(config):
    return [(record["loss"], record["grad_norm"]) for record in train(a_model(), examples(), config)]


@pytest.fixture(scope="module")
def plain():
    return course(PACKED)


@pytest.mark.parametrize("changes", [*ALONE.values(), TOGETHER], ids=[*ALONE, "together"])
def test_the_course_of_a_training_stays_the_same(changes, plain):
    # float32 sums in other places, and four steps of Adam, which turns the sign of a tiny gradient into a whole step
    torch.testing.assert_close(torch.tensor(course(replace(PACKED, **changes))), torch.tensor(plain),
                               rtol=2e-4, atol=2e-5)


def test_the_held_out_loss_is_the_same_in_chunks():
    model, config = a_model(), replace(PACKED, max_steps=1)
    found = [list(train(model, examples(), replace(config, logits=one, learning_rate=1e-9), held_out=examples()[:5]))
             for one in ("at_labels", "chunked")]
    assert found[1][0]["held_out_loss"] == pytest.approx(found[0][0]["held_out_loss"], rel=1e-5)  # float32 sums


def forwards(model, config):
    """How often each layer runs in one step."""
    counts = {}

    def count(layer, *_):
        counts[layer] = counts.get(layer, 0) + 1

    for layer in model.model.layers:
        layer.mlp.register_forward_pre_hook(lambda _, inputs, layer=layer: count(layer))
    list(train(model, examples(), replace(config, max_steps=1)))
    return [counts[layer] for layer in model.model.layers]


@pytest.mark.parametrize("recomputed, want", [(False, [1, 1, 1, 1]), (True, [2, 2, 2, 2]), ("every:2", [2, 1, 2, 1]),
                                              ("every:3", [2, 1, 1, 2]), ("every:9", [2, 1, 1, 1])])
def test_as_many_layers_are_computed_again_as_asked_for(recomputed, want):
    model = a_model()
    assert forwards(model, replace(PACKED, activation_checkpointing=recomputed)) == want
    assert not any(layer.gradient_checkpointing for layer in model.model.layers)


LAYERS, FIRST = 4 * 7, 3  # linear layers; those whose input, the embedding, needs no gradient


@pytest.mark.parametrize("changes, times", [
    ({"quantised_products": "fewest"}, 2 * LAYERS - FIRST),
    ({"quantised_products": "fewest", "activation_checkpointing": True}, 3 * LAYERS - FIRST),
    ({"quantised_products": "kept", "activation_checkpointing": True}, 2 * LAYERS),
])
def test_a_step_makes_each_weight_two_or_three_times(changes, times, monkeypatch):
    model, made, make = a_model(), [], QuantisedLinear.dequantised
    monkeypatch.setattr(QuantisedLinear, "dequantised", lambda *of: (made.append(1), make(*of))[1])
    list(train(model, examples(), replace(PACKED, max_steps=1, **changes)))
    assert len(made) == times
    assert not low_rank.is_over_codes()


def test_a_model_is_left_ready_for_what_comes_next():
    model = a_model().eval()
    with ready_to_learn(model, "every:2", keep_weights=True):
        assert model.training and model.is_activation_checkpointing
    assert not model.training and not model.is_activation_checkpointing


@pytest.mark.parametrize("model, changes, words", [
    (lambda: FalconForCausalLM(FalconConfig(vocab_size=61, hidden_size=32, num_hidden_layers=1, num_attention_heads=4)),
     {"packed_attention": "by_segment"}, r"packed_attention must be 'mask' for a FalconForCausalLM, got 'by_segment'"),
    (lambda: nn.Linear(2, 2), {"activation_checkpointing": "every:2"},
     r"activation_checkpointing must be False for a Linear, got 'every:2'\. Only models of transformers can do it"),
])
def test_what_a_model_cannot_do_is_refused_before_the_first_step(model, changes, words):
    with pytest.raises(Refusal, match=words):
        Learner(model(), replace(PACKED, **changes))
