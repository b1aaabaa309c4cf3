import numpy as np
import pytest

from acdc_seg.config import DataConfig
from acdc_seg.data.readers import read_records, scan_records
from acdc_seg.data.readers.table import is_table, scan_table
from acdc_seg.data.source import detect_format
from acdc_seg.errors import DataError

DATA = DataConfig()


@pytest.fixture
def write_data(tmp_path, write_png):
    """Writes a records.csv of these lines and empty images, and gives the folder."""

    def write(*lines, images="scans/a.png scans/b.png truth/a.png truth/b.png"):
        for image in images.split():
            write_png(tmp_path / image, np.zeros((4, 4), np.uint8))
        (tmp_path / "records.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write


def test_a_table_names_images_masks_patients_and_splits(write_data):
    folder = write_data(
        "image,mask,patient,phase,group,split,spacing",
        "scans/b.png,truth/b.png,p2,ES,NOR,Validation,1.5",
        "scans/a.png,truth/a.png,p1,ED,DCM,train,",
    )
    a, b = read_records("table", folder, DATA)
    assert (a.id, a.image, a.mask) == ("a", folder / "scans/a.png", folder / "truth/a.png")
    assert (a.patient, a.phase, a.group, a.split, a.spacing) == ("p1", "ED", "DCM", "train", None)
    assert (b.patient, b.phase, b.group, b.split) == ("p2", "ES", "NOR", "val")
    assert b.spacing == (1.5, 1.5)


def test_a_table_wins_over_folders(write_data, write_png):
    folder = write_data("image,mask", "scans/a.png,truth/a.png")
    for name in ("images", "masks"):
        write_png(folder / name / "x.png", np.zeros((4, 4), np.uint8))
    assert detect_format(DataConfig(path=str(folder))) == "table"
    (folder / "records.csv").write_text("id,patient\nx,p1\n")
    assert not is_table(folder, DATA)
    assert detect_format(DataConfig(path=str(folder))) == "paired"


def test_all_mistakes_are_told_with_their_line(write_data):
    folder = write_data(
        "id,image,mask,split,spacing_row,spacing_col",
        "a,scans/a.png,truth/a.png,train,,",
        "a,scans/b.png,truth/b.png,train,,",
        "c,scans/gone.png,truth/gone.png,train,,",
        "d,scans/a.png,truth/a.png,tran,1,wide",
        "e,,truth/a.png,train,,",
        "f,scans/b.png,,train,,",
    )
    records, problems, _ = scan_table(folder, DATA)
    assert [record.id for record in records] == ["d", "a", "c", "f"]  # no split, then train
    assert [f"{problem.code} {problem.text}" for problem in problems] == [
        "duplicate_id line 3: id 'a' is that of line 2 too",
        "no_image line 4: the image scans/gone.png does not exist",
        "no_mask line 4: the mask truth/gone.png does not exist",
        "split line 5: split 'tran' is unknown",
        "spacing line 5: spacing_row and spacing_col must both be positive numbers in mm, or both "
        "empty",
        "no_image line 6: names no image",
        "no_mask line 7: b.png has no mask, others of its split have",
    ]
    assert problems[3].fix == "did you mean 'train'?"
    with pytest.raises(DataError, match=r"csv: line 3: id 'a'.*\n.*\n.*\n.*csv: line 5"):
        read_records("table", folder, DATA)


def test_notes_tell_the_patients_and_the_columns_left_alone(write_data):
    folder = write_data("image,mask,patient,age", "scans/a.png,truth/a.png,p1,70")
    assert scan_records("table", folder, DATA).notes == [
        "records.csv gives patient",
        "Patients: records.csv (e.g. p1 of a)",
        "records.csv: the columns age are not read",
    ]


def test_an_explicit_rule_wins_over_the_column_patient(write_data):
    lines = ("image,mask,patient", "scans/a.png,truth/a.png,p1", "scans/b.png,truth/b.png,p1")
    records, _, notes = scan_records("table", write_data(*lines), DataConfig(patient_rule="each"))
    assert [record.patient for record in records] == ["a", "b"]
    assert "data.patient_rule takes the place of the column patient of records.csv" in notes
    assert notes[-1].startswith("Patients: each image its own (e.g. a)")


def test_an_empty_table_and_one_without_images(write_data):
    folder = write_data("image,mask")
    with pytest.raises(DataError, match=r"records\.csv: has no rows"):
        read_records("table", folder, DATA)
    folder = write_data("id,mask", "a,b")
    with pytest.raises(DataError, match=r"records\.csv: has no column 'image'"):
        read_records("table", folder, DATA)


def test_details_give_splits_to_images_of_another_format(write_data):
    lines = ("id,split,patient", "a,test,p1", "b,train,p2", "x,wrong,p3")
    folder = write_data(*lines, images="images/a.png images/b.png masks/a.png masks/b.png")
    records, problems, _ = scan_records("paired", folder, DATA)
    assert [(record.id, record.split, record.patient) for record in records] == [
        ("a", "test", "p1"),
        ("b", "train", "p2"),
    ]
    assert problems == []
