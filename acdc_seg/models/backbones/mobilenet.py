"""MobileNetV2: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018.

Parameter names are those of the public `mobilenet_v2` checkpoint.
"""

from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.blocks import dilate, init_kaiming


class MobileNetRow(NamedTuple):
    """A row of the paper's table: expansion t, channels c, number n of blocks, first stride s."""

    t: int
    c: int
    n: int
    s: int


STEM_CHANNELS = 32
STEM_STRIDE = 2
MOBILENET_V2 = (
    MobileNetRow(t=1, c=16, n=1, s=1),
    MobileNetRow(t=6, c=24, n=2, s=2),
    MobileNetRow(t=6, c=32, n=3, s=2),
    MobileNetRow(t=6, c=64, n=4, s=2),
    MobileNetRow(t=6, c=96, n=3, s=1),
    MobileNetRow(t=6, c=160, n=3, s=2),
    MobileNetRow(t=6, c=320, n=1, s=1),
)
LOW_LAYER = 3  # the last layer at stride 4


class MobileNetV2(nn.Module):
    """MobileNetV2 up to its 320 channels, without the last 1x1 convolution and the classifier.

    Args:
        in_channels: Channels of the image.
        output_stride: Resolution of the last map, 8 or 16; further strides become dilations.
    """

    low_channels = 24
    out_channels = 320
    public_weights = "mobilenet_v2"

    def __init__(self, in_channels: int, *, output_stride: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_norm_relu6(in_channels, STEM_CHANNELS, 3, stride=STEM_STRIDE)
        )
        strides = [STEM_STRIDE]
        for row in MOBILENET_V2:
            strides += [row.s] + [1] * (row.n - 1)
        _, *steps = dilate(strides, output_stride=output_stride)
        rows = [row for row in MOBILENET_V2 for _ in range(row.n)]
        channels = STEM_CHANNELS
        for row, (stride, dilation) in zip(rows, steps, strict=True):
            self.features.append(
                InvertedResidual(channels, row.c, expansion=row.t, stride=stride, dilation=dilation)
            )
            channels = row.c
        self.apply(init_kaiming)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to 24 channels at stride 4 and 320 at the output stride."""
        low = self.features[: LOW_LAYER + 1](x)
        return low, self.features[LOW_LAYER + 1 :](low)


class InvertedResidual(nn.Module):
    """1x1 to `expansion` times the channels, depthwise 3x3, linear 1x1; a shortcut if it fits."""

    def __init__(
        self, in_channels: int, out_channels: int, *, expansion: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        expand = [conv_norm_relu6(in_channels, hidden, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *expand,
            conv_norm_relu6(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H / stride, W / stride)`."""
        return x + self.conv(x) if self.residual else self.conv(x)


def conv_norm_relu6(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution with 'same' padding, BatchNorm, ReLU6."""
    padding = kernel_size // 2 * dilation
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias=False
    )
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU6(inplace=True))
