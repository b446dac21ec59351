"""What makes a small model fast on a CPU, and that it changes no result beyond what it says."""

import subprocess
import sys
import textwrap

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from ftkit import cpu
from ftkit.batches import collate
from ftkit.losses import label_loss

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


def test_freed_memory_is_kept_until_it_is_too_much():
    code = """
        import re, torch
        from pathlib import Path
        from ftkit import cpu

        def held_mib():
            return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

        if cpu.reuse_freed_memory_():
            before, block, behind = held_mib(), torch.ones(64 * 2**18), torch.ones(100)
            del block
            for beyond in (2**30, 2**25):
                cpu.give_back_freed_memory_(beyond)
                print(held_mib() - before)
        """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    if not run.stdout:
        pytest.skip("this C library keeps or gives back what it likes")
    kept, given_back = map(float, run.stdout.split())
    assert kept > 60 and given_back < 8


def test_the_precision_of_products_is_open_for_a_while_only():
    assert cpu.matmul_precision() in ("medium", "highest")
    with pytest.raises(ZeroDivisionError), cpu.matmul("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
        1 // 0  # noqa: B018
    assert torch.get_float32_matmul_precision() == "highest"
