import csv

import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.submission.table import (
    apply_template,
    decode_rows,
    encode_rows,
    read_rows,
    write_rows,
)

LABELS = np.array([[1, 1, 2], [0, 3, 2]])


def test_rows_by_hand_in_natural_order():
    rows = encode_rows(
        {"cmr121": LABELS, "cmr2": np.zeros((2, 2), int), "cmr10": LABELS}.items(), num_classes=4
    )
    assert [id for id, _ in rows] == [
        f"cmr{image}_mask{index}" for image in (2, 10, 121) for index in (1, 2, 3)
    ]
    assert dict(rows)["cmr2_mask1"] == ""
    assert [encoding for _, encoding in rows[6:]] == ["1 1 3 1", "5 2", "4 1"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            np.array([[4, 255, 4]]),
            "cmr1: the labels hold values 4 to 255; class indices are 0 to 3",
        ),
        (np.array([[-1]]), "values -1 to -1"),
        (np.zeros((2, 2)), "float64"),
        (np.zeros((2, 2, 2), int), r"\(2, 2, 2\)"),
    ],
)
def test_rows_refuse_what_is_no_label_array(labels, message):
    with pytest.raises(DataError, match=message):
        encode_rows({"cmr1": labels}.items(), num_classes=4)


def test_rows_give_their_masks_back():
    labels = {"b": LABELS, "a": np.zeros((2, 2), int), "c10": LABELS[:, ::-1]}
    rows = encode_rows(labels.items(), num_classes=4)
    back = dict(decode_rows(rows, {stem: mask.shape for stem, mask in labels.items()}))
    assert list(back) == list(labels)
    for stem, mask in labels.items():
        assert back[stem].dtype == np.uint8
        np.testing.assert_array_equal(back[stem], mask)


def test_more_classes_than_digits_are_refused():
    with pytest.raises(DataError, match="11 classes"):
        encode_rows({"a": LABELS}.items(), num_classes=11)


def write(tmp_path, masks, name="submission.csv"):
    write_rows(tmp_path / name, encode_rows(masks.items(), num_classes=4))
    return tmp_path / name


def test_file_is_exact_and_repeats(tmp_path):
    path = write(tmp_path, {"cmr1": LABELS})
    assert path.read_bytes() == b"id,encoding\ncmr1_mask1,1 1 3 1\ncmr1_mask2,5 2\ncmr1_mask3,4 1\n"
    first = path.read_bytes()
    assert write(tmp_path, {"cmr1": LABELS.astype(np.uint8)}).read_bytes() == first
    assert [found.name for found in tmp_path.iterdir()] == ["submission.csv"]
    assert read_rows(path) == {
        "cmr1_mask1": "1 1 3 1",
        "cmr1_mask2": "5 2",
        "cmr1_mask3": "4 1",
    }


def test_an_empty_mask_is_an_empty_field(tmp_path):
    path = write(tmp_path, {"cmr1": np.zeros((2, 2), int)})
    assert path.read_bytes() == b"id,encoding\ncmr1_mask1,\ncmr1_mask2,\ncmr1_mask3,\n"
    assert read_rows(path)["cmr1_mask3"] == ""


def test_duplicate_ids_are_not_written(tmp_path):
    with pytest.raises(DataError, match="a1 would occur twice"):
        write_rows(tmp_path / "s.csv", [("a1", ""), ("a2", ""), ("a1", "1 1")])
    assert not (tmp_path / "s.csv").exists()


def test_template_fixes_the_order(tmp_path):
    template = tmp_path / "sample.csv"
    template.write_text("id,encoding\nb1,\na1,1 1\n")
    assert apply_template([("a1", "5 5"), ("b1", "6 6")], template) == [
        ("b1", "6 6"),
        ("a1", "5 5"),
    ]


def test_template_names_what_does_not_fit(tmp_path):
    template = tmp_path / "sample.csv"
    template.write_text("id,encoding\na1,\na2,\na3,\na4,\na5,\n")
    with pytest.raises(DataError) as error:
        apply_template([("a1", ""), ("a1", ""), ("z9", "")], template)
    assert "4 ids are missing (a2, a3, a4, ...)" in str(error.value)
    assert "1 ids are not in the template (z9)" in str(error.value)
    assert "1 ids occur twice (a1)" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "first line must be 'id,encoding', found 'nothing'"),
        (b"ImageId,EncodedPixels\na,1 1\n", "found 'ImageId,EncodedPixels'"),
        (b"id,encoding\na\n", "line 2: 1 columns instead of 2"),
        (b"id,encoding\na,1 1\nb,1 1,2\n", "line 3: 3 columns"),
        (b"id,encoding\na,1 1\na,2 1\n", "line 3: the id 'a' is empty or occurs twice"),
        (b"id,encoding\n,1 1\n", "line 2: the id '' is empty"),
        (b"id,encoding\n\xff\xfe,1 1\n", "not a CSV file in UTF-8"),
        (b'id,encoding\n"a,1 1\n', "not a CSV file in UTF-8"),
    ],
)
def test_corrupt_files_are_refused_by_line(tmp_path, content, message):
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "s.csv")


def test_byte_order_mark_and_windows_lines_are_read_over(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(b"\xef\xbb\xbfid,encoding\r\na_mask1,1 1\r\na_mask2,\r\n\r\n")
    assert read_rows(path) == {"a_mask1": "1 1", "a_mask2": ""}


def test_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: cannot read"):
        read_rows(tmp_path / "gone.csv")


def test_ids_of_a_template_are_names_and_never_paths(tmp_path):
    (tmp_path / "template.csv").write_text("id,encoding\n../../etc/passwd_mask1,\n")
    with pytest.raises(DataError, match=r"1 ids are missing \(../../etc/passwd_mask1\)"):
        apply_template([("a_mask1", "")], tmp_path / "template.csv")


def test_encodings_of_any_length_are_read(tmp_path):
    long = " ".join(f"{start} 1" for start in range(1, 60_000, 2))
    assert len(long) > csv.field_size_limit()
    write_rows(tmp_path / "s.csv", [("a_mask1", long)])
    assert read_rows(tmp_path / "s.csv") == {"a_mask1": long}
    assert csv.field_size_limit() == 131_072


def test_a_file_that_does_not_read_back_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("acdc_seg.submission.table._parse", lambda file, path: {"a_mask1": "1 2"})
    with pytest.raises(DataError, match="not written, because it does not read back"):
        write_rows(tmp_path / "s.csv", [("a_mask1", "1 1")])
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_encoding_is_found_even_without_assertions(monkeypatch):
    monkeypatch.setattr("acdc_seg.submission.table.encode_rle", lambda mask: "1 1")
    with pytest.raises(DataError, match="cmr1, class 1: the encoding is not that of the mask"):
        encode_rows({"cmr1": LABELS}.items(), num_classes=4)
