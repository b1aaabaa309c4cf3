"""Distance between slices, from their positions; gaps are errors."""

import numpy as np

from acdc_seg.data.dicom.planes import SAME_POSITION, Plane
from acdc_seg.errors import DataError

EVEN = 0.01
"""Share of the distance between slices by which distances may differ without a word."""
UNEVEN = 0.25
"""Share above which slices are on no common grid: one is missing."""


def measure_step(slices: list[Plane], name: str, findings: list[str]) -> tuple[float, np.ndarray]:
    """Distance between slices in mm, and the `(3,)` step from one to the next (LPS)."""
    normal = slices[0].normal
    if len(slices) == 1:
        distance = _single_distance(slices[0], findings)
        return distance, distance * normal
    positions = np.array([plane.position for plane in slices])
    _check_even(np.diff(positions @ normal), name, findings)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    spacing = float(step @ normal)
    _report_shifts(positions, step, spacing * normal, findings)
    stated = slices[0].slice_distance
    if stated is not None and abs(stated - spacing) > 0.05 * spacing:
        findings.append(
            f"slices are {spacing:.4g} mm apart by their positions, SpacingBetweenSlices says "
            f"{stated:.4g} mm; the positions were used"
        )
    return spacing, step


def _single_distance(plane: Plane, findings: list[str]) -> float:
    for what, distance in (
        ("SpacingBetweenSlices", plane.slice_distance),
        ("SliceThickness", plane.thickness),
    ):
        if distance is not None and distance > 0:
            findings.append(f"a single slice; its extent is {what}, {distance:.4g} mm")
            return distance
    findings.append("a single slice of unknown thickness; 1 mm was taken, volumes mean nothing")
    return 1.0


def _check_even(distances: np.ndarray, name: str, findings: list[str]) -> None:
    """Finds gaps in the `(Z - 1,)` distances between slices, all positive."""
    # the lower median, which a single gap between three slices does not move
    usual = float(np.sort(distances)[(len(distances) - 1) // 2])
    off = np.abs(distances - usual) / usual
    worst = int(off.argmax())
    if off[worst] > UNEVEN:
        raise DataError(
            f"{name}: slices {worst + 1} and {worst + 2} are {distances[worst]:.4g} mm apart, the "
            f"others {usual:.4g} mm: a slice is missing, or two stacks are mixed; copy or export "
            "the series again",
            code="spacing",
        )
    if off[worst] > EVEN:
        findings.append(
            f"uneven slices: {distances.min():.4g} to {distances.max():.4g} mm apart; their mean, "
            f"{distances.mean():.4g} mm, was used"
        )


def _report_shifts(
    positions: np.ndarray, step: np.ndarray, straight: np.ndarray, findings: list[str]
) -> None:
    """Tells of slices that do not lie behind each other."""
    along = np.arange(len(positions))[:, None] * step
    shifts = positions - positions[0] - along
    normal = straight / np.linalg.norm(straight)
    sideways = np.linalg.norm(shifts - (shifts @ normal)[:, None] * normal, axis=1).max()
    if sideways > SAME_POSITION:
        findings.append(f"slices are shifted sideways by up to {sideways:.4g} mm; not corrected")
    shear = float(np.linalg.norm(step - straight))
    if shear > SAME_POSITION:
        findings.append(
            f"a sheared stack: every slice lies {shear:.4g} mm beside the one before; the affine "
            "says so"
        )
