"""Features of a patient's label maps at end-diastole (ED) and end-systole (ES), from which the
disease group is predicted.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.labels import LV, MYO, PHASES, RV
from acdc_seg.metrics.clinical import UNITS, measure_heart
from acdc_seg.metrics.wall import Wall, measure_thickness, measure_wall

CLINICAL = ("LVEDV", "LVESV", "RVEDV", "RVESV", "LVM", "LVEF", "RVEF")
"""Features that are clinical numbers."""
RATIOS = {
    "myo_es": ("volume of the myocardium at ES", "mL"),
    "lv_rv_ed": ("volume of LV by RV at ED", ""),
    "lv_rv_es": ("volume of LV by RV at ES", ""),
    "myo_lv_ed": ("volume of myocardium by LV at ED", ""),
    "myo_lv_es": ("volume of myocardium by LV at ES", ""),
}
WALL = {
    "max_mean": "largest mean thickness of a slice",
    "std_mean": "spread of the mean thickness over slices",
    "mean_std": "spread of the thickness in a slice, mean of slices",
    "std_std": "spread of the thickness in a slice, spread over slices",
}
"""Of the wall in one phase, in mm: a spread is a standard deviation."""

KHENED: dict[str, tuple[str, str]] = {
    **{name: (name, UNITS[name]) for name in CLINICAL},
    **RATIOS,
    **{f"wall_{name}_es": (f"wall at ES: {title}", "mm") for name, title in WALL.items()},
    **{f"wall_{name}_ed": (f"wall at ED: {title}", "mm") for name, title in WALL.items()},
}
"""Title and unit of the 20 features of Khened et al. (Medical Image Analysis 51, 2019), by name."""

SEGMENTS: dict[str, tuple[str, str]] = {
    "thinnest_es": ("wall at ES: thinnest segment", "mm"),
    "thickest_ed": ("wall at ED: thickest segment", "mm"),
    "thickening_mean": ("thickening of the segments, mean", "%"),
    "thickening_least": ("thickening of the segments, least", "%"),
    "thickening_std": ("thickening of the segments, spread", "%"),
}
"""Features of the 16 segments of the AHA, beyond Khened's list."""

BODY_SIZE: dict[str, tuple[str, str]] = {
    name: (name, UNITS[name]) for name in ("BSA", "LVEDVi", "LVESVi", "RVEDVi", "RVESVi", "LVMi")
}
"""Features that need height and weight."""

FEATURES = {**KHENED, **SEGMENTS, **BODY_SIZE}


def features(
    labels_ed: np.ndarray,
    labels_es: np.ndarray,
    spacing: Sequence[float],
    *,
    height_cm: float | None = None,
    weight_kg: float | None = None,
) -> dict[str, float]:
    """Values of `FEATURES`, all finite.

    Nothing is filled in: a label map that lacks a structure is refused, and where height or weight
    is unknown or impossible, the features `BODY_SIZE` are not in the result.

    Args:
        labels_ed: Label map `(X, Y, Z)` at ED: 0 background, 1 RV, 2 MYO, 3 LV.
        labels_es: At ES, of the same shape.
        spacing: (x, y, z) in mm, z from slice center to slice center.
        height_cm: Body height.
        weight_kg: Body weight.

    Raises:
        DataError: The label maps are not two volumes of one shape, a label is unknown, the spacing
            is not positive, RV, MYO or LV is missing in a phase, or no slice or segment shows the
            wall around the cavity.
    """
    label_maps = [labels_ed, labels_es]
    heart = measure_heart(label_maps, spacing, ed=0, es=1, height_cm=height_cm, weight_kg=weight_kg)
    _check_structures(heart.curves)
    found = _known(heart.values, CLINICAL)
    (_, myo_es), walls = heart.curves[MYO.name], []
    found["myo_es"] = myo_es
    for index, phase in enumerate(PHASES):
        lv, rv, myo = (heart.curves[label.name][index] for label in (LV, RV, MYO))
        found[f"lv_rv_{phase.lower()}"] = lv / rv
        found[f"myo_lv_{phase.lower()}"] = myo / lv
        found |= _wall_features(label_maps[index], spacing, phase)
        walls.append(measure_wall(label_maps[index], spacing))
    found |= _segment_features(*walls)
    found |= _known(heart.values, BODY_SIZE)
    return {name: found[name] for name in FEATURES if name in found}


def _known(values: Mapping[str, float | None], names: Iterable[str]) -> dict[str, float]:
    return {name: value for name in names if (value := values[name]) is not None}


def _wall_features(labels: np.ndarray, spacing: Sequence[float], phase: str) -> dict[str, float]:
    """Thickness of the wall in mm by slice."""
    slices = [
        measure_thickness(labels[..., number], spacing)[1] for number in range(labels.shape[2])
    ]
    slices = [thickness for thickness in slices if len(thickness)]
    if not slices:
        raise _no_wall(phase)
    means = np.array([thickness.mean() for thickness in slices])
    spreads = np.array([thickness.std() for thickness in slices])
    values = (means.max(), means.std(), spreads.mean(), spreads.std())
    return {
        f"wall_{name}_{phase.lower()}": float(value)
        for name, value in zip(WALL, values, strict=True)
    }


def _segment_features(ed: Wall, es: Wall) -> dict[str, float]:
    """Thickness in mm of segments, and thickening in % of those that both phases show."""
    before, after = (np.array(wall.mean, float) for wall in (ed, es))  # None becomes NaN
    change = 100 * (after / before - 1)
    if np.isnan(change).all():
        raise _no_wall("ED or ES")
    return {
        "thinnest_es": float(np.nanmin(after)),
        "thickest_ed": float(np.nanmax(before)),
        "thickening_mean": float(np.nanmean(change)),
        "thickening_least": float(np.nanmin(change)),
        "thickening_std": float(np.nanstd(change)),
    }


def _check_structures(curves: Mapping[str, Sequence[float]]) -> None:
    missing = [
        f"{name} at {phase}"
        for name, volumes in curves.items()
        for phase, volume in zip(PHASES, volumes, strict=True)
        if not volume
    ]
    if missing:
        raise DataError(
            f"the label maps have no {', no '.join(missing)}; a diagnosis needs LV, RV and "
            "myocardium in both phases, look at the segmentation"
        )


def _no_wall(phase: str) -> DataError:
    return DataError(
        f"the label map at {phase} shows the wall around the cavity in no slice; a diagnosis needs "
        "its thickness, look at the segmentation"
    )
