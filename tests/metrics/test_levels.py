import csv
import json

import numpy as np
import pytest

from acdc_seg.metrics.levels import (
    count_errors,
    distance_note,
    headline_level,
    join_patients,
    levels_of,
    parts_of,
    score_set_to_dict,
    write_scores,
)
from acdc_seg.metrics.summary import summarize
from acdc_seg.metrics.tables import format_score_set
from acdc_seg.metrics.volumes import Case, Scorer

CLASSES = ("background", "rv", "myo", "lv")


def heart(rv, lv):
    mask = np.zeros((8, 12), np.uint8)
    mask[0, :rv], mask[-1, :lv], mask[4, :6] = 1, 3, 2
    return mask


MASKS = (heart(6, 9), heart(4, 8), heart(0, 6))
LABELS = {"p1": (heart(6, 9), heart(0, 8), heart(2, 6)), "p2": (heart(6, 9), heart(4, 4), MASKS[2])}


@pytest.fixture
def scores():
    """Two patients, the first with both phases, and three slices each; p1 has a missed and an
    invented RV in each phase.
    """
    groups = {"p1": "DCM", "p2": "NOR"}
    cases = [
        Case(
            f"{patient}_{phase}_{number}",
            patient=patient,
            phase=phase,
            group=groups[patient],
            spacing=(1.0, 1.0),
            volume=f"{patient}_{phase}",
            slice=number,
            slice_spacing=10.0,
        )
        for patient, phase in (("p1", "ED"), ("p1", "ES"), ("p2", "ED"))
        for number in range(3)
    ]
    scorer = Scorer(cases, classes=CLASSES)
    for case in cases:
        scorer.add(LABELS[case.patient][case.slice], MASKS[case.slice], case)
    return scorer.result()


@pytest.fixture
def images():
    """The same slices without numbers, as single images of two patients."""
    cases = [Case(f"{patient}{number}", patient=patient) for patient in LABELS for number in (0, 1)]
    scorer = Scorer(cases, classes=CLASSES)
    for case in cases:
        number = int(case.id[-1])
        scorer.add(LABELS[case.patient][number], MASKS[number], case)
    return scorer.result()


P1 = {"rv": 2 * 6 / (10 + 8), "myo": 1, "lv": 1}
P2 = {"rv": 1, "myo": 1, "lv": 2 * 19 / (23 + 19)}


def test_the_headline_is_by_volume_where_slices_make_volumes(scores, images):
    assert headline_level(scores) == "volume"
    assert {level: len(rows) for level, rows in levels_of(scores).items()} == {
        "slice": 9,
        "volume": 3,
        "patient": 2,
    }
    assert [volume.dice for volume in scores.volumes] == [
        pytest.approx(dice) for dice in (P1, P1, P2)
    ]
    assert headline_level(images) == "slice"
    assert list(levels_of(images)) == ["slice", "patient"]


def test_images_that_are_no_hearts_are_called_images():
    scorer = Scorer([Case("a"), Case("b")], classes=("background", "road"))
    for case in (Case("a"), Case("b")):
        scorer.add(np.eye(3, dtype=int), np.eye(3, dtype=int), case)
    assert headline_level(scorer.result()) == "image"


def test_every_patient_counts_once_at_the_patient_level(scores):
    patients = join_patients(scores.volumes)
    assert [(row.id, row.patient, row.phase, row.group) for row in patients] == [
        ("p1", "p1", "", "DCM"),
        ("p2", "p2", "", "NOR"),
    ]
    assert patients[0].dice == pytest.approx(P1)
    assert patients[0].truth_size["rv"] == 2 * 10
    by_volume, by_patient = summarize(scores.volumes), summarize(patients)
    assert by_volume.classes["rv"]["dice_mean"] == pytest.approx((2 * P1["rv"] + 1) / 3)
    assert by_patient.classes["rv"]["dice_mean"] == pytest.approx((P1["rv"] + 1) / 2)


def test_missed_and_false_slices_are_summed_by_patient(images):
    patients = join_patients(images.images)
    assert [row.num_missed["rv"] for row in patients] == [1, 0]


