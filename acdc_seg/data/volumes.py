"""Reads NIfTI volumes: an image and its mask on one grid, checked before any voxel is used."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from acdc_seg.data.nifti import NiftiFile, open_nifti
from acdc_seg.data.orientation import Orientation
from acdc_seg.errors import DataError
from acdc_seg.labels import ACDC_LABELS

MASK_VALUES = tuple(label.value for label in ACDC_LABELS)
NATIVE_AXES = Orientation()


@dataclass(frozen=True)
class Volume:
    """`image` float32 `(X, Y, Z)`, `mask` uint8 or uint16 `(X, Y, Z)` or None, `spacing` (x, y, z)
    in mm; all in the axes of `orientation`, whatever those of the file.

    `affine` `(4, 4)` maps the voxel indices of the file to mm, RAS+.
    """

    image: np.ndarray
    mask: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    orientation: Orientation = NATIVE_AXES


def read_volume(
    image_path: Path,
    mask_path: Path | None,
    *,
    mask_values: Collection[int] | None = MASK_VALUES,
    frame: int | None = None,
) -> Volume:
    """Reads an image and, where there is one, its mask.

    Args:
        image_path: NIfTI file, compressed or not.
        mask_path: NIfTI file of the mask, or None.
        mask_values: Values that mask voxels may have, in 0..65535; None takes all of these.
        frame: Frame of a 4-D image, from 0; None expects one volume. A 2-D image is one slice.

    Raises:
        DataError: A file is missing, damaged or of several channels or frames, its header claims
            more than 2 GiB, it continues after its voxels, the image holds NaN or infinity, the two
            do not cover the same voxels, or the mask has another value than `mask_values`.
    """
    file = open_nifti(image_path, frame=frame)
    image, mask = file.frame(frame or 0), None
    if mask_path is not None:
        mask_file = open_nifti(mask_path)
        _check_same_grid(file, mask_file)
        voxels = replace(mask_file, orientation=file.orientation).voxels()
        mask = _check_values(mask_path, voxels, mask_values)
    return Volume(image, mask, file.spacing, file.image.affine, file.orientation)


def read_mask_values(path: Path) -> list[int]:
    """The whole numbers that occur in a mask, of whatever class, sorted.

    Raises:
        DataError: The file is missing or damaged.
    """
    values = np.unique(open_nifti(path).voxels())
    return [int(value) for value in values if value == np.floor(value)]


def _check_same_grid(image: NiftiFile, mask: NiftiFile) -> None:
    shape, mask_shape = image.image.shape, mask.image.shape
    if (*shape, 1)[:3] != (*mask_shape, 1)[:3]:
        raise DataError(
            f"{mask.path}: the mask has shape {mask_shape}, {image.path.name} has {shape}; export "
            "both on one grid",
            code="size",
        )
    difference = np.abs(image.image.affine - mask.image.affine).max()
    if not difference <= 1e-2:  # or NaN
        raise DataError(
            f"{mask.path}: voxel size, position or orientation (affine) differs from "
            f"{image.path.name} by up to {difference:.3g}; export both on one grid",
            code="affine",
        )


def _check_values(path: Path, voxels: np.ndarray, values: Collection[int] | None) -> np.ndarray:
    """Mask voxels as uint8 or uint16; raises DataError where one is none of `values`."""
    with np.errstate(invalid="ignore"):
        mask = voxels.astype(np.uint16)
    values = range(2**16) if values is None else values
    allowed = np.isin(np.arange(2**16), list(values))
    wrong = (mask != voxels) | ~allowed[mask]
    if wrong.any():
        unknown, counts = np.unique(voxels[wrong], return_counts=True)
        listed = ", ".join(
            f"{value:g} ({count:,} voxels)"
            for value, count in zip(unknown[:8], counts, strict=False)
        )
        expected = "0..65535" if len(values) == 2**16 else f"one of {sorted(values)}"
        raise DataError(
            f"{path}: the mask contains value {listed}, expected {expected}; correct "
            "the values, or set classes.names and classes.values",
            code="mask_value",
        )
    return mask.astype(np.uint8) if mask.max(initial=0) < 256 else mask
