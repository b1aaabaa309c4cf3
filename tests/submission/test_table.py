import cv2
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.submission.table import (
    apply_template,
    check_submission,
    decode_rows,
    encode_rows,
    masks_from_folder,
    read_submission,
    write_masks,
    write_submission,
)

LABELS = np.array([[1, 1, 2], [0, 3, 2]])
EMPTY_ROWS = [("a_mask1", ""), ("a_mask2", ""), ("a_mask3", "")]


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
            r"cmr1: the mask holds 4 \(2 pixels\), 255 \(1 pixels\); class indices are 0 to 3",
        ),
        (np.array([[-1]]), r"-1 \(1 pixels\)"),
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


@pytest.mark.parametrize(
    "pattern", ["mask", "{stem}{stem}", "{name}", "{stem.__class__}", "{stem}_{other}", "../{stem}"]
)
def test_ill_mask_patterns_are_refused(pattern):
    with pytest.raises(ConfigError, match="mask pattern"):
        encode_rows({"a": LABELS}.items(), num_classes=4, mask_pattern=pattern)


def write(tmp_path, masks, name="submission.csv"):
    write_submission(tmp_path / name, encode_rows(masks.items(), num_classes=4))
    return tmp_path / name


def test_file_is_exact_and_repeats(tmp_path):
    path = write(tmp_path, {"cmr1": LABELS})
    assert path.read_bytes() == b"id,encoding\ncmr1_mask1,1 1 3 1\ncmr1_mask2,5 2\ncmr1_mask3,4 1\n"
    first = path.read_bytes()
    assert write(tmp_path, {"cmr1": LABELS.astype(np.uint8)}).read_bytes() == first
    assert [found.name for found in tmp_path.iterdir()] == ["submission.csv"]
    assert read_submission(path) == {
        "cmr1_mask1": "1 1 3 1",
        "cmr1_mask2": "5 2",
        "cmr1_mask3": "4 1",
    }


def test_an_empty_mask_is_an_empty_field(tmp_path):
    path = write(tmp_path, {"cmr1": np.zeros((2, 2), int)})
    assert path.read_bytes() == b"id,encoding\ncmr1_mask1,\ncmr1_mask2,\ncmr1_mask3,\n"
    assert read_submission(path)["cmr1_mask3"] == ""


def test_duplicate_ids_are_not_written(tmp_path):
    with pytest.raises(DataError, match="a1 would occur twice"):
        write_submission(tmp_path / "s.csv", [("a1", ""), ("a2", ""), ("a1", "1 1")])
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
        read_submission(tmp_path / "s.csv")


def test_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: cannot read"):
        read_submission(tmp_path / "gone.csv")


def test_byte_order_mark_and_windows_lines_are_read_and_reported(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(b"\xef\xbb\xbfid,encoding\r\na_mask1,1 1\r\na_mask2,\r\na_mask3,\r\n\r\n")
    assert read_submission(path) == {"a_mask1": "1 1", "a_mask2": "", "a_mask3": ""}
    assert [problem.split(";")[0] for problem in check_submission(path, shape=(2, 2)).problems] == [
        "the file has a byte order mark",
        "the file has CRLF line ends",
    ]


def test_check_of_a_sound_file(tmp_path):
    check = check_submission(write(tmp_path, {"cmr2": LABELS, "cmr10": LABELS}), shape=(2, 3))
    assert (check.num_rows, check.num_images, check.problems, check.score) == (6, 2, (), None)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([("a_mask1", ""), ("a_mask3", "")], "a: no row for class 2"),
        (
            [("a_mask2", ""), ("a_mask1", ""), ("a_mask3", "")],
            "the rows are not in numeric order of images and classes",
        ),
        (
            [("a_mask1", "1 3"), ("a_mask2", "3 1"), ("a_mask3", "")],
            "a: 1 pixels belong to two classes",
        ),
        (
            [("a_mask1", "1 9"), ("a_mask2", ""), ("a_mask3", "")],
            "a, class 1: pair 1 (1 9) runs out of the image of 2x3 pixels",
        ),
        (
            [*EMPTY_ROWS, ("a_mask4", "")],
            "a_mask4: this id is not {stem}_mask with a class digit 1 to 3",
        ),
    ],
)
def test_check_lists_problems(tmp_path, rows, problem):
    write_submission(tmp_path / "s.csv", rows)
    assert check_submission(tmp_path / "s.csv", shape=(2, 3)).problems == (problem,)


