"""Aligned Xception: Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR
2017, as modified by Chen et al., "Encoder-decoder with atrous separable convolution", ECCV 2018.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.blocks import conv_norm_relu, dilate, init_kaiming, projection


class XceptionRow(NamedTuple):
    """Equal blocks of three separable convolutions: their channels, and the last one's stride."""

    blocks: int
    channels: tuple[int, int, int]
    stride: int
    residual: bool = True


STEM_CHANNELS = (32, 64)
STEM_STRIDE = 2
XCEPTION_65 = (
    XceptionRow(blocks=1, channels=(128, 128, 128), stride=2),  # entry flow
    XceptionRow(blocks=1, channels=(256, 256, 256), stride=2),
    XceptionRow(blocks=1, channels=(728, 728, 728), stride=2),
    XceptionRow(blocks=16, channels=(728, 728, 728), stride=1),  # middle flow
    XceptionRow(blocks=1, channels=(728, 1024, 1024), stride=2),  # exit flow
    XceptionRow(blocks=1, channels=(1536, 1536, 2048), stride=1, residual=False),
)


class Xception(nn.Module):
    """Aligned Xception-65 without its classifier: separable convolutions stride in place of
    max-pooling.

    Args:
        in_channels: Channels of the image.
        output_stride: Resolution of the last map, 8 or 16; further strides become dilations.
    """

    low_channels = 128
    out_channels = 2048

    def __init__(self, in_channels: int, *, output_stride: int) -> None:
        super().__init__()
        first, channels = STEM_CHANNELS
        self.stem = nn.Sequential(
            conv_norm_relu(in_channels, first, stride=STEM_STRIDE), conv_norm_relu(first, channels)
        )
        rows = [row for row in XCEPTION_65 for _ in range(row.blocks)]
        strides = [STEM_STRIDE, *(row.stride for row in rows)]
        _, *steps = dilate(strides, output_stride=output_stride)
        self.blocks = nn.ModuleList()
        for row, (stride, dilation) in zip(rows, steps, strict=True):
            self.blocks.append(
                XceptionBlock(
                    channels, row.channels, stride=stride, dilation=dilation, residual=row.residual
                )
            )
            channels = row.channels[-1]
        self.apply(init_kaiming)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to 128 channels at stride 4, 2048 at the output stride."""
        low = x = self.blocks[0](self.stem(x))
        for block in self.blocks[1:]:
            x = block(x)
        return low, F.relu(x)


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last one strided; with a shortcut if `residual`."""

    def __init__(
        self,
        in_channels: int,
        channels: tuple[int, int, int],
        *,
        stride: int,
        dilation: int,
        residual: bool,
    ) -> None:
        super().__init__()
        first, second, third = channels
        self.convs = nn.Sequential(
            separable_conv(in_channels, first, dilation=dilation),
            separable_conv(first, second, dilation=dilation),
            separable_conv(second, third, stride=stride, dilation=dilation),
        )
        self.residual = residual
        self.shortcut = None
        if residual and (stride != 1 or in_channels != channels[-1]):
            self.shortcut = projection(in_channels, channels[-1], stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, channels[-1], H / stride, W / stride)`."""
        if not self.residual:
            return self.convs(x)
        return self.convs(x) + (x if self.shortcut is None else self.shortcut(x))


def separable_conv(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int
) -> nn.Sequential:
    """ReLU; a depthwise 3x3 convolution, BatchNorm, ReLU; a 1x1 convolution, BatchNorm."""
    return nn.Sequential(
        nn.ReLU(),  # not in place: a shortcut may need the input
        nn.Conv2d(
            in_channels, in_channels, 3, stride, dilation, dilation, groups=in_channels, bias=False
        ),
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )
