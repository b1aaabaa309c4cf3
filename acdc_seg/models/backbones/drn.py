"""Dilated residual networks: Yu, Koltun and Funkhouser, "Dilated residual networks", CVPR 2017.

Parameter names are those of the public `drn_d_54` checkpoint.
"""

from math import sqrt
from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.blocks import Bottleneck, conv_norm_relu


class DRNLevel(NamedTuple):
    """A level of the paper's figure; only its first block strides."""

    kind: str
    blocks: int
    channels: int
    stride: int
    dilation: int


DRN_D_54 = (
    DRNLevel("conv", blocks=1, channels=16, stride=1, dilation=1),
    DRNLevel("conv", blocks=1, channels=32, stride=2, dilation=1),
    DRNLevel("bottleneck", blocks=3, channels=64, stride=2, dilation=1),
    DRNLevel("bottleneck", blocks=4, channels=128, stride=2, dilation=1),
    DRNLevel("bottleneck", blocks=6, channels=256, stride=1, dilation=2),
    DRNLevel("bottleneck", blocks=3, channels=512, stride=1, dilation=4),
    DRNLevel("conv", blocks=1, channels=512, stride=1, dilation=2),
    DRNLevel("conv", blocks=1, channels=512, stride=1, dilation=1),
)


class DRN54(nn.Module):
    """DRN-D-54, without its classifier; output stride 8."""

    low_channels = 256
    out_channels = 512
    public_weights = "drn_d_54"

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.layer0 = conv_norm_relu(in_channels, 16, 7)
        channels = 16
        for number, level in enumerate(DRN_D_54, start=1):
            layer, channels = _build_level(level, channels)
            self.add_module(f"layer{number}", layer)
        self.apply(_init)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to `(B, 256, H/4, W/4)` and `(B, 512, H/8, W/8)`."""
        for name, layer in self.named_children():
            x = layer(x)
            if name == "layer3":
                low = x
        return low, x


def _build_level(level: DRNLevel, in_channels: int) -> tuple[nn.Sequential, int]:
    """The layers of a level and their output channels."""
    channels, stride, dilation = level.channels, level.stride, level.dilation
    if level.kind == "conv":
        return conv_norm_relu(in_channels, channels, stride=stride, dilation=dilation), channels
    out_channels = channels * Bottleneck.expansion
    blocks = [Bottleneck(in_channels, channels, stride=stride, dilation=dilation)]
    for _ in range(level.blocks - 1):
        blocks.append(Bottleneck(out_channels, channels, stride=1, dilation=dilation))
    return nn.Sequential(*blocks), out_channels


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, sqrt(2 / fan_out))
