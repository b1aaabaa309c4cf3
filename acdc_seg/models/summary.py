"""Summary of a network: shapes, parameters, FLOP, and its speed on a machine."""

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

from acdc_seg.models.base import SegmentationModel, to_memory_format


@dataclass(frozen=True)
class ModelSummary:
    """Cost of one image.

    Attributes:
        num_parameters: Weights and biases.
        flop: Of the forward pass in eval mode, a multiply-add being 2 FLOP; PyTorch counts
            convolutions, matrix products and attention.
        output_stride: Image size by that of the encoder's smallest map, as a power of two.
    """

    num_parameters: int
    flop: int
    output_stride: int


@dataclass(frozen=True)
class LayerSummary:
    """One part of a network.

    Attributes:
        name: Its name in the state dict.
        shapes: `(C, H, W)` of its first call's outputs; none if it only holds parameters.
        num_parameters: Weights and biases in it.
        flop: Of all its calls.
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


def summarize_model(model: SegmentationModel, *, size: int) -> ModelSummary:
    """Parameters, FLOP and output stride for images `(in_channels, size, size)`.

    Only shapes are computed, so weights may be on the meta device, and the model is not changed.
    """
    trace = _Trace(model, size)
    smallest = min(shape[-1] for shape in trace.shapes["encoder"] if len(shape) == 3)
    stride = 2 ** round(math.log2(trace.padded_size / smallest))
    return ModelSummary(_num_parameters(model), trace.flop[""], stride)


def summarize_layers(model: SegmentationModel, *, size: int, depth: int) -> list[LayerSummary]:
    """The network's parts in the order of their first calls.

    Parameters and FLOP add up to those of `summarize_model`: if a part has more than its own parts
    have together, the difference is a row that says "rest".

    Args:
        model: The network.
        size: Height and width of the image.
        depth: Levels of nesting; 1 gives encoder, decoder and head. Containers that are not called,
            such as `nn.ModuleList`, do not count as a level.
    """
    trace = _Trace(model, size)
    rows = trace.rows("", model, depth)
    called = [rows.pop(name) for name in trace.shapes if name in rows]
    return [*called, *rows.values()]


def measure_speed(
    model: SegmentationModel,
    *,
    size: int,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Speed:
    """Times training steps (forward, cross-entropy, backward, AdamW) and predictions.

    The model is moved to the device, laid out as in training, and its weights are changed.

    Args:
        model: The network.
        size: Height and width of the random images.
        batch_size: Images in a batch.
        device: The device to measure.
        dtype: Autocast's type; float32 is without autocast.
    """
    model = to_memory_format(model.to(device))
    images = torch.randn(batch_size, model.in_channels, size, size, device=device)  # noqa: TID251
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
    """A forward pass of a copy on the meta device: shapes of first outputs, in order, and FLOP."""

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

    def rows(self, name: str, module: nn.Module, depth: int) -> dict[str, LayerSummary]:
        """A module's parts, down to `depth` called modules, by name; its own name has the rest."""
        rows: dict[str, LayerSummary] = {}
        for child_name, child in module.named_children():
            path = f"{name}.{child_name}".removeprefix(".")
            levels = depth - (path in self.shapes)
            if levels and any(child.children()):
                rows |= self.rows(path, child, levels)
            else:
                shapes = self.shapes.get(path, ())
                rows[path] = LayerSummary(path, shapes, _num_parameters(child), self.flop[path])
        num_parameters = _num_parameters(module) - sum(row.num_parameters for row in rows.values())
        flop = 0
        if name in self.shapes:
            flop = self.flop[name] - sum(row.flop for row in rows.values())
        if num_parameters or flop:
            rows[name] = LayerSummary(f"{name or 'network'} (rest)", (), num_parameters, flop)
        return rows


def _shapes(output: Any) -> list[tuple[int, ...]]:
    """Shapes without the batch of all tensors in an output."""
    if isinstance(output, torch.Tensor):
        return [tuple(output.shape[1:])]
    parts = output if isinstance(output, list | tuple) else ()
    return [shape for part in parts for shape in _shapes(part)]


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _seconds(step: Callable[[], object]) -> float:
    """Median time of a call, on as many threads as PyTorch uses."""
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=1.0).median
