"""DeepLabV3+: Chen et al., "Encoder-decoder with atrous separable convolution", ECCV 2018."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.errors import ConfigError
from acdc_seg.models.aspp import ASPP, ASPP_CHANNELS, RATES
from acdc_seg.models.backbones.drn import DRN54
from acdc_seg.models.backbones.mobilenet import MobileNetV2
from acdc_seg.models.backbones.resnet import ResNet
from acdc_seg.models.backbones.xception import Xception
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

LOW_LEVEL_CHANNELS = 48

Backbone = DRN54 | ResNet | Xception | MobileNetV2


class DeepLabV3Plus(SegmentationModel):
    """DeepLabV3+ on one of four backbones, a key of `BACKBONES`.

    Raises:
        ConfigError: The backbone does not have this output stride.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        backbone: Literal["drn", "resnet101", "xception", "mobilenet"],
        output_stride: Literal[8, 16],
        dropout: float,
    ) -> None:
        encoder = BACKBONES[backbone](in_channels, output_stride=output_stride)
        decoder = DeepLabDecoder(
            encoder.low_channels, encoder.out_channels, rates=RATES[output_stride], dropout=dropout
        )
        head = nn.Conv2d(ASPP_CHANNELS, num_classes, 1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(encoder, decoder, head, in_channels=in_channels)


class DeepLabDecoder(nn.Module):
    """ASPP on the high-level map, then two 3x3 convolutions at the low-level map's resolution."""

    def __init__(
        self, low_channels: int, high_channels: int, *, rates: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        self.aspp = ASPP(high_channels, rates=rates, dropout=dropout)
        self.low_level = conv_norm_relu(low_channels, LOW_LEVEL_CHANNELS, 1)
        self.fuse = nn.Sequential(
            conv_norm_relu(ASPP_CHANNELS + LOW_LEVEL_CHANNELS, ASPP_CHANNELS),
            nn.Dropout(dropout),
            conv_norm_relu(ASPP_CHANNELS, ASPP_CHANNELS),
            nn.Dropout(0.1),
        )

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps the low `(B, low_channels, H, W)` and the high-level map to `(B, 256, H, W)`."""
        low, high = features
        size = low.shape[-2:]
        high = F.interpolate(self.aspp(high), size=size, mode="bilinear", align_corners=True)
        return self.fuse(torch.cat([high, self.low_level(low)], dim=1))


def _drn(in_channels: int, *, output_stride: int) -> DRN54:
    if output_stride != 8:
        raise ConfigError(
            f"output_stride={output_stride}: DRN-D-54 has output stride 8, take that or another "
            "backbone"
        )
    return DRN54(in_channels)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "drn": _drn,
    "resnet101": partial(ResNet, "resnet101", features=("layer1", "layer4"), multi_grid=(1, 2, 4)),
    "xception": Xception,
    "mobilenet": MobileNetV2,
}
