"""Reads label maps: NIfTI files of any program, whose voxels are the values of classes."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.class_offers import offer_for_values
from acdc_seg.data.nifti import NiftiFile, open_nifti
from acdc_seg.data.orientation import Orientation
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.labels import IGNORE_INDEX

SPACING_TOLERANCE = 0.01
"""Relative difference of voxel sizes that are taken as one; headers hold float32."""
POSITION_TOLERANCE = 0.1
"""Distance in mm between the corners of grids that are taken as one."""


@dataclass(frozen=True)
class LabelMap:
    """Class indices of every voxel, and where they are.

    Attributes:
        path: The file.
        labels: Class indices uint8 `(X, Y, Z)` in the order of the file's axes; void voxels are
            `IGNORE_INDEX`.
        affine: Voxel indices to mm in RAS+, `(4, 4)`.
        spacing: Voxel size (x, y, z) in mm.
    """

    path: Path
    labels: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]

    @property
    def has_position(self) -> bool:
        """Whether the affine is that of the scanner: its voxels have the size of the header's."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        return bool(np.allclose(sizes, self.spacing, rtol=SPACING_TOLERANCE))


def read_label_map(
    path: Path, classes: ClassesConfig, *, frame: int | None = None, allow_void: bool = True
) -> LabelMap:
    """Reads a 3-D file, or one frame of a 4-D file.

    Where the affine has voxels of 1 mm and the header others, the header's count: so are the files
    of the ACDC challenge.

    Args:
        path: NIfTI file, compressed or not.
        classes: Values of the classes.
        frame: Number from 0 in a 4-D file; None expects one volume.
        allow_void: Void voxels may occur; they may not in a prediction.

    Raises:
        DataError: The file is missing or damaged, or a voxel has a value that is not a class.
        ConfigError: The classes are encoded by color.
    """
    if classes.mask_encoding != "values":
        raise ConfigError(
            f"classes.mask_encoding={classes.mask_encoding}: voxels of label maps are numbers; "
            "leave it at values"
        )
    file = open_nifti(path, frame=frame)
    # in the file's own axes, for a placeholder as affine says nothing about their directions
    voxels = replace(file, orientation=Orientation()).voxels(frame)
    labels = _to_indices(path, voxels, classes, allow_void=allow_void)
    return LabelMap(path, labels, file.image.affine, _file_spacing(file))


def count_frames(path: Path) -> int:
    """Number of volumes in a file, 1 for a 3-D one; raises DataError for a damaged file."""
    return open_nifti(path, frames=True).num_frames


def check_same_grid(prediction: LabelMap, truth: LabelMap) -> None:
    """Raises DataError unless two label maps have the same voxels.

    Positions are compared where both files have them (see `LabelMap.has_position`).
    """
    first, second = prediction.labels.shape, truth.labels.shape
    remedy = "write the prediction on the grid of the image, with its header and affine"
    if first != second:
        raise DataError(
            f"{prediction.path}: has shape {first}, {truth.path} has {second}; {remedy}",
            code="size",
        )
    if not np.allclose(prediction.spacing, truth.spacing, rtol=SPACING_TOLERANCE):
        sizes = [" x ".join(f"{size:.4g}" for size in each.spacing) for each in (prediction, truth)]
        raise DataError(
            f"{prediction.path}: has voxels of {sizes[0]} mm, {truth.path} of {sizes[1]}; {remedy}",
            code="spacing",
        )
    if prediction.has_position and truth.has_position:
        corners = np.array([*product(*((0, size - 1) for size in second))])  # (8, 3)
        difference = prediction.affine - truth.affine
        moved = corners @ difference[:3, :3].T + difference[:3, 3]
        distance = float(np.linalg.norm(moved, axis=1).max())
        if not distance <= POSITION_TOLERANCE:  # or NaN
            raise DataError(
                f"{prediction.path}: position or orientation (affine) differs from {truth.path} by "
                f"up to {distance:.3g} mm; {remedy}",
                code="affine",
            )


def _file_spacing(file: NiftiFile) -> tuple[float, float, float]:
    """Voxel size in the order of the file's axes."""
    by_axis = dict(zip(file.orientation.axes, file.spacing, strict=True))
    return by_axis[0], by_axis[1], by_axis[2]


def _to_indices(
    path: Path, voxels: np.ndarray, classes: ClassesConfig, *, allow_void: bool
) -> np.ndarray:
    index_of = {label.value: index for index, label in enumerate(classes.labels)}
    if classes.void is not None and allow_void:
        index_of[classes.void.value] = IGNORE_INDEX
    values, counts = np.unique(voxels, return_counts=True)
    unknown = [
        f"{value:g} ({count:,} voxels)"
        for value, count in zip(values, counts, strict=True)
        if value not in index_of
    ]
    if unknown:
        offer = offer_for_values([int(value) for value in values if value % 1 == 0], classes)
        raise DataError(
            f"{path}: the label map contains value {', '.join(unknown[:8])}, expected one of "
            f"{sorted(index_of)}; {offer.text}",
            code=offer.code,
            settings=offer.settings,
        )
    labels = np.zeros(voxels.shape, np.uint8)
    for value in values:
        labels[voxels == value] = index_of[value]
    return labels
