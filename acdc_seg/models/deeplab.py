"""DeepLabV3+: Chen, Zhu, Papandreou, Schroff and Adam, "Encoder-decoder with atrous separable convolution", ECCV 2018."""

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.backbones.drn import DRN54
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

ASPP_CHANNELS = 256
ASPP_RATES = (12, 24, 36)
LOW_LEVEL_CHANNELS = 48


class DeepLabDRN(SegmentationModel):
    """DeepLabV3+ on DRN-D-54 at output stride 8.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        dropout: Probability of dropout after the ASPP and after the decoder's first convolution.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        encoder = DRN54(in_channels)
        decoder = DeepLabDecoder(encoder.low_channels, encoder.out_channels, dropout=dropout)
        head = nn.Conv2d(ASPP_CHANNELS, num_classes, 1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(encoder, decoder, head, in_channels=in_channels)


class DeepLabDecoder(nn.Module):
    """ASPP on the high-level map, then two 3x3 convolutions with the low-level map at its resolution."""

    def __init__(self, low_channels: int, high_channels: int, *, dropout: float) -> None:
        super().__init__()
        self.aspp = ASPP(high_channels, dropout=dropout)
        self.low_level = conv_norm_relu(low_channels, LOW_LEVEL_CHANNELS, 1)
        self.fuse = nn.Sequential(
            conv_norm_relu(ASPP_CHANNELS + LOW_LEVEL_CHANNELS, ASPP_CHANNELS),
            nn.Dropout(dropout),
            conv_norm_relu(ASPP_CHANNELS, ASPP_CHANNELS),
            nn.Dropout(0.1),
        )

    def forward(self, features: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Maps the low-level `(B, low_channels, H, W)` and the high-level map to `(B, 256, H, W)`."""
        low, high = features
        high = F.interpolate(self.aspp(high), size=low.shape[-2:], mode="bilinear", align_corners=True)
        return self.fuse(torch.cat([high, self.low_level(low)], dim=1))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, three dilated 3x3 branches and the image's mean, concatenated and merged."""

    def __init__(self, in_channels: int, *, dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(in_channels, ASPP_CHANNELS, 1),
                *(conv_norm_relu(in_channels, ASPP_CHANNELS, dilation=rate) for rate in ASPP_RATES),
                ImagePooling(in_channels, ASPP_CHANNELS),
            ]
        )
        self.merge = nn.Sequential(conv_norm_relu(len(self.branches) * ASPP_CHANNELS, ASPP_CHANNELS, 1), nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, 256, H, W)`."""
        return self.merge(torch.cat([branch(x) for branch in self.branches], dim=1))


class ImagePooling(nn.Sequential):
    """Mean over the map, 1x1 convolution, BatchNorm, ReLU, spread over the map again (bilinear from one pixel is constant)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            PooledBatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H, W)`."""
        return super().forward(x).expand(-1, -1, *x.shape[-2:])


class PooledBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of 1x1 maps; one image alone has no variance, so it is normalised by the running statistics, which it leaves alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, C, 1, 1)` to the same shape."""
        if self.training and len(x) == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)
