"""SegNet: Badrinarayanan, Kendall and Cipolla, "SegNet: a deep convolutional encoder-decoder
architecture", TPAMI 2017.

Dropout is that of Kendall, Badrinarayanan and Cipolla, "Bayesian SegNet", BMVC 2017.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.models.backbones.vgg import LEVELS, VGG16
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import conv_norm_relu, init_kaiming

FIRST_DROPOUT_LEVEL = 2


class SegNet(SegmentationModel):
    """SegNet on VGG-16 with BatchNorm: the decoder mirrors the encoder and puts values back where
    max-pooling found them.

    Args:
        in_channels: Channels of the image.
        num_classes: Channels of the logits.
        dropout: Probability of dropout after each of the three deepest levels of the encoder and of
            the decoder.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float) -> None:
        encoder = SegNetEncoder(in_channels, dropout=dropout)
        decoder = SegNetDecoder(dropout=dropout)
        head = nn.Conv2d(LEVELS[0].channels, num_classes, 3, padding=1)
        decoder.apply(init_kaiming)
        head.apply(init_kaiming)
        super().__init__(encoder, decoder, head, in_channels=in_channels, multiple=2 ** len(LEVELS))


class SegNetEncoder(nn.Module):
    """VGG-16 with BatchNorm that also gives the places of the maxima, and dropout after its deep
    levels.
    """

    def __init__(self, in_channels: int, *, dropout: float) -> None:
        super().__init__()
        vgg = VGG16(in_channels, norm=True)
        self.public_weights = vgg.public_weights
        self.features = vgg.features
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Maps `(B, in_channels, H, W)` to the last pooled map, `(B, 512, H / 32, W / 32)`, and the
        indices of the five pools.
        """
        indices: list[torch.Tensor] = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, places = F.max_pool2d(x, 2, return_indices=True)
                indices.append(places)
                x = self.dropout(x) if len(indices) > FIRST_DROPOUT_LEVEL else x
            else:
                x = layer(x)
        return x, indices


class SegNetDecoder(nn.Module):
    """Max-unpooling, then the encoder's convolutions mirrored, from the deepest level up; the very
    last one is the head.
    """

    def __init__(self, *, dropout: float) -> None:
        super().__init__()
        self.levels = nn.ModuleList()
        for number, level in reversed(list(enumerate(LEVELS))):
            channels = [level.channels] * level.convs
            if number > 0:
                channels.append(LEVELS[number - 1].channels)
            convs = [conv_norm_relu(before, after) for before, after in pairwise(channels)]
            self.levels.append(
                nn.Sequential(*convs, nn.Dropout(dropout if number >= FIRST_DROPOUT_LEVEL else 0.0))
            )

    def forward(self, features: tuple[torch.Tensor, list[torch.Tensor]]) -> torch.Tensor:
        """Maps the encoder's last map and indices to `(B, 64, H, W)`."""
        x, indices = features
        for level, places in zip(self.levels, reversed(indices), strict=True):
            x = level(F.max_unpool2d(x, places, [2, 2]))
        return x
