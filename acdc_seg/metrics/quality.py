"""Quality gate: rules that label maps of a heart and their numbers must meet to be believed.

The first rules are those of ukbb_cardiac (each class present, enough slices, no gap between them;
Bai et al., 2018); the limits of numbers are wide enough for the patients of ACDC's five groups, so
a failed rule asks for a look at the labels, not for a diagnosis.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.clinical import (
    KNOWN_RANGES,
    UNITS,
    Measurements,
    is_usable,
    split_frames,
)

TITLES = {RV: "RV", MYO: "myocardium", LV: "LV"}
MIN_VOXELS = 10
"""Of each structure in a frame."""
MIN_SLICES = 4
"""Slices that have both LV and myocardium."""
LENGTHS = (40.0, 150.0)
"""Of the left ventricle along its axis in mm; the distance of slices counts for each."""

LIMITS: dict[str, tuple[float, float]] = {
    "LVEDV": (30, 450),
    "RVEDV": (30, 450),
    "LVEF": (5, 85),
    "RVEF": (5, 90),
    "LVM": (20, 400),
}
"""Plausible values of an adult's heart, in the units of `UNITS`."""

STROKE_RATIOS = (0.3, 3.0)
"""RV stroke volume by that of the LV: 1 in health, and off by leaking valves, shunts and by the
RV's basal slices, which are hard to label."""
MUSCLE_RATIOS = (0.7, 1.5)
"""Volume of the myocardium at ES by that at ED: muscle keeps its volume, slices do not quite."""


def check_quality(
    label_maps: np.ndarray | Sequence[np.ndarray],
    spacing: Sequence[float],
    measurements: Measurements,
) -> list[str]:
    """The rules that fail, a sentence for each with the value, the rule and where.

    Slices are counted from 1 in the order of the array.

    Args:
        label_maps: The frames that were measured, in a form that `measure_heart` takes.
        spacing: (x, y, z) in mm, as for `measure_heart`.
        measurements: Of these label maps.

    Raises:
        DataError: See `split_frames`.
    """
    frames = split_frames(label_maps)
    phases = {"ED": measurements.ed, "ES": measurements.es}
    places = {name: index for name, index in phases.items() if index is not None}
    failed = []
    if not any(measurements.curves[LV.name]):
        failed.append("No LV in any frame.")
    if len(places) < 2:
        missing = " and ".join(name for name in phases if name not in places)
        count = "1 frame" if len(frames) == 1 else f"{len(frames)} frames"
        failed.append(f"{missing} not known among {count}: no stroke volume, no ejection fraction.")
    if len(frames) == 1 and not places:
        places = {"The only frame": 0}
    for name, index in places.items():
        failed += _check_frame(name, frames[index], float(spacing[2]))
    return [*failed, *_check_numbers(measurements), *_check_patient(measurements)]


def _check_frame(place: str, labels: np.ndarray, slice_distance: float) -> Iterator[str]:
    for label, title in TITLES.items():
        count = int(np.count_nonzero(labels == label.value))
        if count < MIN_VOXELS:
            yield f"{place}: {count} voxels of the {title}, expected at least {MIN_VOXELS}."
    has = {label: (labels == label.value).any(axis=(0, 1)) for label in TITLES}
    count = int(np.count_nonzero(has[LV] & has[MYO]))
    if count < MIN_SLICES:
        noun = "slice has" if count == 1 else "slices have"
        yield f"{place}: {count} {noun} LV and myocardium, expected at least {MIN_SLICES}."
    for label, title in TITLES.items():
        gap = _find_gap(has[label])
        if gap:
            slices = ", ".join(str(index + 1) for index in gap)
            noun = "slice" if len(gap) == 1 else "slices"
            yield f"{place}: no {title} in {noun} {slices}, between slices that have it."
    length = np.count_nonzero(has[LV] | has[MYO]) * slice_distance
    low, high = LENGTHS
    if length and not low <= length <= high:
        yield (
            f"{place}: the left ventricle is {length:.0f} mm long, expected {low:.0f}..{high:.0f} "
            f"mm; slices are {slice_distance:g} mm apart."
        )


def _find_gap(has: np.ndarray) -> list[int]:
    """Slices without a structure between the first and the last slice with it."""
    inside = np.flatnonzero(has)
    if not inside.size:
        return []
    return [int(index) for index in range(inside[0], inside[-1]) if not has[index]]


def _check_numbers(measurements: Measurements) -> Iterator[str]:
    values = measurements.values
    for side in ("LV", "RV"):
        diastole, systole = values[f"{side}EDV"], values[f"{side}ESV"]
        if diastole is not None and systole is not None and systole >= diastole:
            yield (
                f"{side}ESV is {systole:.1f} mL, expected less than {side}EDV, {diastole:.1f} mL."
            )
    for name, (low, high) in LIMITS.items():
        value = values[name]
        if value is not None and not low <= value <= high:
            yield f"{name} is {value:.1f} {UNITS[name]}, expected {low:g}..{high:g} {UNITS[name]}."
    left, right = values["LVSV"], values["RVSV"]
    if left is not None and right is not None and left > 0:
        low, high = STROKE_RATIOS
        if not low <= right / left <= high:
            yield (
                f"RVSV is {right:.1f} mL and LVSV {left:.1f} mL, expected {low:g} to {high:g} "
                "times as much; both sides pump the same blood."
            )
    yield from _check_muscle(measurements)


def _check_muscle(measurements: Measurements) -> Iterator[str]:
    if measurements.ed is None or measurements.es is None:
        return
    curve = measurements.curves[MYO.name]
    diastole, systole = curve[measurements.ed], curve[measurements.es]
    low, high = MUSCLE_RATIOS
    if diastole and systole and not low <= systole / diastole <= high:
        yield (
            f"The myocardium has {systole:.1f} mL at ES and {diastole:.1f} mL at ED, expected "
            f"{low:g} to {high:g} times as much; muscle keeps its volume."
        )


def _check_patient(measurements: Measurements) -> Iterator[str]:
    """Of what is known of the patient; 0 stands for unknown in headers."""
    for name, (title, unit, low, high) in KNOWN_RANGES.items():
        value = getattr(measurements, name)
        if value and not is_usable(name, value):
            yield f"The {title} is {value:g} {unit}, expected {low:g}..{high:g}; it was not used."
