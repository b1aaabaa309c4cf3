"""Overlap of predicted labels and a mask: pixel counts by class, and the metrics made of them."""

import numpy as np

from acdc_seg.errors import DataError


def count_pixels(
    labels: np.ndarray,
    mask: np.ndarray,
    num_classes: int,
    *,
    ignore_index: int | None = None,
    name: str = "image",
) -> np.ndarray:
    """Pixel counts `(K, K)`: classes of the mask in rows, predicted classes in columns.

    Args:
        labels: Predicted class indices `(H, W)` or `(X, Y, Z)`.
        mask: True class indices of the same shape.
        num_classes: Background included.
        ignore_index: Mask value of void pixels, which are not counted.
        name: The image's name in errors.

    Raises:
        DataError: The shapes differ, or an array holds values that are not class indices.
    """
    if labels.shape != mask.shape:
        raise DataError(
            f"{name}: the prediction is {labels.shape}, the mask {mask.shape}; they must have "
            "one shape"
        )
    if ignore_index is not None:
        counted = mask != ignore_index
        labels, mask = labels[counted], mask[counted]
    _check_indices(labels, num_classes, f"{name}: the prediction")
    _check_indices(mask, num_classes, f"{name}: the mask")
    pairs = mask.ravel().astype(np.intp) * num_classes + labels.ravel()  # (N,)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def dice(counts: np.ndarray) -> np.ndarray:
    """2 |A∩B| / (|A| + |B|) of every class `(..., K)`, 1 where both are empty (Dice, 1945).

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    overlap, total = _overlap_and_total(counts)
    return _ratio(2 * overlap, total)


def iou(counts: np.ndarray) -> np.ndarray:
    """|A∩B| / |A∪B| of every class `(..., K)`, 1 where both are empty (Jaccard, 1912).

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    overlap, total = _overlap_and_total(counts)
    return _ratio(overlap, total - overlap)


def precision(counts: np.ndarray) -> np.ndarray:
    """|A∩B| / |A| of every class `(..., K)` for a prediction A: the share of it that is right.

    1 where prediction and mask are empty, 0 where only the prediction is.

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    overlap, total = _overlap_and_total(counts)
    return _ratio(overlap, counts.sum(-2), otherwise=total == 0)


def recall(counts: np.ndarray) -> np.ndarray:
    """|A∩B| / |B| of every class `(..., K)` for a mask B: the share of it that is found.

    1 where prediction and mask are empty, 0 where only the mask is.

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    overlap, total = _overlap_and_total(counts)
    return _ratio(overlap, counts.sum(-1), otherwise=total == 0)


def size_error(counts: np.ndarray) -> np.ndarray:
    """||A| - |B|| of every class `(..., K)` in pixels: how much area or volume is wrong.

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    return np.abs(counts.sum(-2) - counts.sum(-1)).astype(float)


def relative_size_error(counts: np.ndarray) -> np.ndarray:
    """||A| - |B|| / |B| of every class `(..., K)` for a mask B; 1 where only the mask is empty.

    Args:
        counts: Pixel counts `(..., K, K)` of `count_pixels`.
    """
    error = size_error(counts)
    return _ratio(error, counts.sum(-1), otherwise=error > 0)


def _overlap_and_total(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1) + counts.sum(-2)


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: np.ndarray | float = 1) -> np.ndarray:
    """`part / whole`, and `otherwise` where `whole` is 0."""
    filled = np.broadcast_to(np.asarray(otherwise, float), whole.shape).copy()
    return np.divide(part, whole, out=filled, where=whole > 0)


def _check_indices(array: np.ndarray, num_classes: int, name: str) -> None:
    if array.dtype.kind not in "biu":
        raise DataError(f"{name} is an array of {array.dtype}; class indices are integers")
    if array.size and (array.min() < 0 or array.max() >= num_classes):
        raise DataError(
            f"{name} holds values {array.min()} to {array.max()}; class indices are 0 to "
            f"{num_classes - 1}"
        )
