"""What makes a small model fast on a CPU, and that it changes no result beyond what it says."""

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit import cpu, lora
from ftkit.batches import collate
from ftkit.losses import label_loss
from ftkit.train.config import TrainConfig
from ftkit.train.loop import train

EXAMPLES = [([1 + (7 * row + place) % 60 for place in range(40)], [-100] * 8 + [1 + place for place in range(32)])
            for row in range(32)]


def model_of(**changes) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    shape = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
    return Qwen2ForCausalLM(Qwen2Config(**shape | changes))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_attention_by_plain_products_gives_the_same_loss():
    model, batch = model_of(), collate(EXAMPLES, 0)
    plain = label_loss(model, batch)[0]
    with cpu.attention_for(model, 32, 40):
        assert torch.backends.cuda.flash_sdp_enabled() is False
        assert label_loss(model, batch)[0].item() == pytest.approx(plain.item(), rel=1e-6)  # another order of sums
    assert torch.backends.cuda.flash_sdp_enabled() is True


def test_attention_over_long_rows_keeps_the_kernel_that_saves_memory():
    with cpu.attention_for(model_of(), 16, 8192):
        assert torch.backends.cuda.flash_sdp_enabled() is True


def test_matrix_products_are_put_back_even_after_an_error():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), cpu.matrix_products(torch.bfloat16):
        assert torch.get_float32_matmul_precision() == "medium"
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


def test_products_rounded_to_bfloat16_differ_by_its_precision_and_no_more():
    torch.manual_seed(0)
    x, weight = torch.randn(64, 256), torch.randn(128, 256)
    exact = nn.functional.linear(x.double(), weight.double())
    with cpu.matrix_products(torch.bfloat16):
        rounded = nn.functional.linear(x, weight)
    assert rounded.dtype == torch.float32
    # two inputs rounded to 8 bits each, 256 products whose errors add like a random walk
    assert (rounded - exact).abs().max().item() <= 6 * 2 ** -8 * 256 ** 0.5


def test_workers_give_results_in_order_and_leave_the_thread_count_alone(two_threads):
    workers = cpu.Workers()
    found = workers.map(lambda part: (part, torch.get_num_threads()), [0, 1, 2])
    assert found == [(0, 1), (1, 1), (2, 1)]
    assert torch.get_num_threads() == 2
    assert workers.map(lambda part: torch.get_num_threads(), [0]) == [2]


def test_an_error_in_one_part_reaches_the_caller(two_threads):
    with pytest.raises(ZeroDivisionError):
        cpu.Workers().map(lambda part: 1 // part, [1, 0])
    assert torch.get_num_threads() == 2


def test_a_batch_is_cut_only_where_that_is_safe_and_pays(two_threads):
    assert cpu.shards_for(model_of(), 4096) == 2
    assert cpu.shards_for(model_of(), 200) == 1  # too few tokens
    assert cpu.shards_for(model_of(attention_dropout=0.1), 4096) == 1
    dropped = lora.add_lora_(model_of(), lora.LoraConfig(dropout=0.1))
    assert cpu.shards_for(dropped, 4096) == 1


def test_training_on_two_threads_repeats_bit_for_bit_and_equals_one_thread(two_threads):
    config = TrainConfig(learning_rate=1e-2, max_steps=6, batch_size=16, matrix_products="float32")
    first, second = (list(train(model_of(), EXAMPLES, config)) for _ in range(2))
    assert [record["loss"] for record in first] == [record["loss"] for record in second]
    torch.set_num_threads(1)
    alone = list(train(model_of(), EXAMPLES, config))
    # the same sums in another order, through six steps of Adam
    assert [record["loss"] for record in first] == pytest.approx([record["loss"] for record in alone], rel=1e-4)


def test_training_in_bfloat16_products_learns_as_float32_does():
    losses = [list(train(model_of(), EXAMPLES, TrainConfig(1e-2, max_steps=10, matrix_products=kind)))[-1]["loss"]
              for kind in ("float32", "bfloat16")]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)  # ten steps, each with products of 8 bits


def test_reusing_memory_says_whether_it_could():
    assert cpu.reuse_freed_memory_() in (True, False)
