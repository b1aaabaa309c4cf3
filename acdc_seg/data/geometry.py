"""Geometry: images of any size to the size that a network trains on, and its outputs back."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from acdc_seg.config import DataConfig
from acdc_seg.data.resampling import Size
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.runtime.tracing import larger, real, rounded, smaller


class Placement(NamedTuple):
    """An image scaled to one size in the middle of another one, which is at least as large."""

    scaled: Size
    padded: Size

    def fit_images(self, images: torch.Tensor) -> torch.Tensor:
        """Images `(B, C, H, W)` scaled, their border repeated in the padding."""
        images = resize(images, self.scaled)
        if self.scaled == self.padded:
            return images
        return F.pad(images, self._padding(), mode="replicate")

    def fit_mask(self, mask: torch.Tensor) -> torch.Tensor:
        """A mask `(H, W)` scaled, void in the padding."""
        mask = resize(mask[None, None], self.scaled, mode="nearest-exact")[0, 0]
        if self.scaled == self.padded:
            return mask
        return F.pad(mask, self._padding(), value=IGNORE_INDEX)

    def undo(self, outputs: torch.Tensor, size: Size) -> torch.Tensor:
        """Outputs `(B, K, H, W)` of padded images without the padding, at the images' size."""
        left, _, top, _ = self._padding()
        height, width = self.scaled
        return resize(outputs[..., top : top + height, left : left + width], size)

    def _padding(self) -> tuple[int, int, int, int]:
        """Pixels left, right, above and below."""
        above, left = ((self.padded[axis] - self.scaled[axis]) // 2 for axis in (0, 1))
        below, right = (
            self.padded[0] - self.scaled[0] - above,
            self.padded[1] - self.scaled[1] - left,
        )
        return left, right, above, below


def place(size: Size, data: DataConfig) -> Placement:
    """How `data.size` and `data.fit` place an image of this size.

    An image that is larger than a size it is padded to keeps its own.
    """
    height, width = size
    if data.size is None:
        return Placement(size, size)
    if data.fit == "stretch":
        return Placement(data.size, data.size)
    if data.fit in ("pad", "crop"):
        return Placement(size, (larger(height, data.size[0]), larger(width, data.size[1])))
    scale = smaller(data.size[0] / real(height), data.size[1] / real(width))
    scaled = larger(1, rounded(height * scale)), larger(1, rounded(width * scale))
    return Placement(scaled, data.size)


def resize(images: torch.Tensor, size: Size, *, mode: str = "bilinear") -> torch.Tensor:
    """Resizes `(B, C, H, W)` on half-pixel centers."""
    return images if images.shape[-2:] == size else F.interpolate(images, size=size, mode=mode)


def draw_window(
    image: torch.Tensor,
    mask: torch.Tensor,
    *,
    size: Size,
    key: tuple[int, ...],
    foreground: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of an image `(C, H, W)` and its mask `(H, W)`, padded where the image is
    smaller.

    Args:
        image: See above.
        mask: See above.
        size: Height and width of the window.
        key: Determines the window of an image.
        foreground: Probability of a window around a pixel of the foreground, where there is one;
            otherwise all windows are as likely.
    """
    generator = np.random.default_rng((*key, 1))  # augmentation draws from the key itself
    ranges = [max(0, whole - part) for whole, part in zip(mask.shape, size, strict=True)]
    top, left = (int(generator.integers(last, endpoint=True)) for last in ranges)
    if foreground and generator.random() < foreground:
        pixels = ((mask != 0) & (mask != IGNORE_INDEX)).nonzero()
        if len(pixels):
            middle = pixels[int(generator.integers(len(pixels)))]
            top, left = (
                min(max(0, int(pixel) - part // 2), last)
                for pixel, part, last in zip(middle, size, ranges, strict=True)
            )
    # copied, for a batch of views would keep all their images in memory
    mask = mask[top : top + size[0], left : left + size[1]].clone()
    image = image[:, top : top + size[0], left : left + size[1]].clone()
    placement = Placement((mask.shape[0], mask.shape[1]), size)
    return placement.fit_images(image[None])[0], placement.fit_mask(mask)
