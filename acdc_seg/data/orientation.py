"""Voxel size and direction of a file's axes, and the order of axes that all volumes are brought to.

Volumes are `(X, Y, Z)` with slices along Z, the axis of the largest voxels. X points to the
patient's left and Y to the back or the feet, as far as the planes of the slices allow: the axes of
ACDC's files, and of a radiologist's screen.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from acdc_seg.errors import DataError

SLICE_RATIO = 1.5
"""The axis of the slices has longer voxels than both others by this; else it is the third."""
TOLERANCE = 0.01
"""Relative difference at which voxel sizes contradict each other; headers hold float32."""


@dataclass(frozen=True)
class Orientation:
    """How a file's axes become ours: our axis i is its axis `axes[i]`, reversed where `flips[i]`.

    Arrays may have further axes behind the three of space.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """A view of `(I, J, K, ...)`, axes of the file, as `(X, Y, Z, ...)`."""
        turned = voxels.transpose(*self.axes, *range(3, voxels.ndim))
        return np.flip(turned, self._flipped)

    def undo(self, voxels: np.ndarray) -> np.ndarray:
        """A view of `(X, Y, Z, ...)` as `(I, J, K, ...)`."""
        places = [self.axes.index(axis) for axis in range(3)]
        flipped: np.ndarray = np.flip(voxels, self._flipped)
        return flipped.transpose(*places, *range(3, voxels.ndim))

    def reorder(self, values: Sequence[float]) -> tuple[float, float, float]:
        """Three values of the file's axes, such as voxel sizes, in the order of ours."""
        x, y, z = (float(values[axis]) for axis in self.axes)
        return x, y, z

    def turn_affine(self, affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Our voxel indices to mm `(4, 4)`, from the affine of the file and its shape."""
        to_file = np.zeros((4, 4))
        to_file[3, 3] = 1
        for place, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            to_file[axis, place] = -1 if flip else 1
            to_file[axis, 3] = shape[axis] - 1 if flip else 0
        return affine @ to_file

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(axis for axis, flip in enumerate(self.flips) if flip)


def find_orientation(
    affine: np.ndarray, spacing: Sequence[float], shape: Sequence[int]
) -> Orientation:
    """The orientation of a file.

    Args:
        affine: Voxel indices to mm, RAS+ (x to the right, y to the front, z to the head), `(4, 4)`.
        spacing: Voxel size of its three axes in mm.
        shape: Number of voxels of each; an axis of one voxel is that of the slices.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)  # one axis per column
    slices = _find_slice_axis(spacing, shape)
    first, second = (axis for axis in range(3) if axis != slices)
    sideways = np.abs(directions[0])
    if sideways[second] > sideways[first]:
        first, second = second, first
    flips = (
        _points_away(directions[:, first], axis=0, towards=(-1, -1, -1)),
        _points_away(directions[:, second], axis=None, towards=(-1, -1, -1)),
        _points_away(directions[:, slices], axis=None, towards=(-1, -1, 1)),
    )
    return Orientation((first, second, slices), flips)


def find_spacing(affine: np.ndarray, pixdim: Sequence[float]) -> tuple[float, float, float]:
    """Voxel size: that of the affine `(4, 4)`, which has to agree with the header's pixdim of two
    or three axes.

    Where one of both says 1, 1, 1 it was never filled in, and the other is taken: the files of ACDC
    have voxels of 1 mm by their affine, and the scanner's in pixdim.

    Raises:
        DataError: Both differ, or a size is not positive.
    """
    from_affine = np.linalg.norm(affine[:3, :3], axis=0)
    from_header = np.array([*pixdim, *from_affine[len(pixdim) :]])
    is_placeholder = np.allclose(from_affine, 1, rtol=TOLERANCE)
    sizes = from_header if is_placeholder else from_affine
    if not (
        is_placeholder
        or np.allclose(from_header, 1, rtol=TOLERANCE)
        or np.allclose(from_affine, from_header, rtol=TOLERANCE)
    ):
        both = [" x ".join(f"{size:g}" for size in each) for each in (from_affine, from_header)]
        raise DataError(
            f"the voxel size is {both[0]} mm by the affine and {both[1]} mm by pixdim; correct the "
            "header",
            code="spacing",
        )
    check_positive(sizes)
    x, y, z = map(float, sizes)
    return x, y, z


def check_positive(voxel_size: Iterable[float]) -> None:
    """Raises DataError unless all sizes are above 0 and finite."""
    sizes = [float(size) for size in voxel_size]
    if not all(0 < size < math.inf for size in sizes):
        listed = ", ".join(f"{size:g}" for size in sizes)
        raise DataError(
            f"the voxel size ({listed}) mm must be positive; correct pixdim in the header",
            code="spacing",
        )


def _find_slice_axis(spacing: Sequence[float], shape: Sequence[int]) -> int:
    flat = [axis for axis in range(3) if shape[axis] == 1]
    if len(flat) == 1:
        return flat[0]
    coarsest, others = int(np.argmax(spacing)), sorted(spacing)[:2]
    return coarsest if spacing[coarsest] >= SLICE_RATIO * max(others) else 2


def _points_away(direction: np.ndarray, *, axis: int | None, towards: tuple[int, int, int]) -> bool:
    """Whether an axis points against the sign in `towards` of one axis of space: `axis`, or that
    which it is closest to.
    """
    if axis is None or abs(direction[axis]) < TOLERANCE:
        axis = int(np.argmax(np.abs(direction)))
    return bool(direction[axis] * towards[axis] < 0)
