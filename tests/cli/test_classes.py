"""Data of other classes through the commands."""

import json
import shutil
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig
from acdc_seg.data.masks import encode_mask, read_mask


def scores_in(folder):
    return json.loads(Path(folder, "metrics.json").read_text())


@pytest.fixture
def other(paired_folder, write_png):
    """The hearts with the numbers of M&Ms and masks named NAME_gt."""
    for path in paired_folder.rglob("*_mask.png"):
        mask = np.array([0, 3, 2, 1], np.uint8)[read_mask(path, ClassesConfig())]
        write_png(path.with_name(path.name.replace("_mask", "_gt")), mask)
        path.unlink()
    return paired_folder


def test_a_run_is_scored_on_data_of_another_numbering(command, trained, paired_folder, other):
    way = ("evaluate", trained, "--data", other, "--split", "test")
    words = ("classes=mnms", "data.mask_pattern={stem}_gt")
    assert command(*way, "--out", "scores", *words).code == 0
    Path("theirs.yaml").write_text("names: [background, lv, myo, rv]\n")
    outcome = command(*way, "--out", "again", "classes=theirs.yaml", words[1])
    assert (outcome.code, outcome.err) == (0, "")
    assert scores_in("scores")["images"] == scores_in("again")["images"]
    swapped = command(*way, "--out", "swapped", "classes=acdc", words[1])
    assert swapped.code == 0
    assert scores_in("swapped")["dice"] != scores_in("scores")["dice"]
    outcome = command(*way, "--out", "no", "classes.names=[background,lv,myo,scar]", words[1])
    assert (outcome.code, "'lv' is another class of the network" in outcome.err) == (2, True)


def test_masks_and_checks_follow_the_numbering(command, trained, other):
    words = ("classes=mnms", "data.mask_pattern={stem}_gt")
    way = ("submit", "--runs", trained, *words, "--data", other, "--masks", "masks")
    assert command(*way, "--out", "s.csv").code == 0
    names = sorted(path.name for path in Path("masks").iterdir())
    assert names == ["patient004_0_gt.png", "patient004_1_gt.png"]
    check = command("submit", "--check", "s.csv", "--truth", "masks", *words)
    assert "Score 1.00000" in check.out
    encode = command("submit", "--from-masks", "masks", "--out", "t.csv", *words)
    assert (encode.code, Path("t.csv").read_bytes()) == (0, Path("s.csv").read_bytes())


def test_settings_after_a_run_are_no_runs(command, trained):
    outcome = command("evaluate", trained, "data.channels=3")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: data.channels: belongs to the trained network")


def test_the_classes_of_a_folder_are_told(command, other):
    outcome = command("data", "info", other, "classes=mnms", "data.mask_pattern={stem}_gt")
    assert outcome.code == 0
    assert "rv" in outcome.out
    missing = command("data", "info", other, "data.mask_pattern={stem}_seg")
    assert "mask/patient001_0_seg" in missing.err


def test_classes_that_no_mask_has_are_warned_of(command, paired_folder, tiny, write_png):
    for path in paired_folder.rglob("*_mask.png"):
        write_png(path, np.minimum(read_mask(path, ClassesConfig()), 1))
    way = ("train", "--data", paired_folder, *tiny, "--epochs", "1")
    outcome = command(*way)
    assert outcome.code == 0
    assert "Classes that no training mask has: myo, lv. Where" in outcome.out
    words = ("classes.names=[background,rv]", "classes.values=[0,1]")
    assert f"If the data has other classes, set {' '.join(words)}.\n" in outcome.out
    outcome = command(*way, *words)
    assert (outcome.code, "Classes that no" in outcome.out) == (0, False)


def test_a_binary_set_trains_with_the_settings_that_its_error_names(
    command, paired_folder, tiny, write_png
):
    for path in paired_folder.rglob("*_mask.png"):
        mask = np.uint8(255) * (read_mask(path, ClassesConfig()) > 0)
        write_png(path, mask.astype(np.uint8))
    way = ("train", "--data", paired_folder, *tiny, "--loss", "bce")
    outcome = command(*way)
    assert outcome.code == 2
    assert "set classes=binary if that is so" in outcome.err
    outcome = command(*way, "classes=binary", "--name", "binary")
    assert (outcome.code, outcome.err) == (0, "")
    assert command("evaluate", "runs/binary", "--split", "test").code == 0
    scores = scores_in("runs/binary/test")
    assert list(scores["classes"]) == ["foreground"]
    assert 0 <= scores["pooled"]["dice"] <= 1
    way = ("submit", "--runs", "runs/binary", "--data", paired_folder, "--masks", "masks")
    assert command(*way).code == 0
    assert set(np.unique(cv2.imread("masks/patient004_0_mask.png", -1))) <= {0, 255}


def test_color_masks_without_a_background_train_and_are_written_in_colors(
    command, paired_folder, tiny
):
    classes = ClassesConfig.model_validate("cityscapes8")
    for path in paired_folder.rglob("*_mask.png"):
        labels = read_mask(path, ClassesConfig())
        labels[:8] = 7
        path.write_bytes(encode_mask(labels, classes))
    way = ("train", "--data", paired_folder, *tiny, "--epochs", "1", "--name", "streets")
    outcome = command(*way)
    assert (outcome.code, "set classes=cityscapes8 if these" in outcome.err) == (2, True)
    outcome = command(*way, "classes=cityscapes8")
    assert (outcome.code, outcome.err) == (0, "")
    assert command("evaluate", "runs/streets", "--split", "test").code == 0
    scores = scores_in("runs/streets/test")
    assert list(scores["classes"]) == list(classes.names)
    assert scores["pooled"]["classes"]["sky"]["iou"] in (None, 0)
    way = ("submit", "--runs", "runs/streets", "--data", paired_folder, "--masks", "masks")
    assert command(*way).code == 0
    pixels = cv2.imread("masks/patient004_0_mask.png")[..., ::-1].reshape(-1, 3)
    assert {tuple(color) for color in pixels.tolist()} <= set(classes.colors)


def test_volumes_of_other_labels_are_cut_and_trained(command, tree, tiny):
    """A fifth label, a scar in the myocardium; before, trees were fixed to four."""
    shutil.copytree(tree, "tree")
    for path in Path("tree").rglob("*_gt.nii.gz"):
        nifti = nibabel.load(path)
        labels = np.asarray(nifti.dataobj)
        occupied = np.argwhere(labels == 2)
        labels[tuple(occupied[: len(occupied) // 4].T)] = 4
        nibabel.save(nibabel.Nifti1Image(labels, nifti.affine), path)
    words = ("classes=[background,rv,myo,lv,scar]", "prepare.slices=mid")
    outcome = command("data", "prepare", "tree", "--out", "no")
    assert (outcome.code, outcome.err.count("_gt.nii.gz: the mask contains value 4")) == (2, 1)
    assert "set classes.names and classes.values" in outcome.err
    outcome = command("data", "prepare", "tree", *words, "--out", "slices")
    assert outcome.code == 0
    assert outcome.out.endswith(
        "Next: acdc-train --model unet --data slices 'classes=[background,rv,myo,lv,scar]'\n"
    )
    assert "_gt.nii.gz: the mask contains value 4" in command("train", "--data", "tree", *tiny).err
    way = (*tiny, "--epochs", "1", *words, "data.val_fraction=0.5", "--name", "scar")
    outcome = command("train", "--data", "tree", *way)
    assert (outcome.code, "Classes that no training mask has" in outcome.out) == (0, False)
    assert "scar" in scores_in("runs/scar")["classes"]
