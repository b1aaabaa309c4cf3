import shutil
from pathlib import Path

import numpy as np
import pytest

from acdc_seg.config import DataConfig
from acdc_seg.data.readers import read_records, scan_records
from acdc_seg.data.readers.paired import find_images, is_paired, patient_of
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
    assert [problem.code for problem in problems] == ["no_mask"] * 2
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
    with pytest.raises(DataError, match=r"no images in image/ with endings \.png, \.jpg"):
        read_records("paired", tmp_path, DATA)


def test_names_are_unique(write_pairs, write_png, tmp_path):
    write_pairs("a", folder="train")
    write_png(tmp_path / "train" / "image" / "a.bmp", PIXELS)
    with pytest.raises(DataError, match="two files differ only in their ending"):
        read_records("paired", tmp_path, DATA)
    (tmp_path / "train" / "image" / "a.bmp").unlink()
    write_pairs("a", folder="val")
    with pytest.raises(DataError, match="two images share one name across the split folders"):
        read_records("paired", tmp_path, DATA)


def test_what_is_paired(tmp_path, paired_folder):
    assert is_paired(paired_folder, DATA)
    assert is_paired(paired_folder / "train", DATA)
    assert not is_paired(paired_folder / "train" / "image", DATA)
    assert not is_paired(paired_folder, DataConfig(image_dir="scans"))
    shutil.rmtree(paired_folder / "train")
    assert is_paired(paired_folder, DATA)


@pytest.mark.parametrize(
    ("stem", "rule", "patient"),
    [
        ("cmr1", "auto", "pair001"),
        ("cmr2", "auto", "pair001"),
        ("cmr3", "auto", "pair002"),
        ("cmr200", "auto", "pair100"),
        ("Patient012_frame01_slice3", "auto", "patient012"),
        ("street 7", "auto", "street 7"),
        ("cmr7x", "auto", "cmr7x"),
        ("slice8", "pairs", "pair004"),
        ("slice", "pairs", "slice"),
        ("cmr1", "each", "cmr1"),
        ("p07-s12", r"^(p\d+)-", "p07"),
    ],
)
def test_patients_by_rule(stem, rule, patient):
    assert patient_of(stem, rule) == patient


@pytest.mark.parametrize("rule", [r"x(\d+)", r"p(x)?07"])
def test_rules_that_find_no_patient_are_refused(rule):
    with pytest.raises(DataError, match="must be a regular expression with one group"):
        patient_of("p07-s12", rule)


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
        (b"id,patient\n\xff\xfe,p1\n", "not a readable table with a column 'id'"),
        (
            b"id,spacing_row,spacing_col\na,wide,1\n",
            "spacing_row and spacing_col of a must both be positive numbers",
        ),
        (
            b"id,spacing_row,spacing_col\na,nan,1\n",
            "spacing_row and spacing_col of a must both be positive numbers",
        ),
        (
            b"id,spacing_row,spacing_col\na,1,-1\n",
            "spacing_row and spacing_col of a must both be positive numbers",
        ),
        (
            b"id,spacing_row\na,1.8\n",
            "spacing_row and spacing_col of a must both be positive numbers",
        ),
        (b"id,slice\na,-1\n", "slice of a is '-1'; it must be a number from 0"),
        (b"id,spacing_slice\na,0\n", "spacing_slice of a is '0'; it must be a positive number"),
        (b"id,spacing_slice\na,x\n", "spacing_slice of a is 'x'; it must be a positive number"),
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
        orders.append(list(find_images(tmp_path, DataConfig())))
    assert orders[0] == orders[1]
