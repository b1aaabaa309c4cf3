"""Sizes of images, and bilinear interpolation of arrays as PyTorch does it, without PyTorch."""

import numpy as np

Size = tuple[int, int]
"""Height and width in pixels."""
LARGEST_IMAGE = 2**26
"""Pixels (8192 x 8192) above which a file is refused by its header, damaged or an image bomb."""


def resize_array(images: np.ndarray, size: Size) -> np.ndarray:
    """Resizes `(..., H, W)` bilinearly on half-pixel centers; float32 stays float32.

    Equal to `torch.nn.functional.interpolate(images, size, mode="bilinear")` but for rounding.
    """
    if images.shape[-2:] == size:
        return images
    rows = _resize_axis(images, size[0], axis=images.ndim - 2)
    return _resize_axis(rows, size[1], axis=images.ndim - 1)


def _resize_axis(images: np.ndarray, size: int, *, axis: int) -> np.ndarray:
    """Linear interpolation along one axis; beyond its first and last centers it is constant."""
    old = images.shape[axis]
    places = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
    before = places.astype(int)
    after = np.minimum(before + 1, old - 1)
    shape = [1] * images.ndim
    shape[axis] = size
    weights = (places - before).astype(images.dtype).reshape(shape)
    first = images.take(before, axis=axis)
    return first + (images.take(after, axis=axis) - first) * weights
