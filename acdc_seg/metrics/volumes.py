"""Joins slices to volumes while they are scored one by one, and names where in the heart they are.

The labels of a volume are held until its last slice is there, and no longer.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics import METRICS, Units
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.scores import ImageScore, make_score, score_labels
from acdc_seg.metrics.summary import sum_counts
from acdc_seg.metrics.values import pixel_size, score_counts, score_distances, units_of

REGIONS = ("base", "mid", "apex")
BEYOND_BASE, BEYOND_APEX = "beyond base", "beyond apex"
ORDER = (BEYOND_BASE, *REGIONS, BEYOND_APEX)
HEART = {RV.name, MYO.name, LV.name}


@dataclass(frozen=True)
class Case:
    """Whose image it is, and where in which volume.

    Attributes:
        id: The image's name.
        patient: Whose it is.
        phase: ED, ES or nothing.
        group: Diagnosis or nothing.
        spacing: Pixel size (row, column) in mm.
        volume: Name of the volume that it is a slice of.
        slice: Number in the volume.
        slice_spacing: Distance in mm to the next slice.
    """

    id: str
    patient: str = ""
    phase: str = ""
    group: str = ""
    spacing: tuple[float, float] | None = None
    volume: str = ""
    slice: int | None = None
    slice_spacing: float | None = None


@dataclass(frozen=True)
class ScoreSet:
    """Scores of a set of images at all levels that it has.

    Attributes:
        images: Of every image, in order; none where volumes are scored as a whole.
        volumes: Of the volumes that the images are the slices of; none where some image is none.
        regions: Of the slices of each volume at the base, in the middle and at the apex.
        distances_3d: Distances of volumes are measured in space, not in the plane of slices.
        is_heart: The classes are those of the heart.
        calibration: See `calibration.Calibration.summarize`; None where it was not measured.
    """

    images: list[ImageScore]
    volumes: list[ImageScore] = field(default_factory=list)
    regions: dict[str, list[ImageScore]] = field(default_factory=dict)
    distances_3d: bool = False
    is_heart: bool = False
    calibration: dict[str, Any] | None = None


class Scorer:
    """Scores images one by one, and volumes when their last slice is there.

    Args:
        cases: All images that will be added.
        classes: Names of all classes.
        has_background: The first of them is the background, which has no score.
        ignore_index: Mask value of void pixels.
        tolerance: NSD's, in mm, or in pixels where a spacing is missing.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *,
        classes: Sequence[str],
        has_background: bool = True,
        ignore_index: int | None = None,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.classes, self.has_background = classes, has_background
        self.ignore_index, self.tolerance = ignore_index, tolerance
        self.in_mm = all(case.spacing for case in cases)
        self.num_slices = count_slices(cases)
        self.is_heart = set(classes) >= HEART
        self.images: list[ImageScore] = []
        self.volumes: list[ImageScore] = []
        self.in_plane: list[ImageScore] = []
        self.regions: dict[str, list[ImageScore]] = defaultdict(list)
        self._open: dict[str, list[_Slice]] = defaultdict(list)

    def add(self, labels: np.ndarray, mask: np.ndarray, case: Case) -> None:
        """Scores an image.

        Args:
            labels: Predicted class indices `(H, W)`.
            mask: True class indices of the same shape.
            case: One of `cases`.

        Raises:
            DataError: See `score_labels`.
        """
        score = score_labels(
            labels,
            mask,
            id=case.id,
            classes=self.classes,
            has_background=self.has_background,
            ignore_index=self.ignore_index,
            patient=case.patient,
            phase=case.phase,
            group=case.group,
            spacing=case.spacing if self.in_mm else None,
            distances=True,
            tolerance=self.tolerance,
        )
        self.images.append(replace(score, slice=case.slice))
        if self.num_slices:
            slices = self._open[case.volume]
            slices.append(_Slice(len(self.images) - 1, case, np.stack([labels, mask])))
            if len(slices) == self.num_slices[case.volume]:
                self._close(self._open.pop(case.volume))

    def result(self) -> ScoreSet:
        """The scores of all images that were added."""
        in_3d = len(self.volumes) == len(self.in_plane)
        volumes = self.volumes if in_3d else self.in_plane
        regions = {name: self.regions[name] for name in REGIONS if name in self.regions}
        return ScoreSet(self.images, volumes, regions, in_3d and bool(volumes), self.is_heart)

    def _close(self, slices: "list[_Slice]") -> None:
        """Scores a volume and its regions."""
        slices = sorted(slices, key=lambda part: part.case.slice or 0)
        scores = [self.images[part.index] for part in slices]
        self.in_plane.append(self._score_in_plane(slices[0].case, scores))
        if _has_grid(slices) and self.in_mm:
            self.volumes.append(self._score_in_space(slices))
        if self.is_heart:
            names = name_regions([_heart_size(score) for score in scores])
            for part, name in zip(slices, names, strict=True):
                self.images[part.index] = replace(self.images[part.index], region=name)
            for region in REGIONS:
                chosen = [
                    score for score, name in zip(scores, names, strict=True) if name == region
                ]
                if chosen:
                    name = f"{slices[0].case.volume} {region}"
                    score = self._join(slices[0].case, name, chosen)
                    self.regions[region].append(score)

    def _join(
        self,
        case: Case,
        name: str,
        scores: Sequence[ImageScore],
        distances: Mapping[str, np.ndarray] | None = None,
        spacing: Sequence[float] | None = None,
        units: Units | None = None,
    ) -> ImageScore:
        """The score of the summed pixel counts of slices."""
        counts = sum_counts(scores)
        values = {**score_counts(counts, pixel_size=pixel_size(spacing)), **(distances or {})}
        return make_score(
            counts,
            {metric: values[metric] for metric in METRICS if metric in values},
            id=name,
            classes=self.classes,
            has_background=self.has_background,
            patient=case.patient,
            phase=case.phase,
            group=case.group,
            units=units or units_of(spacing, 3, self.tolerance),
        )

    def _score_in_plane(self, case: Case, scores: Sequence[ImageScore]) -> ImageScore:
        """Distances are the means over the slices that have the class in mask or prediction."""
        first = int(self.has_background)
        distances = {}
        for metric in (name for name, row in METRICS.items() if row.takes == "distances"):
            values = np.full(len(self.classes), METRICS[metric].value_when_empty(True, 0))
            for index, name in enumerate(self.classes[first:], start=first):
                found = [
                    score.values[metric][name]
                    for score in scores
                    if score.truth_size[name] or score.prediction_size[name]
                ]
                if found:
                    values[index] = np.mean(found)
            distances[metric] = values
        units = replace(scores[0].units, size="voxels")
        return self._join(case, case.volume, scores, distances, units=units)

    def _score_in_space(self, slices: "Sequence[_Slice]") -> ImageScore:
        case = slices[0].case
        spacing = (case.slice_spacing or 0, *(case.spacing or ()))
        labels, mask = np.stack([part.pixels for part in slices], axis=1)  # (Z, H, W) each
        distances = score_distances(
            labels,
            mask,
            len(self.classes),
            has_background=self.has_background,
            ignore_index=self.ignore_index,
            spacing=spacing,
            tolerance=self.tolerance,
        )
        scores = [self.images[part.index] for part in slices]
        return self._join(case, case.volume, scores, distances, spacing)


