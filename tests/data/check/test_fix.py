import csv
import shutil

import cv2
import numpy as np
import pytest
from hearts import write_image
from scenes import check_folder

from acdc_seg.data.check.fix import fix_data
from acdc_seg.errors import DataError


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_copy_has_what_is_whole(scenes, tmp_path):
    first, second = scenes / "train/image/patient001_0.png", scenes / "train/image/patient001_1.png"
    first.write_bytes(first.read_bytes()[:200])  # unreadable
    shutil.copy(scenes / "test/image/patient005_0.png", second)  # leaks
    (scenes / "val/mask/patient004_0_mask.png").unlink()
    write_image(scenes / "val/mask/lonely_mask.png", np.zeros((48, 48), np.uint8))
    before = sorted((path, path.read_bytes()) for path in scenes.rglob("*.png"))
    calls = []
    fixed = fix_data(
        check_folder(scenes), tmp_path / "copy", on_progress=lambda *call: calls.append(call)
    )
    assert sorted((path, path.read_bytes()) for path in scenes.rglob("*.png")) == before
    assert [record.id for record in fixed.records] == [
        "patient002_0",
        "patient002_1",
        "patient003_0",
        "patient003_1",
        "patient004_1",
        "patient005_0",
        "patient005_1",
    ]
    assert {(problem.code, problem.path.name) for problem in fixed.left_out} == {
        ("unreadable", "patient001_0.png"),
        ("duplicate", "patient001_1.png"),
        ("no_mask", "patient004_0.png"),
        ("no_image", "lonely_mask.png"),
    }
    assert (fixed.left_alone, fixed.num_rewritten) == ([], 0)
    assert calls[-1] == ("images", 7, 7)
    copy = check_folder(tmp_path / "copy")
    assert copy.problems == []
    assert [record.split for record in copy.records].count("train") == 4
    for path in (tmp_path / "copy").rglob("image/*.png"):
        assert path.read_bytes() == (scenes / path.relative_to(tmp_path / "copy")).read_bytes()


def test_masks_are_written_with_the_numbers_of_their_classes(scenes, tmp_path):
    for path in scenes.rglob("mask/*.png"):
        mask = read(path) * 85
        mask[:2] = 99
        write_image(path, mask)
    settings = ("classes.values=[0,85,170,255]", "classes.void=99")
    fixed = fix_data(check_folder(scenes, *settings), tmp_path / "copy")
    assert fixed.num_rewritten == 10
    mask = read(tmp_path / "copy/train/mask/patient001_0_mask.png")
    before = read(scenes / "train/mask/patient001_0_mask.png")
    assert (mask[:2] == 255).all()
    np.testing.assert_array_equal(mask[2:], before[2:] // 85)
    assert check_folder(tmp_path / "copy", "classes.void=255").problems == []


def test_table_keeps_patients_and_splits(scenes, tmp_path):
    (scenes / "records.csv").write_text("id,patient,group\npatient001_0,anna,HCM\n")
    fix_data(check_folder(scenes), tmp_path / "copy")
    with (tmp_path / "copy/records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10
    assert rows[0] == {
        "id": "patient001_0",
        "split": "train",
        "patient": "anna",
        "phase": "",
        "group": "HCM",
        "spacing_row": "",
        "spacing_col": "",
    }


def test_nothing_is_written_where_nothing_is_whole(scenes, pristine_tree, tmp_path):
    for path in scenes.rglob("image/*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="every image has an error"):
        fix_data(check_folder(scenes), tmp_path / "copy")
    with pytest.raises(DataError, match="volumes are not rewritten"):
        fix_data(check_folder(pristine_tree), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
