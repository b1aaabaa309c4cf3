import numpy as np
import pytest

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.submission.check import check_submission
from acdc_seg.submission.masks import write_masks
from acdc_seg.submission.table import encode_rows, read_rows, write_rows

LABELS = np.array([[1, 1, 2], [0, 3, 2]])
EMPTY_ROWS = [("a_mask1", ""), ("a_mask2", ""), ("a_mask3", "")]


def write(tmp_path, labels):
    write_rows(tmp_path / "submission.csv", encode_rows(labels.items(), num_classes=4))
    return tmp_path / "submission.csv"


def test_byte_order_mark_and_windows_lines_are_reported(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(b"\xef\xbb\xbfid,encoding\r\na_mask1,1 1\r\na_mask2,\r\na_mask3,\r\n\r\n")
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
    write_rows(tmp_path / "s.csv", rows)
    assert check_submission(tmp_path / "s.csv", shape=(2, 3)).problems == (problem,)


def test_check_wants_exactly_the_known_images(tmp_path):
    path = write(tmp_path, {"a": LABELS, "b": LABELS})
    check = check_submission(path, shapes={"a": (2, 3), "c": (2, 3)})
    assert check.problems == ("b: no such image", "c: no row for class 1, 2, 3")


def test_score_by_hand(tmp_path):
    truth = {"a": np.array([[1, 1, 0], [0, 0, 2]]), "b": np.zeros((2, 3), int)}
    predicted = {"a": np.array([[1, 0, 0], [0, 2, 2]]), "b": np.array([[0, 0, 3], [0, 0, 0]])}
    write_masks(tmp_path / "truth", truth.items())
    check = check_submission(write(tmp_path, predicted), truth=tmp_path / "truth")
    assert check.problems == ()
    assert check.class_scores == pytest.approx(
        {"rv": (2 / 3 + 1) / 2, "myo": (2 / 3 + 1) / 2, "lv": (1 + 0) / 2}
    )
    assert check.score == pytest.approx((2 / 3 + 2 / 3 + 1 + 1 + 1 + 0) / 6)


def test_void_pixels_of_the_truth_do_not_score(tmp_path):
    classes = ClassesConfig(void=255)
    write_masks(tmp_path / "truth", {"a": np.array([[1, 255, 0]])}.items(), classes)
    path = write(tmp_path, {"a": np.array([[1, 1, 0]])})
    assert check_submission(path, truth=tmp_path / "truth", classes=classes).score == 1


def test_ids_follow_the_names_of_masks(tmp_path):
    data = DataConfig(mask_pattern="{stem}")
    rows = encode_rows({"cell_10": LABELS}.items(), num_classes=4, pattern="{stem}")
    assert [id for id, _ in rows] == ["cell_101", "cell_102", "cell_103"]
    write_rows(tmp_path / "s.csv", rows)
    check = check_submission(tmp_path / "s.csv", shapes={"cell_10": (2, 3)}, data=data)
    assert check.problems == ()


def test_a_template_sets_the_order(tmp_path):
    path = write(tmp_path, {"a": LABELS, "b": LABELS})
    rows = list(read_rows(path).items())
    write_rows(tmp_path / "template.csv", rows[::-1])
    (problem,) = check_submission(path, shape=(2, 3), template=tmp_path / "template.csv").problems
    assert problem.startswith("ids or their order are not those of ")
    write_rows(tmp_path / "s.csv", rows[::-1])
    assert (
        check_submission(
            tmp_path / "s.csv", shape=(2, 3), template=tmp_path / "template.csv"
        ).problems
        == ()
    )


def test_no_score_while_a_row_is_missing_or_unreadable(tmp_path):
    write_masks(tmp_path / "truth", {"a": LABELS, "b": LABELS}.items())
    assert check_submission(write(tmp_path, {"a": LABELS}), truth=tmp_path / "truth").score is None
    rows = encode_rows({"b": LABELS}.items(), num_classes=4)
    write_rows(tmp_path / "s.csv", [("a_mask1", "x"), *EMPTY_ROWS[1:], *rows])
    check = check_submission(tmp_path / "s.csv", truth=tmp_path / "truth")
    assert check.score is None
    assert len(check.problems) == 1
