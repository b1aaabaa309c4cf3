"""Thickness of the left ventricle's wall in the 16 segments of the AHA.

Slices are divided into base, middle and apex, and each ring into six, six and four segments around
the long axis (Cerqueira et al., Circulation 2002, 105:539); the tip, segment 17, is not in
short-axis slices. The thickness at a point of the endocardium is the distance to the nearest point
of the epicardium in the same slice, as in ukbb_cardiac (Bai et al., 2018). Both contours are drawn
between pixels: the mean thickness of a ring is measured to within 0.3 pixels, and at a single point
to within 0.7 (`tests/metrics/test_wall.py`), so a maximum is too large by half a pixel or so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree

from acdc_seg.errors import DataError
from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.volumes import REGIONS, name_regions

SEGMENTS = (
    "basal anterior",
    "basal anteroseptal",
    "basal inferoseptal",
    "basal inferior",
    "basal inferolateral",
    "basal anterolateral",
    "mid anterior",
    "mid anteroseptal",
    "mid inferoseptal",
    "mid inferior",
    "mid inferolateral",
    "mid anterolateral",
    "apical anterior",
    "apical septal",
    "apical inferior",
    "apical lateral",
)
"""Names of segments 1 to 16."""

SIXTHS = (2, 1, 6, 5, 4, 3)
"""Segments of the base by angle in steps of 60 degrees, from the middle of the septum over the
anterior wall; those of the middle are 6 more."""
QUARTERS = (14, 13, 16, 15)
"""Segments of the apex in steps of 90 degrees, of which the first is around the septum's middle."""

MIN_PIXELS = 10
"""Of both LV and myocardium in a slice; smaller ones have no contour to speak of."""
SMOOTHING = 1.0
"""Standard deviation in pixels of the Gaussian that takes the steps of pixels off a contour. It
moves a circle of five pixels' radius inward by a tenth of a pixel."""
ALONG_AXIS = 0.999
"""Cosine between the normal of slices and an axis of the body above which they are no short-axis
slices of a real heart: within 2.5 degrees."""
MIN_WALL = 0.5
"""In pixels; where less is between cavity and outside the wall is open, as at the valves."""


@dataclass(frozen=True)
class Wall:
    """Thickness in mm of segments 1 to 16; None where a segment has no wall that was measured."""

    mean: tuple[float | None, ...]
    max: tuple[float | None, ...]

    def to_dict(self) -> dict[str, float | None]:
        """By the names of columns: WT_MEAN_1 to WT_MEAN_16, WT_MAX_1 to WT_MAX_16."""
        columns = {f"WT_MEAN_{number}": value for number, value in enumerate(self.mean, start=1)}
        largest = {f"WT_MAX_{number}": value for number, value in enumerate(self.max, start=1)}
        return columns | largest


def measure_wall(
    label_map: np.ndarray, spacing: Sequence[float], *, affine: np.ndarray | None = None
) -> Wall:
    """Measures the wall in one frame, by convention ED.

    The middle of the septum is where the center of the RV is, seen from that of the LV. No segment
    is measured in a frame without RV. Which side of the septum is anterior depends on where the
    slices are seen from, and labels do not tell. An oblique affine does. One whose slices are
    normal to an axis of the body is not that of a short-axis view: it was written without knowing
    the patient, as in ACDC's files, and is used for flips in the plane only. There and without
    affine, slices are taken to be seen from the apex, with X to the right and Y down, as scanners
    show them. Where this does not hold, anterior and inferior segments are exchanged; septal and
    lateral ones, as halves, are not.

    Args:
        label_map: `(X, Y, Z)`, values of `acdc_seg.labels`; slices in either order, for the base is
            the end with the larger ventricle.
        spacing: (x, y, z) in mm.
        affine: Voxel to RAS+ mm, `(4, 4)`.

    Raises:
        DataError: The label map is not a volume.
    """
    if label_map.ndim != 3:
        raise DataError(
            f"the label map has shape {label_map.shape}, expected (X, Y, Z); give one frame"
        )
    regions = _name_slices(label_map)
    septum = _septum_direction(label_map, spacing, regions)
    values: dict[int, list[np.ndarray]] = {number: [] for number in range(1, 17)}
    anterior = None if septum is None else _anterior_direction(septum, regions, affine)
    for index, region in enumerate(regions):
        if region not in REGIONS or septum is None or anterior is None:
            continue
        points, thickness = measure_thickness(label_map[..., index], spacing)
        angles = np.degrees(np.arctan2(points @ anterior, points @ septum))
        numbers = assign_segments(angles, region)
        for number in np.unique(numbers):
            values[int(number)].append(thickness[numbers == number])
    joined = [np.concatenate(parts) if parts else None for parts in values.values()]
    return Wall(
        tuple(None if part is None else float(part.mean()) for part in joined),
        tuple(None if part is None else float(part.max()) for part in joined),
    )


