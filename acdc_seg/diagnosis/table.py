"""Tables of features of patients whose group is known."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.files import write_table

ACDC_FEATURES = Path(__file__).with_name("features.csv")
"""Features of the 60 ACDC patients, by their masks (CC BY-NC-SA 4.0, see features.md)."""
KEYS = ("patient", "group")


@dataclass(frozen=True)
class FeatureTable:
    """Features of N patients.

    Attributes:
        patients: N names.
        groups: N disease groups, each one of `labels.GROUPS`.
        names: F names of features.
        values: `(N, F)`, all finite.
    """

    patients: tuple[str, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray

    def columns(self, names: Sequence[str]) -> list[int]:
        """Indices of features; raises DataError where one is not in the table."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise DataError(f"the table has no feature {', '.join(missing)}; make the table again")
        return [self.names.index(name) for name in names]

    def row(self, features: Mapping[str, float]) -> np.ndarray:
        """Values `(F,)` of a patient in the order of the table; others are left out.

        Raises:
            DataError: A feature is missing or not finite.
        """
        missing = [name for name in self.names if not np.isfinite(features.get(name, np.nan))]
        if missing:
            raise DataError(
                f"feature {', '.join(missing)} is missing or not finite; a diagnosis needs "
                f"{', '.join(self.names)}"
            )
        return np.array([features[name] for name in self.names], float)

    def take(self, patients: Sequence[int]) -> "FeatureTable":
        """The patients with these indices."""
        return FeatureTable(
            tuple(self.patients[number] for number in patients),
            tuple(self.groups[number] for number in patients),
            self.names,
            self.values[list(patients)],
        )

    def select(self, names: Iterable[str]) -> "FeatureTable":
        """These features alone; raises DataError where one is not in the table."""
        names = tuple(names)
        return replace(self, names=names, values=self.values[:, self.columns(names)])


def make_table(rows: Mapping[str, tuple[str, Mapping[str, float]]]) -> FeatureTable:
    """A table of (group, features) by patient, with the features that all of them have.

    Raises:
        DataError: There is no patient.
    """
    if not rows:
        raise DataError("no patient has features; give at least one")
    common = set.intersection(*(set(features) for _, features in rows.values()))
    first = next(iter(rows.values()))[1]
    names = tuple(name for name in first if name in common)
    values = [[features[name] for name in names] for _, features in rows.values()]
    groups = tuple(group for group, _ in rows.values())
    return FeatureTable(tuple(rows), groups, names, np.array(values, float))


def save_table(table: FeatureTable, path: Path) -> None:
    """Writes a CSV file with six significant digits, one row for each patient."""
    keys = zip(table.patients, table.groups, table.values, strict=True)
    rows = [[patient, group, *(f"{value:.6g}" for value in row)] for patient, group, row in keys]
    write_table(path, [[*KEYS, *table.names], *rows])


def read_table(path: Path) -> FeatureTable:
    """Reads what `save_table` writes.

    Raises:
        DataError: The file is missing, has no rows or other columns first, or a value is not a
            finite number.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        values = np.array([[float(text) for text in row[2:]] for row in rows])
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a table of features ({error}); make it again with "
            "scripts/diagnosis_features.py"
        ) from None
    if tuple(header[:2]) != KEYS or values.shape != (len(rows), len(header) - 2) or not rows:
        raise DataError(f"{path}: expected the columns {', '.join(KEYS)} and features, a row each")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: a feature is NaN or infinite; make the table again")
    patients, groups = (tuple(row[index] for row in rows) for index in (0, 1))
    return FeatureTable(patients, groups, tuple(header[2:]), values)


@cache
def acdc_table() -> FeatureTable:
    """The 60 ACDC patients of the package."""
    return read_table(ACDC_FEATURES)
