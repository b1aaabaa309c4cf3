"""Classes painted over an image."""

from collections.abc import Sequence

import numpy as np

from acdc_seg.errors import DataError

Color = tuple[int, ...]


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    colors: Sequence[Color],
    first: int = 1,
    alpha: float = 0.45,
) -> np.ndarray:
    """The image with its foreground classes painted over it, uint8 (H, W, 3) in R, G, B.

    Args:
        image: (H, W), (1, H, W) or (3, H, W) of any range; its smallest value becomes black, its
            largest white.
        labels: Class indices (H, W); background and void pixels stay as they are.
        colors: (R, G, B) in 0..255 of every class.
        first: Index of the first class that is painted; 0 where none is the background.
        alpha: Opacity of the paint in 0..1.
    """
    pixels = stretch(image)
    if pixels.shape[:2] != labels.shape:
        raise DataError(
            f"an image of {pixels.shape[:2]} and labels of {labels.shape} differ in size"
        )
    palette = np.asarray(colors, np.float32)
    painted = (labels >= first) & (labels < len(palette))
    pixels[painted] = np.rint((1 - alpha) * pixels[painted] + alpha * palette[labels[painted]])
    return pixels


def stretch(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) over the full range; black where the image is constant."""
    pixels = image.astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    pixels = np.rint((pixels - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    channels = pixels[None] if pixels.ndim == 2 else pixels
    return np.repeat(channels, 3 // len(channels), axis=0).transpose(1, 2, 0).copy()  # (H, W, 3)
