"""Cross-validation of the diagnosis by patient: nobody is predicted by a classifier that was fitted
on features of the same patient, be they of true or of predicted label maps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedKFold

from acdc_seg.diagnosis.classify import VARIANTS, GroupClassifier
from acdc_seg.diagnosis.table import FeatureTable
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS
from acdc_seg.metrics.intervals import wilson_interval

Fit = Callable[[FeatureTable], GroupClassifier]
"""Fits on patients and returns the classifier."""
INNER_FOLDS = 4


@dataclass(frozen=True)
class Outcome:
    """Predicted groups of N patients in R repetitions.

    Attributes:
        groups: True groups, N.
        patients: Names, N.
        predicted: `(R, N)` predicted groups.
        num_refused: More patients whose label maps have no features; each counts as a mistake.
    """

    groups: tuple[str, ...]
    patients: tuple[str, ...]
    predicted: np.ndarray
    num_refused: int = 0

    @property
    def num_patients(self) -> int:
        """With those that were refused."""
        return len(self.patients) + self.num_refused

    @property
    def accuracy(self) -> float:
        """Mean over repetitions."""
        correct = (self.predicted == np.array(self.groups)).sum(axis=1)
        return float(correct.mean()) / self.num_patients

    @property
    def interval(self) -> tuple[float, float]:
        """Of the accuracy: Wilson's, 95 %, of all patients, for repetitions add none."""
        return wilson_interval(self.accuracy * self.num_patients, self.num_patients)

    def confusion(self) -> np.ndarray:
        """Patients by true group (rows) and predicted group, `(5, 5)`, mean over repetitions."""
        truth, order = np.array(self.groups), list(GROUPS)
        counts = np.zeros((len(GROUPS), len(GROUPS)))
        for predicted in self.predicted:
            for row, column in zip(truth, predicted, strict=True):
                counts[order.index(row), order.index(column)] += 1
        return counts / len(self.predicted)

    def mistakes(self) -> dict[str, float]:
        """Part of the repetitions, in 0..1, in which a patient's group was missed, where any."""
        wrong = (self.predicted != np.array(self.groups)).mean(axis=0)
        return {name: float(part) for name, part in zip(self.patients, wrong, strict=True) if part}


def cross_validate(
    truth: FeatureTable,
    fit: Fit = GroupClassifier,
    *,
    tested: FeatureTable | None = None,
    num_refused: int = 0,
    num_folds: int = 5,
    repeats: int = 10,
    seed: int = 0,
) -> Outcome:
    """Predicts each patient by a classifier that was fitted on the others' true label maps.

    Args:
        truth: Features of true label maps.
        fit: The classifier.
        tested: Features to predict from, of some or all of these patients; by default the true
            ones.
        num_refused: Patients to be counted as mistakes.
        num_folds: Parts of the patients, stratified by group; as many as patients leaves one out.
        repeats: Divisions that are drawn; leaving one out has one.
        seed: Of the divisions.

    Raises:
        DataError: A tested patient is not in `truth` or has another group there, or a group has
            fewer patients than folds.
    """
    tested = truth if tested is None else tested
    _check_tested(truth, tested)
    num_patients = len(truth.patients)
    if num_folds >= num_patients:
        divisions = [[[number] for number in range(num_patients)]]
    else:
        divisions = [_divide(truth, num_folds, seed + repeat) for repeat in range(repeats)]
    predicted = [_predict_division(truth, tested, fit, division) for division in divisions]
    return Outcome(tested.groups, tested.patients, np.array(predicted), num_refused)


def fit_best(
    table: FeatureTable, fits: Mapping[str, Fit] | None = None, *, seed: int = 0
) -> GroupClassifier:
    """Fits the variant with the best accuracy in a cross-validation within the table, the first of
    equals: in an outer cross-validation, the choice sees no tested patient.

    Args:
        table: Patients to choose and fit with.
        fits: By name; by default all of `VARIANTS`.
        seed: Of the folds.
    """
    fits = {name: make_fit(name) for name in VARIANTS} if fits is None else fits
    folds, groups = _divide(table, INNER_FOLDS, seed), np.array(table.groups)
    correct = {
        name: int((_predict_division(table, table, fit, folds) == groups).sum())
        for name, fit in fits.items()
    }
    return fits[max(correct, key=lambda name: correct[name])](table)


def make_fit(name: str) -> Fit:
    """Fits a variant by its name."""
    return lambda table: GroupClassifier(table, VARIANTS[name])


def _divide(table: FeatureTable, num_folds: int, seed: int) -> list[list[int]]:
    """Indices of the patients of each fold."""
    smallest = min(table.groups.count(group) for group in set(table.groups))
    if not 2 <= num_folds <= smallest:
        raise DataError(
            f"{num_folds} folds: expected 2 to {smallest}, the patients of the smallest group, or "
            f"{len(table.patients)} to leave one out"
        )
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return [list(map(int, test)) for _, test in folds.split(table.values, table.groups)]


def _predict_division(
    truth: FeatureTable, tested: FeatureTable, fit: Fit, folds: list[list[int]]
) -> np.ndarray:
    """Predicted groups `(N,)` of the tested patients."""
    predicted = np.full(len(tested.patients), "", dtype=object)
    for fold in folds:
        names = {truth.patients[number] for number in fold}
        rows = [number for number, name in enumerate(tested.patients) if name in names]
        if not rows:
            continue
        classifier = fit(truth.take([n for n in range(len(truth.patients)) if n not in fold]))
        values = tested.take(rows).select(classifier.table.names).values
        best = classifier.predict(values).argmax(axis=1)
        predicted[rows] = [GROUPS[number] for number in best]
    return predicted


def _check_tested(truth: FeatureTable, tested: FeatureTable) -> None:
    groups = dict(zip(truth.patients, truth.groups, strict=True))
    for patient, group in zip(tested.patients, tested.groups, strict=True):
        if groups.get(patient) != group:
            raise DataError(
                f"{patient} is tested as {group}, the table of true features has "
                f"{groups.get(patient, 'no such patient')}; give both of the same patients"
            )
