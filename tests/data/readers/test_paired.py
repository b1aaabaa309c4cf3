import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from acdc_seg.config import DataConfig
from acdc_seg.data.readers import read_records, scan_records
from acdc_seg.data.readers.paired import is_paired, scan_paired
from acdc_seg.data.readers.unpaired import find_images, find_masks
from acdc_seg.data.record import Record, natural_key
from acdc_seg.errors import DataError

PIXELS = np.zeros((4, 4), np.uint8)
DATA = DataConfig()


@pytest.fixture
def write_pairs(tmp_path, write_png):
    """Writes image and mask files of these stems below a folder of the test's, and gives that
    folder.
    """

    def write(*stems, folder="", mask="{}_mask", masks=None):
        for stem in stems:
            write_png(tmp_path / folder / "image" / f"{stem}.png", PIXELS)
        for stem in stems if masks is None else masks:
            write_png(tmp_path / folder / "mask" / f"{mask.format(stem)}.png", PIXELS)
        return tmp_path

    return write


def ids(records):
    return [record.id for record in records]


def test_natural_order_counts():
    names = ["cmr10", "cmr2", "a", "cmr2b", "2", "10", "cmr1"]
    assert sorted(names, key=natural_key) == ["2", "10", "a", "cmr1", "cmr2", "cmr2b", "cmr10"]


def test_flat_folders_are_read_in_natural_order(write_pairs):
    root = write_pairs("cmr10", "cmr9", "cmr2")
    assert is_paired(root, DATA)
    assert read_records("paired", root, DATA) == [
        Record("cmr2", root / "image" / "cmr2.png", root / "mask" / "cmr2_mask.png", "pair001"),
        Record("cmr9", root / "image" / "cmr9.png", root / "mask" / "cmr9_mask.png", "pair005"),
        Record("cmr10", root / "image" / "cmr10.png", root / "mask" / "cmr10_mask.png", "pair005"),
    ]


def test_split_folders_name_the_split(paired_folder):
    records = read_records("paired", paired_folder, DATA)
    assert [(record.split, record.id, record.patient) for record in records] == [
        (split, f"{patient}_{index}", patient)
        for patient, split in (
            ("patient001", "train"),
            ("patient002", "train"),
            ("patient003", "val"),
            ("patient004", "test"),
        )
        for index in (0, 1)
    ]


def test_names_of_folders_masks_and_endings_are_settings(tmp_path, write_png):
    write_png(tmp_path / "scans" / "a.TIF", PIXELS)
    write_png(tmp_path / "labels" / "seg-a.png", PIXELS)
    (tmp_path / "scans" / "notes.txt").write_text("left alone")
    (tmp_path / "scans" / "._a.png").write_text("left alone")
    config = DataConfig(image_dir="scans", mask_dir="labels", mask_pattern="seg-{stem}")
    (record,) = read_records("paired", tmp_path, config)
    assert (record.image.name, record.mask.name) == ("a.TIF", "seg-a.png")
    with pytest.raises(
        DataError,
        match=r"no images in scans/ with endings \.bmp; check the folder and data\.extensions",
    ):
        read_records("paired", tmp_path, config.model_copy(update={"extensions": (".bmp",)}))


def test_test_images_need_no_masks(write_pairs, tmp_path):
    write_pairs("a", folder="train")
    write_pairs("b", folder="test", masks=[])
    records = read_records("paired", tmp_path, DATA)
    assert [(record.split, record.mask is None) for record in records] == [
        ("train", False),
        ("test", True),
    ]


@pytest.mark.parametrize("folder", ["", "train", "val", "test"])
def test_images_without_mask_are_named(write_pairs, tmp_path, folder):
    write_pairs("a", "b10", "b9", folder=folder, masks=["a"])
    problems = scan_records("paired", tmp_path, DATA).problems
    assert [problem.code for problem in problems[:2]] == ["no_mask"] * 2
    with pytest.raises(
        DataError,
        match=r"b9\.png: has no mask, expected mask/b9_mask\.png.*\n.*b10\.png: has no mask",
    ):
        read_records("paired", tmp_path, DATA)


def test_a_folder_of_images_alone_cannot_train(write_pairs, tmp_path):
    write_pairs("a", folder="train", masks=[])
    with pytest.raises(DataError, match=r"a\.png: has no mask"):
        read_records("paired", tmp_path, DATA)


