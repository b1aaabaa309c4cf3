"""Training in several processes: the batches, the loss and the BatchNorm statistics of one.

`train.batch_size` is the batch of all processes. Each computes the logits of its share, the loss is
that of the whole batch, and BatchNorm normalises over all of it. Dropout is drawn by each process
for itself, so the curves are those of another seed; without dropout they agree up to rounding.
Validation deals whole batches to the processes in turn, so its scores are those of one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import (
    DataLoaderConfiguration,
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    broadcast_object_list,
    gather,
)
from torch import nn

from acdc_seg.config import TrainConfig
from acdc_seg.errors import AcdcError, ConfigError, TrainingError

WAIT = timedelta(minutes=30)
"""Longest time that processes wait for each other; one that dies is noticed at once."""
LOST_PEER = (
    "another process of this training ended, its own message says why; then resume from what was "
    "saved last: acdc-train --resume RUN, under torchrun as before"
)

T = TypeVar("T")


def make_accelerator(
    train: TrainConfig, *, device: torch.device, precision: str, find_unused_parameters: bool
) -> Accelerator:
    """Hugging Face's Accelerator for a training: mixed precision, accumulation, several processes.

    Args:
        train: The config's section, for `grad_accum_steps`.
        device: Device of the training.
        precision: fp32, bf16 or fp16.
        find_unused_parameters: Some parameters have no gradient in some steps, as those of a
            frozen encoder.
    """
    # Accelerate keeps device and precision of an earlier training in this process otherwise.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision={"fp32": "no"}.get(precision, precision),
        cpu=device.type == "cpu",
        gradient_accumulation_steps=train.grad_accum_steps,
        step_scheduler_with_optimizer=False,
        rng_types=[],
        dataloader_config=DataLoaderConfiguration(
            split_batches=True,
            non_blocking=device.type == "cuda",  # from pinned memory, beside the step before
        ),
        kwargs_handlers=[
            DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters),
            InitProcessGroupKwargs(timeout=WAIT),
        ],
    )


def check_batch_divides(batch_size: int, num_images: int, num_processes: int) -> None:
    """Raises ConfigError unless a batch can be divided evenly among the processes."""
    size = min(batch_size, num_images)
    if size % num_processes == 0:
        return
    below = size // num_processes * num_processes
    sizes = [str(n) for n in (below, below + num_processes) if 0 < n <= num_images]
    limit = f", at most the {num_images} training images," if size < batch_size else ""
    remedy = f"set it to {' or '.join(sizes)}" if sizes else f"use at most {num_images} processes"
    raise ConfigError(
        f"train.batch_size={batch_size}{limit} cannot be divided evenly among {num_processes} "
        f"processes; {remedy}"
    )


def gather_batch(accelerator: Accelerator, part: torch.Tensor) -> torch.Tensor:
    """The batch `(B, ...)` of all processes, of which this one computed `part`.

    Only its own part carries a gradient, so the gradient of a parameter is the sum over the
    processes. DistributedDataParallel takes their mean: multiply the loss by the number of
    processes before its backward pass.
    """
    if accelerator.num_processes == 1:
        return part
    batch = gather(part.detach())
    start = accelerator.process_index * len(part)
    batch[start : start + len(part)] = part
    return batch


def any_rank(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any process, so that all stop together."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def sum_over_ranks(accelerator: Accelerator, table: np.ndarray) -> np.ndarray:
    """The sum of the tables of all processes, equal in each of them."""
    if accelerator.num_processes == 1:
        return table
    return accelerator.reduce(torch.from_numpy(table).to(accelerator.device), "sum").cpu().numpy()


def on_main_process(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """The result of `make()`, called in the main process alone and sent to the others.

    Raises:
        AcdcError: `make` raised it; every process raises the same.
    """
    if accelerator.num_processes == 1:
        return make()
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = make()
        except AcdcError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    result, failure = outcome
    if failure is not None:
        raise failure
    return result


def sync_layers(network: nn.Module, accelerator: Accelerator) -> None:
    """Makes every BatchNorm below the network normalise over the batch of all processes."""
    if accelerator.num_processes == 1:
        return
    if accelerator.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = SyncBatchNorm2d  # keeps parameters, names and references


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the equal shares of all processes; PyTorch's SyncBatchNorm refuses the CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, C, H, W)` to the same shape."""
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        own_var, own_mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)  # (C,), (C,)
        mean = _mean_over_processes(own_mean)
        var = _mean_over_processes(own_var + (own_mean - mean).square())
        self._track(mean.detach(), var.detach(), dist.get_world_size() * x.numel() // x.shape[1])
        scale = self.weight * (var + self.eps).rsqrt()
        centered = values - mean[:, None, None]
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, var: torch.Tensor, count: int) -> None:
        """Moves the running statistics towards those of a batch of `count` values."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum or 0.0)


def _mean_over_processes(part: torch.Tensor) -> torch.Tensor:
    return _AllReduce.apply(part / dist.get_world_size())


class _AllReduce(torch.autograd.Function):
    """Sum over all processes; its gradient is summed too, for each process's loss depends on it."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _AllReduce.forward(ctx, gradient)


@contextmanager
def report_lost_peer() -> Iterator[None]:
    """Says in plain words that another process ended, where a collective operation fails for it.

    Raises:
        TrainingError: Another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(LOST_PEER) from error
