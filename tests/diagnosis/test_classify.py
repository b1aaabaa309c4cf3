"""Two stages and their evidence, on drawn tables and on the one of the package."""

import json

import numpy as np
import pytest

from acdc_seg.diagnosis.classify import (
    RESEARCH_ONLY,
    VARIANTS,
    WALL_PROFILE,
    GroupClassifier,
    Variant,
    diagnose,
)
from acdc_seg.diagnosis.features import FEATURES
from acdc_seg.diagnosis.table import FeatureTable, acdc_table
from acdc_seg.errors import DataError
from acdc_seg.labels import GROUPS

NAMES = ("LVEF", *WALL_PROFILE)
ONE, TWO = (Variant(NAMES, second_stage=second) for second in (False, True))
LVEF = dict(zip(GROUPS, (60, 20, 20, 80, 40), strict=True))
"""Infarction and dilated cardiomyopathy share theirs."""


def draw_table(*, wall: float, num: int = 6) -> FeatureTable:
    """Patients with the LVEF of their group, and a wall that is so many mm more uneven after an
    infarction.
    """
    rng = np.random.default_rng(0)
    groups = [group for group in GROUPS for _ in range(num)]
    values = rng.normal(0, 1, (len(groups), len(NAMES)))
    values[:, 0] += [LVEF[group] for group in groups]
    values[:, 1:] += np.array([wall * (group == "MINF") for group in groups])[:, None]
    return FeatureTable(tuple(f"p{n}" for n in range(len(groups))), tuple(groups), NAMES, values)


@pytest.fixture(scope="module")
def table():
    return draw_table(wall=6)


@pytest.fixture(scope="module")
def one_stage(table):
    return GroupClassifier(table, ONE)


@pytest.fixture(scope="module")
def two_stages(table):
    return GroupClassifier(table, TWO)


def test_new_patients_are_put_into_their_groups(one_stage, two_stages):
    values = [[LVEF[group] + 1, *([6.0 * (group == "MINF")] * 4)] for group in GROUPS]
    for classifier in (one_stage, two_stages):
        probabilities = classifier.predict(np.array(values))
        assert [GROUPS[best] for best in probabilities.argmax(axis=1)] == list(GROUPS)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_the_second_stage_shares_what_two_groups_have_together(table, one_stage, two_stages):
    first, second = one_stage.predict(table.values), two_stages.predict(table.values)
    minf, dcm = GROUPS.index("MINF"), GROUPS.index("DCM")
    others = [n for n in range(len(GROUPS)) if n not in (minf, dcm)]
    np.testing.assert_allclose(first[:, others], second[:, others])
    np.testing.assert_allclose(
        first[:, [minf, dcm]].sum(axis=1), second[:, [minf, dcm]].sum(axis=1)
    )
    low = np.isin(first.argmax(axis=1), (minf, dcm))
    assert np.abs(first - second)[low].max() > 0.01
    np.testing.assert_array_equal(first[~low], second[~low])


def test_the_second_stage_sees_the_wall_alone(two_stages):
    """A patient with an even wall and one with a scar, both with an LVEF between the groups."""
    even, scarred = two_stages.predict(np.array([[22, 0, 0, 0, 0], [22.0, 6, 6, 6, 6]]))
    minf, dcm = GROUPS.index("MINF"), GROUPS.index("DCM")
    assert even[dcm] > 10 * even[minf]
    assert scarred[minf] > 10 * scarred[dcm]


def test_equal_seeds_give_equal_classifiers(table, two_stages):
    again = GroupClassifier(table, TWO)
    np.testing.assert_array_equal(again.predict(table.values), two_stages.predict(table.values))


def test_the_feature_that_decides_comes_first(table, one_stage):
    features = dict.fromkeys(NAMES, 0.0) | {"LVEF": 80.0, "unknown": 1.0}
    found = one_stage.diagnose(features)
    assert found.group == "HCM"
    first = found.evidence[0]
    assert (first.feature, first.title, first.unit) == ("LVEF", "LVEF", "%")
    healthy = table.values[:6, 0]
    assert first.healthy == pytest.approx(healthy.mean())
    assert first.deviation == pytest.approx((80 - healthy.mean()) / healthy.std(ddof=1))
    occluded = dict(features, LVEF=float(table.values[:, 0].mean()))
    lost = found.probabilities["HCM"] - one_stage.diagnose(occluded).probabilities["HCM"]
    assert first.effect == pytest.approx(lost)
    assert first.effect > 0.4
    effects = [item.effect for item in found.evidence]
    assert effects == sorted(effects, reverse=True)
    assert len(effects) == len(NAMES)


def test_an_unfit_table_is_refused(table):
    with pytest.raises(DataError, match="0 RV; expected at least 2 of each"):
        GroupClassifier(table.take(range(24)), ONE)
    others = FeatureTable(table.patients, ("ARV", *table.groups[1:]), NAMES, table.values)
    with pytest.raises(DataError, match="6 RV, ARV; expected"):
        GroupClassifier(others, ONE)
    with pytest.raises(DataError, match="no feature LVEDV"):
        GroupClassifier(table)


def test_a_patient_without_a_feature_is_refused(one_stage):
    with pytest.raises(DataError, match="LVEF is missing or not finite"):
        one_stage.diagnose(dict.fromkeys(WALL_PROFILE, 1.0))


@pytest.mark.parametrize("group", GROUPS)
def test_the_mean_patient_of_a_group_belongs_to_it(group):
    table = acdc_table()
    mean = table.values[np.array(table.groups) == group].mean(axis=0)
    found = diagnose(dict(zip(table.names, map(float, mean), strict=True)))
    assert found.group == group == max(found.probabilities, key=found.probabilities.get)
    assert sum(found.probabilities.values()) == pytest.approx(1)


def test_a_diagnosis_is_json_and_says_what_it_is_for():
    values = acdc_table().values[0]
    found = diagnose(dict(zip(acdc_table().names, map(float, values), strict=True)))
    told = json.loads(json.dumps(found.to_dict(num_evidence=3), allow_nan=False))
    assert told["note"] == RESEARCH_ONLY
    assert told["group"] == "DCM"
    assert list(told["probabilities"]) == list(GROUPS)
    assert len(told["evidence"]) == 3
    assert {item["feature"] for item in told["evidence"]} <= set(FEATURES)


def test_variants_use_known_features():
    assert all(set(WALL_PROFILE) <= set(v.features) <= set(FEATURES) for v in VARIANTS.values())
    assert len(WALL_PROFILE) == 4
