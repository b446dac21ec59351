"""What one of several data-parallel processes takes: torch's own code for several, over a group that is not there.

A group of torch's own for tests answers at once and sends nothing, so that one process does what each of many would do,
with real tensors on the CPU. Knows nothing about how a peak is predicted.
"""

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as distributed
from torch import nn

from ftkit.errors import refusal
from ftkit.memory.setup import Setup
from ftkit.meter import building
from ftkit.meter.measuring import CPU, Measured, on_cpu
from ftkit.meter.steps import UsualSteps
from ftkit.targets import counts

STEPS = 3  # DistributedDataParallel arranges its buckets anew after the first


def measure_rank(config: dict, setup: Setup) -> Measured:
    """The peak of one process of a setup, as torch's CPU allocator counts it, on a real model of random weights.

    Args:
        config: of the model, as its config.json holds it.
        setup: with `sharding` as torch has it: "none" is DistributedDataParallel, "zero1" has ZeroRedundancyOptimizer
            beside it, "zero2" and "zero3" are `fully_shard` on each layer and on the model, layers staying together
            after the forward pass or not. The loss is the model's own, at all positions.

    Raises:
        Refusal: one process alone, logits elsewhere, quantised weights that are to be shared out, or another optimizer.
    """
    _check(setup)
    started_s = time.perf_counter()
    torch.manual_seed(0)
    with _group(setup.ranks):
        model = building.prepare(building.build(config, setup, fake=False), setup)
        found = counts(model)
        model = _shared(model, setup) if setup.shares_weights else _replicated(model)
        taken = UsualSteps(model, setup)
        if setup.sharding == "zero1":
            from torch.distributed.optim import ZeroRedundancyOptimizer

            taken.optimizer = ZeroRedundancyOptimizer(taken.parameters, torch.optim.AdamW, lr=1e-4, fused=True)
        gc.collect()
        held, grown = _held(model), on_cpu(taken, STEPS)
    return Measured(held + grown, held, CPU, *found, time.perf_counter() - started_s)


@contextmanager
def _group(ranks: int) -> Iterator[None]:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", rank=0, world_size=ranks, store=FakeStore())
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _replicated(model: nn.Module) -> nn.Module:
    made = nn.parallel.DistributedDataParallel(model)
    made.register_comm_hook(None, _exchanged)
    return made


def _exchanged(state: None, bucket: distributed.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """What a group that is there would answer: the same bucket, summed up in place."""
    answer: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    answer.set_result(bucket.buffer())
    return answer


def _shared(model: nn.Module, setup: Setup) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (setup.ranks,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh, reshard_after_forward=setup.sharding == "zero3")
    return fully_shard(model, mesh=mesh)


def _held(model: nn.Module) -> int:
    """Bytes of what this process has of the model."""
    own = [one.to_local() if hasattr(one, "to_local") else one for one in (*model.parameters(), *model.buffers())]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in own}.values())


def _check(setup: Setup) -> None:
    for name, value, wanted in (("logits", setup.logits, "all"), ("optimizer", setup.optimizer, "adamw")):
        if value != wanted:
            raise refusal(name, f"'{wanted}' for one of several processes", value)
    if setup.ranks < 2:
        raise refusal("ranks", "2 or more", setup.ranks, "One process alone: `measure_real`.")
    if setup.quantization:
        raise refusal("quantization", "None for one of several processes", setup.quantization,
                      "bitsandbytes' weights are not shared out here.")
