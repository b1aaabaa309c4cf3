"""ESNet: Wang, Zhou, Xiong, Wu and Jin, "ESNet: an efficient symmetric network for real-time
semantic segmentation", PRCV 2019.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.enet import ConvBesidePool


class Stage(NamedTuple):
    """One row of the architecture's table: halve or double the resolution, then `blocks` factorised
    blocks.
    """

    channels: int
    blocks: int
    kernel_size: int
    dropout: float
    dilations: tuple[int, ...] = (1,)


ENCODER = (
    Stage(16, blocks=3, kernel_size=3, dropout=0.03),
    Stage(64, blocks=2, kernel_size=5, dropout=0.03),
    Stage(128, blocks=3, kernel_size=3, dropout=0.3, dilations=(2, 5, 9)),
)
DECODER = (
    Stage(64, blocks=2, kernel_size=5, dropout=0.0),
    Stage(16, blocks=2, kernel_size=3, dropout=0.0),
)


class ESNet(SegmentationModel):
    """ESNet: an encoder and a nearly symmetric decoder of factorised convolutions, without skip
    connections.

    Args:
        in_channels: Channels of the image, fewer than 16.
        num_classes: Channels of the logits.

    Raises:
        ConfigError: The image has too many channels.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(
            encoder=stages(in_channels, ENCODER, down),
            decoder=stages(ENCODER[-1].channels, DECODER, up),
            head=nn.ConvTranspose2d(DECODER[-1].channels, num_classes, 2, stride=2),
            in_channels=in_channels,
            multiple=8,
        )


class FactorizedBlock(nn.Module):
    """Residual block of two k x 1 and 1 x k pairs: the paper's FCU, or its PFCU where the second
    pair has several dilations.

    The dilated pairs stand side by side, share one BatchNorm and are summed. The statistics are
    taken over all pairs at once: taken pair by pair, train mode would normalise each by its own,
    but eval mode all by one average.
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
        y = self.norm(
            torch.cat([branch(y) for branch in self.branches])
        )  # (branches * B, channels, H, W)
        return self.relu(x + y.unflatten(0, (len(self.branches), -1)).sum(0))


def stages(
    in_channels: int, rows: Sequence[Stage], resample: Callable[[int, int], nn.Module]
) -> nn.Sequential:
    """The rows of the table as layers: `resample` from the channels before to those of the row,
    then its blocks.
    """
    channels = [in_channels, *(row.channels for row in rows)]
    return nn.Sequential(
        *(
            nn.Sequential(resample(*step), *factorized_blocks(row))
            for step, row in zip(pairwise(channels), rows, strict=True)
        )
    )


def factorized_blocks(row: Stage) -> list[FactorizedBlock]:
    """The blocks of a row."""
    return [
        FactorizedBlock(row.channels, row.kernel_size, dilations=row.dilations, dropout=row.dropout)
        for _ in range(row.blocks)
    ]


def factorized_conv(channels: int, kernel_size: int, *, dilation: int = 1) -> nn.Sequential:
    """A column and then a row of `kernel_size` taps with 'same' padding, ReLU between them."""
    padding = dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(
            channels, channels, (kernel_size, 1), padding=(padding, 0), dilation=(dilation, 1)
        ),
        nn.ReLU(inplace=True),
        nn.Conv2d(
            channels, channels, (1, kernel_size), padding=(0, padding), dilation=(1, dilation)
        ),
    )


def down(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halves the resolution."""
    pair = ConvBesidePool(in_channels, out_channels, pool=nn.MaxPool2d(2), bias=True)
    return nn.Sequential(pair, batch_norm(out_channels), nn.ReLU(inplace=True))


def up(in_channels: int, out_channels: int) -> nn.Sequential:
    """Doubles the resolution."""
    conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1)
    return nn.Sequential(conv, batch_norm(out_channels), nn.ReLU(inplace=True))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm with the paper's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)
