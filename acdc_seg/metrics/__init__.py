"""Metrics of a prediction against a mask.

A new metric is a function here or in a file beside it, and a row of `METRICS`: scores, tables,
metrics.csv, metrics.json and the report follow from the row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acdc_seg.metrics.overlap import dice, iou

BOTH_EMPTY_IS_ONE = (
    "A class that is empty in truth and prediction scores 1; empty in only one of them, 0."
)


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        title: The name that readers know.
        function: Maps pixel counts `(..., K, K)` of `count_pixels` to values `(..., K)` by class.
        higher_is_better: Which way to order images and models.
        empty_policy: A sentence on classes that are empty in the mask or the prediction.
        unit: Empty for a ratio.
    """

    title: str
    function: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool
    empty_policy: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Title and unit, as tables and axes show them."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", dice, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE),
    "iou": Metric("IoU", iou, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE),
}
"""By the name that columns and keys have; the first one is the headline of tables and reports."""

EMPTY_POLICY = " ".join(dict.fromkeys(metric.empty_policy for metric in METRICS.values()))
