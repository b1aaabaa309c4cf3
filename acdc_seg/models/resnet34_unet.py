"""U-Net (Ronneberger et al., MICCAI 2015) on ResNet-34 (He et al., CVPR 2016)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from acdc_seg.models.backbones.resnet import ResNet
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import init_kaiming
from acdc_seg.models.unet import UNetDecoder, double_conv, make_upsample

ENCODERS = {"always": "resnet34_projected", "resnet": "resnet34"}
STRIDE = 32
STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
TOP_CHANNELS = 32


class ResNet34UNet(SegmentationModel):
    """U-Net on the stem and layers of ResNet-34; the options are those of `ResNet34UNetConfig`."""

    def __init__(
        self, in_channels: int, num_classes: int, *, shortcuts: Literal["always", "resnet"]
    ) -> None:
        decoder = ResNet34UNetDecoder()
        head = nn.Sequential(
            nn.Conv2d(TOP_CHANNELS, num_classes, 1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        )
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(
            encoder=ResNet(
                ENCODERS[shortcuts],
                in_channels,
                output_stride=STRIDE,
                features=["stem", "layer1", "layer2", "layer3", "layer4"],
            ),
            decoder=decoder,
            head=head,
            in_channels=in_channels,
            multiple=STRIDE,
            min_size=2 * STRIDE,  # BatchNorm needs more than one value, also of a single image
        )


class ResNet34UNetDecoder(nn.Module):
    """Two convolutions on the deepest map, a U-Net's decoder to `layer1`, a last step to the stem.

    The network ends with upsampling and two 1x1 convolutions, one here and one in the head. All
    three are linear, so the upsampling is last: the result is the same, at a fraction of the work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bottleneck = double_conv(CHANNELS[-1], CHANNELS[-1], norm=True, bias=True)
        self.unet = UNetDecoder(CHANNELS, upsample="bilinear_conv1x1", norm=True, bias=True)
        self.up = make_upsample(CHANNELS[0], TOP_CHANNELS, upsample="bilinear_conv1x1")
        self.level = double_conv(STEM_CHANNELS + TOP_CHANNELS, STEM_CHANNELS, norm=True, bias=True)
        self.last = nn.Conv2d(STEM_CHANNELS, TOP_CHANNELS, 1)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps the encoder's five feature maps to `(B, 32, H/2, W/2)`."""
        stem, *skips, deepest = features
        x = self.unet([*skips, self.bottleneck(deepest)])
        return self.last(self.level(torch.cat([stem, self.up(x)], dim=1)))
