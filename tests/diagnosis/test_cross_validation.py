"""Nobody is predicted by a classifier that knows him, and counts by hand."""

from collections import Counter

import numpy as np
import pytest

from acdc_seg.diagnosis.cross_validation import Outcome, cross_validate, fit_best
from acdc_seg.diagnosis.table import FeatureTable
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS


def make_table(num: int = 4) -> FeatureTable:
    """Patients whose one feature is the index of their group."""
    groups = tuple(group for group in GROUPS for _ in range(num))
    values = np.array([[float(GROUPS.index(group))] for group in groups])
    return FeatureTable(tuple(f"p{n:02d}" for n in range(len(groups))), groups, ("a",), values)


class Rounding:
    """Predicts the group whose index the feature is, plus an offset."""

    def __init__(self, table, offset=0):
        self.table, self.offset = table, offset

    def predict(self, values):
        return np.eye(len(GROUPS))[(values[:, 0].round().astype(int) + self.offset) % len(GROUPS)]


def test_every_patient_is_predicted_once_by_the_others():
    table, fitted = make_table(), []

    class Recording(Rounding):
        def __init__(self, table):
            super().__init__(table)
            fitted.append(set(table.patients))

    outcome = cross_validate(table, Recording, num_folds=4, repeats=3)
    assert outcome.predicted.shape == (3, 20)
    assert outcome.accuracy == 1
    assert outcome.mistakes() == {}
    assert len(fitted) == 12
    for start in (0, 4, 8):
        left_out = [set(table.patients) - names for names in fitted[start : start + 4]]
        assert Counter(name for fold in left_out for name in fold) == dict.fromkeys(
            table.patients, 1
        )
        for fold in left_out:
            groups = [table.groups[table.patients.index(name)] for name in fold]
            assert sorted(groups) == sorted(GROUPS)
    assert fitted[:4] != fitted[4:8]


def test_as_many_folds_as_patients_leave_one_out():
    fitted = []

    def fit(table):
        fitted.append(len(table.patients))
        return Rounding(table)

    outcome = cross_validate(make_table(), fit, num_folds=20)
    assert outcome.predicted.shape == (1, 20)
    assert fitted == [19] * 20


def test_tested_features_are_predicted_and_true_ones_fitted():
    truth = make_table()
    tested = FeatureTable(("p05", "p00"), ("MINF", "NOR"), ("a",), np.array([[1.2], [2.2]]))
    seen = []

    def fit(table):
        seen.append((set(table.patients), table.values.max()))
        return Rounding(table)

    outcome = cross_validate(truth, fit, tested=tested, num_folds=2, repeats=1, num_refused=2)
    assert outcome.predicted.tolist() == [["MINF", "DCM"]]
    assert outcome.mistakes() == {"p00": 1.0}
    assert outcome.accuracy == 1 / 4  # two more were refused
    assert all(not {"p05", "p00"} <= names and largest == 4 for names, largest in seen)


def test_counts_by_hand():
    outcome = Outcome(
        groups=("NOR", "NOR", "DCM"),
        patients=("a", "b", "c"),
        predicted=np.array([["NOR", "RV", "DCM"], ["NOR", "NOR", "DCM"]], dtype=object),
    )
    assert outcome.accuracy == pytest.approx(5 / 6)
    assert outcome.mistakes() == {"b": 0.5}
    confusion = outcome.confusion()
    assert confusion[0].tolist() == [1.5, 0, 0, 0, 0.5]
    assert confusion[GROUPS.index("DCM"), GROUPS.index("DCM")] == 1
    assert confusion.sum() == 3
    low, high = outcome.interval
    assert 0 < low < 5 / 6 < high <= 1


def test_the_best_variant_is_fitted_and_the_first_of_equals():
    table = make_table()
    fits = {
        "wrong": lambda table: Rounding(table, offset=1),
        "right": Rounding,
        "equal": lambda table: Rounding(table, offset=5),
    }
    assert fit_best(table, fits).offset == 0
    assert fit_best(table, dict(reversed(fits.items()))).offset == 5


def test_patients_that_the_truth_does_not_have_are_refused():
    truth = make_table()
    for name, group in (("p99", "NOR"), ("p00", "RV")):
        tested = FeatureTable((name,), (group,), ("a",), np.zeros((1, 1)))
        with pytest.raises(DataError, match=f"{name} is tested as {group}"):
            cross_validate(truth, Rounding, tested=tested)


@pytest.mark.parametrize("num_folds", [1, 5])
def test_folds_without_a_patient_of_each_group_are_refused(num_folds):
    with pytest.raises(DataError, match=rf"{num_folds} folds: expected 2 to 4.*or 20"):
        cross_validate(make_table(), Rounding, num_folds=num_folds)
