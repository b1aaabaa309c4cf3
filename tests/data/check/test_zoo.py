"""A zoo of broken data sets: each is broken in one place, which the check must find and name."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from hearts import write_image
from PIL import Image
from scenes import check_folder, draw_scene


class Cage(NamedTuple):
    """How a data set is broken, and what the check says about it."""

    code: str
    severity: str
    path: str
    """File or folder that the finding names; empty for the data set."""
    damage: Callable[[Path], object]
    text: str = ""
    """A part of what is said."""
    settings: tuple[str, ...] = ()
    """Settings that are offered."""


A = "train/image/patient001_0.png"
MASK_A = "train/mask/patient001_0_mask.png"
B = "train/image/patient002_0.png"


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def change(path: str, function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """Rewrites one image."""
    return lambda root: write_image(root / path, function(read(root / path)))


def change_all(
    pattern: str, function: Callable[[np.ndarray], np.ndarray]
) -> Callable[[Path], None]:
    """Rewrites all images of a pattern."""

    def damage(root: Path) -> None:
        paths = sorted(root.glob(pattern))
        assert paths
        for path in paths:
            write_image(path, function(read(path)))

    return damage


def cut(path: str, num_bytes: int) -> Callable[[Path], object]:
    """Keeps the first bytes of a file."""
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:num_bytes])


def remove(path: str) -> Callable[[Path], object]:
    return lambda root: (root / path).unlink()


def copy(source: str, target: str) -> Callable[[Path], object]:
    def damage(root: Path) -> None:
        shutil.copy(root / source, root / target)

    return damage


def paint(value: int) -> Callable[[np.ndarray], np.ndarray]:
    """Sets 3 x 4 pixels in a corner."""

    def function(pixels: np.ndarray) -> np.ndarray:
        pixels[:3, :4] = value
        return pixels

    return function


def move_split(source: str, target: str) -> Callable[[Path], None]:
    """Moves image and mask into another split."""

    def damage(root: Path) -> None:
        for kind, end in (("image", ""), ("mask", "_mask")):
            name = f"{kind}/patient001_0{end}.png"
            shutil.move(root / source / name, root / target / name)

    return damage


def shift_crop(root: Path) -> None:
    """Two crops of one large picture, 4 rows and 3 columns apart, as of two patients."""
    image, _ = draw_scene(77, height=60, width=60)
    write_image(root / A, image[4:52, 5:53])
    write_image(root / B, image[8:56, 8:56])


def link_to_nowhere(root: Path) -> None:
    (root / A).unlink()
    (root / A).symlink_to(root / "nowhere.png")


def replace_by_folder(root: Path) -> None:
    (root / A).unlink()
    (root / A).mkdir()


def save_pages(root: Path) -> None:
    """The image as a TIFF of two pages."""
    picture = Image.open(root / A)
    pages = [picture, picture.rotate(90)]
    pages[0].save((root / A).with_suffix(".tif"), save_all=True, append_images=pages[1:])
    (root / A).unlink()


def save_jpeg(root: Path) -> None:
    """The image of another patient as JPEG, under a name of this one."""
    write_image((root / A).with_suffix(".jpg"), read(root / B))
    (root / A).unlink()


def save_float(root: Path) -> None:
    write_image((root / A).with_suffix(".tiff"), read(root / A).astype(np.float32))
    (root / A).unlink()


def rgb(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels, pixels[::-1], pixels], axis=-1)


PAIRED = {
    "truncated image": Cage("unreadable", "error", A, cut(A, 300)),
    "image without bytes": Cage("unreadable", "error", A, cut(A, 0)),
    "truncated mask": Cage("unreadable", "error", MASK_A, cut(MASK_A, 60)),
    "text named png": Cage(
        "unreadable", "error", A, lambda root: (root / A).write_text("not an image")
    ),
    "folder named png": Cage("unreadable", "error", A, replace_by_folder),
    "link to nowhere": Cage("unreadable", "error", A, link_to_nowhere),
    "float pixels": Cage("depth", "error", A.replace(".png", ".tiff"), save_float),
    "image without mask": Cage("no_mask", "error", A, remove(MASK_A)),
    "mask without image": Cage("no_image", "error", MASK_A, remove(A)),
    "mask of another size": Cage(
        "size", "error", MASK_A, change(MASK_A, lambda mask: mask[:40]), "40x48"
    ),
    "value of no class": Cage(
        "mask_value", "error", MASK_A, change(MASK_A, paint(7)), "value 7 (12 pixels)"
    ),
    "scaled masks": Cage(
        "mask_scaled",
        "error",
        MASK_A,
        change_all("*/mask/*.png", lambda mask: mask * 85),
        settings=("classes.values=[0,85,170,255]",),
    ),
    "black and white masks": Cage(
        "mask_scaled",
        "error",
        MASK_A,
        change_all("*/mask/*.png", lambda mask: (mask > 0).astype(np.uint8) * 255),
        settings=("classes=binary",),
    ),
    "color mask": Cage(
        "mask_color",
        "error",
        MASK_A,
        change(MASK_A, lambda mask: np.stack([mask * 80, mask, mask], axis=-1)),
    ),
    "color images": Cage(
        "channels",
        "error",
        A,
        change_all("*/image/*.png", rgb),
        settings=("data.channels=3",),
    ),
    "one color image": Cage("channels", "error", A, change(A, rgb), "3 channels"),
    "constant image": Cage("constant", "warning", A, change(A, lambda image: image * 0 + 50)),
    "clipped image": Cage(
        "clipped", "warning", A, change(A, lambda image: np.minimum(image, 60) * 4), "brightest"
    ),
    "nearly empty image": Cage(
        "clipped", "warning", A, change(A, lambda image: image * (image > 254)), "darkest"
    ),
    "12 bits in 16": Cage(
        "unused_range",
        "warning",
        "",
        change_all("*/image/*.png", lambda image: image.astype(np.uint16) * 16),
        "6.2%",
    ),
    "empty mask": Cage(
        "empty_mask", "warning", "", change(MASK_A, lambda mask: mask * 0), "1 of 10 masks"
    ),
    "mask of void alone": Cage(
        "void_mask", "warning", MASK_A, change(MASK_A, lambda mask: mask * 0 + 99)
    ),
    "image in training and test": Cage(
        "duplicate", "error", A, copy("test/image/patient005_0.png", A), "patient005_0.png"
    ),
    "image of two patients": Cage("duplicate", "warning", B, copy(A, B), "equal pixels"),
    "two equal images of a patient": Cage(
        "duplicate", "warning", A.replace("_0", "_1"), copy(A, A.replace("_0", "_1"))
    ),
    "image in other grey values": Cage(
        "near_duplicate",
        "warning",
        B,
        lambda root: write_image(root / B, (read(root / A) * 0.6 + 40).astype(np.uint8)),
        "other grey values",
    ),
    "image as jpeg": Cage("near_duplicate", "warning", B, save_jpeg),
    "shifted crop": Cage("near_duplicate", "warning", B, shift_crop, "a shifted crop"),
    "patient in two splits": Cage(
        "patient_in_splits", "error", "", move_split("train", "val"), "patient001"
    ),
    "classes in M&Ms order": Cage(
        "class_order",
        "warning",
        "",
        change_all("*/mask/*.png", lambda mask: np.array([0, 3, 2, 1], np.uint8)[mask]),
        settings=("classes=mnms",),
    ),
    "myocardium first": Cage(
        "class_order",
        "warning",
        "",
        change_all("*/mask/*.png", lambda mask: np.array([0, 3, 1, 2], np.uint8)[mask]),
        settings=("classes.values=[0,3,1,2]",),
    ),
    "class in no mask": Cage(
        "absent_class",
        "warning",
        "",
        change_all("*/mask/*.png", lambda mask: mask * (mask < 3)),
        "'lv'",
    ),
    "one structure": Cage(
        "absent_class",
        "warning",
        "",
        change_all("*/mask/*.png", lambda mask: mask * (mask < 2)),
        settings=("classes=[background,foreground]",),
    ),
    "images too small": Cage(
        "too_small",
        "error",
        "",
        change_all("*/*/*.png", lambda pixels: pixels[:24, :32]),
        settings=("data.size=[32,32]",),
    ),
    "image of an odd size": Cage(
        "odd_size",
        "warning",
        A,
        lambda root: [
            write_image(root / path, np.tile(read(root / path), (5, 5))) for path in (A, MASK_A)
        ],
        "240x240",
    ),
}
SETTINGS = {"mask of void alone": ["classes.void=99"]}


@pytest.mark.parametrize("name", PAIRED)
def test_finding(name, scenes):
    cage = PAIRED[name]
    cage.damage(scenes)
    check = check_folder(scenes, *SETTINGS.get(name, ()))
    path = scenes / cage.path
    found = [each for each in check.problems if (each.code, each.path) == (cage.code, path)]
    assert found, [problem[:4] for problem in check.problems]
    assert {each.severity for each in found} == {cage.severity}
    assert any(cage.text in each.text for each in found)
    assert {each.settings for each in found} >= ({cage.settings} if cage.settings else set())


def test_a_whole_set_has_no_problem(scenes):
    assert check_folder(scenes).problems == []