def measure_thickness(
    labels: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """The wall around the cavity in one slice; empty where LV or myocardium are too small.

    Args:
        labels: `(X, Y)`, values of `acdc_seg.labels`.
        spacing: (x, y, ...) in mm.

    Returns:
        Points of the endocardium `(N, 2)` in mm from the center of the LV, and the thickness at
        each in mm `(N,)`. Points where the wall is open are not among them.
    """
    if not _has_ring(labels):
        return np.empty((0, 2)), np.empty(0)
    size = np.array([float(spacing[0]), float(spacing[1])])
    outer = _largest_filled((labels == LV.value) | (labels == MYO.value))
    inner = _largest_filled(labels == LV.value)
    endocardium, epicardium = (find_contour(shape) * size for shape in (inner, outer))
    thickness = KDTree(epicardium).query(endocardium)[0]
    closed = thickness >= MIN_WALL * size.min()
    center = np.argwhere(inner).mean(axis=0) * size
    return endocardium[closed] - center, thickness[closed]


def find_contour(shape: np.ndarray) -> np.ndarray:
    """Points `(N, 2)` of the smoothed outline of a boolean `(X, Y)`, in pixels from the center of
    the first one: where it crosses the lines between centers of neighbors, in no order.
    """
    margin = math.ceil(4 * SMOOTHING) + 1
    padded = np.pad(shape, margin).astype(float)
    field = ndimage.gaussian_filter(padded, SMOOTHING)
    if field.max() <= 0.5:  # a shape of a few pixels, which smoothing would remove
        field = padded
    points = []
    for axis in (0, 1):
        start, stop = (np.moveaxis(part, 0, axis) for part in _neighbors(field, axis))
        crossing = (start > 0.5) != (stop > 0.5)
        found = np.argwhere(crossing).astype(float)
        found[:, axis] += (start[crossing] - 0.5) / (start[crossing] - stop[crossing])
        points.append(found)
    return np.concatenate(points) - margin


def assign_segments(angles: np.ndarray, region: str) -> np.ndarray:
    """Numbers of the AHA's segments.

    Args:
        angles: In degrees, 0 at the middle of the septum and 90 at the anterior wall.
        region: One of `volumes.REGIONS`.
    """
    if region == REGIONS[2]:
        return np.array(QUARTERS)[(np.floor((angles + 45) / 90) % 4).astype(int)]
    first = 0 if region == REGIONS[0] else 6
    return first + np.array(SIXTHS)[(np.floor(angles / 60) % 6).astype(int)]


def _neighbors(field: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """All pixels that have a next one along an axis, and these; that axis first."""
    moved = np.moveaxis(field, axis, 0)
    return moved[:-1], moved[1:]


def _has_ring(labels: np.ndarray) -> bool:
    counts = [np.count_nonzero(labels == label.value) for label in (LV, MYO)]
    return bool(min(counts) >= MIN_PIXELS)


def _largest_filled(shape: np.ndarray) -> np.ndarray:
    """The largest part of a shape, without holes: what is in the cavity counts to it."""
    parts, count = ndimage.label(shape)
    if count > 1:
        shape = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return ndimage.binary_fill_holes(shape)


def _name_slices(label_map: np.ndarray) -> list[str]:
    """Base, mid or apex of each slice with a wall; something else where there is none."""
    sizes = []
    for index in range(label_map.shape[2]):
        labels = label_map[..., index]
        size = int(np.count_nonzero((labels == LV.value) | (labels == MYO.value)))
        sizes.append(size if _has_ring(labels) else 0)
    return name_regions(sizes)


def _septum_direction(
    label_map: np.ndarray, spacing: Sequence[float], regions: Sequence[str]
) -> np.ndarray | None:
    """Unit vector `(2,)` in mm from the LV to the RV: the mean over the middle slices, or over all
    where those have no RV; None where none has.
    """
    directions: dict[str, list[np.ndarray]] = {region: [] for region in REGIONS}
    size = np.array([float(spacing[0]), float(spacing[1])])
    for index, region in enumerate(regions):
        left, right = (np.argwhere(label_map[..., index] == label.value) for label in (LV, RV))
        if region in REGIONS and len(left) and len(right) >= MIN_PIXELS:
            step = (right.mean(axis=0) - left.mean(axis=0)) * size
            directions[region].append(step / (np.linalg.norm(step) or 1.0))
    chosen = directions[REGIONS[1]] or [*directions[REGIONS[0]], *directions[REGIONS[2]]]
    total = np.sum(chosen, axis=0) if chosen else np.zeros(2)
    length = np.linalg.norm(total)
    return total / length if length else None


def _anterior_direction(
    septum: np.ndarray, regions: Sequence[str], affine: np.ndarray | None
) -> np.ndarray:
    """Unit vector `(2,)` in mm from the middle of the LV to the anterior wall.

    By anatomy it is apex to base crossed with LV to septum, in right-handed axes.
    """
    across = np.array([-septum[1], septum[0]])  # anterior where a slice is seen from the apex
    if affine is None:
        return across
    axes = np.asarray(affine, float)[:3, :3]
    normal = axes[:, 2] / np.linalg.norm(axes[:, 2])
    handedness = float(np.sign(np.linalg.det(axes)))
    main = normal[np.argmax(np.abs(normal))]
    if abs(main) > ALONG_AXIS:
        return across * handedness * np.sign(main)
    places = {region: index for index, region in enumerate(regions)}
    base_is_last = places.get(REGIONS[0], 0) > places.get(REGIONS[2], len(regions))
    return across * handedness * (1 if base_is_last else -1)
