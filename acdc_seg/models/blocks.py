"""Layers that several networks share."""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.runtime.tracing import is_tracing


class AtrousConv2d(nn.Conv2d):
    """A 3x3 convolution with padding equal to its dilation that does not multiply by padding.

    Where the dilation reaches the height of the map, the upper and lower taps fall on zero padding
    at every position; likewise the left and right taps and the width. Those taps are left out: same
    output, same gradients (theirs are zero), down to 1/9 of the work. Parameters are those of
    `nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dilation: int,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride, dilation, dilation, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, ceil(H/stride), ceil(W/stride))`."""
        (rows, row_padding), (columns, column_padding) = map(self._live_taps, x.shape[-2:])
        if row_padding and column_padding:
            return super().forward(x)
        weight = self.weight[:, :, rows, columns]  # (out_channels, in_channels, 1 or 3, 1 or 3)
        return F.conv2d(
            x, weight, self.bias, self.stride, (row_padding, column_padding), self.dilation
        )

    def _live_taps(self, size: int) -> tuple[slice, int]:
        """The taps that ever meet the map along an axis of this size, and their padding."""
        dilation = self.dilation[0]
        if is_tracing():  # an exported network meets maps of any size
            return slice(None), dilation
        return (slice(1, 2), 0) if dilation >= size else (slice(None), dilation)


def conv_norm_relu(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    bias: bool = False,
    norm: bool = True,
) -> nn.Sequential:
    """Convolution with 'same' padding, BatchNorm if `norm`, ReLU; dilation is for 3x3 kernels."""
    conv: nn.Conv2d
    if dilation > 1:
        conv = AtrousConv2d(in_channels, out_channels, dilation=dilation, stride=stride, bias=bias)
    else:
        padding = kernel_size // 2
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
    layers = [conv, nn.BatchNorm2d(out_channels)] if norm else [conv]
    return nn.Sequential(*layers, nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    """Residual block (He 2016): 1x1 to `channels`, 3x3, 1x1 to four times `channels`."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = AtrousConv2d(channels, channels, dilation=dilation, stride=stride, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = projection(in_channels, out_channels, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, 4 * channels, H / stride, W / stride)`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + shortcut)


def max_unpool(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Maps `(B, C, H, W)` to `(B, C, 2 H, 2 W)`, values where 2x2 max-pooling took them from.

    While it is traced, by an operation that ONNX has.
    """
    if not is_tracing():
        return F.max_unpool2d(x, indices, [2, 2])
    batch, channels, height, width = x.shape
    zeros = x.new_zeros(batch, channels, 4 * height * width)
    flat = zeros.scatter(2, indices.flatten(2), x.flatten(2))
    return flat.view(batch, channels, 2 * height, 2 * width)


def projection(
    in_channels: int, out_channels: int, *, stride: int, bias: bool = False
) -> nn.Sequential:
    """Shortcut of a residual block that changes the shape: 1x1 convolution and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=bias),
        nn.BatchNorm2d(out_channels),
    )


def dilate(strides: Iterable[int], *, output_stride: int) -> Iterator[tuple[int, int]]:
    """Stride and dilation of each layer of a network whose resolution stays at `output_stride`.

    Once that is reached a layer does not stride; instead, the layers after it are dilated by as
    much as its stride would have reduced the map.
    """
    reached, dilation = 1, 1
    for stride in strides:
        if reached < output_stride:
            reached *= stride
            yield stride, dilation
        else:
            yield 1, dilation
            dilation *= stride


def init_kaiming(module: nn.Module) -> None:
    """Kaiming-normal weights and zero biases (He 2015) for a convolution; for `Module.apply`."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
