"""Volumes, function and mass, by hand."""

import json

import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.clinical import (
    CONVENTIONS,
    UNITS,
    find_phases,
    measure_heart,
)

SPACING = (2, 2.5, 10)  # 0.05 mL a voxel


def heart(lv, rv=0, myo=0):
    """A volume with so many voxels of each structure."""
    voxels = np.zeros(10 * 10 * 20, np.uint8)
    voxels[:lv] = LV.value
    voxels[lv : lv + rv] = RV.value
    voxels[lv + rv : lv + rv + myo] = MYO.value
    return voxels.reshape(10, 10, 20)


ED, ES = heart(400, 300, 500), heart(160, 150, 480)


def test_two_frames_by_hand():
    measured = measure_heart([ED, ES], SPACING, heart_rate=60, height_cm=180, weight_kg=80)
    assert (measured.ed, measured.es) == (0, 1)
    surface = 2.0  # sqrt(180 * 80 / 3600)
    expected = {
        "LVEDV": 20,
        "LVESV": 8,
        "LVSV": 12,
        "LVEF": 60,
        "LVCO": 0.72,
        "LVM": 26.25,
        "RVEDV": 15,
        "RVESV": 7.5,
        "RVSV": 7.5,
        "RVEF": 50,
        "RVCO": 0.45,
    }
    indexed = {f"{name}i": value / surface for name, value in expected.items() if "EF" not in name}
    assert measured.values == pytest.approx({**expected, **indexed, "BSA": surface})
    assert list(measured.values) == list(UNITS)
    assert measured.curves == {
        "lv": pytest.approx([20, 8]),
        "rv": pytest.approx([15, 7.5]),
        "myo": pytest.approx([25, 24]),
    }


def test_a_cine_and_a_list_of_its_frames_are_the_same():
    frames = [ED, heart(300, 200, 490), ES]
    cine = measure_heart(np.stack(frames, axis=-1), SPACING)
    assert cine == measure_heart(frames, SPACING)
    assert (cine.ed, cine.es) == (0, 2)


def test_given_phases_are_taken_even_against_the_volumes():
    measured = measure_heart([ES, ED, heart(10, 1, 1)], SPACING, ed=0, es=1)
    assert measured.values["LVEDV"] == pytest.approx(8)
    assert measured.values["LVEF"] == pytest.approx(-150)


def test_one_frame_is_measured_only_as_the_phase_it_is_said_to_be():
    unknown = measure_heart(ED, SPACING, height_cm=180, weight_kg=80)
    assert (unknown.ed, unknown.es, unknown.values["LVEDV"]) == (None, None, None)
    assert unknown.curves["lv"] == [pytest.approx(20)]
    diastole = measure_heart(ED, SPACING, ed=0).values
    known = {name for name, value in diastole.items() if value is not None}
    assert known == {"LVEDV", "RVEDV", "LVM"}
    systole = measure_heart(ED, SPACING, es=0).values
    assert {name for name, value in systole.items() if value is not None} == {"LVESV", "RVESV"}


def test_an_absent_structure_has_no_volume():
    values = measure_heart([heart(400), heart(160)], SPACING).values
    assert values["LVEF"] == pytest.approx(60)
    assert values["RVEDV"] is values["RVEF"] is values["LVM"] is values["LVMi"] is None
    empty = measure_heart([heart(0)] * 3, SPACING)
    assert (empty.ed, empty.es) == (None, None)
    assert set(empty.values.values()) == {None}


@pytest.mark.parametrize(
    ("volumes", "phases"),
    [
        ([100, 60, 40, 70], (0, 2)),
        ([100, 60, 0, 40, 70, 0], (0, 3)),  # frames without LV
        ([90, 100, 100, 40, 40, 70], (1, 3)),  # the first of equals
        ([80, 80], (0, 1)),
        ([0, 80, 0], (None, None)),
        ([80], (None, None)),
        ([], (None, None)),
    ],
)
def test_phases_by_volume(volumes, phases):
    assert find_phases(volumes) == phases


def test_isolated_outliers_of_a_cine_are_no_phase():
    cine = [120, 115, 105, 90, 75, 60, 50, 48, 55, 70, 85, 95, 105, 118]
    assert find_phases(cine) == (0, 7)
    assert find_phases([*cine[:10], 20, 400, *cine[12:]]) == (0, 7)
    # few frames are far apart in time, and differ as much
    assert find_phases([120, 30, 90]) == (0, 1)


def test_the_other_phase_is_found():
    assert find_phases([100, 60, 40, 70], ed=3) == (3, 2)
    assert find_phases([100, 60, 40, 70], es=0) == (3, 0)
    assert find_phases([100, 0], ed=1) == (1, 0)
    assert find_phases([100], ed=0) == (0, None)


def test_what_cannot_be_true_of_a_patient_is_not_used():
    measured = measure_heart([ED, ES], SPACING, heart_rate=0, height_cm=1.8, weight_kg=80)
    assert measured.values["LVCO"] is measured.values["BSA"] is measured.values["LVMi"] is None
    assert (measured.heart_rate, measured.height_cm) == (0, 1.8)
    nothing = measure_heart([ED, ES], SPACING, heart_rate=float("nan"), height_cm=180)
    assert nothing.values["LVCO"] is nothing.values["BSA"] is None


def test_json():
    measured = measure_heart([ED, ES], np.float32(SPACING), heart_rate=60)
    loaded = json.loads(json.dumps(measured.to_dict()))
    assert loaded["values"]["LVEF"] == pytest.approx(60)
    assert loaded["values"]["LVMi"] is None
    assert loaded["units"]["LVM"] == "g"
    assert (loaded["ed"], loaded["es"], loaded["curves"]["lv"][1]) == (0, 1, pytest.approx(8))


@pytest.mark.parametrize(
    ("label_maps", "spacing", "phases", "message"),
    [
        ([ED, ES[..., 1:]], SPACING, {}, "shapes"),
        (ED[..., 0], SPACING, {}, "shapes"),
        ([], SPACING, {}, "shapes"),
        ([np.full((2, 2, 2), 7, np.uint8)], SPACING, {}, "value 7"),
        ([ED, ES], (1, 1), {}, "three positive"),
        ([ED, ES], (1, 1, 0), {}, "three positive"),
        ([ED, ES], (1, 1, np.nan), {}, "three positive"),
        ([ED, ES], SPACING, {"es": 2}, "es=2: there are 2 frames"),
        ([ED, ES], SPACING, {"ed": -1}, "ed=-1"),
        ([ED, ES], SPACING, {"ed": 1, "es": 1}, "same frame"),
    ],
)
def test_errors(label_maps, spacing, phases, message):
    with pytest.raises(DataError, match=message):
        measure_heart(label_maps, spacing, **phases)


def test_conventions_name_what_numbers_depend_on():
    for word in ("Papillary", "gap", "1.05 g/mL", "Mosteller", "ED"):
        assert word in CONVENTIONS
