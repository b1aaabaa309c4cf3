"""Distances between the surfaces of a mask and a prediction, in mm where the spacing is known.

A surface is the pixels of a structure that touch another class or the image's border with a side
(4 neighbors in images, 6 in volumes). Distances are exact and Euclidean, from pixel center to pixel
center, as in MONAI and DeepMind's surface-distance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

TOLERANCE = 2.0
"""Distance within which surfaces agree for NSD, by default: just over a pixel of slices cut at
1.8 mm, and of ACDC's own (1.4 to 1.7 mm), for no contour is drawn finer than pixels are."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances of one class that is in both mask and prediction.

    Attributes:
        from_mask: `(N,)` from each surface pixel of the mask to the nearest of the prediction.
        from_prediction: `(M,)` from each surface pixel of the prediction to the nearest of the
            mask.
        tolerance: Distance within which surfaces agree.
    """

    from_mask: np.ndarray
    from_prediction: np.ndarray
    tolerance: float = TOLERANCE

    @property
    def both(self) -> np.ndarray:
        """`(N + M,)` in both directions."""
        return np.concatenate([self.from_mask, self.from_prediction])


def measure_distances(
    mask: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing: Sequence[float] | None = None,
    tolerance: float = TOLERANCE,
) -> SurfaceDistances | None:
    """Distances between two structures; None where one of them is empty.

    Args:
        mask: Where the structure is in truth, boolean `(H, W)` or `(Z, H, W)`.
        prediction: Where it is predicted, boolean of the same shape.
        spacing: Size of a pixel along each axis in mm; None measures in pixels.
        tolerance: See `SurfaceDistances`, in the same unit.
    """
    if not (mask.any() and prediction.any()):
        return None
    box = ndimage.find_objects((mask | prediction).astype(np.uint8))[0]
    of_mask, of_prediction = find_surface(mask[box]), find_surface(prediction[box])
    to_mask = ndimage.distance_transform_edt(~of_mask, sampling=spacing)
    to_prediction = ndimage.distance_transform_edt(~of_prediction, sampling=spacing)
    return SurfaceDistances(to_prediction[of_mask], to_mask[of_prediction], tolerance)


def find_surface(structure: np.ndarray) -> np.ndarray:
    """Surface pixels of a boolean array, as a boolean array of its shape."""
    return structure & ~ndimage.binary_erosion(structure)


def diagonal(shape: Sequence[int], spacing: Sequence[float] | None = None) -> float:
    """Length of an image's diagonal in mm, or in pixels without spacing."""
    return math.hypot(*(np.array(shape) * (1.0 if spacing is None else np.array(spacing))))


def hd(distances: SurfaceDistances) -> float:
    """Hausdorff distance: the largest distance from one surface to the other."""
    return float(distances.both.max())


def hd95(distances: SurfaceDistances) -> float:
    """The larger of both directions' 95th percentiles, which a few stray pixels do not move."""
    percentiles = (
        np.percentile(distances.from_mask, 95),
        np.percentile(distances.from_prediction, 95),
    )
    return float(max(percentiles))


def assd(distances: SurfaceDistances) -> float:
    """Average symmetric surface distance: the mean over the pixels of both surfaces."""
    return float(distances.both.mean())


def nsd(distances: SurfaceDistances) -> float:
    """Normalized surface Dice: the share of both surfaces within the tolerance of the other
    (Nikolov et al., 2018).
    """
    return float((distances.both <= distances.tolerance).mean())
