"""U-Net: Ronneberger et al., "U-Net: convolutional networks for biomedical image segmentation",
MICCAI 2015.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import nn

from acdc_seg.models.base import MIN_SIZE, SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

Upsample = Literal["transpose", "bilinear", "bilinear_conv1x1"]


class UNet(SegmentationModel):
    """U-Net with 'same' padding; the options are those of `UNetConfig`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        depth: int,
        base_channels: int,
        upsample: Upsample,
        norm: Literal["batch", "none"],
        conv_bias: bool,
        dropout: float,
    ) -> None:
        channels = [base_channels * 2**level for level in range(depth)]
        stride = 2 ** (depth - 1)
        has_norm = norm == "batch"
        super().__init__(
            encoder=UNetEncoder(
                in_channels, channels, norm=has_norm, bias=conv_bias, dropout=dropout
            ),
            decoder=UNetDecoder(channels, upsample=upsample, norm=has_norm, bias=conv_bias),
            head=nn.Conv2d(base_channels, num_classes, 1),
            in_channels=in_channels,
            multiple=stride,
            # BatchNorm needs more than one value, also of a single image
            min_size=max(MIN_SIZE, 2 * stride),
        )
        self.apply(init_kaiming)


class UNetEncoder(nn.Module):
    """Two 3x3 convolutions per level, 2x2 max-pooling between levels."""

    def __init__(
        self, in_channels: int, channels: Sequence[int], *, norm: bool, bias: bool, dropout: float
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for before, after in pairwise([in_channels, *channels]):
            level_dropout = dropout if after == channels[-1] else 0.0
            self.levels.append(
                double_conv(before, after, norm=norm, bias=bias, dropout=level_dropout)
            )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """One feature map per level, `(B, channels[i], H / 2**i, W / 2**i)`."""
        features = [self.levels[0](x)]
        for level in list(self.levels)[1:]:
            features.append(level(self.pool(features[-1])))
        return features


class UNetDecoder(nn.Module):
    """Per level, from the deepest: upsampling, the encoder's map concatenated, two convolutions."""

    def __init__(
        self, channels: Sequence[int], *, upsample: Upsample, norm: bool, bias: bool
    ) -> None:
        super().__init__()
        steps = list(pairwise(reversed(channels)))
        self.ups = nn.ModuleList(make_upsample(*step, upsample=upsample) for step in steps)
        self.levels = nn.ModuleList()
        for deep, fine in steps:
            upsampled = deep if upsample == "bilinear" else fine
            self.levels.append(double_conv(fine + upsampled, fine, norm=norm, bias=bias))

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Maps the encoder's features to `(B, channels[0], H, W)`."""
        *skips, x = features
        for up, level, skip in zip(self.ups, self.levels, reversed(skips), strict=True):
            x = level(torch.cat([skip, up(x)], dim=1))
        return x


def double_conv(
    in_channels: int, out_channels: int, *, norm: bool, bias: bool, dropout: float = 0.0
) -> nn.Sequential:
    """Two 3x3 convolutions with dropout between them."""
    return nn.Sequential(
        conv_norm_relu(in_channels, out_channels, bias=bias, norm=norm),
        nn.Dropout(dropout),
        conv_norm_relu(out_channels, out_channels, bias=bias, norm=norm),
    )


def make_upsample(in_channels: int, out_channels: int, *, upsample: Upsample) -> nn.Module:
    """Doubles height and width; plain `bilinear` keeps the channels.

    The 1x1 convolution of `bilinear_conv1x1` is before the interpolation: both are linear and the
    interpolation's weights sum to one, so the order does not change the result, but this one
    convolves a quarter of the pixels.
    """
    if upsample == "transpose":
        return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
    bilinear = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    if upsample == "bilinear":
        return bilinear
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), bilinear)
