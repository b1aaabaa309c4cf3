"""Two predictions of the same images: paired differences, and who wins for which patient."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.metrics import METRICS
from acdc_seg.metrics.intervals import bootstrap_columns
from acdc_seg.metrics.levels import HEADLINE, headline_level, join_patients, levels_of
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import without_void
from acdc_seg.metrics.tables import align, count, number, signed, with_interval
from acdc_seg.metrics.volumes import ScoreSet

TIE = 1e-9
"""A difference below this is rounding."""


@dataclass(frozen=True)
class Difference:
    """Means of two predictions, the first minus the second, and its 95 % interval over patients,
    which is None for a single patient.
    """

    label: str
    first: float
    second: float
    difference: float
    interval: list[float] | None


@dataclass(frozen=True)
class PatientPair:
    """The headline's metric of a patient, mean over its images or volumes and the classes."""

    patient: str
    group: str
    first: float
    second: float

    @property
    def difference(self) -> float:
        """First minus second."""
        return self.first - self.second


@dataclass(frozen=True)
class Comparison:
    """Two predictions of the same images, at the level of the headline.

    Attributes:
        level: volume, slice or image.
        n: Number of volumes or images.
        metrics: Difference of each metric, mean over the classes.
        classes: Difference of the headline's metric for each class.
        patients: Every patient, the largest gain of the first prediction first.
    """

    level: str
    n: int
    metrics: dict[str, Difference]
    classes: dict[str, Difference]
    patients: list[PatientPair]

    @property
    def num_wins(self) -> int:
        """Patients for whom the first is better."""
        return sum(pair.difference > TIE for pair in self.patients)

    @property
    def num_losses(self) -> int:
        """Patients for whom the second is better."""
        return sum(pair.difference < -TIE for pair in self.patients)

    @property
    def num_ties(self) -> int:
        """Patients for whom both are equal."""
        return len(self.patients) - self.num_wins - self.num_losses

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, for JSON."""
        counts = {"wins": self.num_wins, "ties": self.num_ties, "losses": self.num_losses}
        return {**asdict(self), **counts}


def compare(first: ScoreSet, second: ScoreSet) -> Comparison:
    """The first prediction minus the second one.

    Raises:
        DataError: They are not of the same images and classes.
    """
    level = headline_level(first)
    pairs = [without_void(levels_of(scores)[level]) for scores in (first, second)]
    ids = [[score.id for score in scores] for scores in pairs]
    if ids[0] != ids[1] or list(pairs[0][0].dice) != list(pairs[1][0].dice):
        raise DataError("two predictions can be compared on the same images and classes only")
    metrics = list(pairs[0][0].values)
    names = list(pairs[0][0].dice)
    tables = [_values(scores, metrics) for scores in pairs]  # (N, metrics, classes + mean) each
    change = tables[0] - tables[1]
    patients = [score.patient for score in pairs[0]]
    bounds = None
    if len(set(patients)) > 1:
        columns = change.reshape(len(change), -1)
        bounds = bootstrap_columns(columns, patients).reshape(*change.shape[1:], 2)

    def difference(metric: str, column: int, label: str) -> Difference:
        row = metrics.index(metric)
        one, other = (float(table[:, row, column].mean()) for table in tables)
        interval = None if bounds is None else bounds[row, column].tolist()
        return Difference(label, one, other, float(change[:, row, column].mean()), interval)

    units = pairs[0][0].units
    return Comparison(
        level=level,
        n=len(patients),
        metrics={name: difference(name, -1, METRICS[name].label(units)) for name in metrics},
        classes={
            name: difference(HEADLINE, column, f"{METRICS[HEADLINE].title} {name}")
            for column, name in enumerate(names)
        },
        patients=_pair_patients(*pairs),
    )


def _values(scores: Sequence[ImageScore], metrics: Sequence[str]) -> np.ndarray:
    rows = [[list(score.values[metric].values()) for metric in metrics] for score in scores]
    table = np.array(rows)  # (N, metrics, classes)
    return np.concatenate([table, table.mean(-1, keepdims=True)], axis=-1)


def _pair_patients(first: Sequence[ImageScore], second: Sequence[ImageScore]) -> list[PatientPair]:
    pairs = [
        PatientPair(one.patient, one.group, one.mean(HEADLINE), other.mean(HEADLINE))
        for one, other in zip(join_patients(first), join_patients(second), strict=True)
    ]
    return sorted(pairs, key=lambda pair: -pair.difference)


def format_comparison(comparison: Comparison, first: str, second: str) -> str:
    """Differences of all metrics and classes, and the patients' wins, ties and losses."""
    title = METRICS[HEADLINE].title
    table = [["", first, second, "difference"]]
    rows = {HEADLINE: [*comparison.classes.values()]}
    for metric, row in comparison.metrics.items():
        for part in [*rows.get(metric, []), row]:
            change = with_interval(part.difference, part.interval, metric, show=signed)
            table.append(
                [part.label, number(part.first, metric), number(part.second, metric), change]
            )
    num_patients = len(comparison.patients)
    best, worst = comparison.patients[0], comparison.patients[-1]
    interval = " with 95 % interval over patients" if num_patients > 1 else ""
    return (
        f"{align(table)}\n"
        f"Means over {count(comparison.n, comparison.level)} of {count(num_patients, 'patient')}; "
        f"difference: {first} minus {second}{interval}.\n"
        f"{title} of patients: {first} is better for {comparison.num_wins}, equal for "
        f"{comparison.num_ties}, worse for {comparison.num_losses}; "
        f"from {signed(best.difference, HEADLINE)} ({best.patient}) "
        f"to {signed(worst.difference, HEADLINE)} ({worst.patient})."
    )


def patient_rows(comparison: Comparison, first: str, second: str) -> list[list[Any]]:
    """The table of patients, header first."""
    header = ["patient", "group", f"{HEADLINE}_{first}", f"{HEADLINE}_{second}", "difference"]
    rows = [
        [
            pair.patient,
            pair.group,
            *(f"{value:.6f}" for value in (pair.first, pair.second, pair.difference)),
        ]
        for pair in comparison.patients
    ]
    return [header, *rows]
