"""Live bytes: counted by hand, by torch's own tracker and by torch's own allocator."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn.modules import module as hooks
from torch.utils.checkpoint import checkpoint

from ftkit.errors import Refusal
from ftkit.live_bytes import KINDS, LiveBytes

KIB = 1024


def layers(count=3, width=64):
    torch.manual_seed(0)
    return nn.ModuleList(nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width),
                                       nn.LayerNorm(width)) for _ in range(count))


def residual_loss(model, x):
    for layer in model:
        x = x + layer(x)
    return x.square().mean()


def steps(model, optimizer, x, count=2, after=lambda: None):
    for _ in range(count):
        residual_loss(model, x).backward()
        optimizer.step()
        optimizer.zero_grad()
        after()


def allocated_peak(run):
    """The most bytes that torch's allocator had given out during a call, as its profiler reports them."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in events))


def test_a_view_is_counted_once_and_what_is_freed_no_more():
    with LiveBytes() as live:
        x = torch.zeros(KIB)  # 4 KiB
        view = x.view(32, 32).t()[3:]
        assert live.now_bytes == 4 * KIB
        y = x + 1
        del x
        assert live.now_bytes == 8 * KIB  # the view holds it
        del view
        assert live.now_bytes == 4 * KIB
        del y
    assert live.now_bytes == 0 and live.peak().bytes == 8 * KIB
    assert live.history() == [4 * KIB, 8 * KIB, 4 * KIB, 0]


def test_tensors_made_before_are_inputs_once_they_are_seen():
    x = torch.zeros(KIB)
    with LiveBytes() as live:
        assert live.now_bytes == 0
        y = x * 2
    assert live.peak().by["inputs"] == 4 * KIB and live.peak().by["temporaries"] == 0
    assert y.sum() == 0


def test_each_kind_is_told_from_the_others():
    model = layers(1)
    model[0][0].requires_grad_(False)
    model.register_buffer("mask", torch.zeros(100))
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], fused=True)
    x = torch.zeros(8, 64)
    numbers = sum(one.numel() for one in model.parameters())
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    with LiveBytes(model, x) as live:
        steps(model, optimizer, x, count=2)
    by = live.peak("forward").by  # of the second step, with the state that the first has left
    assert tuple(by) == KINDS and sum(by.values()) == live.peak("forward").bytes
    assert by["parameters"] == 4 * numbers and by["buffers"] == 400 and by["inputs"] == 8 * 64 * 4
    assert by["optimizer"] == 2 * 4 * trained + 4 * 4  # two numbers each, and each tensor's count of steps
    assert by["activations"] >= 4 * 8 * 256  # the second layer's input
    assert live.peak("step").by["gradients"] == 4 * trained


def test_what_a_frozen_layer_needs_not_is_not_kept():
    def kept(trained):
        model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)).requires_grad_(False)
        model[0].requires_grad_(True)
        model[1].requires_grad_(trained)
        with LiveBytes(model) as live:
            out = model(torch.zeros(32, 64))
            held = live.now_bytes - live.before_bytes
            out.sum().backward()
        return held

    assert kept(True) - kept(False) == 32 * 64 * 4  # the second layer's input


def test_what_is_computed_again_in_the_backward_pass_is_an_activation():
    model, x = layers(4), torch.zeros(64, 64)

    def run(is_checkpointed):
        with LiveBytes(model, x) as live:
            states = x
            for layer in model:
                states = checkpoint(layer, states, use_reentrant=False) if is_checkpointed else layer(states)
            states.square().mean().backward()
        return live

    plain, again = run(False), run(True)
    assert "recompute" in again.phases and "recompute" not in plain.phases
    assert again.peak("recompute").by["activations"] > 0
    assert again.peak("forward").by["activations"] < plain.peak("forward").by["activations"] / 2


def test_a_peak_says_what_was_alive_and_where_it_was_made():
    model = layers(2)
    with LiveBytes(model) as live:
        with torch.no_grad():
            residual_loss(model, torch.zeros(128, 64))
    peak = live.peak()
    largest = peak.held[0]
    assert peak.phase == "forward" and largest.bytes == 128 * 256 * 4 and largest.shape == (128, 256)
    assert (largest.operator, largest.kind, largest.dtype) == ("addmm.default", "temporaries", "float32")
    assert largest.place in ("0.0", "1.0")
    assert sum(one.bytes for one in peak.held) == peak.bytes


