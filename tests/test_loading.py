"""Loading weights: what is said meanwhile, and what a stopped load leaves behind."""

import gc
import json
import weakref

import pytest
import torch

from ftkit import hub, loading
from ftkit.errors import Refusal
from ftkit.progress import Lines
from ftkit.quantization import kind_of


@pytest.fixture
def hasty(monkeypatch):
    """Lines as if six seconds passed between any two looks at the clock."""
    ticks = iter(range(0, 10**6, 6))
    monkeypatch.setattr(loading, "Lines", lambda what: Lines(what, clock=lambda: next(ticks)))


@pytest.mark.parametrize("quantization", [None, "nf4"])
def test_a_load_that_takes_long_says_how_far_it_is_in_at_most_twenty_lines(tmp_path, monkeypatch, capsys, hasty,
                                                                          quantization, random_checkpoint):
    hub.load_model(random_checkpoint(tmp_path / "model", "qwen2"), device="cpu", quantization=quantization)
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 20
    assert all(line.startswith("loading model: ") and "file 1 of 1" in line for line in lines)
    assert int(lines[-1].split()[2]) >= 95  # the last 5 % may be done without a line


def test_lines_come_seldom_even_if_work_goes_on_for_hours(capsys):
    ticks = iter(range(10**6))
    lines = Lines("work", clock=lambda: next(ticks))
    for done in range(10_000):
        lines.reach(done / 10_000, "still at it")
    assert len(capsys.readouterr().out.splitlines()) <= 20


def test_a_stopped_load_leaves_nothing_in_memory_and_says_so(tmp_path, monkeypatch, random_checkpoint):
    from transformers import AutoModelForCausalLM

    held = []

    def stopped(*_, **__):
        loaded_so_far = torch.nn.Linear(8, 8)
        held.append(weakref.ref(loaded_so_far))
        raise KeyboardInterrupt

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", stopped)
    with pytest.raises(KeyboardInterrupt, match="loading model was stopped; nothing of it is left in memory") as caught:
        loading.load_weights(random_checkpoint(tmp_path / "model", "qwen2"), {})
    gc.collect()
    assert held[0]() is None and caught.value.__context__ is None


def test_falcon_is_quantised_too_and_computes_what_its_own_layers_compute(tmp_path, random_checkpoint):
    from transformers import FalconForCausalLM
    from transformers.models.falcon.modeling_falcon import FalconLinear

    folder, ids = random_checkpoint(tmp_path / "falcon", "falcon", "float32"), torch.tensor([[5, 6, 7]])
    plain, _ = hub.load_model(folder, device="cpu")
    theirs = FalconForCausalLM.from_pretrained(folder)
    assert torch.allclose(plain(ids).logits, theirs(ids).logits, atol=1e-5)  # float32, sums in another order
    assert type(theirs.transformer.h[0].mlp.dense_h_to_4h) is FalconLinear
    packed, _ = hub.load_model(folder, device="cpu", quantization="nf4")
    assert packed.transformer.h[0].mlp.dense_h_to_4h.weight.numel() == 128 * 512 // 2


def test_what_a_mixture_leaves_in_floats_is_said(tmp_path, random_checkpoint):
    folder = random_checkpoint(tmp_path / "mixtral", "mixtral")
    with pytest.warns(UserWarning, match="41% of the numbers of mixtral stay as they are and take no adapter "
                                         "by 'all-linear': experts in blocks such as model.layers.0.mlp.experts.down_"):
        model, _ = hub.load_model(folder, device="cpu", quantization="nf4", dtype="stored")
    experts = model.model.layers[0].mlp.experts.gate_up_proj
    assert experts.shape == (4, 512, 128) and experts.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_weight_that_is_read_and_never_called_stays_as_it_is(tmp_path, random_checkpoint, kind):
    model, _ = hub.load_model(random_checkpoint(tmp_path / "mamba", "mamba"), device="cpu", quantization=kind)
    mixer = model.backbone.layers[0].mixer
    assert kind_of(mixer.in_proj) == kind_of(mixer.out_proj) == kind and type(mixer.dt_proj) is torch.nn.Linear
    assert model.eval()(torch.tensor([[5, 6, 7]])).logits.isfinite().all()


def test_a_model_that_would_divide_its_weights_while_it_evaluates_does_not(tmp_path, random_checkpoint):
    folder = random_checkpoint(tmp_path / "rwkv", "rwkv", "float32")
    model, _ = hub.load_model(folder, device="cpu")
    before = {name: one.clone() for name, one in model.state_dict().items()}
    theirs = type(model).from_pretrained(folder).eval()  # divides its weights, and its states by as much
    ids = torch.tensor([[5, 6, 7]])
    assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-3)  # the epsilon of a norm weighs more
    # beside states that were halved
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    name = "rwkv.blocks.1.attention.output.weight"
    assert not torch.equal(theirs.state_dict()[name], before[name])


def test_a_package_that_a_checkpoint_needs_and_that_is_missing_is_named(tmp_path, random_checkpoint):
    folder = random_checkpoint(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Refusal, match="model must be a checkpoint whose packages are installed, got .*optimum"):
        hub.load_model(folder, device="cpu")
    with pytest.raises(Refusal, match="quantization must be None for model, which is stored quantised already .gptq., "
                                      "got 'nf4'. Load it as it is stored, or take the checkpoint that it was made"):
        hub.load_model(folder, device="cpu", quantization="nf4")


def test_a_model_of_which_no_layer_can_be_quantised_is_refused(tmp_path, random_checkpoint, monkeypatch):
    monkeypatch.setattr(hub, "kind_of", lambda module: "")
    with pytest.raises(Refusal, match="quantization must be None for model, got 'nf4'. None of the layers of "
                                      "Qwen2ForCausalLM is one that can be quantised"):
        hub.load_model(random_checkpoint(tmp_path / "model"), device="cpu", quantization="nf4")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("alloc_cpu.cpp: can't allocate memory: 7 bytes\nframe")])
def test_memory_that_runs_out_after_all_is_said_so(tmp_path, random_checkpoint, monkeypatch, error):
    from transformers import AutoModelForCausalLM

    def full(*_, **__):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    with pytest.raises(Refusal, match="memory must be enough to load model, got .(no memory|alloc_cpu.cpp: can.t "
                                      "allocate memory: 7 bytes).. It was taken by others"):
        loading.load_weights(random_checkpoint(tmp_path / "model"), {})
