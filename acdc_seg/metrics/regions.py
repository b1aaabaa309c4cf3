"""Predicted regions away from the heart: what a look at the volume would show at once, and no mean
over voxels does.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FALSE_REGIONS_RULE = (
    "A false region is a connected part of the predicted foreground (voxels that share a side, an "
    "edge or a corner) that neither overlaps nor touches the true foreground."
)
NEIGHBORS = 3
"""Voxels of the cube around a voxel in which all are its neighbors."""


@dataclass(frozen=True)
class FalseRegions:
    """Regions of one image or volume, and their pixels in all."""

    num_regions: int
    num_pixels: int


def find_false_regions(
    labels: np.ndarray, mask: np.ndarray, *, ignore_index: int | None = None
) -> FalseRegions:
    """Counts predicted regions that lie away from the true foreground, see `FALSE_REGIONS_RULE`.

    Args:
        labels: Predicted class indices, `(H, W)` or `(X, Y, Z)`; 0 is the background.
        mask: True class indices of the same shape.
        ignore_index: Mask value of void pixels, in which nothing is counted.
    """
    is_counted = mask != (-1 if ignore_index is None else ignore_index)
    around = np.ones((NEIGHBORS,) * mask.ndim, bool)
    regions, num_regions = ndimage.label((labels > 0) & is_counted, structure=around)
    heart = ndimage.binary_dilation((mask > 0) & is_counted, structure=around)
    sizes = np.bincount(regions.ravel(), minlength=num_regions + 1)
    is_false = np.ones(num_regions + 1, bool)
    is_false[0] = False
    is_false[regions[heart]] = False
    return FalseRegions(int(is_false.sum()), int(sizes[is_false].sum()))
