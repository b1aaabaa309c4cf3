"""Aligned Xception: Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR
2017, as modified by Chen, Zhu, Papandreou, Schroff and Adam, "Encoder-decoder with atrous separable
convolution", ECCV 2018.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.backbones.mobilenet import dilate
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming, projection


class Row(NamedTuple):
    """Equal blocks: the channels of their three separable convolutions, and the stride of the last
    of these.
    """

    blocks: int
    channels: tuple[int, int, int]
    stride: int
    residual: bool = True


STEM_CHANNELS = (32, 64)
STEM_STRIDE = 2
XCEPTION_65 = (
    Row(blocks=1, channels=(128, 128, 128), stride=2),  # entry flow
    Row(blocks=1, channels=(256, 256, 256), stride=2),
    Row(blocks=1, channels=(728, 728, 728), stride=2),
    Row(blocks=16, channels=(728, 728, 728), stride=1),  # middle flow
    Row(blocks=1, channels=(728, 1024, 1024), stride=2),  # exit flow
    Row(blocks=1, channels=(1536, 1536, 2048), stride=1, residual=False),
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
        _, *atrous = dilate(
            [STEM_STRIDE, *(row.stride for row in rows)], output_stride=output_stride
        )
        self.blocks = nn.ModuleList()
        for row, (stride, dilation) in zip(rows, atrous, strict=True):
            self.blocks.append(
                XceptionBlock(
                    channels, row.channels, stride=stride, dilation=dilation, residual=row.residual
                )
            )
            channels = row.channels[-1]
        self.apply(init_kaiming)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to `(B, 128, H/4, W/4)` and `(B, 2048, H/output_stride,
        W/output_stride)`, sizes rounded up.
        """
        first, *others = self.blocks
        low = x = first(self.stem(x))
        for block in others:
            x = block(x)
        return low, F.relu(x)


class XceptionBlock(nn.Module):
    """Three separable convolutions, the last one strides; beside them, if `residual`, the input or
    a 1x1 convolution of it.
    """

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
        steps = zip(pairwise([in_channels, *channels]), (1, 1, stride), strict=True)
        self.convs = nn.Sequential(
            *(
                separable(before, after, stride=step, dilation=dilation)
                for (before, after), step in steps
            )
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


def separable(in_channels: int, out_channels: int, *, stride: int, dilation: int) -> nn.Sequential:
    """ReLU; a 3x3 convolution of every channel alone, BatchNorm, ReLU; a 1x1 convolution,
    BatchNorm.
    """
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
