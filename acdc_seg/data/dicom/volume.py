"""DicomVolume: the voxels of a series on one grid."""

import statistics
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_seg.data.dicom.grid import Grid, arrange
from acdc_seg.data.dicom.planes import Plane
from acdc_seg.data.dicom.series import Series
from acdc_seg.data.dicom.values import import_pydicom
from acdc_seg.data.nifti import LARGEST_VOLUME
from acdc_seg.errors import DataError


@dataclass(frozen=True)
class DicomVolume:
    """A series on one grid. Which frames are ED and ES is not known.

    Attributes:
        image: float32 `(X, Y, Z, T)` of grey values. The first axis counts columns, from left to
            right as the image is stored (usually toward the patient's left or back), the second
            one rows from top to bottom, the third slices along the normal (rows x columns), the
            fourth frames.
        affine: `(4, 4)` voxel to RAS+ mm.
        spacing: (x, y, z) in mm; z is the distance between the centers of slices.
        frame_seconds: Time from frame to frame; None for one frame, or where unknown.
        height_cm, weight_kg, heart_rate: Of the patient; None where unknown. The rate is in beats
            per minute, the median of the files.
        findings: What was repaired or looks odd, in words.
        planes: Source of every image, `planes[z][t]`.
    """

    image: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    frame_seconds: float | None
    height_cm: float | None
    weight_kg: float | None
    heart_rate: float | None
    findings: list[str]
    planes: tuple[tuple[Plane, ...], ...]


def read_series(series: Series) -> DicomVolume:
    """Reads the voxels of a series, each file once.

    Raises:
        DataError: The series is skipped, a file is damaged or missing, a slice or frame is missing,
            images differ in size or orientation, or it claims more than 2 GiB of voxels.
        ConfigError: pydicom is not installed, or not what the compression of the voxels needs.
    """
    if series.skipped is not None:
        raise DataError(
            f"{series.name} ({series.paths[0].parent}): not used: {series.skipped}; give an MR "
            "series of original grey-value images",
            code="unusable",
        )
    grid = arrange(series.planes, series.name)
    return DicomVolume(
        image=_read_image(grid, series.name),
        affine=grid.affine,
        spacing=grid.spacing,
        frame_seconds=grid.frame_seconds,
        height_cm=_median(file.height_cm for file in series.files),
        weight_kg=_median(file.weight_kg for file in series.files),
        heart_rate=_median(file.heart_rate for file in series.files),
        findings=[*series.findings, *grid.findings],
        planes=grid.planes,
    )


def _read_image(grid: Grid, name: str) -> np.ndarray:
    """float32 `(X, Y, Z, T)`."""
    rows, columns = grid.planes[0][0].size
    shape = (columns, rows, len(grid.planes), len(grid.planes[0]))
    num_bytes = 4 * int(np.prod(shape, dtype=np.int64))
    if num_bytes > LARGEST_VOLUME:
        raise DataError(
            f"{name}: claims {shape} voxels, {num_bytes / 1024**3:.1f} GiB; it is damaged, copy it "
            "again from its source",
            code="too_large",
        )
    places = defaultdict(list)
    for z, planes in enumerate(grid.planes):
        for t, plane in enumerate(planes):
            places[plane.path].append((z, t, plane))
    image = np.empty(shape, np.float32, order="F")
    for path, planes_of_file in places.items():
        stored = _read_pixels(path)
        for z, t, plane in planes_of_file:
            pixels = stored if plane.index is None else stored[plane.index]
            if pixels.shape != plane.size:
                raise DataError(
                    f"{path}: voxels have shape {pixels.shape}, the header says {plane.size}; copy "
                    "the file again from its source",
                    code="shape",
                )
            image[:, :, z, t] = pixels.T * plane.slope + plane.intercept
    return image


def _read_pixels(path: Path) -> np.ndarray:
    """Stored values `(rows, columns)`, or `(frames, rows, columns)` of a multi-frame file."""
    pydicom = import_pydicom()
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array
    except Exception as error:  # a damaged file can end in any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: voxels cannot be read ({reason}); copy the file again, or, where a "
            "decompressor is missing, pip install pylibjpeg pylibjpeg-libjpeg",
            code="unreadable",
        ) from None
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return pixels.reshape(-1, *pixels.shape[-2:])
    return pixels


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
