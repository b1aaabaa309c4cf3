"""Users with data of their own: from a folder to a trained network, its scores and its masks."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import user_folders
from commands import Command, make_command
from hearts import make_heart, write_image, write_paired_folder
from user_folders import NAMES

from acdc_seg.config import ClassesConfig
from acdc_seg.data.phantom.pets import write_pets
from acdc_seg.data.phantom.streets import write_streets

TINY = ("--epochs", 1, "--batch-size", 4, "--device", "cpu", "--precision", "fp32")
SMALL_UNET = ("model.depth=2", "model.base_channels=4", "train.log_images_interval=0")


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return make_command(monkeypatch, capsys)


@pytest.fixture
def train(command: Command) -> Callable[..., str]:
    """Trains a small U-Net for an epoch into runs/unet, and gives what was printed."""

    def run(data: Path | str, *settings: str) -> str:
        outcome = command("train", "--model", "unet", "--data", data, *TINY, *SMALL_UNET, *settings)
        assert outcome.code == 0, outcome.err
        return outcome.out

    return run


def read_image(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_street_scenes(command, tmp_path):
    write_streets(tmp_path / "streets", num_images=8, size=64)
    outcome = command("train", "--model", "enet", "--data", "streets", *TINY, "classes=cityscapes8")
    assert outcome.code == 0, outcome.err
    assert "8 train, 2 val images" in outcome.out

    scores = command("evaluate", "runs/enet")
    assert scores.code == 0, scores.err
    assert "mIoU" in scores.out
    assert "mDice" in scores.out
    assert all(name in scores.out for name in ("flat", "human", "void"))

    outcome = command("submit", "--runs", "runs/enet", "--data", "streets/val", "--masks", "masks")
    assert outcome.code == 0, outcome.err
    colors = set(ClassesConfig.model_validate("cityscapes8").colors)
    masks = sorted(Path("masks").iterdir())
    assert len(masks) == 2
    for path in masks:
        drawn = read_image(path)[..., ::-1]
        assert drawn.shape == (64, 64, 3)
        assert set(map(tuple, drawn.reshape(-1, 3).tolist())) <= colors


def test_pooled_scores_of_street_scenes_are_those_of_all_pixels(command, tmp_path):
    """The study's mDice and mIoU: pixels of all images together, void and the first class too."""
    write_streets(tmp_path / "streets", num_images=4, size=64)
    settings = (*TINY, "classes=cityscapes8")
    assert command("train", "--model", "enet", "--data", "streets", *settings).code == 0
    outcome = command("evaluate", "runs/enet", "--split", "val")
    both = read_image(tmp_path / "streets/val/1.jpg")[..., ::-1].astype(int)
    classes = ClassesConfig.model_validate("cityscapes8")
    distance = np.square(both[:, 64:, None] - np.array(classes.colors)).sum(axis=-1)
    truth = distance.argmin(axis=-1)
    arguments = ("--runs", "runs/enet", "--data", "streets/val", "--masks", "masks")
    assert command("submit", *arguments).code == 0
    (path,) = Path("masks").iterdir()
    drawn = read_image(path)[..., ::-1].astype(int)
    found = np.square(drawn[:, :, None] - np.array(classes.colors)).sum(axis=-1).argmin(axis=-1)
    iou = []
    for index in range(8):
        union = ((found == index) | (truth == index)).sum()
        iou += [((found == index) & (truth == index)).sum() / union] if union else []
    assert outcome.code == 0, outcome.err
    table = outcome.out[outcome.out.index("pooled IoU") :]
    (printed,) = re.findall(r"\nmean +[\d.]+ +([\d.]+)", table)
    assert float(printed) == pytest.approx(np.mean(iou), abs=2e-4)


def test_more_than_ten_classes(command, train, tmp_path):
    data = user_folders.many_classes_folder(tmp_path / "stripes")
    names = ",".join(f"c{number}" for number in range(12))
    train(data, f"classes=[{names}]")
    outcome = command("submit", "--runs", "runs/unet", "--data", data, "--masks", "masks")
    assert outcome.code == 0, outcome.err
    masks = list(Path("masks").iterdir())
    assert len(masks) == 8
    assert all(read_image(path).max() < 12 for path in masks)


