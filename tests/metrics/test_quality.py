"""Every rule fails where it should, alone, and not on a good heart."""

import numpy as np
import pytest

from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.clinical import measure_heart
from acdc_seg.metrics.quality import check_quality

SPACING = (4, 4, 10)  # 0.16 mL a pixel


def stack(lv=60, rv=60, myo=50, num_slices=8):
    """Eleven slices, of which those from the second on have so many pixels of each structure."""
    voxels = np.zeros((16 * 16, 11), np.uint8)
    inside = voxels[:, 1 : 1 + num_slices]
    inside[:lv] = LV.value
    inside[lv : lv + rv] = RV.value
    inside[lv + rv : lv + rv + myo] = MYO.value
    return voxels.reshape(16, 16, 11)


def failed(diastole, systole, spacing=SPACING, **known):
    frames = [diastole, systole]
    return check_quality(frames, spacing, measure_heart(frames, spacing, ed=0, es=1, **known))


def without(labels, label, *slices):
    """The labels without a structure in some slices, counted from 0."""
    labels = labels.copy()
    for index in slices:
        labels[..., index][labels[..., index] == label.value] = 0
    return labels


GOOD = stack(), stack(lv=26, rv=30)


def test_a_good_heart_meets_all_rules():
    assert failed(*GOOD, heart_rate=70, height_cm=175, weight_kg=75) == []


def test_a_cine_is_judged_at_its_phases():
    middle = without(stack(lv=40), LV, 4)
    cine = np.stack([GOOD[0], middle, GOOD[1]], axis=-1)
    assert check_quality(cine, SPACING, measure_heart(cine, SPACING)) == []


def test_a_missing_structure():
    slices = range(11)
    assert failed(GOOD[0], without(GOOD[1], RV, *slices)) == [
        "ES: 0 voxels of the RV, expected at least 10."
    ]
    assert failed(without(GOOD[0], MYO, *slices), GOOD[1]) == [
        "ED: 0 voxels of the myocardium, expected at least 10.",
        "ED: 0 slices have LV and myocardium, expected at least 4.",
    ]


def test_too_few_slices():
    short = [
        part[..., :4] for part in (stack(lv=100, num_slices=3), stack(lv=40, rv=40, num_slices=3))
    ]
    assert failed(*short, spacing=(4, 4, 15)) == [
        "ED: 3 slices have LV and myocardium, expected at least 4.",
        "ES: 3 slices have LV and myocardium, expected at least 4.",
    ]


def test_gaps():
    assert failed(without(GOOD[0], LV, 4), without(GOOD[1], RV, 3, 6)) == [
        "ED: no LV in slice 5, between slices that have it.",
        "ES: no RV in slices 4, 7, between slices that have it.",
    ]
    assert failed(without(GOOD[0], RV, 1, 8), GOOD[1]) == []  # the ends may be without


def test_length():
    problems = failed(*GOOD, spacing=(9, 9, 2))
    assert problems == [
        "ED: the left ventricle is 16 mm long, expected 40..150 mm; slices are 2 mm apart.",
        "ES: the left ventricle is 16 mm long, expected 40..150 mm; slices are 2 mm apart.",
    ]


@pytest.mark.parametrize(
    ("diastole", "systole", "expected"),
    [
        (
            {},
            {"lv": 60, "rv": 30},
            [
                "LVESV is 76.8 mL, expected less than LVEDV, 76.8 mL.",
                "LVEF is 0.0 %, expected 5..85 %.",
            ],
        ),
        ({}, {"lv": 6, "rv": 30}, ["LVEF is 90.0 %, expected 5..85 %."]),
        (
            {"lv": 20},
            {"lv": 10, "rv": 30},
            [
                "LVEDV is 25.6 mL, expected 30..450 mL.",
            ],
        ),
        ({"myo": 10}, {"lv": 26, "rv": 30, "myo": 10}, ["LVM is 13.4 g, expected 20..400 g."]),
        (
            {},
            {"lv": 26, "rv": 52},
            [
                "RVSV is 10.2 mL and LVSV 43.5 mL, expected 0.3 to 3 times as much; both sides "
                "pump the same blood.",
            ],
        ),
        (
            {},
            {"lv": 26, "rv": 30, "myo": 100},
            [
                "The myocardium has 128.0 mL at ES and 64.0 mL at ED, expected 0.7 to 1.5 times as "
                "much; muscle keeps its volume.",
            ],
        ),
    ],
)
def test_numbers(diastole, systole, expected):
    assert failed(stack(**diastole), stack(**systole)) == expected


def test_one_frame_has_no_function():
    alone = measure_heart(GOOD[0], SPACING)
    assert check_quality(GOOD[0], SPACING, alone) == [
        "ED and ES not known among 1 frame: no stroke volume, no ejection fraction."
    ]
    broken = without(GOOD[0], LV, 4)
    assert check_quality(broken, SPACING, measure_heart(broken, SPACING))[1:] == [
        "The only frame: no LV in slice 5, between slices that have it."
    ]
    known = measure_heart(broken, SPACING, es=0)
    assert check_quality(broken, SPACING, known) == [
        "ED not known among 1 frame: no stroke volume, no ejection fraction.",
        "ES: no LV in slice 5, between slices that have it.",
    ]


def test_nothing_was_found():
    frames = [np.zeros((4, 4, 5), np.uint8)] * 2
    assert check_quality(frames, SPACING, measure_heart(frames, SPACING)) == [
        "No LV in any frame.",
        "ED and ES not known among 2 frames: no stroke volume, no ejection fraction.",
    ]


def test_what_is_known_of_the_patient():
    assert failed(*GOOD, heart_rate=0, height_cm=1.75, weight_kg=800) == [
        "The height is 1.75 cm, expected 40..250; it was not used.",
        "The weight is 800 kg, expected 2..350; it was not used.",
    ]
