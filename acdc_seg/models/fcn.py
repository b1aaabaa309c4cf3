"""FCN: Long et al., "Fully convolutional networks for semantic segmentation", CVPR 2015."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from acdc_seg.models.backbones.vgg import VGG16, VGG16_LEVELS
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

POOL3, POOL4, POOL5 = (level.channels for level in VGG16_LEVELS[2:])
SKIP_CHANNELS = {32: (), 16: (POOL4,), 8: (POOL4, POOL3)}


class FCN(SegmentationModel):
    """FCN-32s, FCN-16s or FCN-8s on VGG-16, with 'same' padding.

    `stride` is that of the finest scores: 32, 16 (with the skip from the fourth pool) or 8 (and
    from the third). The other options are those of `FCNConfig`.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        stride: int,
        fc_channels: int,
        norm: Literal["batch", "none"],
        dropout: float,
    ) -> None:
        has_norm = norm == "batch"
        skips = SKIP_CHANNELS[stride]
        super().__init__(
            encoder=VGG16(in_channels, norm=has_norm),
            decoder=FCNDecoder(
                num_classes, skips, fc_channels=fc_channels, norm=has_norm, dropout=dropout
            ),
            head=BilinearConvTranspose2d(num_classes, factor=stride),
            in_channels=in_channels,
            multiple=32,
            min_size=64,  # BatchNorm needs more than one value, also of a single image
        )


class FCNDecoder(nn.Module):
    """The classifier of VGG-16 as convolutions; per skip its scores are upsampled and added to."""

    def __init__(
        self,
        num_classes: int,
        skip_channels: Sequence[int],
        *,
        fc_channels: int,
        norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.fc6 = conv_norm_relu(POOL5, fc_channels, 7, bias=not norm, norm=norm)
        self.fc7 = conv_norm_relu(fc_channels, fc_channels, 1, bias=not norm, norm=norm)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(fc_channels, num_classes, 1)
        self.skip_scores = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 1) for channels in skip_channels
        )
        self.apply(init_kaiming)
        self.ups = nn.ModuleList(
            BilinearConvTranspose2d(num_classes, factor=2) for _ in skip_channels
        )

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Maps the five pooled maps to scores, `(B, num_classes, H / stride, W / stride)`."""
        *skips, x = features
        for fully_connected in (self.fc6, self.fc7):
            x = self.dropout(fully_connected(x))
        scores = self.score(x)
        for up, skip_score, skip in zip(self.ups, self.skip_scores, reversed(skips), strict=False):
            scores = up(scores) + skip_score(skip)
        return scores


class BilinearConvTranspose2d(nn.ConvTranspose2d):
    """Multiplies height and width by an even factor; its first weights interpolate bilinearly."""

    def __init__(self, channels: int, *, factor: int) -> None:
        super().__init__(
            channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False
        )

    def reset_parameters(self) -> None:
        """Bilinear weights from every channel to itself, zeros to the others."""
        size, factor = self.kernel_size[0], self.stride[0]
        line = 1 - (torch.arange(size) - (size - 1) / 2).abs() / factor
        with torch.no_grad():
            self.weight.copy_(torch.eye(self.in_channels)[:, :, None, None] * line[:, None] * line)