def test_grey_jpeg_masks(command, train, tmp_path):
    data = user_folders.grey_jpeg_masks_folder(tmp_path / "jpeg")
    first = command("train", "--model", "unet", "--data", data, *TINY, *SMALL_UNET)
    assert first.code == 2
    assert "classes.values=[0,85,170,255]" in first.err
    assert "correct the mask" not in first.err
    checked = command("data", "check", data)
    assert "remedy: save it as PNG, or set classes.values=[0,85,170,255]" in checked.out
    train(data, "classes.values=[0,85,170,255]")


def test_grey_files_by_a_network_of_rgb(command, train, tmp_path):
    grey = write_paired_folder(tmp_path / "grey")
    colored = tmp_path / "colored"
    for path in grey.rglob("*.png"):
        pixels = read_image(path)
        is_image = path.parent.name == "image"
        write_image(
            colored / path.relative_to(grey), cv2.merge([pixels] * 3) if is_image else pixels
        )
    train(colored, "data.channels=3")
    scores = command("evaluate", "runs/unet", "--data", grey, "--split", "val", "--allow-seen")
    assert scores.code == 0, scores.err
    assert command("submit", "--runs", "runs/unet", "--data", grey, "--masks", "masks").code == 0
    assert len(list(Path("masks").iterdir())) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_rgb_rgba_and_grey_with_alpha_in_one_folder(channels, command, train, tmp_path):
    data = user_folders.mixed_pixels_folder(tmp_path / "mixed")
    train(data, f"data.channels={channels}")
    assert command("evaluate", "runs/unet").code == 0


def test_external_validation_with_other_values_and_names(command, train, tmp_path):
    home = write_paired_folder(tmp_path / "home")
    train(home)
    other = user_folders.mnms_folder(tmp_path / "other")
    same = user_folders.folder_of(
        tmp_path / "same",
        lambda root, name, image, mask: (
            write_image(root / "image" / f"{name}.png", image),
            write_image(root / "mask" / f"{name}_mask.png", mask),
        ),
    )
    seen = ("--allow-seen",)  # the same hearts under other names
    settings = ("classes=mnms", "data.mask_pattern={stem}_gt")
    outcome = command("evaluate", "runs/unet", "--data", other, *settings, *seen)
    assert outcome.code == 0, outcome.err
    assert command("evaluate", "runs/unet", "--data", same, *seen).code == 0
    scores = [
        json.loads((Path("runs/unet") / f"all-{name}" / "metrics.json").read_text())["dice"]
        for name in ("other", "same")
    ]
    assert scores[0] == scores[1]


@pytest.mark.parametrize(
    "splits",
    [("train", "val", "test"), ("train", "valid", "Test"), ("Training", "Validation", "x")],
)
def test_splits_below_images_and_masks(splits, command, train, tmp_path):
    data = user_folders.kind_above_split_folder(tmp_path / "kinds", splits)
    if splits[2] == "x":
        for kind in ("images", "masks"):
            for path in (data / kind / "x").iterdir():
                path.unlink()
            (data / kind / "x").rmdir()
    assert "4 train, 2 val images" in train(data)


