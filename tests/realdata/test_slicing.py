from pathlib import Path

import cv2
import numpy as np
import pytest

from acdc_seg.config import DataConfig, PrepareConfig
from acdc_seg.data.readers import read_records
from acdc_seg.data.slicing import crop_slice, prepare
from acdc_seg.data.volumes import read_volume

# The coursework's pairs (odd ED, even ES) are the patients in sorted order, the last two of each
# group being val.
PAIRS = {
    "train": [patient for start in (1, 21, 41, 61, 81) for patient in range(start, start + 10)],
    "val": [patient for start in (11, 31, 51, 71, 91) for patient in range(start, start + 2)],
}
NUMBERED = [
    *(("train", patient) for patient in PAIRS["train"]),
    *(("val", patient) for patient in PAIRS["val"]),
]
SAMPLE = range(2, 60, 6)
WHOLE = PrepareConfig(size=(384, 384), crop="center")


def find_crop(mask: np.ndarray, crop: np.ndarray) -> tuple[int, int]:
    """Corner (row, column) at which most pixels of `crop` equal those of `mask`."""
    score = sum(
        cv2.matchTemplate(
            (mask == c).astype(np.float32), (crop == c).astype(np.float32), cv2.TM_CCORR
        )
        for c in range(4)
    )
    row, column = np.unravel_index(np.argmax(score), np.shape(score))
    return int(row), int(column)


def read_pair(folder: Path, split: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    image, mask = (
        folder / split / f"image/cmr{number}.png",
        folder / split / f"mask/cmr{number}_mask.png",
    )
    return cv2.imread(str(image), cv2.IMREAD_UNCHANGED), cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)


def agreement(real_data: Path, index: int) -> list[tuple[float, float]]:
    """Part of equal mask pixels and mean difference of grey values, for the ED and the ES slice of
    a pair.
    """
    split, patient_number = NUMBERED[index]
    records = read_records(
        "acdc", real_data / "acdc/training" / f"patient{patient_number:03d}", DataConfig()
    )
    results = []
    for offset, record in enumerate(records):
        volume = read_volume(record.image, record.mask)
        middle = round((volume.image.shape[2] - 1) / 2)
        slices = volume.image[:, :, middle], volume.mask[:, :, middle]
        image, mask = read_pair(real_data / "coursework", split, 2 * index + 1 + offset)
        whole = crop_slice(*slices, spacing=volume.spacing[:2], settings=WHOLE)
        corner = np.add(find_crop(whole.mask, mask), whole.corner)
        center = (corner + 48) * whole.spacing
        cropped = crop_slice(
            *slices, spacing=volume.spacing[:2], settings=PrepareConfig(), center=center
        )
        assert cropped.corner == tuple(corner)
        results.append(
            (np.mean(cropped.mask == mask), np.abs(cropped.image.astype(float) - image).mean())
        )
    return results


@pytest.mark.parametrize("index", SAMPLE)
def test_coursework_slices_are_reproduced(real_data, index):
    for equal, difference in agreement(real_data, index):
        assert equal > 0.999
        assert difference < 8


def test_prepared_slices_hold_the_whole_heart(real_data, tmp_path):
    prepare(
        read_records("acdc", real_data / "acdc/training/patient001", DataConfig()),
        tmp_path / "out",
        settings=PrepareConfig(slices="mid"),
    )
    mask = cv2.imread(
        str(tmp_path / "out/train/mask/patient001_ED_s04_mask.png"), cv2.IMREAD_UNCHANGED
    )
    _, coursework = read_pair(real_data / "coursework", "train", 1)
    assert np.count_nonzero(mask) == np.count_nonzero(coursework)
