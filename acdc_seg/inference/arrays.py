"""Arrays and batches of images as predictors take them."""

from pathlib import Path

import numpy as np
import torch

from acdc_seg.errors import DataError

LUMA = (0.299, 0.587, 0.114)


def to_gray(images: torch.Tensor) -> torch.Tensor:
    """Luma (ITU-R BT.601) `(B, 1, H, W)` of RGB images `(B, 3, H, W)`; gray ones stay."""
    if images.shape[1] != 3:
        return images
    luma = (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)
    return luma if images.is_floating_point() else luma.round().to(images.dtype)


def as_batch(image: np.ndarray) -> torch.Tensor:
    """An image `(H, W)` or `(C, H, W)` as float32 `(1, C, H, W)`; integers are scaled to 0..1.

    Raises:
        DataError: Another shape or type, or values that are not finite.
    """
    if isinstance(image, str | Path):
        raise DataError(
            f"'{image}' is a path, not an image; read it first, as in "
            "predictor(acdc_seg.data.images.read_image(path))"
        )
    array = np.asarray(image)
    if array.ndim == 4:
        raise DataError(
            f"{array.shape} is a batch of images; predict one at a time, or call "
            "predictor.predict_batch with a tensor (B, C, H, W)"
        )
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise DataError(
            f"an image of shape {np.shape(image)} cannot be predicted; give (H, W), (1, H, W) or "
            "(3, H, W)"
        )
    if array.dtype in (np.uint8, np.uint16):
        array = array.astype(np.float32) / np.iinfo(array.dtype).max
    if array.dtype.kind != "f":
        raise DataError(
            f"an image of {array.dtype} cannot be predicted; convert it to uint8, uint16 or float"
        )
    if not np.isfinite(array).all():
        raise DataError("the image holds NaN or infinity; replace them before prediction")
    return torch.from_numpy(array.astype(np.float32))[None]  # (1, C, H, W)
