"""Clinical numbers of predicted against those of true label maps, patient by patient."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from acdc_seg.labels import LV, MYO, PHASES, RV
from acdc_seg.metrics.agreement import agreement
from acdc_seg.metrics.clinical import UNITS, Measurements, measure_heart
from acdc_seg.metrics.tables import align

NUMBERS = ("LVEDV", "LVESV", "LVEF", "LVM", "RVEDV", "RVESV", "RVEF")
"""Those that are compared: volumes and ejection fraction of both ventricles, and the mass."""
AGREEMENT_RULE = (
    "Bias is the mean of predicted minus true numbers, the limits of agreement are the bias ± 1.96 "
    "standard deviations of the differences (Bland and Altman, 1986). Patients with a structure "
    "that is missed have no number, and are not in n."
)


@dataclass(frozen=True)
class LabelPair:
    """Predicted and true label maps uint8 `(X, Y, Z)` of one phase, values of `acdc_seg.labels`;
    `spacing` in mm.
    """

    prediction: np.ndarray
    truth: np.ndarray
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class ClinicalPair:
    """A patient's numbers by the names of `NUMBERS`, predicted and true; None where there are
    none.
    """

    patient: str
    group: str
    predicted: dict[str, float | None]
    truth: dict[str, float | None]

    def to_row(self) -> dict[str, Any]:
        """A row of clinical.csv."""
        row: dict[str, Any] = {"patient": self.patient, "group": self.group}
        for name in NUMBERS:
            row |= {name: self.predicted[name], f"{name}_truth": self.truth[name]}
        return row


def to_heart_labels(labels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Class indices as the values of `acdc_seg.labels`; other classes and void are background.

    Args:
        labels: Class indices uint8 of any shape.
        classes: Their names, those of the heart among them.
    """
    values = np.zeros(256, np.uint8)
    for label in (RV, MYO, LV):
        values[list(classes).index(label.name)] = label.value
    return values[labels]


def compare_patient(
    patient: str, group: str, end_diastole: LabelPair, end_systole: LabelPair
) -> ClinicalPair | None:
    """The numbers of a patient; None where the phases are on grids of different size."""
    if (
        end_diastole.truth.shape != end_systole.truth.shape
        or end_diastole.spacing != end_systole.spacing
    ):
        return None
    phases, spacing = (end_diastole, end_systole), end_diastole.spacing
    predicted = measure_heart([pair.prediction for pair in phases], spacing, ed=0, es=1)
    truth = measure_heart([pair.truth for pair in phases], spacing, ed=0, es=1)
    return ClinicalPair(patient, group, _numbers(predicted), _numbers(truth))


def _numbers(measurements: Measurements) -> dict[str, float | None]:
    return {name: measurements.values[name] for name in NUMBERS}


def find_phase_pair(phases: Sequence[str]) -> tuple[int, int] | None:
    """Positions of the only ED and the only ES among the volumes of a patient, if it has both."""
    if [*phases].count(PHASES[0]) != 1 or [*phases].count(PHASES[1]) != 1:
        return None
    return phases.index(PHASES[0]), phases.index(PHASES[1])


def summarize_agreement(pairs: Sequence[ClinicalPair]) -> dict[str, dict[str, Any]]:
    """Agreement by number, with its unit and the number of patients, measured or not."""
    summary = {}
    for name in NUMBERS:
        found = agreement(
            [pair.predicted[name] for pair in pairs], [pair.truth[name] for pair in pairs]
        )
        summary[name] = {"unit": UNITS[name], "num_patients": len(pairs), **asdict(found)}
    return summary


def format_agreement(pairs: Sequence[ClinicalPair]) -> str:
    """A line for each number."""
    table = [["number", "n", "bias", "limits of agreement", "MAE", "r"]]
    for name, row in summarize_agreement(pairs).items():
        limits = f"{_show(row['low'], '+.1f')} to {_show(row['high'], '+.1f')}"
        table.append(
            [
                f"{name} ({row['unit']})",
                f"{row['n']} of {row['num_patients']}",
                _show(row["bias"], "+.1f"),
                limits,
                _show(row["mae"], ".1f"),
                _show(row["r"], ".3f"),
            ]
        )
    return align(table)


def _show(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
