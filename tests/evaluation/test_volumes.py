import csv
import json

import nibabel
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from acdc_seg.config import ClassesConfig
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.evaluation.volume_scoring import name_phases
from acdc_seg.evaluation.volumes import score_volumes

SPACING = (2.0, 1.0, 5.0)
INFO = "ED: 1\nES: 4\nGroup: {}\nNbFrame: 8\n"


def save(path, labels, spacing=SPACING):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([*spacing, 1.0])), path)


def heart(*, lv=2, shift=0):
    """A cavity of `lv` x 2 x 2 voxels, a wall and an RV of 2 x 2 x 2 each."""
    labels = np.zeros((14, 10, 3), np.uint8)
    labels[shift : shift + lv, 0:2, 0:2] = 3
    labels[6:8, 4:6, 0:2] = 2
    labels[10:12, 8:10, 1:3] = 1
    return labels


@pytest.fixture
def folders(tmp_path):
    """Two patients with both phases; the first one's cavity at ED is predicted a voxel too far."""
    for number, group in ((1, "HCM"), (2, "NOR")):
        folder = tmp_path / "truth" / "training" / f"patient00{number}"
        for frame, lv in ((1, 2), (4, 1)):
            name = f"patient00{number}_frame0{frame}"
            save(folder / f"{name}_gt.nii.gz", heart(lv=lv))
            is_moved = (number, frame) == (1, 1)
            save(tmp_path / "pred" / f"{name}.nii.gz", heart(lv=lv, shift=int(is_moved)))
        (folder / "Info.cfg").write_text(INFO.format(group))
    return tmp_path / "pred", tmp_path / "truth"


def values_of(evaluation, name):
    (score,) = [score for score in evaluation.scores if score.id == name]
    return score.values


def test_a_cavity_a_voxel_too_far_by_hand(folders):
    evaluation = score_volumes(*folders)
    values = values_of(evaluation, "patient001_frame01")
    # 4 of 8 voxels overlap; those that do not are 2 mm from the next, on either side
    assert values["dice"] == pytest.approx({"rv": 1, "myo": 1, "lv": 0.5})
    assert values["hd"] == pytest.approx({"rv": 0, "myo": 0, "lv": 2})
    assert values["hd95"]["lv"] == pytest.approx(2)
    assert values["assd"]["lv"] == pytest.approx(1)
    assert values["size_error"]["lv"] == 0
    assert evaluation.dice == pytest.approx((12 - 0.5) / 12)
    score = evaluation.scores[0]
    assert (score.patient, score.phase, score.group) == ("patient001", "ED", "HCM")
    assert (score.units.length, score.units.size) == ("mm", "mL")


def test_distances_are_in_space_by_the_spacing_of_every_axis(tmp_path):
    truth, labels = heart(), heart()
    labels[10:12, 8:10, 1] = 0  # the RV's first slice is missed, 5 mm from the second
    save(tmp_path / "truth" / "a.nii", truth)
    save(tmp_path / "pred" / "a.nii", labels)
    values = values_of(score_volumes(tmp_path / "pred", tmp_path / "truth"), "a")
    assert values["dice"]["rv"] == pytest.approx(2 * 4 / 12)
    assert values["hd"]["rv"] == pytest.approx(5)
    assert values["assd"]["rv"] == pytest.approx((4 * 5 + 4 * 0 + 4 * 0) / 12)
    assert values["size_error"]["rv"] == pytest.approx(4 * 10 / 1000)


def surface(structure):
    """Coordinates in mm of voxels with a neighbor outside of the structure, voxel by voxel."""
    steps = [np.array(step) for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]
    inside = {tuple(voxel) for voxel in np.argwhere(structure)}
    found = [
        voxel
        for voxel in inside
        if any(tuple(np.array(voxel) + s * step) not in inside for step in steps for s in (1, -1))
    ]
    return np.array(found) * SPACING


def test_random_label_maps_against_all_pairs_of_surface_voxels(tmp_path):
    rng = np.random.default_rng(0)
    truth, labels = rng.integers(0, 4, (2, 7, 6, 4), np.uint8)
    save(tmp_path / "truth" / "a.nii", truth)
    save(tmp_path / "pred" / "a.nii", labels)
    values = values_of(score_volumes(tmp_path / "pred", tmp_path / "truth"), "a")
    for index, name in enumerate(("rv", "myo", "lv"), start=1):
        first, second = truth == index, labels == index
        distances = cdist(surface(first), surface(second))
        there, back = distances.min(1), distances.min(0)
        overlap = 2 * (first & second).sum() / (first.sum() + second.sum())
        assert values["dice"][name] == pytest.approx(overlap)
        assert values["hd"][name] == pytest.approx(max(there.max(), back.max()))
        percentiles = [np.percentile(there, 95), np.percentile(back, 95)]
        assert values["hd95"][name] == pytest.approx(max(percentiles))
        mean = (there.sum() + back.sum()) / (len(there) + len(back))
        assert values["assd"][name] == pytest.approx(mean)


