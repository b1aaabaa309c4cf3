"""A zoo of broken ACDC trees: each is broken in one place, which the check must find and name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import pytest
from scenes import check_folder


class Cage(NamedTuple):
    """How a tree is broken, and what the check says about it."""

    code: str
    severity: str
    path: str
    """Pattern of the file that the finding names; empty for the data set."""
    damage: Callable[[Path], object]
    text: str = ""
    """A part of what is said."""
    settings: tuple[str, ...] = ()
    """Settings that are offered."""


INFO = "training/patient001/Info.cfg"
IMAGE = "training/patient001/*_frame01.nii.gz"
MASK = "training/patient001/*_frame01_gt.nii.gz"
TWIN = "training/patient001/*_frame*[0-9].nii.gz"


def only(root: Path, pattern: str) -> Path:
    (path,) = root.glob(pattern)
    return path


def change(pattern: str, function: Callable[..., np.ndarray]) -> Callable[[Path], None]:
    """Rewrites the voxels of a file; the function may change the affine in place."""

    def damage(root: Path) -> None:
        path = only(root, pattern)
        nifti = nib.load(path)
        affine = nifti.affine.copy()
        voxels = function(np.array(nifti.dataobj), affine)
        nib.save(nib.Nifti1Image(voxels, affine), path)

    return damage


def change_info(old: str, new: str) -> Callable[[Path], None]:
    """Replaces a part of an Info.cfg."""

    def damage(root: Path) -> None:
        text = (root / INFO).read_text()
        assert old in text
        (root / INFO).write_text(text.replace(old, new))

    return damage


def put(value: float) -> Callable[..., np.ndarray]:
    """Sets two voxels."""

    def function(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32) if np.isnan(value) else voxels
        voxels[:2, 3, 1] = value
        return voxels

    return function


def stretch(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    affine[0, 0] *= 1.5
    return voxels


def flip(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    affine[0] *= -1
    return voxels


def enlarge_pixels(root: Path) -> None:
    """Pixels of image and mask ten times as large, as where a header holds another unit."""
    for pattern in (IMAGE, MASK):
        change(pattern, lambda voxels, affine: [affine.__imul__([[10]] * 3 + [[1]]), voxels][1])(
            root
        )


def reorder(root: Path) -> None:
    """The masks of all patients in the order of M&Ms."""
    for path in root.rglob("*_gt.nii.gz"):
        nifti = nib.load(path)
        labels = np.array([0, 3, 2, 1], np.uint8)[np.asarray(nifti.dataobj)]
        nib.save(nib.Nifti1Image(labels, nifti.affine), path)


def copy_to_test(
    image: Callable[[np.ndarray], np.ndarray], mask: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Path], None]:
    """Makes patient004, who tests, a copy of patient001 with changed voxels."""

    def damage(root: Path) -> None:
        target = root / "testing/patient004"
        shutil.rmtree(target)
        shutil.copytree(root / "training/patient001", target)
        for path in list(target.iterdir()):
            renamed = path.rename(target / path.name.replace("patient001", "patient004"))
            if renamed.name.endswith(".nii.gz"):
                nifti = nib.load(renamed)
                function = mask if "_gt" in renamed.name else image
                voxels = function(np.array(nifti.dataobj))
                nib.save(nib.Nifti1Image(voxels, nifti.affine), renamed)

    return damage


CAGES = {
    "no Info.cfg": Cage("info", "error", INFO, lambda root: (root / INFO).unlink()),
    "ES beyond the last frame": Cage(
        "info", "error", INFO, change_info("NbFrame: ", "NbFrame: 1\nFrames: "), "NbFrame"
    ),
    "ED is no number": Cage("info", "error", INFO, change_info("ED: 1", "ED: first"), "first"),
    "unknown group": Cage("info", "error", INFO, change_info("Group: ", "Group: X"), "unknown"),
    "no group": Cage("no_group", "warning", INFO, change_info("Group: ", "Age: ")),
    "no frame": Cage(
        "no_image", "error", IMAGE, lambda root: only(root, IMAGE).unlink(), "ED frame"
    ),
    "no mask": Cage("no_mask", "error", MASK, lambda root: only(root, MASK).unlink(), "ED frame"),
    "truncated volume": Cage(
        "unreadable",
        "error",
        IMAGE,
        lambda root: only(root, IMAGE).write_bytes(only(root, IMAGE).read_bytes()[:-40]),
    ),
    "no volume": Cage(
        "unreadable", "error", IMAGE, lambda root: only(root, IMAGE).write_text("not a volume")
    ),
    "not a number": Cage("nan", "error", IMAGE, change(IMAGE, put(np.nan)), "2 voxels"),
    "mask of other slices": Cage(
        "size", "error", MASK, change(MASK, lambda voxels, affine: voxels[..., 1:])
    ),
    "mask of another spacing": Cage("affine", "error", MASK, change(MASK, stretch), "voxel size"),
    "mask of another orientation": Cage("affine", "error", MASK, change(MASK, flip)),
    "value of no class": Cage(
        "mask_value", "error", MASK, change(MASK, put(9)), "value 9 (2 voxels)"
    ),
    "constant volume": Cage(
        "constant", "warning", IMAGE, change(IMAGE, lambda voxels, affine: voxels * 0)
    ),
    "other unit": Cage("odd_spacing", "warning", IMAGE, enlarge_pixels),
    "classes in M&Ms order": Cage(
        "class_order", "warning", "", reorder, "'rv' are surrounded", ("classes=mnms",)
    ),
    "equal patient in training and testing": Cage(
        "duplicate",
        "error",
        TWIN,
        copy_to_test(lambda image: image, lambda mask: mask),
        "of patient patient004 (test): equal pixels",
    ),
    "patient in other grey values": Cage(
        "near_duplicate",
        "warning",
        TWIN,
        copy_to_test(lambda image: (image * 0.4 + 30).astype(np.int16), lambda mask: mask),
        "of patient patient004 (test): other grey values",
    ),
    "patient as a shifted crop": Cage(
        "near_duplicate",
        "warning",
        TWIN,
        copy_to_test(
            lambda image: np.roll(image, (8, -6), (0, 1)), lambda mask: np.roll(mask, (8, -6))
        ),
        "a shifted crop",
    ),
}
REPORTED_TWICE = ("equal patient", "patient in other", "patient as")
"""Findings of both phases."""


@pytest.fixture
def tree(pristine_tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine_tree, tmp_path / "tree"))


@pytest.mark.parametrize("name", CAGES)
def test_finding(name, tree):
    cage = CAGES[name]
    paths = [*tree.glob(cage.path)] if cage.path else [tree]
    cage.damage(tree)
    check = check_folder(tree)
    found = [each for each in check.problems if each.code == cage.code and each.path in paths]
    assert found, [problem[:4] for problem in check.problems]
    assert {each.severity for each in found} == {cage.severity}
    assert all(cage.text in each.text for each in found)
    assert {each.settings for each in found} == {cage.settings}
    if name.startswith(REPORTED_TWICE):
        assert len(found) == 2


def test_a_whole_tree_has_only_empty_masks(pristine_tree):
    assert [problem.code for problem in check_folder(pristine_tree).problems] == ["empty_mask"]