def test_check_wants_exactly_the_known_images(tmp_path):
    path = write(tmp_path, {"a": LABELS, "b": LABELS})
    check = check_submission(path, shapes={"a": (2, 3), "c": (2, 3)})
    assert check.problems == ("b: no such image", "c: no row for class 1, 2, 3")


def test_score_by_hand(tmp_path):
    truth = {"a": np.array([[1, 1, 0], [0, 0, 2]]), "b": np.zeros((2, 3), int)}
    predicted = {"a": np.array([[1, 0, 0], [0, 2, 2]]), "b": np.array([[0, 0, 3], [0, 0, 0]])}
    write_masks(tmp_path / "truth", truth)
    check = check_submission(write(tmp_path, predicted), truth=tmp_path / "truth")
    assert check.problems == ()
    assert check.class_scores == pytest.approx(
        {"rv": (2 / 3 + 1) / 2, "myo": (2 / 3 + 1) / 2, "lv": (1 + 0) / 2}
    )
    assert check.score == pytest.approx((2 / 3 + 2 / 3 + 1 + 1 + 1 + 0) / 6)


def test_void_pixels_of_the_truth_do_not_score(tmp_path):
    write_masks(tmp_path / "truth", {"a": np.array([[1, 255, 0]])})
    path = write(tmp_path, {"a": np.array([[1, 1, 0]])})
    assert (
        check_submission(
            path, truth=tmp_path / "truth", classes=ClassesConfig(ignore_value=255)
        ).score
        == 1
    )


def test_no_score_while_a_row_is_missing_or_unreadable(tmp_path):
    write_masks(tmp_path / "truth", {"a": LABELS, "b": LABELS})
    assert check_submission(write(tmp_path, {"a": LABELS}), truth=tmp_path / "truth").score is None
    rows = encode_rows({"b": LABELS}.items(), num_classes=4)
    write_submission(tmp_path / "s.csv", [("a_mask1", "x"), *EMPTY_ROWS[1:], *rows])
    check = check_submission(tmp_path / "s.csv", truth=tmp_path / "truth")
    assert check.score is None
    assert len(check.problems) == 1


def test_masks_of_a_folder_return_in_natural_order(tmp_path):
    masks = {"größe 10": LABELS, "größe 2": LABELS.T}
    write_masks(tmp_path, masks, pattern="m_{stem}")
    cv2.imwrite(str(tmp_path / "other.png"), np.zeros((2, 2), np.uint8))
    found = masks_from_folder(tmp_path, pattern="m_{stem}")
    assert list(found) == ["größe 2", "größe 10"]
    np.testing.assert_array_equal(found["größe 2"], LABELS.T)


def test_scaled_masks_are_refused_with_the_fix(tmp_path):
    write_masks(tmp_path, {"a": np.array([[0, 85], [170, 255]])})
    with pytest.raises(DataError, match=r"85 \(1 pixels\).*set classes.values=\[0, 85, 170, 255\]"):
        masks_from_folder(tmp_path)
    scaled = masks_from_folder(tmp_path, classes=ClassesConfig(values=(0, 85, 170, 255)))
    assert scaled["a"].tolist() == [[0, 1], [2, 3]]


def test_a_folder_without_masks_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no masks named \{stem\}_mask.png"):
        masks_from_folder(tmp_path)


@pytest.mark.parametrize("stem", ["../up", "/etc/up", "a/b", "a\0b"])
def test_masks_are_written_into_their_folder_only(tmp_path, stem):
    with pytest.raises(
        DataError, match=r"is no file name; masks are written into this folder only"
    ):
        write_masks(tmp_path / "masks", {"a": LABELS, stem: LABELS})
    assert list(tmp_path.iterdir()) == []


def test_ids_of_a_template_are_names_and_never_paths(tmp_path):
    (tmp_path / "template.csv").write_text("id,encoding\n../../etc/passwd_mask1,\n")
    with pytest.raises(DataError, match=r"1 ids are missing \(../../etc/passwd_mask1\)"):
        apply_template([("a_mask1", "")], tmp_path / "template.csv")
