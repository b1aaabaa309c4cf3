"""Plane: a 2-D image with its place in space and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAME_POSITION = 0.1
"""Images less than this far apart (mm) are of one slice, for positions are rounded in files."""
SAME_DIRECTION = 1e-3
"""Difference that components of unit vectors may have within a series, for the same reason."""


@dataclass(frozen=True)
class Plane:
    """One 2-D image: a file, or a frame of a multi-frame file.

    Attributes:
        path: The file.
        index: Number of the frame in a multi-frame file, from 0; None in a file of one image.
        uid: SOPInstanceUID of the file.
        size: Rows and columns.
        position: Center of the first pixel in mm, toward the patient's left, back and head (LPS).
        orientation: Unit vectors (LPS), first along a row, then down a column.
        pixel_spacing: Distance between rows, then between columns, in mm.
        thickness, slice_distance: SliceThickness and SpacingBetweenSlices in mm, where given.
        trigger_ms: Time after the R wave in ms, where given.
        temporal: TemporalPositionIdentifier, where given.
        number: InstanceNumber, where given, and the number of the frame in its file.
        slope, intercept: grey value = stored value * slope + intercept.
    """

    path: Path
    index: int | None
    uid: str
    size: tuple[int, int]
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    thickness: float | None
    slice_distance: float | None
    trigger_ms: float | None
    temporal: float | None
    number: tuple[float, int] | None
    slope: float
    intercept: float

    @property
    def normal(self) -> np.ndarray:
        """`(3,)` unit vector across the image (LPS)."""
        return np.cross(self.orientation[:3], self.orientation[3:])


def find_difference(plane: Plane, other: Plane) -> str | None:
    """The attribute by which two images cannot be of one stack, None where they can."""
    if plane.size != other.size:
        return "size"
    if not np.allclose(plane.orientation, other.orientation, atol=SAME_DIRECTION, rtol=0):
        return "orientation"
    if not np.allclose(plane.pixel_spacing, other.pixel_spacing, rtol=1e-3):
        return "pixel_spacing"
    return None


def group_slices(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Images by slice, the slices sorted by their position along the normal."""
    normal = planes[0].normal
    offsets = np.array([plane.position for plane in planes]) @ normal
    slices: list[list[Plane]] = []
    end = -np.inf
    for index in np.argsort(offsets, kind="stable"):
        if offsets[index] - end > SAME_POSITION:
            slices.append([])
        slices[-1].append(planes[index])
        end = offsets[index]
    return slices
