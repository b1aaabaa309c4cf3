"""Normalization of gray values, for tensors and for arrays: it needs no PyTorch."""

from typing import Any

import numpy as np

from acdc_seg.config import DataConfig

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Means and standard deviations of ImageNet's R, G and B on the 0..1 scale."""
LEAST_STD = 1e-6
"""A constant image is divided by this."""


def normalize(images: Any, data: DataConfig) -> Any:
    """Images `(B, C, H, W)` in 0..1, normalized as `data.normalize` says.

    Args:
        images: A tensor or a NumPy array, float32; the result is of its kind.
        data: `normalize`, and for `fixed` `mean` and `std`.
    """
    if data.normalize == "none":
        return images
    if data.normalize == "per_image":
        scale, center = _std_mean(images)
    else:
        constants = IMAGENET if data.normalize == "imagenet" else (data.mean, data.std)
        center, scale = (_per_channel(value, images) for value in constants)
    centered = images - center
    centered /= scale
    return centered


def _std_mean(images: Any) -> tuple[Any, Any]:
    """Deviation, at least `LEAST_STD`, and mean of every image `(B, 1, 1, 1)`."""
    axes = (1, 2, 3)
    if isinstance(images, np.ndarray):
        std = images.std(axis=axes, keepdims=True)
        return np.maximum(std, LEAST_STD, dtype=images.dtype), images.mean(axis=axes, keepdims=True)
    import torch

    std, mean = torch.std_mean(images, dim=axes, keepdim=True, correction=0)
    return std.clamp_min(LEAST_STD), mean


def _per_channel(value: Any, images: Any) -> Any:
    """A number, or three as `(3, 1, 1)`."""
    if not isinstance(value, tuple):
        return value
    if isinstance(images, np.ndarray):
        return np.array(value, images.dtype)[:, None, None]
    return images.new_tensor(value)[:, None, None]
