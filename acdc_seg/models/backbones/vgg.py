"""VGG: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
recognition", ICLR 2015.

Parameter names are those of the public `vgg16` and `vgg16_bn` checkpoints.
"""

from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.blocks import conv_norm_relu, init_kaiming


class VGGLevel(NamedTuple):
    """A group of rows of the paper's table: 3x3 convolutions, then 2x2 max-pooling."""

    convs: int
    channels: int


VGG16_LEVELS = (
    VGGLevel(convs=2, channels=64),
    VGGLevel(convs=2, channels=128),
    VGGLevel(convs=3, channels=256),
    VGGLevel(convs=3, channels=512),
    VGGLevel(convs=3, channels=512),
)


class VGG16(nn.Module):
    """The thirteen convolutions of VGG-16, without its classifier; output stride 32.

    Args:
        in_channels: Channels of the image.
        norm: BatchNorm after every convolution (`vgg16_bn`), or nothing (`vgg16`).
    """

    def __init__(self, in_channels: int, *, norm: bool) -> None:
        super().__init__()
        self.public_weights = "vgg16_bn" if norm else "vgg16"
        layers: list[nn.Module] = []
        channels = in_channels
        for level in VGG16_LEVELS:
            for _ in range(level.convs):
                layers += conv_norm_relu(channels, level.channels, bias=True, norm=norm)
                channels = level.channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.apply(init_kaiming)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to the five pooled maps, at strides 2, 4, 8, 16 and 32."""
        features = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                features.append(x)
        return features