def test_full_fine_tuning_counts_what_torchs_own_tracker_counts():
    """To the byte: both follow storages by operator, and theirs counts the engine's sums as copies, as is asked here.
    """
    def run(tracker_of):
        with FakeTensorMode():
            model = layers()
            optimizer, x = torch.optim.AdamW(model.parameters(), foreach=False), torch.zeros(32, 64)
            tracker = tracker_of(model, optimizer, x)
            with tracker:
                steps(model, optimizer, x, after=getattr(tracker, "reset_mod_stats", lambda: None))
        return tracker

    def theirs(*owners):
        tracker = MemTracker()
        tracker.track_external(*owners)
        return tracker

    snapshot = run(theirs).get_tracker_snapshot("peak")[torch.device("cpu")]
    ours = run(lambda *owners: LiveBytes(*owners, as_engine=False)).peak()
    named = {getattr(kind, "value", kind): count for kind, count in snapshot.items()}
    assert ours.bytes == named["Total"]
    assert (ours.by["parameters"], ours.by["gradients"]) == (named["Parameter"], named["Gradient"])


def test_sums_of_the_engine_are_counted_as_it_makes_them():
    """To the byte against torch's allocator, in a graph whose operators allocate nothing but their results."""
    x = torch.ones(KIB, requires_grad=True)

    def run():
        y = x.sigmoid()
        loss = y.neg().sum() + y.neg().sum()  # nothing is kept but y, where two gradients meet
        loss.backward()

    allocated = allocated_peak(run)
    counted = {}
    for as_engine in (True, False):
        x.grad = None
        with LiveBytes(x, as_engine=as_engine) as live:
            run()
        counted[as_engine] = live.peak().bytes - live.before_bytes
    assert counted[True] == allocated < counted[False]


def test_a_sum_in_a_backward_function_is_no_sum_of_the_engine():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            half = grad * 1
            return half + grad

    x = torch.ones(KIB, requires_grad=True)
    with LiveBytes(x) as live:
        Twice.apply(x).sum().backward()
    assert live.peak("backward").bytes == 3 * 4 * KIB + 8  # x, the half, the whole; the loss and its gradient


def test_of_tensors_that_are_not_there_any_size_is_counted():
    with FakeTensorMode(), LiveBytes() as live:
        x = torch.empty(2**20, 2**20, dtype=torch.bfloat16)
        y = F.relu(x)
    assert live.peak().bytes == 2 * 2**41 and y.shape == x.shape


def test_blocks_are_rounded_up_to_granules():
    with LiveBytes(granule_bytes=512) as live:
        one, many = torch.zeros(1), torch.zeros(129)
    assert live.peak().bytes == 512 + 1024 and one.numel() < many.numel()


def test_what_is_forgotten_has_never_been():
    with LiveBytes() as live:
        elsewhere, here = torch.zeros(KIB), torch.zeros(KIB)
        live.forget([elsewhere])
    assert live.peak().bytes == 4 * KIB and live.now_bytes == 4 * KIB and here.shape == elsewhere.shape


def test_nothing_stays_hooked_when_it_is_left():
    def hooked():
        return (len(hooks._global_forward_pre_hooks), len(hooks._global_forward_hooks),
                *(len(one._post_accumulate_grad_hooks or ()) for one in model.parameters()))

    model = layers(1)
    before = hooked()
    with pytest.raises(ZeroDivisionError), LiveBytes(model):
        raise ZeroDivisionError
    assert hooked() == before


def test_a_module_that_raises_leaves_no_place_behind():
    class Broken(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    model = nn.Sequential(Broken())
    with LiveBytes(model) as live:
        with pytest.raises(ZeroDivisionError):
            model(torch.zeros(1))
        kept = torch.zeros(KIB)
    assert live.peak().held[0].place == "" and kept.numel() == KIB


@pytest.mark.parametrize(("make", "words"), [
    (lambda: LiveBytes(granule_bytes=0), "granule_bytes must be a whole number, 1 or more, got 0"),
    (lambda: LiveBytes("model"), "an owner must be a module, an optimizer or a tensor, got 'str'"),
    (lambda: LiveBytes().peak("loss"), "phase"),
    (lambda: LiveBytes().peak("step"), "phase must be one in which tensors were made, got 'step'"),
])
def test_bad_input_is_refused(make, words):
    with pytest.raises(Refusal, match=words):
        make()
