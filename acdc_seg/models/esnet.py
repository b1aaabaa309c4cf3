"""ESNet: Wang et al., "ESNet: an efficient symmetric network for real-time semantic segmentation",
PRCV 2019.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.enet import ConvPoolConcat


class ESNetStage(NamedTuple):
    """A stage of the paper's table: resampling, then `blocks` factorised blocks."""

    channels: int
    blocks: int
    kernel_size: int
    dropout: float
    dilations: tuple[int, ...] = (1,)


ENCODER = (
    ESNetStage(16, blocks=3, kernel_size=3, dropout=0.03),
    ESNetStage(64, blocks=2, kernel_size=5, dropout=0.03),
    ESNetStage(128, blocks=3, kernel_size=3, dropout=0.3, dilations=(2, 5, 9)),
)
DECODER = (
    ESNetStage(64, blocks=2, kernel_size=5, dropout=0.0),
    ESNetStage(16, blocks=2, kernel_size=3, dropout=0.0),
)


class ESNet(SegmentationModel):
    """ESNet: a nearly symmetric encoder and decoder of factorised convolutions, without skips.

    Raises:
        ConfigError: The image has 16 channels or more.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(
            encoder=build_stages(in_channels, ENCODER, downsample),
            decoder=build_stages(ENCODER[-1].channels, DECODER, upsample),
            head=nn.ConvTranspose2d(DECODER[-1].channels, num_classes, 2, stride=2),
            in_channels=in_channels,
            multiple=8,
        )


class FactorizedBlock(nn.Module):
    """Residual block of two k x 1 and 1 x k pairs (FCU); PFCU if the second has several dilations.

    The dilated pairs are parallel, share one BatchNorm and are summed. The statistics are taken
    over all pairs at once: taken pair by pair, train mode would normalise each by its own, but eval
    mode all by one average.
    """

    def __init__(
        self, channels: int, kernel_size: int, *, dilations: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.first = nn.Sequential(
            factorized_conv(channels, kernel_size), batch_norm(channels), nn.ReLU(inplace=True)
        )
        self.branches = nn.ModuleList(
            factorized_conv(channels, kernel_size, dilation=dilation) for dilation in dilations
        )
        self.norm = nn.Sequential(batch_norm(channels), nn.Dropout2d(dropout))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, channels, H, W)` to the same shape."""
        y = self.first(x)
        y = torch.cat([branch(y) for branch in self.branches])  # (branches * B, channels, H, W)
        y = self.norm(y)
        return self.relu(x + y.unflatten(0, (len(self.branches), -1)).sum(0))


def build_stages(
    in_channels: int, stages: Sequence[ESNetStage], resample: Callable[[int, int], nn.Module]
) -> nn.Sequential:
    """The layers of a table: per stage `resample` to its channels, then its blocks."""
    layers = []
    for stage in stages:
        blocks: list[nn.Module] = [resample(in_channels, stage.channels)]
        for _ in range(stage.blocks):
            blocks.append(
                FactorizedBlock(
                    stage.channels,
                    stage.kernel_size,
                    dilations=stage.dilations,
                    dropout=stage.dropout,
                )
            )
        layers.append(nn.Sequential(*blocks))
        in_channels = stage.channels
    return nn.Sequential(*layers)


def factorized_conv(channels: int, kernel_size: int, *, dilation: int = 1) -> nn.Sequential:
    """A column and then a row of `kernel_size` taps with 'same' padding, ReLU between them."""
    k, d, p = kernel_size, dilation, dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(channels, channels, (k, 1), padding=(p, 0), dilation=(d, 1)),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, (1, k), padding=(0, p), dilation=(1, d)),
    )


def downsample(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halves the resolution."""
    pair = ConvPoolConcat(in_channels, out_channels, pool=nn.MaxPool2d(2), bias=True)
    return nn.Sequential(pair, batch_norm(out_channels), nn.ReLU(inplace=True))


def upsample(in_channels: int, out_channels: int) -> nn.Sequential:
    """Doubles the resolution."""
    conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(conv, batch_norm(out_channels), nn.ReLU(inplace=True))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with the paper's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)
