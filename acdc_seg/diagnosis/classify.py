"""Disease group from features: a soft vote of classifiers over the five groups and, in the variants
that have it, a second stage that tells infarction from dilated cardiomyopathy again by the wall at
ES alone, for both have a low ejection fraction (Khened et al., Medical Image Analysis 51, 2019).

Nothing fitted is stored: the classifiers are fitted where they are needed, in a second, on a table
of features.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from acdc_seg.diagnosis.features import FEATURES, KHENED
from acdc_seg.diagnosis.table import FeatureTable, acdc_table
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS

RESEARCH_ONLY = "research only, not a medical diagnosis"
HEALTHY = "NOR"
LOW_EJECTION = ("MINF", "DCM")
"""Groups between which the second stage decides."""
WALL_PROFILE = tuple(name for name in KHENED if name.startswith("wall_") and name.endswith("_es"))
"""Features of the second stage."""


@dataclass(frozen=True)
class Variant:
    """Features of the first stage, and whether there is a second."""

    features: tuple[str, ...]
    second_stage: bool


VARIANTS: dict[str, Variant] = {
    "khened": Variant(tuple(KHENED), second_stage=False),
    "khened, second stage": Variant(tuple(KHENED), second_stage=True),
    "all": Variant(tuple(FEATURES), second_stage=False),
    "all, second stage": Variant(tuple(FEATURES), second_stage=True),
}
"""Compared in docs/diagnosis.md."""
SHIPPED = "khened"
"""The variant that is used unless another one is asked for."""


@dataclass(frozen=True)
class Evidence:
    """How a feature counts for the group that was found.

    Attributes:
        feature: Its name.
        title: The name in words.
        unit: Empty for a ratio.
        value: Of the patient.
        healthy: Mean of the healthy patients of the table.
        deviation: From that mean, in standard deviations of the healthy patients.
        effect: Probability of the group, in -1..1, that is lost when the mean over all patients of
            the table takes the place of the value. Features that say the same hide each other's.
    """

    feature: str
    title: str
    unit: str
    value: float
    healthy: float
    deviation: float
    effect: float


@dataclass(frozen=True)
class Diagnosis:
    """A disease group, for research only.

    Attributes:
        group: The most probable one.
        probabilities: Of each group; their sum is 1. They are votes of classifiers, not calibrated.
        evidence: One for each feature, the largest effect first.
        note: To be shown wherever the group is.
    """

    group: str
    probabilities: dict[str, float]
    evidence: tuple[Evidence, ...]
    note: str = RESEARCH_ONLY

    def to_dict(self, num_evidence: int = 5) -> dict[str, Any]:
        """The same in plain types for JSON, with the features that decided."""
        return {
            "note": self.note,
            "group": self.group,
            "probabilities": dict(self.probabilities),
            "evidence": [asdict(item) for item in self.evidence[:num_evidence]],
        }


class GroupClassifier:
    """A variant, fitted on a table of patients.

    Args:
        table: With the features of the variant, and two patients or more of each group.
        variant: A row of `VARIANTS`.
        seed: Of the forest and the network; equal seeds give equal classifiers.

    Raises:
        DataError: The table lacks a group or a feature, or has another group.
    """

    def __init__(self, table: FeatureTable, variant: Variant = VARIANTS[SHIPPED], seed: int = 0):
        _check_groups(table)
        self.table = table.select(variant.features)
        groups, values = np.array(self.table.groups), self.table.values
        self._voters = [model.fit(values, groups) for model in _make_voters(seed)]
        self._wall = self.table.columns(WALL_PROFILE)
        self._second = None
        if variant.second_stage:
            low = np.isin(groups, LOW_EJECTION)
            self._second = _make_network(seed).fit(values[low][:, self._wall], groups[low])

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Probabilities `(N, 5)` in the order of `labels.GROUPS`.

        Args:
            values: `(N, F)` with the columns of `table`.
        """
        probabilities = np.mean([_in_order(model, values) for model in self._voters], axis=0)
        columns = [GROUPS.index(group) for group in LOW_EJECTION]
        rows = np.flatnonzero(np.isin(probabilities.argmax(axis=1), columns))
        if self._second is not None and len(rows):
            # the two groups share anew what the first stage gave them together
            shares = _in_order(self._second, values[rows][:, self._wall])
            together = probabilities[rows][:, columns].sum(axis=1)
            for column in columns:
                probabilities[rows, column] = together * shares[:, column]
        return probabilities

    def diagnose(self, features: Mapping[str, float]) -> Diagnosis:
        """The group of a patient and the features that decided.

        Raises:
            DataError: A feature of the variant is missing or not finite.
        """
        values = self.table.row(features)
        occluded = np.tile(values, (len(values), 1))
        np.fill_diagonal(occluded, self.table.values.mean(axis=0))
        probabilities = self.predict(np.vstack([values, occluded]))
        best = int(probabilities[0].argmax())
        effects = probabilities[0, best] - probabilities[1:, best]
        by_group = dict(zip(GROUPS, map(float, probabilities[0]), strict=True))
        return Diagnosis(GROUPS[best], by_group, self._evidence(values, effects))

    def _evidence(self, values: np.ndarray, effects: np.ndarray) -> tuple[Evidence, ...]:
        healthy = self.table.values[np.array(self.table.groups) == HEALTHY]
        mean, std = healthy.mean(axis=0), healthy.std(axis=0, ddof=1)
        deviations = (values - mean) / np.maximum(std, 1e-9)
        columns = zip(self.table.names, values, mean, deviations, effects, strict=True)
        found = [
            Evidence(name, *FEATURES.get(name, (name, "")), *map(float, numbers))
            for name, *numbers in columns
        ]
        return tuple(sorted(found, key=lambda item: -item.effect))


def diagnose(features: Mapping[str, float]) -> Diagnosis:
    """Predicts the group from `features.features`, by the 60 ACDC patients of the package.

    A patient who is one of the 60 is recognized rather than diagnosed.

    Raises:
        DataError: A feature is missing or not finite.
    """
    return _acdc_classifier().diagnose(features)


@cache
def _acdc_classifier() -> GroupClassifier:
    return GroupClassifier(acdc_table())


def _make_voters(seed: int) -> list[ClassifierMixin]:
    """Classifiers of the first stage: defaults of scikit-learn but for the network."""
    return [
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        GaussianNB(),
        RandomForestClassifier(random_state=seed),
        _make_network(seed),
    ]


def _make_network(seed: int) -> ClassifierMixin:
    """A network for tens of patients: small, regularized, trained on all of them at once."""
    network = MLPClassifier((32,), alpha=1.0, solver="lbfgs", max_iter=2000, random_state=seed)
    return make_pipeline(StandardScaler(), network)


def _in_order(model: ClassifierMixin, values: np.ndarray) -> np.ndarray:
    """Probabilities `(N, 5)` in the order of `GROUPS`, 0 for a group that the model lacks."""
    probabilities = np.zeros((len(values), len(GROUPS)))
    probabilities[:, [GROUPS.index(group) for group in model.classes_]] = model.predict_proba(
        values
    )
    return probabilities


def _check_groups(table: FeatureTable) -> None:
    counts = {group: table.groups.count(group) for group in GROUPS}
    others = sorted(set(table.groups) - set(GROUPS))
    if min(counts.values()) < 2 or others:
        found = ", ".join(f"{count} {group}" for group, count in counts.items())
        raise DataError(
            f"the table of features has {found}{''.join(f', {name}' for name in others)}; expected "
            f"at least 2 of each of {', '.join(GROUPS)} and no other group"
        )