@pytest.mark.parametrize("folder", ["", "val", "test"])
def test_masks_without_image_are_named(write_pairs, tmp_path, folder):
    write_pairs("a", folder=folder, masks=["a", "b10", "b9"])
    with pytest.raises(
        DataError, match=r"b9_mask\.png: the mask has no image.*\n.*b10_mask\.png: "
    ):
        read_records("paired", tmp_path, DATA)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "image").mkdir()
    with pytest.raises(DataError, match=r"no images in images/ with endings \.png, \.jpg"):
        read_records("paired", tmp_path, DATA)


def test_names_are_unique(write_pairs, write_png, tmp_path):
    write_pairs("a", folder="train")
    write_png(tmp_path / "train" / "image" / "a.bmp", PIXELS)
    with pytest.raises(DataError, match=r"a\.png: differs from a\.bmp in its ending only; keep"):
        read_records("paired", tmp_path, DATA)


def test_equal_names_in_two_splits_get_ids_of_their_own(write_pairs, tmp_path):
    """Street scenes are numbered from 1 in every split."""
    write_pairs("1", "2", folder="train")
    write_pairs("1", folder="val")
    records, problems, notes = scan_records("paired", tmp_path, DATA)
    assert problems == []
    assert [(record.id, record.patient) for record in records] == [
        ("train_1", "train_1"),
        ("2", "2"),
        ("val_1", "val_1"),
    ]
    assert notes[-1] == (
        "Patients: each image its own (e.g. train_1); data.patient_rule=... to change"
    )


FOUND = [
    # files, note, records as id, mask, split
    (
        "Images/a.png Images/b.png Labels/a.png Labels/b.png",
        "Images in Images/, masks in Labels/ of the same names",
        "a:Labels/a.png: b:Labels/b.png:",
    ),
    (
        "train/img/a.jpg train/gt/a_GT.png Valid/img/b.jpg Valid/gt/b_GT.png Testing/img/c.jpg",
        "Images in img/, masks in gt/ named NAME_GT for NAME, splits train, val, test",
        "a:train/gt/a_GT.png:train b:Valid/gt/b_GT.png:val c::test",
    ),
    (
        "images/training/a.jpg annotations/training/a.png "
        "images/validation/b.jpg annotations/validation/b.png",
        "Images in images/, masks in annotations/ of the same names, splits train, val",
        "a:annotations/training/a.png:train b:annotations/validation/b.png:val",
    ),
    (
        "train/a.png train_labels/a_L.png val/b.png val_labels/b_L.png test/c.png",
        "Images in train/, val/, test/, masks in train_labels/, val_labels/ named NAME_L for NAME",
        "a:train_labels/a_L.png:train b:val_labels/b_L.png:val c::test",
    ),
    (
        "x1.png x1_mask.png x2.png x2_mask.png notes.txt",
        "Images in the folder itself, masks in the folder itself named NAME_mask for NAME",
        "x1:x1_mask.png: x2:x2_mask.png:",
    ),
    (
        "case1_img.png case1_lab.png case2_img.png case2_lab.png",
        "Images in the folder itself, masks in the folder itself named NAME_lab for NAME_img",
        "case1_img:case1_lab.png: case2_img:case2_lab.png:",
    ),
    (
        "train/a.png train/seg-a.png val/b.png val/seg-b.png",
        "splits train, val",
        "a:train/seg-a.png:train b:val/seg-b.png:val",
    ),
    (
        "images/1.png images/2.png images/12.png masks/mask_1.png masks/mask_2.png "
        "masks/mask_12.png",
        "Images in images/, masks in masks/ named mask_NAME for NAME",
        "1:masks/mask_1.png: 2:masks/mask_2.png: 12:masks/mask_12.png:",
    ),
    (
        "imagesTr/a_0000.png imagesTr/b_0000.png labelsTr/a.png labelsTr/b.png imagesTs/c_0000.png",
        "Images in imagesTr/, imagesTs/, masks in labelsTr/ named NAME for NAME_0000",
        "a_0000:labelsTr/a.png:train b_0000:labelsTr/b.png:train c_0000::test",
    ),
    (
        "images/IM1.png images/IM2.png masks/SE1.png masks/SE2.png",
        "Images in images/, masks in masks/ named SENAME for IMNAME",
        "IM1:masks/SE1.png: IM2:masks/SE2.png:",
    ),
]


