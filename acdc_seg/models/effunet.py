"""Eff-UNet: Baheti et al., "Eff-UNet: a novel architecture for semantic segmentation", CVPR
workshops 2020.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from acdc_seg.models.backbones.efficientnet import STRIDE, EfficientNetEncoder, Variant
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import init_kaiming
from acdc_seg.models.unet import double_conv, make_upsample

DECODER_CHANNELS = (256, 128, 64, 32, 16)  # at strides 16, 8, 4, 2 and 1


class EffUNet(SegmentationModel):
    """U-Net whose encoder is an EfficientNet; the options are those of `EffUNetConfig`."""

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        variant: Variant,
        concat_input: bool,
        drop_connect: float,
    ) -> None:
        encoder = EfficientNetEncoder(in_channels, variant=variant, drop_connect=drop_connect)
        decoder = EffUNetDecoder(encoder.out_channels, concat_input=concat_input)
        head = nn.Conv2d(DECODER_CHANNELS[-1], num_classes, 1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        min_size = 2 * STRIDE  # BatchNorm needs more than one value, also of a single image
        super().__init__(
            encoder, decoder, head, in_channels=in_channels, multiple=STRIDE, min_size=min_size
        )


class EffUNetDecoder(nn.Module):
    """Per level, from the deepest: upsampling, the encoder's map concatenated, two convolutions.

    Args:
        channels: Channels of the encoder's maps, the image's first.
        concat_input: Whether the last level concatenates the image, or nothing.
    """

    def __init__(self, channels: Sequence[int], *, concat_input: bool) -> None:
        super().__init__()
        self.concat_input = concat_input
        image, *skips, deepest = channels
        steps = pairwise([deepest, *DECODER_CHANNELS])
        concatenated = [*reversed(skips), image if concat_input else 0]
        self.up = make_upsample(deepest, deepest, upsample="bilinear")
        self.levels = nn.ModuleList(
            double_conv(deep + skip, fine, norm=True, bias=False)
            for (deep, fine), skip in zip(steps, concatenated, strict=True)
        )

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        """Maps the encoder's features to `(B, 16, H, W)`."""
        image, *skips, x = features
        concatenated = [*reversed(skips), image if self.concat_input else None]
        for level, skip in zip(self.levels, concatenated, strict=True):
            x = self.up(x)
            x = level(x if skip is None else torch.cat([skip, x], dim=1))
        return x
