"""acdc-evaluate --volumes"""

import json
import shutil

import nibabel
import numpy as np
import pytest


@pytest.fixture
def folders(tmp_path):
    """Two cases, one of which has no truth, and a truth that has no prediction."""
    labels = np.zeros((5, 6, 2), np.uint8)
    labels[1:3, 1:3], labels[3:5, 1:3], labels[1:3, 4:6] = 1, 2, 3
    for folder, names in {"nnunet": ("a", "b"), "gt": ("a_gt", "c_gt")}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), f"{folder}/{name}.nii.gz")
    return "nnunet", "gt"


def test_scores_are_printed_and_written_beside_the_predictions(command, tmp_path, folders):
    outcome = command("evaluate", "--volumes", *folders)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[:4] == [
        "nnunet against gt: 1 volumes of 1 patients",
        "Left out, for there is no prediction of: c_gt.nii.gz",
        "Left out, for there is no truth of: b.nii.gz",
        "Dice by volume: 1.0000",
    ]
    assert lines[-1] == f"Wrote {tmp_path}/nnunet-scores/volumes.csv and metrics.json"
    content = json.loads((tmp_path / "nnunet-scores" / "metrics.json").read_text())
    assert (content["dice"], content["n"]) == (1, 1)
    protocol = content["protocol"]
    assert (protocol["missing"], protocol["extra"]) == (["c_gt.nii.gz"], ["b.nii.gz"])
    assert protocol["classes"] == {"background": 0, "rv": 1, "myo": 2, "lv": 3}


def test_agreement_of_several_patients_is_drawn(command, tmp_path, folders, monkeypatch):
    # one figure of seven, for drawing is slow
    monkeypatch.setattr("acdc_seg.evaluation.volume_agreement.NUMBERS", ("LVEF",))
    for patient, width in (("p1", 2), ("p2", 3)):
        for phase, height in (("ED", 3), ("ES", 2)):
            labels = np.zeros((7, 6, 2), np.uint8)
            labels[:height, :width], labels[4:6, :width], labels[:height, 4:6] = 3, 2, 1
            nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), f"gt/{patient}_{phase}_gt.nii.gz")
    outcome = command("evaluate", "--volumes", "gt", "gt", "--out", "out")
    assert (outcome.code, outcome.err) == (0, "")
    assert "clinical.csv, figures/ and metrics.json" in outcome.out
    drawn = {path.name for path in (tmp_path / "out" / "figures").glob("*.svg")}
    assert drawn == {"agreement_LVEF.svg"}


def test_classes_and_an_own_folder(command, tmp_path, folders):
    words = ("classes.names=[bg,x,y,z]", "--out", "mine", "--tolerance", "1")
    assert command("evaluate", "--volumes", *folders, *words).code == 0
    content = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert list(content["classes"]) == ["x", "y", "z"]
    assert content["protocol"]["nsd_tolerance"] == 1
    assert "nsd" in content["metrics"]


def test_options_without_effect_are_refused_by_name(command, folders):
    words = ("runs/unet", "--tta", "flips", "--batch-size", 4, "train.epochs=3")
    outcome = command("evaluate", "--volumes", *folders, *words)
    assert outcome.code == 2
    assert "runs/unet, --batch-size, --tta, train.epochs has no effect with --volumes" in (
        " ".join(outcome.err.split())
    )
    assert "no effect" in command("evaluate", "--volumes", *folders, "--device", "auto").err


def test_neither_runs_nor_volumes_and_folders_that_share_no_name(command, folders):
    assert "give a run folder" in command("evaluate").err
    shutil.move("gt/a_gt.nii.gz", "gt/x_gt.nii.gz")
    outcome = command("evaluate", "--volumes", *folders)
    assert outcome.code == 2
    assert "no file of nnunet is named as one of gt" in " ".join(outcome.err.split())
