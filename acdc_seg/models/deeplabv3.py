"""DeepLabV3: Chen et al., "Rethinking atrous convolution for semantic image segmentation", 2017."""

from collections.abc import Sequence

import torch
from torch import nn

from acdc_seg.models.aspp import ASPP, ASPP_CHANNELS, RATES
from acdc_seg.models.backbones.resnet import ResNet
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

OUTPUT_STRIDE = 8


class DeepLabV3ResNet50(SegmentationModel):
    """DeepLabV3 on ResNet-50 at output stride 8, without an auxiliary head."""

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        encoder = ResNet("resnet50", in_channels, output_stride=OUTPUT_STRIDE, features=["layer4"])
        decoder = DeepLabV3Decoder(encoder.out_channels, dropout=dropout)
        head = nn.Conv2d(ASPP_CHANNELS, num_classes, 1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(encoder, decoder, head, in_channels=in_channels)


class DeepLabV3Decoder(nn.Module):
    """ASPP, then a 3x3 convolution, at the encoder's resolution."""

    def __init__(self, in_channels: int, *, dropout: float) -> None:
        super().__init__()
        self.aspp = ASPP(in_channels, rates=RATES[OUTPUT_STRIDE], dropout=dropout)
        self.conv = conv_norm_relu(ASPP_CHANNELS, ASPP_CHANNELS)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps the last feature map, `(B, in_channels, H, W)`, to `(B, 256, H, W)`."""
        return self.conv(self.aspp(features[-1]))
