"""ENet: Paszke et al., "ENet: a deep neural network architecture for real-time semantic
segmentation", 2016.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.errors import ConfigError
from acdc_seg.models.base import SegmentationModel
from acdc_seg.models.blocks import AtrousConv2d, max_unpool

Activation = Callable[[], nn.Module]


class ENetConv(NamedTuple):
    """Main convolution of a bottleneck: 3x3 with dilation `size`, or `size` x 1 and 1 x `size`."""

    kind: Literal["dilated", "asymmetric"]
    size: int


class ENetStage(NamedTuple):
    """A stage of the paper's table: a bottleneck that resamples, then one per convolution."""

    channels: int
    dropout: float
    convs: tuple[ENetConv, ...]


REGULAR, ASYMMETRIC = ENetConv("dilated", 1), ENetConv("asymmetric", 5)
DILATED = {rate: ENetConv("dilated", rate) for rate in (2, 4, 8, 16)}
CONTEXT = (
    REGULAR,
    DILATED[2],
    ASYMMETRIC,
    DILATED[4],
    REGULAR,
    DILATED[8],
    ASYMMETRIC,
    DILATED[16],
)

INITIAL_CHANNELS = 16
ENCODER = (
    ENetStage(64, dropout=0.01, convs=4 * (REGULAR,)),
    ENetStage(128, dropout=0.1, convs=2 * CONTEXT),  # stages 2 and 3 of the paper
)
DECODER = (
    ENetStage(64, dropout=0.1, convs=2 * (REGULAR,)),
    ENetStage(16, dropout=0.1, convs=(REGULAR,)),
)
REDUCTION = 4


class ENet(SegmentationModel):
    """ENet: most bottlenecks are at stride 8, and the decoder unpools by max-pooling indices.

    Raises:
        ConfigError: The image has 16 channels or more.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        channels = DECODER[-1].channels
        super().__init__(
            encoder=ENetEncoder(in_channels),
            decoder=ENetDecoder(ENCODER[-1].channels),
            head=nn.ConvTranspose2d(
                channels, num_classes, 3, stride=2, padding=1, output_padding=1, bias=False
            ),
            in_channels=in_channels,
            multiple=8,
        )


class ENetEncoder(nn.Module):
    """The initial block and the down-sampling stages, with PReLU."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        channels = [INITIAL_CHANNELS, *(stage.channels for stage in ENCODER)]
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.initial = nn.Sequential(
            ConvPoolConcat(in_channels, INITIAL_CHANNELS, pool=pool, bias=False),
            nn.BatchNorm2d(INITIAL_CHANNELS),
            nn.PReLU(),
        )
        self.downs = nn.ModuleList(
            DownsamplingBottleneck(before, after, dropout=stage.dropout)
            for (before, after), stage in zip(pairwise(channels), ENCODER, strict=True)
        )
        self.stages = nn.ModuleList(build_stage(stage, nn.PReLU) for stage in ENCODER)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Maps `(B, in_channels, H, W)` to `(B, 128, H/8, W/8)` and the poolings' indices."""
        x = self.initial(x)
        all_indices = []
        for down, stage in zip(self.downs, self.stages, strict=True):
            x, indices = down(x)
            x = stage(x)
            all_indices.append(indices)
        return x, all_indices


class ENetDecoder(nn.Module):
    """The up-sampling stages, with ReLU."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        channels = [in_channels, *(stage.channels for stage in DECODER)]
        self.ups = nn.ModuleList(
            UpsamplingBottleneck(before, after, dropout=stage.dropout)
            for (before, after), stage in zip(pairwise(channels), DECODER, strict=True)
        )
        self.stages = nn.ModuleList(build_stage(stage, nn.ReLU) for stage in DECODER)

    def forward(self, features: tuple[torch.Tensor, list[torch.Tensor]]) -> torch.Tensor:
        """Maps the encoder's result to `(B, 16, H/2, W/2)`."""
        x, all_indices = features
        for up, stage, indices in zip(self.ups, self.stages, reversed(all_indices), strict=True):
            x = stage(up(x, indices))
        return x