def test_parts_are_phases_groups_and_regions(scores, images):
    parts = parts_of(scores)
    sizes = {key: {word: len(rows) for word, rows in part.items()} for key, part in parts.items()}
    assert sizes == {
        "phase": {"ED": 2, "ES": 1},
        "group": {"DCM": 2, "NOR": 1},
        "region": {"base": 3, "mid": 3, "apex": 3},
    }
    assert summarize(parts["region"]["apex"]).classes["rv"]["num_false"] == 2
    assert parts_of(images) == {}


def test_invented_and_missed_slices_by_region(scores):
    errors = count_errors(scores.images)
    assert list(errors) == ["base", "mid", "apex"]
    assert errors["mid"]["rv"] == {
        "num_present": 3,
        "num_missed": 2,
        "num_absent": 0,
        "num_false": 0,
    }
    assert errors["apex"]["rv"] == {
        "num_present": 0,
        "num_missed": 0,
        "num_absent": 3,
        "num_false": 2,
    }


def test_files_keep_the_images_and_add_the_levels(scores, tmp_path):
    content = write_scores(tmp_path, scores, {"split": "val"})
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8")) == content
    assert content["protocol"] == {"split": "val"}
    assert content["n"] == len(content["images"]) == 9  # of images, at any level of the headline
    assert content["dice"] == summarize(scores.images).dice
    assert content["metrics"]["size_error"] == "Size error (mm²)"
    headline = content["headline"]
    assert (headline["metric"], headline["level"], headline["n"]) == ("dice", "volume", 3)
    assert headline["value"] == pytest.approx(summarize(scores.volumes).dice)
    low, high = headline["interval"]
    assert low == pytest.approx(np.mean(list(P1.values())))
    assert high == pytest.approx(np.mean(list(P2.values())))
    volume = content["levels"]["volume"]
    assert volume["metrics"]["size_error"] == "Size error (mL)"
    assert volume["classes"]["rv"]["dice_interval"] == pytest.approx([P1["rv"], 1])
    assert list(content["parts"]["region"]) == ["base", "mid", "apex"]
    with (tmp_path / "volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["p1_ED", "p1_ES", "p2_ED"]
    assert float(rows[0]["dice_rv"]) == pytest.approx(P1["rv"], abs=1e-6)
    with (tmp_path / "patients.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["p1", "p2"]
    with (tmp_path / "metrics.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert list(first)[:4] == ["id", "patient", "phase", "dice_rv"]
    assert (first["slice"], first["region"], first["group"]) == ("0", "base", "DCM")


def test_tables_of_levels_that_are_not_there_are_not_written(images, tmp_path):
    write_scores(tmp_path, images)
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.csv",
        "metrics.json",
        "patients.csv",
    }


def test_the_text_names_the_level_and_the_unit(scores, images):
    text = format_score_set(scores)
    value = summarize(scores.volumes)
    low, high = value.intervals["dice"]
    assert text.startswith(
        f"Dice by volume: {value.dice:.4f} [{low:.4f}, {high:.4f}] (95 % interval over patients)\n"
    )
    assert "n = 3 volumes of 2 patients." in text
    assert "Distances of volumes are measured in space, in mm." in text
    lines = [line.split() for line in text.splitlines()]
    assert ["slice", "9"] in [line[:2] for line in lines]
    assert ["apex", "3"] in [line[:2] for line in lines]
    assert "apex    0 of 0, 2 of 3" in text
    assert format_score_set(images).startswith("Dice by slice: ")
    assert "in pixels, for the pixel size of some image is unknown" in distance_note(images)


def test_wholly_void_images_leave_all_levels():
    cases = [Case(f"{patient}{number}", patient=patient) for patient in "ab" for number in (0, 1)]
    void = np.full_like(MASKS[0], 255)
    scorer = Scorer(cases, classes=CLASSES, ignore_index=255)
    for case in cases:
        scorer.add(MASKS[0], void if case.patient == "b" else MASKS[0], case)
    content = score_set_to_dict(scorer.result())
    assert (content["n"], content["num_void"], content["headline"]["n"]) == (2, 2, 2)
    assert [row["id"] for row in content["patients"]] == ["a"]
