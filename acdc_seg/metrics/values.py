"""Values of all metrics of one image or volume, by class."""

import math
from collections.abc import Sequence

import numpy as np

from acdc_seg.metrics import METRICS, SIZE, Units
from acdc_seg.metrics.distances import TOLERANCE, diagonal, measure_distances

MM3_PER_ML = 1000


def score_counts(counts: np.ndarray, *, pixel_size: float = 1.0) -> dict[str, np.ndarray]:
    """Values `(K,)` of the metrics that take pixel counts `(K, K)`, by name.

    Args:
        counts: Those of `count_pixels`.
        pixel_size: Area or volume of a pixel, in the unit of the set.
    """
    return {
        name: metric.function(counts) * pixel_size
        if metric.unit == SIZE
        else metric.function(counts)
        for name, metric in METRICS.items()
        if metric.takes == "counts"
    }


def score_distances(
    labels: np.ndarray,
    mask: np.ndarray,
    num_classes: int,
    *,
    has_background: bool = True,
    ignore_index: int | None = None,
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, np.ndarray]:
    """Values `(K,)` of the metrics that take distances, by name; those of the background are 0.

    Args:
        labels: Predicted class indices `(H, W)` or `(Z, H, W)`.
        mask: True class indices of the same shape.
        num_classes: Background included.
        has_background: The first class is the background, which is not measured.
        ignore_index: Mask value of void pixels, which are of no structure.
        spacing: Pixel size along each axis in mm; None measures in pixels.
        tolerance: NSD's, in the unit of lengths.
    """
    metrics = {name: metric for name, metric in METRICS.items() if metric.takes == "distances"}
    values = {name: np.zeros(num_classes) for name in metrics}
    is_counted = mask != (-1 if ignore_index is None else ignore_index)
    farthest = diagonal(mask.shape, spacing)
    for index in range(int(has_background), num_classes):
        truth, predicted = (mask == index) & is_counted, (labels == index) & is_counted
        found = measure_distances(truth, predicted, spacing=spacing, tolerance=tolerance)
        both_empty = not (truth.any() or predicted.any())
        for name, metric in metrics.items():
            if found is None:
                values[name][index] = metric.value_when_empty(both_empty, farthest)
            else:
                values[name][index] = metric.function(found)
    return values


def units_of(spacing: Sequence[float] | None, num_axes: int, tolerance: float) -> Units:
    """Units of images (two axes) or volumes (three)."""
    if spacing is None:
        return Units("pixels", "pixels" if num_axes == 2 else "voxels", tolerance)
    return Units("mm", "mm²" if num_axes == 2 else "mL", tolerance)


def pixel_size(spacing: Sequence[float] | None) -> float:
    """Area of a pixel in mm² or volume of a voxel in mL; 1 without spacing."""
    if spacing is None:
        return 1.0
    return math.prod(spacing) / (1 if len(spacing) == 2 else MM3_PER_ML)
