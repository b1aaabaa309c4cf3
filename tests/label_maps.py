"""Label maps of schematic hearts: in every slice a disk (LV) in a ring (myocardium) and a disk (RV)
beside it.
"""

from collections.abc import Sequence

import numpy as np

from acdc_seg.labels import LV, MYO, RV

SIZE = 64
SPACING = (1.5, 1.5, 10.0)


def ring_heart(
    lv: float | Sequence[float],
    wall: float | Sequence[float],
    rv: float = 12,
    *,
    num_slices: int = 6,
    spacing: Sequence[float] = SPACING,
) -> np.ndarray:
    """A label map uint8 `(64, 64, num_slices)`.

    Args:
        lv: Radius of the cavity in mm, of all slices or of each.
        wall: Thickness of the wall in mm, of all slices or of each.
        rv: Radius of the RV in mm.
        num_slices: Number of slices.
        spacing: (x, y, z) in mm.
    """
    radii, walls = (np.broadcast_to(sizes, num_slices) for sizes in (lv, wall))
    x, y = (
        (axis - SIZE / 2 + 0.5) * size
        for axis, size in zip(np.indices((SIZE, SIZE)), spacing[:2], strict=True)
    )
    from_lv, from_rv = np.hypot(x - 12, y), np.hypot(x + 30, y)
    slices = [
        np.select(
            [from_lv < radius, from_lv < radius + thickness, from_rv < rv],
            [LV.value, MYO.value, RV.value],
        )
        for radius, thickness in zip(radii, walls, strict=True)
    ]
    return np.stack(slices, axis=2).astype(np.uint8)
