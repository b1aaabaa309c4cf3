import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.metrics.comparison import compare, format_comparison, patient_rows
from acdc_seg.metrics.intervals import patient_bootstrap
from acdc_seg.metrics.volumes import Case, Scorer

CLASSES = ("background", "heart")
MASK = np.zeros((6, 12), np.uint8)
MASK[2, :8] = 1


def score(sizes, patients="aabbc"):
    """Slices whose prediction has so many of the eight pixels of the mask."""
    cases = [Case(f"s{n}", patient=patient) for n, patient in enumerate(patients)]
    scorer = Scorer(cases, classes=CLASSES)
    for case, size in zip(cases, sizes, strict=True):
        labels = np.zeros_like(MASK)
        labels[2, :size] = 1
        scorer.add(labels, MASK, case)
    return scorer.result()


def dice(size):
    return 2 * size / (8 + size)


FIRST, SECOND = (8, 8, 4, 4, 2), (4, 8, 4, 4, 4)


def test_differences_are_paired_by_image_and_their_interval_is_over_patients():
    comparison = compare(score(FIRST), score(SECOND))
    changes = np.array([dice(a) - dice(b) for a, b in zip(FIRST, SECOND, strict=True)])
    found = comparison.metrics["dice"]
    assert found.difference == pytest.approx(changes.mean()) == found.first - found.second
    assert found.interval == pytest.approx(patient_bootstrap(changes, list("aabbc")))
    assert comparison.classes["heart"].difference == pytest.approx(changes.mean())
    assert comparison.metrics["size_error"].difference == pytest.approx((-4 + 2) / 5)
    assert (comparison.level, comparison.n) == ("image", 5)


def test_patients_won_tied_and_lost_the_largest_gain_first():
    comparison = compare(score(FIRST), score(SECOND))
    assert [(pair.patient, pair.difference) for pair in comparison.patients] == [
        ("a", pytest.approx((1 - dice(4)) / 2)),
        ("b", 0),
        ("c", pytest.approx(dice(2) - dice(4))),
    ]
    counts = comparison.num_wins, comparison.num_ties, comparison.num_losses
    assert counts == (1, 1, 1)
    turned = compare(score(SECOND), score(FIRST))
    assert turned.metrics["dice"].difference == -comparison.metrics["dice"].difference
    assert (turned.num_wins, turned.num_losses) == (1, 1)
    rows = patient_rows(comparison, "x", "y")
    assert rows[0] == ["patient", "group", "dice_x", "dice_y", "difference"]
    assert rows[2] == ["b", "", f"{dice(4):.6f}", f"{dice(4):.6f}", "0.000000"]


def test_a_prediction_against_itself_differs_nowhere():
    comparison = compare(score(FIRST), score(FIRST))
    assert {row.difference for row in comparison.metrics.values()} == {0}
    assert comparison.metrics["hd95"].interval == [0, 0]
    assert comparison.num_ties == 3


def test_other_images_are_refused():
    with pytest.raises(DataError, match="same images and classes only"):
        compare(score(FIRST), score((8, 8, 8), patients="aab"))


def test_the_text_says_who_is_better_and_how_sure():
    text = format_comparison(compare(score(FIRST), score(SECOND)), "unet", "fcn")
    lines = text.splitlines()
    assert lines[0].split() == ["unet", "fcn", "difference"]
    change = np.mean([dice(a) - dice(b) for a, b in zip(FIRST, SECOND, strict=True)])
    assert f"{change:+.4f} [" in lines[2]
    assert "unet minus fcn with 95 % interval over patients" in text
    assert "unet is better for 1, equal for 1, worse for 1" in text
    one = format_comparison(compare(score((8,), "a"), score((4,), "a")), "unet", "fcn")
    assert "interval" not in one
