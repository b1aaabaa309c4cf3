"""Scores of a whole set of images: pixel counts are summed over it before they are divided."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from acdc_seg.metrics import METRICS

POOLED = ("dice", "iou")
POOLED_RULE = (
    "Pooled scores count the pixels of all images together; their means over classes are mDice and "
    "mIoU, without classes that occur nowhere."
)


def pool_counts(counts: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Dice and IoU of all images as one.

    Args:
        counts: Pixels `(K, K)` over all images, as of `count_pixels`.
        names: The foreground classes, the last ones of K.

    Returns:
        The means over the classes that occur (`dice`, `iou`), and `classes`, of each the same, None
        for one that is nowhere in masks and predictions.
    """
    occurs = (counts.sum(0) + counts.sum(1))[len(counts) - len(names) :] > 0
    if not occurs.any():
        return {}
    means: dict[str, Any] = {}
    classes: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for metric in POOLED:
        values = METRICS[metric].function(counts)[len(counts) - len(names) :]
        means[metric] = float(values[occurs].mean())
        for name, value, does_occur in zip(names, values.tolist(), occurs, strict=True):
            classes[name][metric] = value if does_occur else None
    return {**means, "classes": classes}
