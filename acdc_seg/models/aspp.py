"""Atrous spatial pyramid pooling, shared by the DeepLab networks: Chen et al., "Rethinking atrous
convolution for semantic image segmentation", 2017.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.blocks import conv_norm_relu

ASPP_CHANNELS = 256
RATES = {8: (12, 24, 36), 16: (6, 12, 18)}
"""Dilations of the 3x3 branches, by output stride of the encoder."""


class ASPP(nn.Module):
    """A 1x1, three dilated 3x3 branches and the image's mean, concatenated and merged."""

    def __init__(self, in_channels: int, *, rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                conv_norm_relu(in_channels, ASPP_CHANNELS, 1),
                *(conv_norm_relu(in_channels, ASPP_CHANNELS, dilation=rate) for rate in rates),
                ImagePooling(in_channels, ASPP_CHANNELS),
            ]
        )
        self.merge = nn.Sequential(
            conv_norm_relu(len(self.branches) * ASPP_CHANNELS, ASPP_CHANNELS, 1),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, 256, H, W)`."""
        return self.merge(torch.cat([branch(x) for branch in self.branches], dim=1))


class ImagePooling(nn.Sequential):
    """Mean over the map, 1x1 convolution, BatchNorm, ReLU, repeated over the map."""

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
    """BatchNorm of 1x1 maps; a single image has no variance and uses the running statistics."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, C, 1, 1)` to the same shape."""
        if self.training and len(x) == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)
