"""Metrics of a prediction against a mask.

A new metric is a function here or in a file beside it, and a row of `METRICS`: scores, tables,
metrics.csv, metrics.json and the report follow from the row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from acdc_seg.metrics.distances import TOLERANCE, assd, hd, hd95, nsd
from acdc_seg.metrics.overlap import dice, iou, precision, recall, relative_size_error, size_error

BOTH_EMPTY_IS_ONE = (
    "A class that is empty in truth and prediction scores 1; empty in only one of them, 0."
)
ONE_EMPTY_IS_FAR = (
    "The distance of a class that is empty in truth and prediction is 0; empty in only one of them "
    "(missed or false, and counted), the image's diagonal."
)
ONLY_TRUTH_EMPTY_IS_ONE = (
    "The relative size error is 1 where only the truth is empty, 0 where both are."
)
LENGTH, SIZE = "{length}", "{size}"
"""For `Metric.unit`: that of the set, see `Units`."""


@dataclass(frozen=True)
class Units:
    """Units of a set of images: of lengths (mm, pixels) and of areas or volumes (mm², mL, pixels,
    voxels), and NSD's tolerance in the former.
    """

    length: str = "pixels"
    size: str = "pixels"
    tolerance: float = TOLERANCE


NO_UNITS = Units()


@dataclass(frozen=True)
class Metric:
    """A row of `METRICS`.

    Attributes:
        title: The name that readers know; it may name `{tolerance}` and `{length}`.
        function: Maps pixel counts `(..., K, K)` of `count_pixels` to values `(..., K)` by class,
            or the `SurfaceDistances` of one class to a number.
        higher_is_better: Which way to order images and models.
        empty_policy: A sentence on classes that are empty in the mask or the prediction.
        unit: Empty for a ratio; `LENGTH` and `SIZE` follow the spacing of the data, and a function
            of counts gives pixels for `SIZE`.
        takes: Argument of the function. Distances cost more, so only final scores have them. They
            are measured where the class is in mask and prediction; else a metric that is better
            when lower is 0 (both empty) or the image's diagonal, and one that is better when higher
            1 or 0.
    """

    title: str
    function: Callable[[Any], Any]
    higher_is_better: bool
    empty_policy: str
    unit: str = ""
    takes: Literal["counts", "distances"] = "counts"

    def value_when_empty(self, both: bool, farthest: float) -> float:
        """Value of a metric of distances where the mask, the prediction or both are empty.

        Args:
            both: Both are.
            farthest: The image's diagonal.
        """
        if self.higher_is_better:
            return float(both)
        return 0.0 if both else farthest

    def label(self, units: Units) -> str:
        """Title and unit, as tables and axes show them."""
        text = f"{self.title} ({self.unit})" if self.unit else self.title
        return text.format(
            length=units.length, size=units.size, tolerance=format(units.tolerance, "g")
        )


METRICS: dict[str, Metric] = {
    "dice": Metric("Dice", dice, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE),
    "iou": Metric("IoU", iou, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE),
    "precision": Metric(
        "Precision", precision, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE
    ),
    "recall": Metric("Recall", recall, higher_is_better=True, empty_policy=BOTH_EMPTY_IS_ONE),
    "hd95": Metric(
        "HD95",
        hd95,
        higher_is_better=False,
        empty_policy=ONE_EMPTY_IS_FAR,
        unit=LENGTH,
        takes="distances",
    ),
    "hd": Metric(
        "HD",
        hd,
        higher_is_better=False,
        empty_policy=ONE_EMPTY_IS_FAR,
        unit=LENGTH,
        takes="distances",
    ),
    "assd": Metric(
        "ASSD",
        assd,
        higher_is_better=False,
        empty_policy=ONE_EMPTY_IS_FAR,
        unit=LENGTH,
        takes="distances",
    ),
    "nsd": Metric(
        "NSD at {tolerance} {length}",
        nsd,
        higher_is_better=True,
        empty_policy=BOTH_EMPTY_IS_ONE,
        takes="distances",
    ),
    "size_error": Metric(
        "Size error",
        size_error,
        higher_is_better=False,
        empty_policy="",
        unit=SIZE,
    ),
    "relative_size_error": Metric(
        "Relative size error",
        relative_size_error,
        higher_is_better=False,
        empty_policy=ONLY_TRUTH_EMPTY_IS_ONE,
    ),
}
"""By the name that columns and keys have; the first one is the headline of tables and reports."""

EMPTY_POLICY = " ".join(
    dict.fromkeys(metric.empty_policy for metric in METRICS.values() if metric.empty_policy)
)
"""Of all metrics, each sentence once."""
