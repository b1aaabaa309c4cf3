"""Volumes, function and mass of the ventricles from label maps of the cardiac cycle.

Names are those of ukbb_cardiac (Bai et al., J Cardiovasc Magn Reson 2018, 20:65), the open
reference for such tables; unlike there, ED is found where it is not given, and an empty structure
has no volume instead of 0 mL.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.labels import ACDC_LABELS, LV, MYO, RV

MUSCLE_DENSITY = 1.05
"""Of the myocardium, in g/mL."""

CONVENTIONS = (
    "Papillary muscles and trabeculae count to the cavity; a slice stands for the distance to the "
    f"next one, gap included; the mass is that of the left ventricle at ED, {MUSCLE_DENSITY} g/mL; "
    "ED is the frame of the largest and ES that of the least LV volume where neither was given; "
    "indexed values (i) are per m² of body surface by Mosteller (1987), √(cm · kg / 3600)."
)
"""Printed under tables of these numbers: without it they cannot be compared with others'."""

UNITS: dict[str, str] = {
    "LVEDV": "mL",
    "LVESV": "mL",
    "LVSV": "mL",
    "LVEF": "%",
    "LVCO": "L/min",
    "LVM": "g",
    "RVEDV": "mL",
    "RVESV": "mL",
    "RVSV": "mL",
    "RVEF": "%",
    "RVCO": "L/min",
    "LVEDVi": "mL/m²",
    "LVESVi": "mL/m²",
    "LVSVi": "mL/m²",
    "LVCOi": "L/min/m²",
    "LVMi": "g/m²",
    "RVEDVi": "mL/m²",
    "RVESVi": "mL/m²",
    "RVSVi": "mL/m²",
    "RVCOi": "L/min/m²",
    "BSA": "m²",
}
"""Units of `Measurements.values`, in the order of columns."""

KNOWN_RANGES: dict[str, tuple[str, str, float, float]] = {
    "heart_rate": ("heart rate", "per min", 20, 250),
    "height_cm": ("height", "cm", 40, 250),
    "weight_kg": ("weight", "kg", 2, 350),
}
"""Title, unit and range of what is known of a patient. A value outside is not used: headers hold 0
for unknown, and meters for centimeters."""

MIN_CINE = 10
"""Frames from which neighbors in time are alike enough to tell an outlier."""


