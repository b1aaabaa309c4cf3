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
    """Residual block: two 3x3 convolutions beside a 1x1 convolution, all with bias and BatchNorm;
    the sum stays linear.
    """

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


class Architecture(NamedTuple):
    """The kind of block, and how many of them `layer1` to `layer4` have."""

    block: type[BasicBlock | ProjectedBlock | Bottleneck]
    repeats: tuple[int, int, int, int]
    public: bool = True


class Layer(NamedTuple):
    """The channels inside a layer's blocks, the stride of the first block, and the dilation of the
    others.
    """

    channels: int
    stride: int
    dilation: int


ARCHITECTURES = {
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet34_projected": Architecture(ProjectedBlock, (3, 4, 6, 3), public=False),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Architecture(Bottleneck, (3, 4, 23, 3)),
}
STEM_CHANNELS = 64
LAYERS = {
    8: (Layer(64, 1, 1), Layer(128, 2, 1), Layer(256, 1, 2), Layer(512, 1, 4)),
    16: (Layer(64, 1, 1), Layer(128, 2, 1), Layer(256, 2, 1), Layer(512, 1, 2)),
    32: (Layer(64, 1, 1), Layer(128, 2, 1), Layer(256, 2, 1), Layer(512, 2, 1)),
}
"""The four layers, by output stride."""
INITIAL_SCALES: dict[type[nn.Module], dict[str, float]] = {
    BasicBlock: {"bn2": 0.25},
    Bottleneck: {"bn3": 0.25},
    ProjectedBlock: {"convs.2": 0.5, "shortcut.1": 0.5},
}
"""First weights of the BatchNorms before an addition, after Goyal et al., "Accurate, large
minibatch SGD", 2017, who begin at 0.
"""


class ResNet(nn.Module):
    """ResNet without its classifier; from the output stride on, dilation takes the place of
    strides.

    Its feature maps, the finest first: `stem` `(B, 64, H/2, W/2)`; then `layer1` at a quarter of
    the resolution, `layer2`, `layer3` and `layer4`, of 64, 128, 256 and 512 channels in ResNet-34,
    of 256, 512, 1024 and 2048 in the deeper ones. Each of the last three halves the resolution
    until the output stride is reached. Sizes are rounded up.

    DeepLabV3 asks for `layer4`, DeepLabV3+ for `layer1` and `layer4` (`low_channels` and
    `out_channels`), a U-Net for all.

    Args:
        name: Key of `ARCHITECTURES`.
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
        block, repeats, public = ARCHITECTURES[name]
        if public:
            self.public_weights = name
        self.features = tuple(features)
        self.conv1 = nn.Conv2d(in_channels, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        layers = LAYERS[output_stride]
        dilations = _dilations(layers, repeats, multi_grid)
        channels = STEM_CHANNELS
        for number, (layer, rates) in enumerate(zip(layers, dilations, strict=True), start=1):
            self.add_module(f"layer{number}", _build_layer(block, channels, layer, rates))
            channels = layer.channels * block.expansion
        self.low_channels = layers[0].channels * block.expansion
        self.out_channels = channels
        self.apply(_init)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to the feature maps asked for."""
        x = self.relu(self.bn1(self.conv1(x)))
        maps = {"stem": x}
        x = self.maxpool(x)
        for name in ("layer1", "layer2", "layer3", "layer4"):
            x = maps[name] = self.get_submodule(name)(x)
        return [maps[name] for name in self.features]


def _dilations(
    layers: Sequence[Layer], repeats: Sequence[int], multi_grid: Sequence[int] | None
) -> list[list[int]]:
    """The dilation of every block of every layer."""
    before = [layers[0], *layers[:-1]]
    rows = zip(before, layers, repeats, strict=True)
    dilations = [
        [previous.dilation] + [layer.dilation] * (count - 1) for previous, layer, count in rows
    ]
    if multi_grid is not None:
        dilations[-1] = [layers[-1].dilation * unit for unit in multi_grid]
    return dilations


def _build_layer(
    block: type[BasicBlock | ProjectedBlock | Bottleneck],
    in_channels: int,
    layer: Layer,
    dilations: Sequence[int],
) -> nn.Sequential:
    """One block per dilation; only the first one strides."""
    first, *others = dilations
    return nn.Sequential(
        block(in_channels, layer.channels, stride=layer.stride, dilation=first),
        *(
            block(layer.channels * block.expansion, layer.channels, stride=1, dilation=dilation)
            for dilation in others
        ),
    )


def _init(module: nn.Module) -> None:
    """Kaiming weights; the last BatchNorm of a residual branch starts small, so that sums do not
    grow from block to block.
    """
    init_kaiming(module)
    for name, scale in INITIAL_SCALES.get(type(module), {}).items():
        nn.init.constant_(module.get_submodule(name).get_parameter("weight"), scale)