def test_the_truth_itself_is_perfect_and_has_no_false_region(folders):
    evaluation = score_volumes(folders[1], folders[1])
    summary = evaluation.summary
    assert (summary.n, summary.num_patients) == (4, 2)
    assert [summary.mean[name] for name in ("dice", "hd", "hd95", "assd")] == [1, 0, 0, 0]
    assert {row["num_false_regions"] for row in evaluation.false_regions.values()} == {0}


def test_files_hold_phases_diseases_and_false_regions(tmp_path, folders):
    prediction = folders[0] / "patient002_frame04.nii.gz"
    labels = np.asarray(nibabel.load(prediction).dataobj).copy()
    labels[0, 9, 2] = 1
    save(prediction, labels)
    evaluation = score_volumes(*folders)
    evaluation.write(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["headline"]["level"] == "volume"
    assert (content["n"], content["images"]) == (4, [])
    phases = content["parts"]["phase"]
    assert phases["ED"]["classes"]["lv"]["dice_mean"] == pytest.approx(0.75)
    assert phases["ED"]["classes"]["lv"]["dice_interval"] == pytest.approx([0.5, 1])
    assert phases["ES"]["classes"]["lv"]["hd_mean"] == 0
    groups = content["parts"]["phase_group"]
    assert list(groups) == ["HCM ED", "HCM ES", "NOR ED", "NOR ES"]
    assert groups["HCM ED"]["classes"]["lv"]["assd_mean"] == pytest.approx(1)
    regions = content["false_regions"]
    assert (regions["num_volumes"], regions["num_regions"], regions["n"]) == (1, 1, 4)
    assert regions["mean_ml"] == pytest.approx(0.01 / 4)  # a voxel of 10 mm³
    assert regions["largest_ml"] == pytest.approx(0.01)
    assert content["volumes"][3]["num_false_regions"] == 1
    with (tmp_path / "out" / "volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["num_false_regions"] for row in rows] == ["0", "0", "0", "1"]
    assert [row["phase"] for row in rows] == ["ED", "ES"] * 2
    assert float(rows[0]["dice_lv"]) == 0.5
    with (tmp_path / "out" / "patients.csv").open(newline="") as file:
        patients = list(csv.DictReader(file))
    assert [(row["id"], float(row["dice_lv"])) for row in patients] == [
        ("patient001", 0.75),
        ("patient002", 1.0),
    ]


def test_tables_have_structures_by_phase_and_hcm_at_es_apart(folders):
    text = str(score_volumes(*folders))
    rows = [line.split() for line in text.splitlines()]
    assert ["ED", "lv", "2", "0.750", "[0.500,", "1.000]", "1.0", "[0.0,", "2.0]"] in [
        row[:9] for row in rows
    ]
    assert ["HCM", "ES", "lv", "1", "1.000", "0.0", "0.0", "0.0"] in rows
    assert ["NOR", "ED", "1", *["1.000"] * 3, *["0.0"] * 3] in rows
    assert "A class that is empty in truth and prediction scores 1" in text
    assert "False regions: 0 in 0 of 4 volumes" in text


def test_other_scores_are_not_replaced_but_those_of_a_new_prediction_are(tmp_path, folders):
    score_volumes(*folders).write(tmp_path / "out")
    save(folders[0] / "patient001_frame01.nii.gz", heart())
    score_volumes(*folders).write(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["dice"] == 1
    with pytest.raises(ConfigError, match=r"another evaluation \(nsd_tolerance\)"):
        score_volumes(*folders, tolerance=1).write(tmp_path / "out")
    (tmp_path / "out" / "metrics.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"another evaluation \(protocol\)"):
        score_volumes(*folders).write(tmp_path / "out")


def test_phases_are_found_by_the_true_cavity_where_names_do_not_tell(tmp_path):
    for frame, lv in ((3, 1), (9, 2)):  # this heart beat starts near its end
        save(tmp_path / "truth" / f"a_frame0{frame}.nii", heart(lv=lv))
    evaluation = score_volumes(tmp_path / "truth", tmp_path / "truth")
    assert [score.phase for score in evaluation.scores] == ["ES", "ED"]
    assert evaluation.notes == [
        "Phases of 2 volumes: the larger true left ventricle of a patient's two is taken for ED"
    ]
    assert name_phases([{"lv": 4}, {"lv": 4}]) == {}
    assert name_phases([{"lv": 4}]) == name_phases([{"cell": 1}, {"cell": 2}]) == {}


def test_values_of_other_programs_and_void_voxels(tmp_path):
    truth = heart()
    labels = np.array([0, 3, 2, 1], np.uint8)[truth]  # M&Ms counts from the LV
    save(tmp_path / "pred" / "a.nii", labels)
    truth = labels.copy()
    truth[0, 0, 0] = 255
    save(tmp_path / "truth" / "a.nii", truth)
    classes = ClassesConfig(names=["bg", "lv", "myo", "rv"], void=255)
    (score,) = score_volumes(tmp_path / "pred", tmp_path / "truth", classes=classes).scores
    assert score.truth_size == {"lv": 7, "myo": 8, "rv": 8}
    assert score.dice == {"lv": 1, "myo": 1, "rv": 1}


@pytest.fixture
def clinics(tmp_path):
    """Two patients with voxels of 10 mL, LV 80 and 40 mL; that of the first is predicted with 120
    mL at ED, and the second's RV is missed at ES.
    """
    spacing = (20.0, 10.0, 50.0)
    for patient in ("a", "b"):
        for phase, lv in (("ED", 2), ("ES", 1)):
            truth = heart(lv=lv)
            labels = heart(lv=3) if (patient, phase) == ("a", "ED") else truth.copy()
            labels[(labels == 1) & ((patient, phase) == ("b", "ES"))] = 0
            save(tmp_path / "truth" / f"{patient}_{phase}.nii", truth, spacing)
            save(tmp_path / "pred" / f"{patient}_{phase}.nii", labels, spacing)
    return tmp_path / "pred", tmp_path / "truth"


def test_agreement_of_clinical_numbers_by_hand(tmp_path, clinics):
    evaluation = score_volumes(*clinics)
    evaluation.write(tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["clinical"]["agreement"]
    half = 1.96 * np.std([40, 0], ddof=1)
    expected = {"unit": "mL", "num_patients": 2, "n": 2, "bias": 20, "mae": 20, "r": None}
    assert found["LVEDV"] == pytest.approx({**expected, "low": 20 - half, "high": 20 + half})
    assert (found["LVESV"]["bias"], found["LVM"]["mae"]) == (0, 0)
    # (120 - 40) / 120 instead of a half
    assert found["LVEF"]["bias"] == pytest.approx((100 * 2 / 3 - 50) / 2)
    assert [found[name]["n"] for name in ("RVEDV", "RVESV", "RVEF")] == [2, 1, 1]
    with (tmp_path / "out" / "clinical.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ["a", "b"]
    assert (rows[0]["LVEDV"], rows[0]["LVEDV_truth"]) == ("120.000", "80.000")
    assert (rows[0]["LVM_truth"], rows[1]["RVESV"]) == ("84.000", "")
    assert evaluation.files == ["volumes.csv", "patients.csv", "clinical.csv"]
    lines = [" ".join(line.split()) for line in str(evaluation).splitlines()]
    assert "LVEDV (mL) 2 of 2 +20.0 -35.4 to +75.4 20.0 -" in lines
    assert "RVESV (mL) 1 of 2 +0.0 - to - 0.0 -" in lines
    assert any("Bland and Altman" in line and "1.05 g/mL" in line for line in lines)


def test_clinical_numbers_take_the_classes_by_name(tmp_path, clinics):
    expected = score_volumes(*clinics).clinical
    for folder in clinics:
        for path in folder.iterdir():
            labels = np.array([0, 3, 2, 1], np.uint8)[np.asarray(nibabel.load(path).dataobj)]
            save(path, labels, (20.0, 10.0, 50.0))
    classes = ClassesConfig(names=["bg", "lv", "myo", "rv"])
    assert score_volumes(*clinics, classes=classes).clinical == expected


def test_phases_of_two_sizes_have_no_clinical_numbers(clinics):
    for folder in clinics:
        save(folder / "b_ES.nii", heart(lv=1)[:, :-1], (20.0, 10.0, 50.0))
        (folder / "a_ES.nii").unlink()
    evaluation = score_volumes(*clinics)
    assert evaluation.clinical == []
    assert evaluation.notes == ["No clinical numbers, for ED and ES differ in size: b"]
    assert "Bland" not in str(evaluation)
    assert evaluation.files == ["volumes.csv", "patients.csv"]


def test_all_files_that_cannot_be_compared_are_named_at_once(folders):
    save(folders[0] / "patient001_frame01.nii.gz", heart()[:-1])
    save(folders[0] / "patient002_frame04.nii.gz", heart() + np.uint8(4))
    with pytest.raises(DataError) as caught:
        score_volumes(*folders)
    first, second = str(caught.value).splitlines()
    assert "patient001_frame01.nii.gz: has shape (13, 10, 3)" in first
    assert "patient002_frame04.nii.gz: the label map contains value 4" in second