@dataclass(frozen=True)
class Measurements:
    """Clinical numbers of one examination.

    Attributes:
        ed: Index of the end-diastolic frame, from 0; None where it is unknown.
        es: Index of the end-systolic frame.
        curves: Volume in mL of `lv`, `rv` and `myo` by frame; 0 where the structure is absent.
        values: By the names of `UNITS`; None where a number cannot be measured.
        heart_rate: Beats per minute, as it was given.
        height_cm: As it was given.
        weight_kg: As it was given.
    """

    ed: int | None
    es: int | None
    curves: dict[str, list[float]]
    values: dict[str, float | None]
    heart_rate: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types for JSON, with the units."""
        return {
            "ed": self.ed,
            "es": self.es,
            "heart_rate": self.heart_rate,
            "height_cm": self.height_cm,
            "weight_kg": self.weight_kg,
            "values": dict(self.values),
            "units": dict(UNITS),
            "curves": {name: list(curve) for name, curve in self.curves.items()},
        }


def measure_heart(
    label_maps: np.ndarray | Sequence[np.ndarray],
    spacing: Sequence[float],
    *,
    ed: int | None = None,
    es: int | None = None,
    heart_rate: float | None = None,
    height_cm: float | None = None,
    weight_kg: float | None = None,
) -> Measurements:
    """Measures a heart in one or more frames of its cycle.

    A single frame whose phase is not given has curves only, for nobody knows what its volumes are.

    Args:
        label_maps: Label maps `(X, Y, Z)` of the frames, values of `acdc_seg.labels`; or all in one
            array `(X, Y, Z, T)`; or one volume `(X, Y, Z)`.
        spacing: (x, y, z) in mm; z is the distance between centers of slices, gap included.
        ed: Index of the end-diastolic frame, from 0; None finds it, see `find_phases`.
        es: Index of the end-systolic frame; None finds it.
        heart_rate: Beats per minute, for the cardiac output.
        height_cm: With the weight, for indexed values.
        weight_kg: See `height_cm`.

    Raises:
        DataError: Frames differ in shape or are not volumes, a label is unknown, the spacing is not
            three positive numbers, or there is no such frame.
    """
    frames = split_frames(label_maps)
    voxel_ml = math.prod(_check_spacing(spacing)) / 1000
    curves = {
        label.name: [float(np.count_nonzero(frame == label.value) * voxel_ml) for frame in frames]
        for label in (LV, RV, MYO)
    }
    ed, es = find_phases(curves[LV.name], ed=ed, es=es)
    values = dict.fromkeys(UNITS, None) | _measure_phases(curves, ed, es)
    known = {"heart_rate": heart_rate, "height_cm": height_cm, "weight_kg": weight_kg}
    used = {name: value if is_usable(name, value) else None for name, value in known.items()}
    _add_output(values, used["heart_rate"])
    _index(values, body_surface(used["height_cm"], used["weight_kg"]))
    return Measurements(ed, es, curves, values, **known)


def split_frames(label_maps: np.ndarray | Sequence[np.ndarray]) -> list[np.ndarray]:
    """Label maps `(X, Y, Z)` by frame, of any form that `measure_heart` takes.

    Raises:
        DataError: Frames differ in shape or are not volumes, or a label is unknown.
    """
    if isinstance(label_maps, np.ndarray):
        is_cine = label_maps.ndim == 4
        frames = list(np.moveaxis(label_maps, -1, 0)) if is_cine else [label_maps]
    else:
        frames = list(label_maps)
    shapes = sorted({frame.shape for frame in frames})
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise DataError(
            f"label maps have shapes {shapes}, expected one shape (X, Y, Z); give frames of one "
            "examination, on one grid"
        )
    highest = max(label.value for label in ACDC_LABELS)
    largest = max(int(frame.max(initial=0)) for frame in frames)
    if largest > highest:
        raise DataError(
            f"a label map contains value {largest}, expected 0..{highest} (background, RV, "
            "myocardium, LV); translate the labels first"
        )
    return frames


def find_phases(
    lv_volumes: Sequence[float], *, ed: int | None = None, es: int | None = None
) -> tuple[int | None, int | None]:
    """Indices of the end-diastolic and the end-systolic frame.

    ED is the frame of the largest and ES that of the least LV volume, of the first of equals.
    Frames without LV do not count, nor, in a cine, those whose volume is more than twice or less
    than half of what both neighbors in time have, for no heart moves so: there the segmentation
    failed.

    Args:
        lv_volumes: Volume by frame, in any unit.
        ed: Index of ED where it is known.
        es: Index of ES where it is known.

    Returns:
        ED and ES; None for what is not given and cannot be found, as in a single frame.

    Raises:
        DataError: A given index is not one of a frame, or both are the same.
    """
    for name, index in (("ed", ed), ("es", es)):
        if index is not None and not 0 <= index < len(lv_volumes):
            raise DataError(
                f"{name}={index}: there are {len(lv_volumes)} frames, counted from 0; correct it"
            )
    if ed is not None and ed == es:
        raise DataError(f"ed=es={ed}: both phases are the same frame; correct one of them")
    candidates = _plausible_frames(lv_volumes)
    if len({*candidates, *(index for index in (ed, es) if index is not None)}) < 2:
        return ed, es
    if ed is None:
        others = [index for index in candidates if index != es]
        ed = max(others, key=lambda index: lv_volumes[index], default=None)
    if es is None:
        others = [index for index in candidates if index != ed]
        es = min(others, key=lambda index: lv_volumes[index], default=None)
    return ed, es


def body_surface(height_cm: float | None, weight_kg: float | None) -> float | None:
    """Body surface area in m² (Mosteller, N Engl J Med 1987); None where either is unknown."""
    if height_cm is None or weight_kg is None:
        return None
    return math.sqrt(height_cm * weight_kg / 3600)


def is_usable(name: str, value: float | None) -> bool:
    """Whether a row of `KNOWN_RANGES` has a value that can be true."""
    _, _, low, high = KNOWN_RANGES[name]
    return value is not None and low <= value <= high


def _check_spacing(spacing: Sequence[float]) -> list[float]:
    sizes = [float(size) for size in spacing]
    if len(sizes) != 3 or not all(0 < size < math.inf for size in sizes):
        raise DataError(
            f"spacing {sizes}: expected three positive numbers (x, y, z) in mm; correct the header"
        )
    return sizes


def _plausible_frames(volumes: Sequence[float]) -> list[int]:
    """Frames that have an LV, without isolated outliers."""
    present = [index for index, volume in enumerate(volumes) if volume > 0]
    if len(present) < MIN_CINE:
        return present
    sizes = np.array([volumes[index] for index in present])
    # the heart's cycle closes: the last frame is the first one's neighbor
    neighborhood = np.stack([np.roll(sizes, 1), sizes, np.roll(sizes, -1)])
    ratios = sizes / np.median(neighborhood, axis=0)
    return [index for index, ratio in zip(present, ratios, strict=True) if 0.5 <= ratio <= 2]


def _measure_phases(
    curves: Mapping[str, Sequence[float]], ed: int | None, es: int | None
) -> dict[str, float | None]:
    """Volumes, stroke volume and ejection fraction of both ventricles, and the mass."""
    values: dict[str, float | None] = {}
    for side in (LV, RV):
        prefix, curve = side.name.upper(), curves[side.name]
        end_diastole, end_systole = _volume_at(curve, ed), _volume_at(curve, es)
        values[f"{prefix}EDV"], values[f"{prefix}ESV"] = end_diastole, end_systole
        if end_diastole is not None and end_systole is not None:
            values[f"{prefix}SV"] = end_diastole - end_systole
            values[f"{prefix}EF"] = 100 * (end_diastole - end_systole) / end_diastole
    muscle = _volume_at(curves[MYO.name], ed)
    values["LVM"] = None if muscle is None else muscle * MUSCLE_DENSITY
    return values


def _volume_at(curve: Sequence[float], frame: int | None) -> float | None:
    """None where the structure is absent, for a heart has all of them."""
    return None if frame is None or not curve[frame] else curve[frame]


def _add_output(values: dict[str, float | None], heart_rate: float | None) -> None:
    for side in (LV, RV):
        stroke = values[f"{side.name.upper()}SV"]
        if stroke is not None and heart_rate is not None:
            values[f"{side.name.upper()}CO"] = stroke * heart_rate / 1000


def _index(values: dict[str, float | None], surface: float | None) -> None:
    """Divides by the body surface what a name ending in i stands for."""
    values["BSA"] = surface
    for name in (name for name in UNITS if name.endswith("i")):
        value = values[name.removesuffix("i")]
        values[name] = None if value is None or surface is None else value / surface
