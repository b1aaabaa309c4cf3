"""What a network is made of and what it costs: shapes, parameters, FLOP, and its speed on a
machine.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.models.base import SegmentationModel


@dataclass(frozen=True)
class ModelSummary:
    """Cost of one image: `flop` of its forward pass in eval mode, a multiply-add being 2 FLOP;
    PyTorch counts those of convolutions, matrix products and attention.

    `output_stride` is how many times coarser than the image the smallest feature map of the encoder
    is, as a power of two.
    """

    num_parameters: int
    flop: int
    output_stride: int


@dataclass(frozen=True)
class LayerRow:
    """One part of a network: its name in the state dict, the shapes `(C, H, W)` of what its first
    call returned (none if it is not called but only holds parameters), and what it holds and
    computes in all its calls.
    """

    name: str
    shapes: tuple[tuple[int, ...], ...]
    num_parameters: int
    flop: int


@dataclass(frozen=True)
class Speed:
    """Images per second."""

    train: float
    predict: float


def summarize(model: SegmentationModel, *, size: int) -> ModelSummary:
    """Parameters, FLOP and output stride for images `(in_channels, size, size)`.

    Nothing is computed but shapes, so weights may be on the meta device, and the model stays as it
    is.
    """
    trace = _Trace(model, size)
    smallest = min(shape[-1] for shape in trace.shapes["encoder"] if len(shape) == 3)
    stride = 2 ** round(math.log2(trace.padded_size / smallest))
    return ModelSummary(_num_parameters(model), trace.flop[""], stride)


def layer_rows(model: SegmentationModel, *, size: int, depth: int) -> list[LayerRow]:
    """The network's parts in the order in which they first return, for images `(in_channels, size,
    size)`.

    Parameters and FLOP add up to those of `summarize`: what a part has of its own beside its own
    parts is a row that says "rest".

    Args:
        depth: Levels of nesting; 1 gives encoder, decoder and head. Containers that are not called,
            such as `nn.ModuleList`, do not count as a level.
    """
    trace = _Trace(model, size)
    rows = trace.rows("", model, depth)
    called = [rows.pop(name) for name in trace.shapes if name in rows]
    return [*called, *rows.values()]


def measure(
    model: SegmentationModel,
    *,
    size: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Speed:
    """Times training steps (forward, cross-entropy, backward, AdamW; no loss scaling) and
    predictions of random images.

    The model is moved to the device, to channels_last as in training, and its weights are changed.

    Args:
        dtype: What autocast computes in; float32 is without autocast.
    """
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(batch_size, model.in_channels, size, size, device=device).contiguous(  # noqa: TID251
        memory_format=torch.channels_last
    )
    target = torch.zeros(batch_size, size, size, dtype=torch.long, device=device)
    optimizer = torch.optim.AdamW(model.parameters())
    autocast = partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32)

    def train() -> float:
        with autocast():
            logits = model(images)
        optimizer.zero_grad()
        loss = F.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def predict() -> torch.Tensor:
        with autocast():
            return model(images).argmax(1).cpu()

    model.train()
    train_seconds = _seconds(train)
    model.eval()
    return Speed(train=batch_size / train_seconds, predict=batch_size / _seconds(predict))


class _Trace:
    """A forward pass of a copy on the meta device: what each module's first call returned, in that
    order, and its FLOP.
    """

    def __init__(self, model: SegmentationModel, size: int) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
        self.flop: Counter[str] = Counter()
        self.padded_size = size
        self.counter = FlopCounterMode(display=False)
        model = copy.deepcopy(model).to("meta").eval()
        model.encoder.register_forward_pre_hook(self._note_padding)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(partial(self._enter, name))
            module.register_forward_hook(partial(self._leave, name))
        with self.counter, torch.no_grad():
            model(torch.empty(1, model.in_channels, size, size, device="meta"))

    def _note_padding(self, module: nn.Module, inputs: Any) -> None:
        self.padded_size = inputs[0].shape[-1]

    def _enter(self, name: str, module: nn.Module, inputs: Any) -> None:
        self.flop[name] -= self.counter.get_total_flops()

    def _leave(self, name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        self.flop[name] += self.counter.get_total_flops()
        self.shapes.setdefault(name, tuple(_shapes(output)))

    def rows(self, name: str, module: nn.Module, depth: int) -> dict[str, LayerRow]:
        """By name, a module's parts down to `depth` called modules below it; under its own name
        what they leave over, if anything.
        """
        rows: dict[str, LayerRow] = {}
        for child_name, child in module.named_children():
            path = f"{name}.{child_name}".removeprefix(".")
            below = depth - (path in self.shapes)
            if below and any(child.children()):
                rows |= self.rows(path, child, below)
            else:
                rows[path] = LayerRow(
                    path, self.shapes.get(path, ()), _num_parameters(child), self.flop[path]
                )
        num_parameters = _num_parameters(module) - sum(row.num_parameters for row in rows.values())
        flop = (
            self.flop[name] - sum(row.flop for row in rows.values()) if name in self.shapes else 0
        )
        rest = LayerRow(f"{name or 'network'} (rest)", (), num_parameters, flop)
        return rows | ({name: rest} if num_parameters or flop else {})


def _shapes(output: Any) -> list[tuple[int, ...]]:
    """Shapes without the batch of all tensors in an output."""
    if isinstance(output, torch.Tensor):
        return [tuple(output.shape[1:])]
    return (
        [shape for part in output for shape in _shapes(part)]
        if isinstance(output, list | tuple)
        else []
    )


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _seconds(step: Callable[[], object]) -> float:
    """Median time of a call, on as many threads as PyTorch uses."""
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=1.0).median
