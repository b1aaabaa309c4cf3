"""SegNet: Badrinarayanan et al., "SegNet: a deep convolutional encoder-decoder architecture", TPAMI
2017. Dropout is that of Kendall et al., "Bayesian SegNet", BMVC 2017.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.backbones.vgg import VGG16, VGG16_LEVELS
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming, max_unpool

FIRST_DROPOUT_LEVEL = 2


class SegNet(SegmentationModel):
    """SegNet on VGG-16-BN: the decoder mirrors the encoder and unpools by its indices."""

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        encoder = SegNetEncoder(in_channels, dropout=dropout)
        decoder = SegNetDecoder(dropout=dropout)
        head = nn.Conv2d(VGG16_LEVELS[0].channels, num_classes, 3, padding=1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(
            encoder, decoder, head, in_channels=in_channels, multiple=2 ** len(VGG16_LEVELS)
        )


class SegNetEncoder(nn.Module):
    """VGG-16 with BatchNorm that also gives the indices of the maxima; dropout if deep."""

    def __init__(self, in_channels: int, *, dropout: float) -> None:
        super().__init__()
        vgg = VGG16(in_channels, norm=True)
        self.public_weights = vgg.public_weights
        self.features = vgg.features
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Maps `(B, in_channels, H, W)` to `(B, 512, H/32, W/32)` and the pools' indices."""
        all_indices: list[torch.Tensor] = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, indices = F.max_pool2d(x, 2, return_indices=True)
                all_indices.append(indices)
                x = self.dropout(x) if len(all_indices) > FIRST_DROPOUT_LEVEL else x
            else:
                x = layer(x)
        return x, all_indices


class SegNetDecoder(nn.Module):
    """Per level, from the deepest: max-unpooling and the encoder's convolutions mirrored.

    The last of them is the network's head.
    """

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for number, level in reversed(list(enumerate(VGG16_LEVELS))):
            channels = [level.channels] * level.convs
            if number > 0:
                channels.append(VGG16_LEVELS[number - 1].channels)
            convs = [conv_norm_relu(before, after) for before, after in pairwise(channels)]
            level_dropout = dropout if number >= FIRST_DROPOUT_LEVEL else 0.0
            self.levels.append(nn.Sequential(*convs, nn.Dropout(level_dropout)))

    def forward(self, features: tuple[torch.Tensor, list[torch.Tensor]]) -> torch.Tensor:
        """Maps the encoder's last map and indices to `(B, 64, H, W)`."""
        x, all_indices = features
        for level, indices in zip(self.levels, reversed(all_indices), strict=True):
            x = level(max_unpool(x, indices))
        return x