@dataclass(frozen=True)
class _Slice:
    """`pixels` are labels and mask `(2, H, W)`, `index` the place of its score."""

    index: int
    case: Case
    pixels: np.ndarray


def count_slices(cases: Sequence[Case]) -> dict[str, int]:
    """Number of slices by volume; none where an image is no slice, or no volume has two."""
    if any(not case.volume or case.slice is None for case in cases):
        return {}
    counts = Counter(case.volume for case in cases)
    return dict(counts) if max(counts.values(), default=0) > 1 else {}


def name_regions(heart_sizes: Sequence[float]) -> list[str]:
    """Base, mid or apex of each slice of a volume in order; slices without heart lie beyond.

    The slices from the first to the last with heart are divided into thirds, of which the middle
    one takes the rest. The base is the end whose half has more heart in it.

    Args:
        heart_sizes: Pixels of the heart in each slice of the mask.
    """
    sizes = np.asarray(heart_sizes)
    inside = np.flatnonzero(sizes)
    if not inside.size:
        return [""] * len(sizes)
    first, last = int(inside[0]), int(inside[-1])
    num_slices = last - first + 1
    names = [BEYOND_BASE] * first
    for place in range(num_slices):
        names.append(REGIONS[(2 * place + 1) * 3 // (2 * num_slices)])
    names += [BEYOND_APEX] * (len(sizes) - last - 1)
    half = num_slices // 2
    if sizes[last + 1 - half : last + 1].sum() > sizes[first : first + half].sum():
        turned = dict(zip(ORDER, reversed(ORDER), strict=True))
        names = [turned[name] for name in names]
    return names


def _heart_size(score: ImageScore) -> int:
    return sum(score.truth_size[name] for name in HEART)


def _has_grid(slices: Sequence[_Slice]) -> bool:
    """Whether slices follow each other at one known distance, with pixels of one size."""
    first = slices[0]
    numbers = [part.case.slice for part in slices]
    return (
        first.case.slice_spacing is not None
        and numbers == list(range(numbers[0] or 0, (numbers[0] or 0) + len(numbers)))
        and all(part.pixels.shape == first.pixels.shape for part in slices)
        and all(
            part.case.spacing == first.case.spacing
            and part.case.slice_spacing == first.case.slice_spacing
            for part in slices
        )
    )
