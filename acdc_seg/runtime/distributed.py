"""Several processes that train as one: the same batches, loss, statistics and steps, whatever their
number.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather
from torch import nn

from acdc_seg.errors import AcdcError, ConfigError, TrainingError

ENDED = (
    "another process of this training ended and says why, if it could; when that is mended, go on "
    "from what was saved last: "
    "acdc-train --resume RUN, under torchrun as before"
)
STORE_TIMEOUT = timedelta(seconds=5)

T = TypeVar("T")


def check_batch_divides(batch_size: int, num_images: int, num_processes: int) -> None:
    """Raises ConfigError unless every process can have the same number of images of a batch."""
    size = min(batch_size, num_images)
    if size % num_processes == 0:
        return
    below = size // num_processes * num_processes
    allowed = " or ".join(
        str(number) for number in (below, below + num_processes) if 0 < number <= num_images
    )
    given = f"train.batch_size={batch_size}" + (
        f", at most the {num_images} training images," if size < batch_size else ""
    )
    remedy = f"set it to {allowed}" if allowed else f"start {num_images} processes at most"
    raise ConfigError(f"{given} cannot be divided evenly among {num_processes} processes; {remedy}")


def gather_batch(accelerator: Accelerator, part: torch.Tensor) -> torch.Tensor:
    """The batch `(B, ...)` of all processes, of which this one holds `part`; only its own part
    carries a gradient.

    A loss of the whole batch has the same value in every process, but each knows its gradient for
    its own images alone. So the gradient of a parameter is the sum over the processes.
    DistributedDataParallel gives their mean: multiply the loss by the number of processes before
    its backward pass.
    """
    if accelerator.num_processes == 1:
        return part
    whole = gather(part.detach())
    start = accelerator.process_index * len(part)
    whole[start : start + len(part)] = part
    return whole


def any_rank(accelerator: Accelerator, flag: bool) -> bool:
    """Whether the flag is set in any process, so that all stop together."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum"))


def on_main_process(accelerator: Accelerator, make: Callable[..., T], *args: Any) -> T:
    """The result of `make(*args)`, called in the first process alone and sent to the others, as is
    an AcdcError that it raises.
    """
    if accelerator.num_processes == 1:
        return make(*args)
    outcome: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = make(*args)
        except AcdcError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    result, failure = outcome
    if failure is not None:
        raise failure
    return result


def sync_layers(network: nn.Module, accelerator: Accelerator) -> None:
    """Makes every BatchNorm and dropout below the network act on the batch of all processes;
    parameters and their names stay.
    """
    if accelerator.num_processes == 1:
        return
    shared: dict[type[nn.Module], type[nn.Module]] = {
        nn.Dropout: SyncDropout,
        nn.Dropout2d: SyncDropout2d,
    }
    if accelerator.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    else:
        shared[nn.BatchNorm2d] = SyncBatchNorm2d
    for module in network.modules():
        for kind, replacement in shared.items():
            if isinstance(module, kind):
                module.__class__ = replacement


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batch of all processes, each of which holds as many images, on any device.

    PyTorch's SyncBatchNorm is faster, but refuses tensors on the CPU.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, C, H, W)` to the same shape."""
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        var, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)  # (C,), (C,)
        whole_mean = _mean_of_all(mean)
        whole_var = _mean_of_all(var + (mean - whole_mean).square())
        self._track(
            whole_mean.detach(),
            whole_var.detach(),
            count=dist.get_world_size() * x.numel() // x.shape[1],
        )
        scale = self.weight * (whole_var + self.eps).rsqrt()
        y = (values - _as_map(whole_mean)) * _as_map(scale) + _as_map(self.bias)
        return y.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, var: torch.Tensor, *, count: int) -> None:
        """Moves the running statistics towards those of a batch of `count` values."""
        assert self.momentum is not None
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (count / (count - 1)), self.momentum)


class SyncDropout(nn.Dropout):
    """Dropout that every process draws for the whole batch, from the same seed, to take its own
    part of it.

    So an image loses the same values whatever the number of processes.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, ...)` to the same shape."""
        if not self.training or self.p == 0:
            return x
        lies_by_channel = (
            x.dim() == 4
            and x.is_contiguous(memory_format=torch.channels_last)
            and not x.is_contiguous()
        )
        return x * _own_noise(
            x,
            x.shape[1:],
            self.p,
            torch.channels_last if lies_by_channel else torch.contiguous_format,
        )


class SyncDropout2d(nn.Dropout2d):
    """The same for dropout of whole maps."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, C, H, W)` to the same shape."""
        if not self.training or self.p == 0:
            return x
        return x * _own_noise(x, (x.shape[1], 1, 1), self.p, torch.contiguous_format)


def _own_noise(
    x: torch.Tensor, shape: Sequence[int], p: float, memory_format: torch.memory_format
) -> torch.Tensor:
    """This process's factors `(B, *shape)`: 0 for a part `p` of them, else 1 / (1 - p), drawn as
    PyTorch draws them for the whole batch.
    """
    whole = torch.empty(
        (dist.get_world_size() * len(x), *shape),
        dtype=x.dtype,
        device=x.device,
        memory_format=memory_format,
    )
    start = dist.get_rank() * len(x)
    return whole.bernoulli_(1 - p)[start : start + len(x)] / (1 - p)


def _as_map(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None]  # (C, 1, 1)


def _mean_of_all(part: torch.Tensor) -> torch.Tensor:
    return _Sum.apply(part / dist.get_world_size())


class _Sum(torch.autograd.Function):
    """The sum over all processes.

    Its gradient is summed as well, for the sum has a part in the loss of every process.
    """

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return _Sum.forward(ctx, gradient)


@contextmanager
def report_lost_peer() -> Iterator[None]:
    """Says in plain words that another process has ended, where a collective operation fails for
    it.

    Raises:
        TrainingError: Another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise TrainingError(ENDED) from error


def is_first_with(message: str) -> bool:
    """Whether no other process on this host asked the same before; the launcher's store remembers.

    Where there is no such store, the first process of the host is the one.
    """
    given = os.environ
    digest = hashlib.sha256(message.encode()).hexdigest()
    said = f"{given.get('GROUP_RANK')}/{given.get('TORCHELASTIC_RESTART_COUNT')}/{digest}"
    try:
        store = dist.TCPStore(
            given["MASTER_ADDR"],
            int(given["MASTER_PORT"]),
            timeout=STORE_TIMEOUT,
            wait_for_workers=False,
        )
        return store.add(said, 1) == 1
    except (KeyError, ValueError, RuntimeError):
        return given.get("LOCAL_RANK", "0") == "0"
