from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from acdc_seg.data.phantom.pets import MAX_IMAGES, draw_pet, write_pets
from acdc_seg.errors import DataError

Photo = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def photos() -> list[Photo]:
    return [draw_pet(np.random.default_rng([3, number]), 96) for number in range(30)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pets") / "pets"
    write_pets(out, num_images=3, size=64, seed=5)
    return out


def test_images_and_masks_have_the_same_names_without_numbers(folder):
    images = sorted(path.name for path in (folder / "images").iterdir())
    masks = sorted(path.name for path in (folder / "masks").iterdir())
    assert [Path(name).stem for name in images] == [Path(name).stem for name in masks]
    assert len(images) == 3
    assert all(Path(name).stem.isalpha() and name.endswith(".jpg") for name in images)
    assert all(name.endswith(".png") for name in masks)


def test_files_hold_the_photos_and_their_masks(folder):
    for number, path in enumerate(write_pets(folder.with_name("again"), num_images=3, size=64)):
        image, mask = draw_pet(np.random.default_rng([0, number]), 64)
        stored = cv2.imread(str(path))[..., ::-1].astype(int)
        assert np.abs(stored - image).mean() < 8
        file = path.parent.with_name("masks") / f"{path.stem}.png"
        assert np.array_equal(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), mask)


def test_same_seed_writes_the_same_bytes(folder, tmp_path):
    again = write_pets(tmp_path / "again", num_images=3, size=64, seed=5)
    for path in again:
        file = path.relative_to(tmp_path / "again")
        assert path.read_bytes() == (folder / file).read_bytes()


def test_sizes_differ_and_masks_hold_0_and_255(photos):
    assert len({mask.shape for _, mask in photos}) > 20
    for image, mask in photos:
        assert image.shape == (*mask.shape, 3)
        assert np.unique(mask).tolist() == [0, 255]
        assert all(0.65 * 96 < edge < 1.35 * 96 for edge in mask.shape)


def test_an_animal_is_one_body_of_a_part_of_the_photo(photos):
    shares = [(mask > 0).mean() for _, mask in photos]
    assert 0.08 < np.mean(shares) < 0.35
    assert min(shares) > 0.01
    largest = []
    for _, mask in photos:
        regions, num_regions = ndimage.label(mask)
        areas = ndimage.sum_labels(mask > 0, regions, range(1, num_regions + 1))
        largest.append(areas.max() / areas.sum())
    assert np.median(largest) > 0.97


def test_color_alone_does_not_tell_the_animal(photos):
    pixels = [image.reshape(-1, 3)[::5] for image, _ in photos]
    truth = [mask.ravel()[::5] > 0 for _, mask in photos]
    forest = RandomForestClassifier(20, min_samples_leaf=20, random_state=0)
    forest.fit(np.concatenate(pixels[:20]), np.concatenate(truth[:20]))
    found, expected = forest.predict(np.concatenate(pixels[20:])), np.concatenate(truth[20:])
    assert (found & expected).sum() / (found | expected).sum() < 0.3


def test_names_stay_when_there_are_more(tmp_path):
    few, many = (write_pets(tmp_path / str(count), num_images=count, size=32) for count in (2, 15))
    assert [path.name for path in few] == [path.name for path in many[:2]]
    assert all(first.name != second.name for first, second in pairwise(sorted(many)))


@pytest.mark.parametrize("numbers", [(0, 64, 0), (1, 31, 0), (1, 64, -1)])
def test_impossible_numbers_are_refused(tmp_path, numbers):
    num_images, size, seed = numbers
    with pytest.raises(DataError, match=f"num_images={num_images}, size={size}, seed={seed}"):
        write_pets(tmp_path / "s", num_images=num_images, size=size, seed=seed)
    with pytest.raises(DataError, match="have names"):
        write_pets(tmp_path / "s", num_images=MAX_IMAGES + 1)
    assert list(tmp_path.iterdir()) == []
