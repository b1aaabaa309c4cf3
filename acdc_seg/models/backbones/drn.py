"""Dilated residual networks: Yu, Koltun and Funkhouser, "Dilated residual networks", CVPR 2017.

Parameter names are those of the public `drn_d_54` checkpoint.
"""

from math import sqrt
from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.blocks import Bottleneck, conv_norm_relu


class Stage(NamedTuple):
    """One row of the architecture's table."""

    kind: str
    blocks: int
    channels: int
    stride: int
    dilation: int


DRN_D_54 = (
    Stage("conv", blocks=1, channels=16, stride=1, dilation=1),
    Stage("conv", blocks=1, channels=32, stride=2, dilation=1),
    Stage("bottleneck", blocks=3, channels=64, stride=2, dilation=1),
    Stage("bottleneck", blocks=4, channels=128, stride=2, dilation=1),
    Stage("bottleneck", blocks=6, channels=256, stride=1, dilation=2),
    Stage("bottleneck", blocks=3, channels=512, stride=1, dilation=4),
    Stage("conv", blocks=1, channels=512, stride=1, dilation=2),
    Stage("conv", blocks=1, channels=512, stride=1, dilation=1),
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
        for number, stage in enumerate(DRN_D_54, start=1):
            layer, channels = _build_stage(stage, channels)
            self.add_module(f"layer{number}", layer)
        self.apply(_init)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to `layer3`, `(B, 256, H/4, W/4)`, and `layer8`, `(B, 512,
        H/8, W/8)`, sizes rounded up.
        """
        for name, layer in self.named_children():
            x = layer(x)
            if name == "layer3":
                low = x
        return low, x


def _build_stage(stage: Stage, in_channels: int) -> tuple[nn.Sequential, int]:
    """The layers of a stage and their output channels; only the first block strides."""
    if stage.kind == "conv":
        return conv_norm_relu(
            in_channels, stage.channels, stride=stage.stride, dilation=stage.dilation
        ), stage.channels
    out_channels = stage.channels * Bottleneck.expansion
    first = Bottleneck(in_channels, stage.channels, stride=stage.stride, dilation=stage.dilation)
    others = [
        Bottleneck(out_channels, stage.channels, stride=1, dilation=stage.dilation)
        for _ in range(stage.blocks - 1)
    ]
    return nn.Sequential(first, *others), out_channels


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(
            module.weight,
            0.0,
            sqrt(2 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels)),
        )
