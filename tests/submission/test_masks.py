import cv2
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.errors import DataError
from acdc_seg.submission.masks import read_masks, write_masks

LABELS = np.array([[1, 1, 2], [0, 3, 2]])
CLASSES = ClassesConfig()


def test_masks_of_a_folder_return_in_natural_order(tmp_path):
    masks = {"größe 10": LABELS, "größe 2": LABELS.T}
    write_masks(tmp_path, masks.items())
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((2, 2), np.uint8))
    cv2.imwrite(str(tmp_path / "_mask.png"), np.zeros((2, 2), np.uint8))
    found = read_masks(tmp_path, CLASSES)
    assert list(found) == ["größe 2", "größe 10"]
    np.testing.assert_array_equal(found["größe 2"], LABELS.T)


def test_scaled_masks_are_refused_with_the_fix(tmp_path):
    scaled = ClassesConfig(values=(0, 85, 170, 255))
    write_masks(tmp_path, [("a", np.array([[0, 1], [2, 3]]))], scaled)
    with pytest.raises(DataError, match=r"85 \(1 pixels\).*set classes.values=\[0,85,170,255\]"):
        read_masks(tmp_path, CLASSES)
    assert read_masks(tmp_path, scaled)["a"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("pattern", "name"),
    [("{stem}", "cell_7.png"), ("seg-{stem}-v2", "seg-cell_7-v2.png")],
)
def test_masks_bear_the_names_of_the_data(tmp_path, pattern, name):
    data = DataConfig(mask_pattern=pattern)
    write_masks(tmp_path / "mask", [("cell_7", LABELS)], CLASSES, data)
    assert [path.name for path in (tmp_path / "mask").iterdir()] == [name]
    for folder in (tmp_path, tmp_path / "mask"):
        assert list(read_masks(folder, CLASSES, data)) == ["cell_7"]


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no masks; check the folder and data\.mask_pattern"):
        read_masks(tmp_path, CLASSES)
    with pytest.raises(DataError, match=r"no masks named \{stem\}_gt\.png; check the folder"):
        read_masks(tmp_path, CLASSES, DataConfig(mask_pattern="{stem}_gt"))


@pytest.mark.parametrize("stem", ["../up", "/etc/up", "a/b", "a\0b"])
def test_masks_are_written_into_their_folder_only(tmp_path, stem):
    with pytest.raises(DataError, match="is not a file name; masks are written into this folder"):
        write_masks(tmp_path / "masks", [(stem, LABELS)])
    assert list(tmp_path.iterdir()) == []
