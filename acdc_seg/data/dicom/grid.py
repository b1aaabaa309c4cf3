"""Arranges the images of a DICOM series on one grid: slices by position, frames by time.

DICOM measures positions toward the left, back and head of the patient (LPS), NIfTI toward right,
front and head (RAS+): the first two coordinates change their sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from acdc_seg.data.dicom.frames import check_counts, drop_copies, frame_seconds, order_frames
from acdc_seg.data.dicom.planes import Plane, find_difference, group_slices
from acdc_seg.data.dicom.spacing import measure_step
from acdc_seg.errors import DataError

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """`planes[z][t]`, the slices sorted along the normal, which points along row x column.

    Attributes:
        affine: `(4, 4)` voxel (column, row, slice) to RAS+ mm.
        spacing: Distance between columns, rows and slices in mm.
        frame_seconds: Time from frame to frame, None where the files do not tell.
        findings: What a reader should know, in words.
    """

    planes: tuple[tuple[Plane, ...], ...]
    affine: np.ndarray
    spacing: tuple[float, float, float]
    frame_seconds: float | None
    findings: list[str] = field(default_factory=list)


def arrange(planes: Sequence[Plane], name: str) -> Grid:
    """Arranges images as slices and frames.

    Args:
        planes: The images in any order, at least one.
        name: What the errors call the series.

    Raises:
        DataError: Sizes or orientations differ, a slice or frame is missing, or nothing orders the
            frames.
    """
    check_alike(planes, name)
    findings: list[str] = []
    slices = group_slices(drop_copies(planes, findings))
    by_frame = order_frames(slices, name, findings)
    check_counts(by_frame, name)
    spacing, step = measure_step([frames[0] for frames in by_frame], name, findings)
    first = by_frame[0][0]
    row_distance, column_distance = first.pixel_spacing
    return Grid(
        planes=tuple(tuple(frames) for frames in by_frame),
        affine=_affine(first, step),
        spacing=(column_distance, row_distance, spacing),
        frame_seconds=frame_seconds(by_frame, findings),
        findings=findings,
    )


def check_alike(planes: Sequence[Plane], name: str) -> None:
    """Raises DataError where images of a series are not of one grid."""
    first = planes[0]
    for plane in planes:
        what = find_difference(first, plane)
        if what is not None:
            raise DataError(
                f"{name}: {plane.path.name} has {what.replace('_', ' ')} {getattr(plane, what)}, "
                f"{first.path.name} has {getattr(first, what)}; a series must be one stack of "
                "parallel slices, remove the other images",
                code="size" if what == "size" else "affine",
            )


def _affine(first: Plane, step: np.ndarray) -> np.ndarray:
    """`(4, 4)` voxel (column, row, slice) to RAS+ mm."""
    row_distance, column_distance = first.pixel_spacing
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * column_distance
    affine[:3, 1] = np.array(first.orientation[3:]) * row_distance
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    affine[:3] *= LPS_TO_RAS[:, None]
    return affine
