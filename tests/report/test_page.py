import pytest

from acdc_seg.errors import DataError
from acdc_seg.report.page import counted, decimals, facts, flat_facts, interval_text, write_page


def test_facts_are_words():
    content = {
        "num_threads": 2,
        "best_dice": 0.91234,
        "val_patients": ["p1", "p2"],
        "reason": None,
        "acdc_seg": "1.0",
        "libraries": {"torch": "2"},
    }
    assert facts(content) == {
        "Threads": "2",
        "Best Dice": "0.912",
        "Validation patients": "p1, p2",
        "acdc_seg": "1.0",
    }


def test_facts_of_facts_are_named_by_their_path():
    content = {
        "num_images": 3,
        "splits": {"train": {"num_masks": 2}},
        "size_range": [[96.0, 96.0], [96.0, 128.0]],
        "spacing": [],
    }
    assert flat_facts(content) == {
        "Number of images": "3",
        "Splits, train, number of masks": "2",
        "Size range": "96 × 96, 96 × 128",
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (0.12345, "0.123"), (123.456, "123.5"), (7, "7")],
)
def test_cells_as_text(value, text):
    assert decimals(value) == text


def test_numbers_with_their_nouns_and_intervals():
    assert [counted(number, "patient") for number in (1, 2000)] == ["1 patient", "2,000 patients"]
    assert interval_text((0.5, 0.75)) == "95 % interval 0.500 to 0.750"
    assert interval_text((-0.01, 0.02), difference=True) == "95 % interval -0.0100 to +0.0200"
    assert interval_text(None) == ""


def test_a_page_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "gone").touch()
    content = {"answers": [], "policy": "", "figures": {}, "members_note": "", "protocol": {}}
    table = {"headings": [], "rows": []}
    with pytest.raises(DataError, match=r"page\.html: cannot write"):
        write_page(
            tmp_path / "gone" / "page.html",
            "ensemble.html",
            title="a",
            commands="",
            members=table,
            **content,
        )
