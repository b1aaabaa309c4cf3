"""Residual networks: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR
2016.

Parameter names are those of the public `resnet34`, `resnet50` and `resnet101` checkpoints.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import nn

from acdc_seg.models.blocks import (
    AtrousConv2d,
    Bottleneck,
    conv_norm_relu,
    dilate,
    init_kaiming,
    projection,
)

Feature = Literal["stem", "layer1", "layer2", "layer3", "layer4"]


class BasicBlock(nn.Module):
    """Residual block: two 3x3 convolutions, equally dilated."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = AtrousConv2d(
            in_channels, channels, dilation=dilation, stride=stride, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = AtrousConv2d(channels, channels, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = projection(in_channels, channels, stride=stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, channels, H / stride, W / stride)`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + shortcut)


class ProjectedBlock(nn.Module):
    """Residual block with a 1x1 convolution as shortcut and no ReLU after the sum; with biases."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, *, stride: int, dilation: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            conv_norm_relu(in_channels, channels, stride=stride, dilation=dilation, bias=True),
            AtrousConv2d(channels, channels, dilation=dilation),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = projection(in_channels, channels, stride=stride, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, channels, H / stride, W / stride)`."""
        return self.convs(x) + self.shortcut(x)


ResidualBlock = BasicBlock | ProjectedBlock | Bottleneck


class ResNetVariant(NamedTuple):
    """A column of the paper's table: the block, and the number of them in `layer1` to `layer4`."""

    block: type[ResidualBlock]
    num_blocks: tuple[int, int, int, int]
    public: bool = True


VARIANTS = {
    "resnet34": ResNetVariant(BasicBlock, (3, 4, 6, 3)),
    "resnet34_projected": ResNetVariant(ProjectedBlock, (3, 4, 6, 3), public=False),
    "resnet50": ResNetVariant(Bottleneck, (3, 4, 6, 3)),
    "resnet101": ResNetVariant(Bottleneck, (3, 4, 23, 3)),
}
STEM_CHANNELS = 64
STEM_STRIDES = (2, 2)  # convolution, max-pooling
CHANNELS = (64, 128, 256, 512)  # inside the blocks of layer1 to layer4
STRIDES = (1, 2, 2, 2)  # of their first blocks
INITIAL_SCALES: dict[type[nn.Module], dict[str, float]] = {
    BasicBlock: {"bn2": 0.25},
    Bottleneck: {"bn3": 0.25},
    ProjectedBlock: {"convs.2": 0.5, "shortcut.1": 0.5},
}
"""First weights of the BatchNorms before a sum (zero in Goyal et al., arXiv 1706.02677)."""


class ResNet(nn.Module):
    """ResNet without its classifier; from the output stride on, dilation replaces strides.

    Its feature maps, the finest first: `stem` `(B, 64, H/2, W/2)`; then `layer1` at stride 4 and
    `layer2`, `layer3` and `layer4`, of 64, 128, 256 and 512 channels in ResNet-34, of 256, 512,
    1024 and 2048 in the deeper ones. Each of the last three halves the resolution until the output
    stride is reached. Sizes are rounded up.

    DeepLabV3 takes `layer4`, DeepLabV3+ `layer1` and `layer4` (`low_channels` and `out_channels`),
    a U-Net all.

    Args:
        name: Key of `VARIANTS`.
        in_channels: Channels of the image.
        output_stride: Resolution of the last map, 8, 16 or 32.
        features: The maps that `forward` gives.
        multi_grid: Dilations of the three blocks of `layer4`, in multiples of that layer's dilation
            (Chen et al., "Rethinking atrous convolution for semantic image segmentation", 2017).
            Without it, the first block of a layer has the dilation of the layer before: with
            bottlenecks, the network then computes what the strided one does, at more positions.
    """

    public_weights: str
    """Name of the public checkpoint; only networks that have one have this."""

    def __init__(
        self,
        name: str,
        in_channels: int,
        *,
        output_stride: int,
        features: Sequence[Feature],
        multi_grid: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        block, num_blocks, public = VARIANTS[name]
        if public:
            self.public_weights = name
        self.features = tuple(features)
        self.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        strides = list(STEM_STRIDES)
        for stride, count in zip(STRIDES, num_blocks, strict=True):
            strides += [stride] + [1] * (count - 1)
        steps = list(dilate(strides, output_stride=output_stride))[len(STEM_STRIDES) :]
        if multi_grid is not None:
            rate = steps[-1][1]
            for index, unit in zip((-3, -2, -1), multi_grid, strict=True):
                steps[index] = (steps[index][0], rate * unit)
        channels = STEM_CHANNELS
        for number, (width, count) in enumerate(zip(CHANNELS, num_blocks, strict=True), start=1):
            blocks = []
            for stride, dilation in steps[:count]:
                blocks.append(block(channels, width, stride=stride, dilation=dilation))
                channels = width * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            steps = steps[count:]
        self.low_channels = CHANNELS[0] * block.expansion
        self.out_channels = channels
        self.apply(_init)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to the maps named in `features`."""
        x = self.relu(self.bn1(self.conv1(x)))
        maps = {"stem": x}
        x = self.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = maps[name] = self.get_submodule(name)(x)
        return [maps[name] for name in self.features]


def _init(module: nn.Module) -> None:
    """Kaiming weights; a branch's last BatchNorm starts small, so that sums do not grow."""
    init_kaiming(module)
    for name, scale in INITIAL_SCALES.get(type(module), {}).items():
        nn.init.constant_(module.get_submodule(name).get_parameter("weight"), scale)