def test_a_split_file_for_a_flat_folder(train, tmp_path):
    rows = [["image", "mask", "patient", "split"]]
    for number, name in enumerate(NAMES):
        image, mask = make_heart(number)
        write_image(tmp_path / "flat" / "image" / f"{name}.png", image)
        write_image(tmp_path / "flat" / "mask" / f"{name}_mask.png", mask)
        split = ("train", "train", "val", "test")[number % 4]
        rows.append([f"image/{name}.png", f"mask/{name}_mask.png", f"p{number}", split])
    with (tmp_path / "flat" / "records.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert "4 train, 2 val images" in train("flat")


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_large_images(fit, command, train, tmp_path):
    data = user_folders.large_folder(tmp_path / "large")
    train(data, "data.size=[64,64]", f"data.fit={fit}")
    assert command("evaluate", "runs/unet").code == 0
    outcome = command("submit", "--runs", "runs/unet", "--data", data, "--masks", "masks")
    assert outcome.code == 0, outcome.err
    assert {read_image(path).shape for path in Path("masks").iterdir()} == {(160, 224)}


def test_means_of_three_channels(command, train, tmp_path):
    data = user_folders.binary_folder(tmp_path / "cells")
    imagenet = ("data.mean=[0.485,0.456,0.406]", "data.std=[0.229,0.224,0.225]")
    train(data, "classes=binary", "data.channels=3", "data.normalize=fixed", *imagenet)
    assert command("evaluate", "runs/unet").code == 0


def test_pets(command, tmp_path):
    write_pets(tmp_path / "pets", num_images=8, size=48)
    start = ("train", "--model", "unet", "--data", "pets", *TINY, *SMALL_UNET)
    first = command(*start)
    assert first.code == 2
    assert "classes=binary" in first.err
    assert "data.channels=3" in first.err
    assert "data.channels=3 classes=binary\n" in first.err

    outcome = command(*start, "classes=binary", "data.channels=3", "loss.name=bce")
    assert outcome.code == 0, outcome.err
    assert command("evaluate", "runs/unet").code == 0
    arguments = ("--runs", "runs/unet", "--data", "pets", "--masks", "masks")
    assert command("submit", *arguments).code == 0
    for image in (tmp_path / "pets/images").iterdir():
        (mask,) = [path for path in Path("masks").iterdir() if image.stem in path.stem]
        drawn = read_image(mask)
        assert drawn.shape == read_image(image).shape[:2]
        assert set(np.unique(drawn)) <= {0, 255}


def test_a_binary_set_of_several_sizes(command, tmp_path):
    data = user_folders.binary_folder(tmp_path / "cells")
    start = ("train", "--model", "unet", "--data", data, *TINY, *SMALL_UNET)
    first = command(*start)
    assert first.code == 2
    assert "classes=binary" in first.err
    assert "data.channels=3" in first.err
    outcome = command(*start, "classes=binary", "data.channels=3")
    assert outcome.code == 0, outcome.err


def test_a_folder_with_many_faults_is_told_all_at_once(command, tmp_path):
    data = write_paired_folder(tmp_path / "hearts")
    images = sorted((data / "train" / "image").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:60])
    write_image(images[1], np.full((48, 48), 77, np.uint8))
    (data / "train" / "mask" / f"{images[2].stem}_mask.png").unlink()
    mask = data / "train" / "mask" / f"{images[3].stem}_mask.png"
    write_image(mask, read_image(mask) * 85)
    copied = data / "val" / "image" / "patient003_0.png"
    (data / "test" / "image" / "patient004_0.png").write_bytes(copied.read_bytes())
    outcome = command("data", "check", data)
    assert outcome.code == 2
    told = outcome.out + outcome.err
    assert all(path.name in told for path in (*images[:3], mask, copied))
    fine = write_paired_folder(tmp_path / "fine")
    assert command("data", "check", fine).code in (0, 1)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (user_folders.nnunet_folder, ()),
        (user_folders.own_nifti_folder, ("data.image_dir=scans",)),
    ],
)
def test_nifti_volumes_of_any_names(make, settings, command, train, tmp_path):
    data = make(tmp_path / "volumes")
    info = command("data", "info", data, *settings)
    assert info.code == 0, info.err
    assert "5 volumes of 5 patients" in info.out
    assert "12 train, 3 val images" in train(data, *settings)
    scores = command("evaluate", "runs/unet")
    assert scores.code == 0, scores.err


def test_frames_inside_a_4d_cine(command, train, tmp_path):
    data = user_folders.cine_folder(tmp_path / "tree")
    info = command("data", "info", data)
    assert info.code == 0, info.err
    assert "6 volumes of 3 patients" in info.out
    cut = command("data", "prepare", data, "--out", "cut", "--spacing", "native", "--size", "48")
    assert cut.code == 0, cut.err
    (image,) = Path("cut").glob("*/image/patient002_ES_s01.png")
    expected = user_folders.heart_volume(10)[0][..., 1].astype(float)
    corner = read_image(image)[4:-4, 4:-4].astype(float)
    assert np.corrcoef(corner.ravel(), expected[4:-4, 4:-4].ravel())[0, 1] > 0.5
    train(data)
