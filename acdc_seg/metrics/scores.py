"""Scores of one image or volume."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acdc_seg.metrics import METRICS, NO_UNITS, Units
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.overlap import count_pixels
from acdc_seg.metrics.values import pixel_size, score_counts, score_distances, units_of


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one image or volume by metric and foreground class; sizes are in pixels.

    `counts` are the pixels `(K, K)` by class of the mask and predicted class, background included.
    A class is missed where it is in the mask and nowhere predicted, and false the other way round;
    the numbers are 0 or 1 for an image, and sums for what is made of several. `units` are those of
    lengths and sizes in `values`. `slice` is its number in its volume, `region` where in the heart
    it is (see `volumes.name_regions`).
    """

    id: str
    patient: str
    phase: str
    values: dict[str, dict[str, float]]
    truth_size: dict[str, int]
    prediction_size: dict[str, int]
    counts: np.ndarray | None = field(default=None, compare=False, repr=False)
    group: str = ""
    num_missed: dict[str, int] = field(default_factory=dict)
    num_false: dict[str, int] = field(default_factory=dict)
    units: Units = field(default=NO_UNITS, compare=False)
    slice: int | None = None
    region: str = ""

    @property
    def is_void(self) -> bool:
        """Whether no pixel has a class."""
        return self.counts is not None and not self.counts.any()

    @property
    def dice(self) -> dict[str, float]:
        """Dice by class."""
        return self.values["dice"]

    def mean(self, metric: str = "dice") -> float:
        """Mean over the foreground classes."""
        return float(np.mean(list(self.values[metric].values())))


def score_labels(
    labels: np.ndarray,
    mask: np.ndarray,
    *,
    id: str,
    classes: Sequence[str],
    has_background: bool = True,
    ignore_index: int | None = None,
    patient: str = "",
    phase: str = "",
    group: str = "",
    spacing: Sequence[float] | None = None,
    distances: bool = False,
    tolerance: float = TOLERANCE,
) -> ImageScore:
    """All metrics of every foreground class.

    Args:
        labels: Predicted class indices `(H, W)` or `(Z, H, W)`.
        mask: True class indices of the same shape.
        id: The image's name.
        classes: Names of all classes.
        has_background: The first of them is the background, which has no score.
        ignore_index: Mask value of void pixels; they count for no class.
        patient: Whose image it is.
        phase: ED, ES or nothing.
        group: Diagnosis or nothing.
        spacing: Pixel size along each axis in mm; without it lengths and sizes are in pixels.
        distances: Measure distances between surfaces too.
        tolerance: NSD's, in the unit of lengths.

    Raises:
        DataError: The shapes differ, or an array holds values that are not class indices.
    """
    labels, mask = np.asarray(labels), np.asarray(mask)
    counts = count_pixels(labels, mask, len(classes), ignore_index=ignore_index, name=id)
    values = score_counts(counts, pixel_size=pixel_size(spacing))
    if distances:
        values |= score_distances(
            labels,
            mask,
            len(classes),
            has_background=has_background,
            ignore_index=ignore_index,
            spacing=spacing,
            tolerance=tolerance,
        )
    return make_score(
        counts,
        {name: values[name] for name in METRICS if name in values},
        id=id,
        classes=classes,
        has_background=has_background,
        patient=patient,
        phase=phase,
        group=group,
        units=units_of(spacing, mask.ndim, tolerance),
    )


def make_score(
    counts: np.ndarray,
    values: Mapping[str, np.ndarray],
    *,
    id: str,
    classes: Sequence[str],
    units: Units,
    has_background: bool = True,
    patient: str = "",
    phase: str = "",
    group: str = "",
) -> ImageScore:
    """A score of pixel counts `(K, K)` and values `(K,)` by metric."""

    def by_class(values: np.ndarray) -> dict[str, Any]:
        first = int(has_background)
        return dict(zip(classes[first:], values[first:].tolist(), strict=True))

    truth_size, prediction_size = counts.sum(1), counts.sum(0)
    return ImageScore(
        id=id,
        patient=patient,
        phase=phase,
        values={name: by_class(row) for name, row in values.items()},
        truth_size=by_class(truth_size),
        prediction_size=by_class(prediction_size),
        counts=counts.astype(np.int32),
        group=group,
        num_missed=by_class(((truth_size > 0) & (prediction_size == 0)).astype(int)),
        num_false=by_class(((truth_size == 0) & (prediction_size > 0)).astype(int)),
        units=units,
    )