class ConvPoolConcat(nn.Module):
    """Halves the resolution: a 3x3 stride-2 convolution and a max-pooling, concatenated."""

    def __init__(
        self, in_channels: int, out_channels: int, *, pool: nn.MaxPool2d, bias: bool
    ) -> None:
        super().__init__()
        if in_channels >= out_channels:
            raise ConfigError(
                f"in_channels={in_channels} leaves no room for features: this network takes fewer "
                f"than {out_channels}"
            )
        self.conv = nn.Conv2d(
            in_channels, out_channels - in_channels, 3, stride=2, padding=1, bias=bias
        )
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H/2, W/2)`."""
        y = self.conv(x)
        # autocast convolves in half precision: concatenated as it is, the pooled image would bring
        # all that follows to fp32 and, having another layout, to NCHW
        is_last = y.is_contiguous(memory_format=torch.channels_last)
        memory_format = torch.channels_last if is_last else torch.contiguous_format
        pooled = self.pool(x).to(y.dtype, memory_format=memory_format)
        return torch.cat([y, pooled], dim=1)


class ENetBottleneck(nn.Module):
    """Residual block: 1x1 to a quarter of the channels, the main convolution, 1x1 back."""

    def __init__(
        self, channels: int, conv: ENetConv, *, dropout: float, activation: Activation
    ) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.extension = nn.Sequential(
            conv_norm(nn.Conv2d(channels, hidden, 1, bias=False), activation),
            *(conv_norm(main, activation) for main in main_convs(hidden, conv)),
            conv_norm(nn.Conv2d(hidden, channels, 1, bias=False), activation),
            nn.Dropout2d(dropout),
        )
        self.activation = activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `(B, channels, H, W)` to the same shape."""
        return self.activation(x + self.extension(x))


class DownsamplingBottleneck(nn.Module):
    """2x2 max-pooling padded with zero channels, plus a bottleneck with a strided projection."""

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float) -> None:
        super().__init__()
        hidden = in_channels // REDUCTION
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.extension = nn.Sequential(
            conv_norm(nn.Conv2d(in_channels, hidden, 2, stride=2, bias=False), nn.PReLU),
            conv_norm(nn.Conv2d(hidden, hidden, 3, padding=1, bias=False), nn.PReLU),
            conv_norm(nn.Conv2d(hidden, out_channels, 1, bias=False), nn.PReLU),
            nn.Dropout2d(dropout),
        )
        self.activation = nn.PReLU()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, H/2, W/2)` and the maxima's indices.

        The indices are `(B, in_channels, H/2, W/2)`.
        """
        extension = self.extension(x)
        pooled, indices = self.pool(x)
        num_zeros = extension.shape[1] - pooled.shape[1]
        pooled = F.pad(pooled, (0, 0, 0, 0, 0, num_zeros))  # (B, out_channels, H/2, W/2)
        return self.activation(pooled + extension), indices


class UpsamplingBottleneck(nn.Module):
    """A 1x1 convolution unpooled by indices, plus a bottleneck with a transposed convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float) -> None:
        super().__init__()
        hidden = in_channels // REDUCTION
        self.main = conv_norm(nn.Conv2d(in_channels, out_channels, 1, bias=False))
        self.extension = nn.Sequential(
            conv_norm(nn.Conv2d(in_channels, hidden, 1, bias=False), nn.ReLU),
            conv_norm(nn.ConvTranspose2d(hidden, hidden, 2, stride=2, bias=False), nn.ReLU),
            conv_norm(nn.Conv2d(hidden, out_channels, 1, bias=False)),
            nn.Dropout2d(dropout),
        )
        self.activation = nn.ReLU()

    def forward(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """Maps `(B, in_channels, H, W)` to `(B, out_channels, 2H, 2W)`; indices at (H, W)."""
        return self.activation(max_unpool(self.main(x), indices) + self.extension(x))


def build_stage(stage: ENetStage, activation: Activation) -> nn.Sequential:
    """The bottlenecks of a stage that keep its resolution."""
    blocks = [
        ENetBottleneck(stage.channels, conv, dropout=stage.dropout, activation=activation)
        for conv in stage.convs
    ]
    return nn.Sequential(*blocks)


def main_convs(channels: int, conv: ENetConv) -> list[nn.Conv2d]:
    """The main convolution of a bottleneck, or the two of an asymmetric one."""
    size = conv.size
    if conv.kind == "dilated":
        return [AtrousConv2d(channels, channels, dilation=size, bias=False)]
    return [
        nn.Conv2d(channels, channels, (size, 1), padding=(size // 2, 0), bias=False),
        nn.Conv2d(channels, channels, (1, size), padding=(0, size // 2), bias=False),
    ]


def conv_norm(
    conv: nn.Conv2d | nn.ConvTranspose2d, activation: Activation = nn.Identity
) -> nn.Sequential:
    """A convolution, its BatchNorm, its activation."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), activation())
