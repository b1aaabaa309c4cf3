"""Windows over large images, and their outputs blended to one, in NumPy.

The places and weights are those of MONAI's `SlidingWindowInferer` as `ModelPredictor` calls it, so
that both give the same probabilities.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np

from acdc_seg.data.resampling import Size

OVERLAP = 0.25
"""Part of a window's height and width that the next one covers again: 1.8 times the pixels of the
image are predicted, 4 times with a half.
"""
SIGMA = 0.2
"""Deviation of the Gaussian that windows are weighted with, as part of their sides. MONAI's 0.125
ends below its least weight, so that windows are not blended along the image's border.
"""
WINDOWS_AT_ONCE = 8
"""Windows of large images that a network is given at a time."""
LEAST_WEIGHT = 1e-3


def predict_windows(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, window: Size
) -> np.ndarray:
    """Probabilities `(B, K, H, W)` of images `(B, C, H, W)`, window by window.

    Logarithms of probabilities are averaged and normalized again. They differ from a network's
    logits by a number that all classes share, so this is what averaging logits gives.

    Args:
        predict: Maps windows `(N, C, h, w)` to probabilities `(N, K, h, w)`.
        images: Smaller ones are padded with their border.
        window: Height and width.
    """
    size = images.shape[-2:]
    missing = [max(0, want - have) for want, have in zip(window, size, strict=True)]
    padding = [(pixels // 2, pixels - pixels // 2) for pixels in missing]
    padded = np.pad(images, [(0, 0), (0, 0), *padding], mode="edge")
    height, width = padded.shape[-2:]
    rows, columns = _starts(height, window[0]), _starts(width, window[1])
    places = list(itertools.product(range(len(images)), rows, columns))
    weights = _weights(window)
    total: np.ndarray | None = None
    norm = np.zeros((len(images), 1, height, width), np.float32)
    for first in range(0, len(places), WINDOWS_AT_ONCE):
        some = places[first : first + WINDOWS_AT_ONCE]
        parts = [padded[b, :, y : y + window[0], x : x + window[1]] for b, y, x in some]
        outputs = np.log(np.maximum(predict(np.stack(parts)), np.finfo(np.float32).tiny))
        if total is None:
            total = np.zeros((len(images), outputs.shape[1], height, width), np.float32)
        for (b, y, x), output in zip(some, outputs, strict=True):
            total[b, :, y : y + window[0], x : x + window[1]] += output * weights
            norm[b, :, y : y + window[0], x : x + window[1]] += weights
    assert total is not None
    (top, _), (left, _) = padding
    mean = (total / norm)[..., top : top + size[0], left : left + size[1]]
    powers = np.exp(mean - mean.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _starts(size: int, window: int) -> list[int]:
    """First pixels of the windows along an axis; the last one ends with the image."""
    step = max(1, int(window * (1 - OVERLAP)))
    count = math.ceil(max(0, size - window) / step) + 1
    return [min(index * step, size - window) for index in range(count)]


def _weights(window: Size) -> np.ndarray:
    """A Gaussian `(h, w)` around the middle of a window."""
    sides = []
    for pixels in window:
        away = np.arange(pixels) - (pixels - 1) / 2
        sides.append(np.exp(-0.5 * (away / (SIGMA * pixels)) ** 2))
    weights: np.ndarray = np.maximum(np.outer(*sides), LEAST_WEIGHT).astype(np.float32)
    return weights
