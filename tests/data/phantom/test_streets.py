from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from acdc_seg.config import ClassesConfig
from acdc_seg.data.phantom.painting import Look, gray
from acdc_seg.data.phantom.street_view import FLAT, HUMAN, OBJECT, SKY, VEHICLE, VOID, View
from acdc_seg.data.phantom.streets import draw_street, write_streets
from acdc_seg.errors import DataError

CLASSES = ClassesConfig.model_validate("cityscapes8")
SIZE = 96
Scene = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_street(np.random.default_rng([3, number]), SIZE) for number in range(30)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("streets") / "streets"
    write_streets(out, num_images=4, size=64, seed=5)
    return out


def read_rgb(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].astype(int)


def test_files_hold_image_and_mask_side_by_side_with_names_repeated_in_both_splits(folder):
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert files == ["train/1.jpg", "train/2.jpg", "train/3.jpg", "train/4.jpg", "val/1.jpg"]
    assert {read_rgb(folder / file).shape for file in files} == {(64, 128, 3)}


def test_the_right_half_is_the_mask_in_the_categories_colors(folder):
    image, labels = draw_street(np.random.default_rng([5, 0]), 64)
    both = read_rgb(folder / "train/1.jpg")
    assert np.abs(both[:, :60] - image[:, :60]).mean() < 8
    colors = np.array(CLASSES.colors)
    nearest = np.square(both[:, 64:, None] - colors).sum(axis=-1).argmin(axis=-1)
    assert (nearest == labels).mean() > 0.93  # JPEG mixes colors at edges


def test_labels_are_in_the_order_of_the_classes():
    assert CLASSES.names[VEHICLE] == "vehicle"
    assert [CLASSES.names.index(name) for name in ("flat", "object", "sky", "human", "void")] == [
        FLAT,
        OBJECT,
        SKY,
        HUMAN,
        VOID,
    ]


def test_same_seed_writes_the_same_bytes(folder, tmp_path):
    again = write_streets(tmp_path / "again", num_images=4, size=64, seed=5)
    for path in again:
        file = path.relative_to(tmp_path / "again")
        assert path.read_bytes() == (folder / file).read_bytes()
    (other, _) = write_streets(tmp_path / "other", num_images=1, size=64, seed=6)
    assert other.read_bytes() != again[0].read_bytes()


def test_every_category_occurs_about_as_often_as_in_a_street(scenes):
    labels = np.stack([labels for _, labels in scenes])
    share = np.bincount(labels.ravel(), minlength=8) / labels.size
    assert (share > 0.001).all()
    assert share[FLAT] == share.max()
    assert share[[OBJECT, HUMAN]].max() < 0.05
    assert 0.03 < share[VEHICLE] < 0.2
    assert 0.02 < share[VOID] < 0.15


def test_the_sky_is_above_and_the_road_below(scenes):
    labels = np.stack([labels for _, labels in scenes])
    assert (labels[:, : SIZE // 3] == FLAT).mean() < 0.02
    assert (labels[:, SIZE // 2 :] == SKY).mean() < 0.01
    assert (labels[:, SIZE * 2 // 3 : -SIZE // 6] == FLAT).mean() > 0.6


def test_void_is_the_own_car_a_frame_and_lines_around_things(scenes):
    labels = np.stack([labels for _, labels in scenes])
    has_hood = (labels[:, -3, SIZE // 2] == VOID).mean()
    has_frame = (labels[:, 0] == VOID).all(axis=1).mean()
    assert 0.4 < has_hood < 1
    assert 0.3 < has_frame < 0.9
    inside = (labels[:, SIZE // 3 : SIZE * 3 // 4, 5:-5] == VOID).mean(axis=(1, 2))
    assert 0 < np.median(inside) < 0.05


def test_color_alone_does_not_tell_the_categories(scenes):
    pixels = np.stack([image for image, _ in scenes]).reshape(30, -1, 3)[:, ::5]
    labels = np.stack([labels for _, labels in scenes]).reshape(30, -1)[:, ::5]
    forest = RandomForestClassifier(20, min_samples_leaf=20, random_state=0)
    forest.fit(pixels[:20].reshape(-1, 3), labels[:20].ravel())
    found, truth = forest.predict(pixels[20:].reshape(-1, 3)), labels[20:].ravel()
    iou = [
        ((found == k) & (truth == k)).sum() / ((found == k) | (truth == k)).sum() for k in range(7)
    ]
    assert np.mean(iou) < 0.35


def test_near_things_are_larger_than_far_ones():
    view = View(128, np.random.default_rng(0))
    sizes = []
    for ahead in (5, 20):
        view.canvas.labels[:] = 0
        view.box((-1, 1), (0, 2), ahead, Look(gray(0.5), VEHICLE))
        sizes.append((view.canvas.labels == VEHICLE).sum())
    assert sizes[0] == pytest.approx(16 * sizes[1], rel=0.15)


def test_progress_counts_scenes(tmp_path):
    calls = []
    write_streets(
        tmp_path / "s", num_images=2, size=32, on_progress=lambda *call: calls.append(call)
    )
    assert calls == [("street scenes", done, 3) for done in (1, 2, 3)]


@pytest.mark.parametrize("numbers", [(0, 64, 0), (1, 31, 0), (1, 64, -1)])
def test_impossible_numbers_are_refused(tmp_path, numbers):
    num_images, size, seed = numbers
    with pytest.raises(DataError, match=f"num_images={num_images}, size={size}, seed={seed}"):
        write_streets(tmp_path / "s", num_images=num_images, size=size, seed=seed)
    assert list(tmp_path.iterdir()) == []
