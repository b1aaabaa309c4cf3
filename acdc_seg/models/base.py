"""The frame of every network: encoder, decoder, head."""

from typing import ClassVar, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from acdc_seg.errors import DataError
from acdc_seg.runtime.tracing import is_tracing, larger

MIN_SIZE = 32

Network = TypeVar("Network", bound=nn.Module)


class SegmentationModel(nn.Module):
    """A network that gives every pixel of an image a score per class.

    Subclasses take `in_channels`, `num_classes` and the options of their config section.

    Args:
        encoder: Maps the image `(B, in_channels, H, W)` to feature maps, the finest first.
        decoder: Maps those to one feature map.
        head: Maps that to class scores, at the image's resolution or below it.
        in_channels: Channels of the image.
        multiple: The encoder needs multiples of this as height and width; other images are padded
            with zeros, evenly on both sides, and the logits are cropped back.
        min_size: Least height and width of the padded image.

    Attributes:
        memory_format: Layout of weights and maps that it is fastest with, see `to_memory_format`.
    """

    memory_format: ClassVar[torch.memory_format] = torch.channels_last

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        head: nn.Module,
        *,
        in_channels: int,
        multiple: int = 1,
        min_size: int = MIN_SIZE,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.head = head
        self.in_channels = in_channels
        self.multiple = multiple
        self.min_size = min_size
        self._encoder_frozen = False

    def freeze_encoder(self, frozen: bool) -> None:
        """Freezes the encoder, or lets it learn again; `requires_grad` stays as it is.

        A frozen encoder is in eval mode whatever `train` says: BatchNorm's statistics are kept and
        nothing is dropped. It runs without gradients: its parameters have none, so that optimizers
        skip them, weight decay included.
        """
        self._encoder_frozen = frozen
        self.encoder.train(self.training and not frozen)
        if frozen:
            self.encoder.zero_grad(set_to_none=True)

    def train(self, mode: bool = True) -> Self:
        """Sets train or eval mode; a frozen encoder stays in eval mode."""
        super().train(mode)
        self.encoder.train(mode and not self._encoder_frozen)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits `(B, num_classes, H, W)` of images `(B, in_channels, H, W)`, H and W from 32.

        Raises:
            DataError: The images have another number of channels, or are too small.
        """
        self._check(images)
        if self.memory_format == torch.contiguous_format:  # preprocessing gives channels_last
            images = images.contiguous()
        height, width = images.shape[-2:]
        top, bottom = self._padding(height)
        left, right = self._padding(width)
        # a traced network pads by sizes that are known only when it runs
        if top or bottom or left or right or is_tracing():
            images = F.pad(images, (left, right, top, bottom))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self._encoder_frozen):
            features = self.encoder(images)
        logits = self.head(self.decoder(features))
        if logits.shape[-2:] != images.shape[-2:]:
            size = images.shape[-2:]
            logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
        return logits[..., top : top + height, left : left + width]

    def _check(self, images: torch.Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise DataError(
                f"images have shape {tuple(images.shape)}, this network takes (B, "
                f"{self.in_channels}, H, W): convert the images to {self.in_channels} channel(s), "
                "or build the network with their number of channels"
            )
        height, width = images.shape[-2:]
        if min(height, width) < MIN_SIZE:
            raise DataError(
                f"images of height={height}, width={width} are too small, the least is {MIN_SIZE} "
                f"each: pad or resize them to {max(height, MIN_SIZE)}x{max(width, MIN_SIZE)}"
            )

    def _padding(self, size: int) -> tuple[int, int]:
        """Zeros before and after an axis of this size."""
        padding = larger(self.min_size - size, -size % self.multiple)
        return padding // 2, padding - padding // 2


def to_memory_format(network: Network) -> Network:
    """The same network, its weights laid out as it is fastest; channels_last where it says nothing.

    A network that is laid out otherwise gives the same logits up to rounding.
    """
    memory_format = getattr(network, "memory_format", torch.channels_last)
    return network.to(memory_format=memory_format)  # type: ignore[call-overload]
