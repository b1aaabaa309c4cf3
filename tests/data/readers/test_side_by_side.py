import cv2
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig, DataConfig, PrepareConfig
from acdc_seg.data.examples import example_size, read_example
from acdc_seg.data.phantom.streets import write_streets
from acdc_seg.data.readers import read_records, scan_records
from acdc_seg.data.readers.side_by_side import is_side_by_side
from acdc_seg.data.readers.unpaired import find_images
from acdc_seg.data.source import detect_format, open_source
from acdc_seg.errors import DataError

STREETS = ClassesConfig.model_validate("cityscapes8")
COLOR = DataConfig(channels=3)


@pytest.fixture
def streets(tmp_path):
    write_streets(tmp_path / "streets", num_images=8, size=64)
    return tmp_path / "streets"


def write_side_by_side(path, left, right):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate([left, right], axis=1)[..., ::-1])


def test_streets_are_recognized_and_read(streets):
    data = DataConfig(path=str(streets), channels=3)
    assert detect_format(data) == "side_by_side"
    source = open_source(data, prepare_settings=PrepareConfig())
    assert [len(source.split(split)) for split in ("train", "val", "test")] == [8, 2, 0]
    assert source.notes == (
        "Image and mask side by side in one file, the image on the left, splits train, val",
        "Patients: each image its own (e.g. train_1); data.patient_rule=... to change",
    )
    assert not source.is_sliced
    record = source.split("val")[0]
    assert (record.id, record.image, record.half) == ("val_1", record.mask, "left")
    example = read_example(record, data=data, classes=STREETS)
    assert example.image.shape == (3, 64, 64)
    assert example.mask.shape == (64, 64)
    assert example_size(record) == (64, 64)
    pixels = cv2.imread(str(record.image))[..., ::-1]
    np.testing.assert_array_equal(
        example.image.permute(1, 2, 0).numpy(), pixels[:, :64].astype(np.float32) / 255
    )
    sky = STREETS.names.index("sky")
    near = np.abs(pixels[:, 64:].astype(int) - STREETS.colors[sky]).max(axis=2) < 5
    assert near.any()
    assert (example.mask.numpy()[near] == sky).all()


def test_the_mask_may_be_on_the_left_and_exact(tmp_path):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (20, 20, 3), np.uint8)
    mask = np.zeros((20, 20, 3), np.uint8)
    mask[5:9] = 255
    for name in ("a", "b"):
        write_side_by_side(tmp_path / "images" / f"{name}.png", mask, photo)
    assert detect_format(DataConfig(path=str(tmp_path))) == "side_by_side"
    a, _ = read_records("side_by_side", tmp_path, COLOR)
    classes = ClassesConfig.model_validate(
        {"names": ["no", "yes"], "colors": [[0, 0, 0], [255, 255, 255]], "mask_encoding": "colors"}
    )
    _, image, labels = read_example(a, data=COLOR, classes=classes)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy() * 255, photo)
    np.testing.assert_array_equal(labels.numpy(), mask[..., 0] // 255)


def test_photos_and_pairs_are_not_taken_for_it(tmp_path, streets):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (20, 20, 3), np.uint8)
    write_side_by_side(tmp_path / "photos" / "a.png", photo, photo)
    assert not is_side_by_side(tmp_path / "photos", DataConfig())
    (streets / "train_masks").mkdir()
    (streets / "train" / "1.jpg").rename(streets / "train_masks" / "2.jpg")
    assert not is_side_by_side(streets, DataConfig())
    assert not is_side_by_side(tmp_path, DataConfig())


def test_an_odd_width_and_an_empty_folder_are_told(tmp_path):
    path = tmp_path / "x.png"
    write_side_by_side(path, np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8))
    (record,) = read_records("side_by_side", tmp_path, COLOR)
    with pytest.raises(DataError, match=r"x\.png: the file is 9 pixels wide, an image and its"):
        read_example(record, data=COLOR, classes=STREETS)
    path.unlink()
    (problem,) = scan_records("side_by_side", tmp_path, COLOR).problems
    assert problem.code == "no_image"


def test_images_to_predict_are_halves_too(streets):
    records = find_images(streets / "val", DataConfig())
    assert [(record.id, record.half, record.mask) for record in records] == [
        ("1", "left", None),
        ("2", "left", None),
    ]