@pytest.mark.parametrize(("files", "note", "expected"), FOUND)
def test_layouts_and_names_are_found_by_looking(tmp_path, files, note, expected):
    for file in files.split():
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert is_paired(tmp_path, DATA)
    records, problems, notes = scan_paired(tmp_path, DATA)
    assert problems == []
    found = [
        f"{record.id}:{record.mask.relative_to(tmp_path) if record.mask else ''}:{record.split}"
        for record in records
    ]
    assert found == expected.split()
    assert note in notes[0]


def test_images_alone_are_not_taken_for_masks(tmp_path):
    """1 and 11 have an image name in them, but no word that says mask."""
    for name in ("1", "2", "11", "12"):
        (tmp_path / f"{name}.png").touch()
    assert not is_paired(tmp_path, DATA)


def test_settings_win_over_looking(tmp_path):
    for file in ("images/a.png", "masks/a.png", "scans/a.png", "rater2/a-r2.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    config = DataConfig(image_dir="scans", mask_dir="rater2", mask_pattern="{stem}-r2")
    (record,) = scan_paired(tmp_path, config).records
    assert (record.image, record.mask) == (
        tmp_path / "scans/a.png",
        tmp_path / "rater2/a-r2.png",
    )


def test_a_second_folder_of_masks_is_told(tmp_path):
    for file in ("images/a.png", "masks/a.png", "labels/a.png"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    (record,), (problem,), _ = scan_paired(tmp_path, DATA)
    assert record.mask == tmp_path / "masks/a.png"
    assert (problem.path, problem.severity) == (tmp_path / "labels", "warning")


def test_a_link_to_nowhere_and_an_unreadable_folder_are_problems(
    tmp_path, write_pairs, under_permissions
):
    write_pairs("a", "b")
    (tmp_path / "image" / "a.png").unlink()
    (tmp_path / "image" / "a.png").symlink_to("gone.png")
    (problem,) = scan_records("paired", tmp_path, DATA).problems
    assert (problem.path.name, problem.code) == ("a.png", "unreadable")
    assert "the link leads nowhere" in problem.fix
    (tmp_path / "mask").chmod(0)
    problems = scan_records("paired", tmp_path, DATA).problems
    (tmp_path / "mask").chmod(0o755)
    assert (
        str(problems[0])
        == f"{tmp_path}/mask: cannot list the folder (Permission denied); check its permissions"
    )


def test_pages_of_a_stack_are_images_of_one_patient(tmp_path):
    for name, pages in (("cells", 3), ("cells_mask", 3), ("one", 1), ("one_mask", 1)):
        folder = tmp_path / ("mask" if "mask" in name else "image")
        folder.mkdir(exist_ok=True)
        cv2.imwritemulti(str(folder / f"{name}.tif"), [PIXELS] * pages)
    records, problems, _ = scan_records("paired", tmp_path, DATA)
    assert problems == []
    assert [(record.id, record.page, record.patient) for record in records] == [
        ("cells_p00", 0, "cells"),
        ("cells_p01", 1, "cells"),
        ("cells_p02", 2, "cells"),
        ("one", None, "one"),
    ]
    cv2.imwritemulti(str(tmp_path / "mask/cells_mask.tif"), [PIXELS] * 2)
    (problem,) = scan_records("paired", tmp_path, DATA).problems
    assert str(problem) == (
        f"{tmp_path}/mask/cells_mask.tif: the mask has 2 pages, cells.tif has 3; export as many "
        "masks as images"
    )


def test_images_to_predict_are_found_too(tmp_path):
    for file in ("images/Test/b.png", "images/a.png", "flat/c.png", "flat/c_mask.png"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert ids(find_images(tmp_path, DATA)) == ["b"]
    assert ids(find_images(tmp_path / "flat", DATA)) == ["c"]
    (tmp_path / "images/Test/b.png").unlink()
    assert ids(find_images(tmp_path, DATA)) == ["a"]
    masks = {"c": tmp_path / "flat/c_mask.png"}
    assert find_masks(tmp_path / "flat", DATA) == masks
    (tmp_path / "flat/c.png").unlink()
    assert find_masks(tmp_path / "flat", DATA) == masks
    with pytest.raises(DataError, match=r"no masks named seg_\{stem\}\.png; check"):
        find_masks(tmp_path / "flat", DataConfig(mask_pattern="seg_{stem}"))


def test_what_is_paired(tmp_path, paired_folder):
    assert is_paired(paired_folder, DATA)
    assert is_paired(paired_folder / "train", DATA)
    assert not is_paired(paired_folder / "train" / "image", DATA)
    assert not is_paired(paired_folder, DataConfig(image_dir="scans"))
    shutil.rmtree(paired_folder / "train")
    assert is_paired(paired_folder, DATA)


def test_records_csv_tells_patient_phase_group_slice_and_spacing(write_pairs):
    root = write_pairs("a", "b", "c")
    (root / "records.csv").write_text(
        "\ufeffid,patient,phase,group,slice,spacing_row,spacing_col,spacing_slice\n"
        "a,p1,ED,DCM,07,1.8,1.25,8\nb,p1,ES,DCM,,,,\n",
        encoding="utf-8",
    )
    a, b, c = read_records("paired", root, DATA)
    assert (a.patient, a.phase, a.group, a.spacing) == ("p1", "ED", "DCM", (1.8, 1.25))
    assert (b.patient, b.phase, b.group, b.spacing) == ("p1", "ES", "DCM", None)
    assert (c.patient, c.phase, c.group, c.spacing) == ("c", "", "", None)
    assert (a.slice, a.slice_spacing) == (7, 8)
    assert (b.slice, b.slice_spacing) == (c.slice, c.slice_spacing) == (None, None)


def test_short_rows_leave_details_empty(write_pairs):
    root = write_pairs("a")
    (root / "records.csv").write_text("id,patient,phase,group\na,p1\n")
    (record,) = read_records("paired", root, DATA)
    assert (record.patient, record.phase, record.group) == ("p1", "", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,patient\na,p1\n", "not a readable table with a column 'id'"),
        (b"id,patient\n\xff\xfe,p1\n", r"not a readable table \(not CSV in UTF-8\)"),
        (
            b"id,spacing_row,spacing_col\na,wide,1\n",
            "line 2: spacing_row and spacing_col must both be positive numbers",
        ),
        (
            b"id,spacing_row,spacing_col\na,nan,1\n",
            "line 2: spacing_row and spacing_col must both be positive numbers",
        ),
        (
            b"id,spacing_row,spacing_col\na,1,-1\n",
            "line 2: spacing_row and spacing_col must both be positive numbers",
        ),
        (
            b"id,spacing_row\na,1.8\n",
            "line 2: spacing_row and spacing_col must both be positive numbers",
        ),
        (b"id,slice\na,-1\n", "line 2: slice is '-1', it must be a number from 0"),
        (b"id,spacing_slice\na,0\n", "line 2: spacing_slice is '0', it must be a positive number"),
        (b"id,spacing_slice\na,x\n", "line 2: spacing_slice is 'x', it must be a positive number"),
    ],
)
def test_ill_tables_are_refused(write_pairs, content, message):
    root = write_pairs("a")
    (root / "records.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"records\.csv: {message}"):
        read_records("paired", root, DATA)


def test_ids_of_records_csv_are_names_and_never_paths(write_pairs, tmp_path):
    root = write_pairs("a")
    (root / "records.csv").write_text("id,patient\n../../etc/passwd,p1\n/etc/passwd,p2\na,../p3\n")
    (record,) = read_records("paired", root, DATA)
    assert (record.id, record.patient, record.image) == ("a", "../p3", root / "image" / "a.png")


def test_names_with_braces_are_names(write_png, tmp_path):
    write_png(tmp_path / "image" / "{0.__class__}.png", np.zeros((4, 4), np.uint8))
    write_png(tmp_path / "mask" / "{0.__class__}_mask.png", np.zeros((4, 4), np.uint8))
    assert [record.id for record in read_records("paired", tmp_path, DATA)] == ["{0.__class__}"]


def test_order_does_not_depend_on_the_directory(tmp_path, monkeypatch):
    """Names of one natural key, as x1 and x01, keep one order whatever the file system lists."""
    folder = tmp_path / "image"
    folder.mkdir()
    for name in ("x1.png", "x01.png", "x001.png"):
        (folder / name).touch()
    listed = list(folder.iterdir())
    orders = []
    for names in (listed, listed[::-1]):
        monkeypatch.setattr(Path, "iterdir", lambda self, names=names: iter(names))
        orders.append(ids(find_images(tmp_path, DataConfig())))
    assert orders[0] == orders[1]
