import numpy as np
import pytest

from acdc_seg.metrics.overlap import (
    count_pixels,
    dice,
    iou,
    precision,
    recall,
    relative_size_error,
    size_error,
)


def test_counts_have_the_mask_in_rows_and_leave_void_pixels_out():
    mask, labels = np.array([[0, 1, 255, 1]]), np.array([[0, 0, 1, 1]])
    assert count_pixels(labels, mask, 2, ignore_index=255).tolist() == [[1, 0], [1, 1]]


def test_many_images_are_scored_at_once():
    counts = np.array([[[5, 1], [1, 2]], [[9, 0], [0, 0]]])  # (2, K, K)
    assert dice(counts)[:, 1] == pytest.approx([2 * 2 / (3 + 3), 1])
    assert iou(counts)[:, 1] == pytest.approx([2 / 4, 1])
    assert dice(counts)[0].tolist() == dice(counts[0]).tolist()


def test_precision_recall_and_size_errors_by_hand():
    """Two of three pixels found, with one false; then a missed, a false and an absent class."""
    counts = np.array([[5, 1], [1, 2]])
    assert precision(counts)[1] == recall(counts)[1] == pytest.approx(2 / 3)
    assert precision(np.array([[0, 3], [0, 1]]))[1] == 1 / 4
    assert size_error(np.array([[0, 3], [0, 1]]))[1] == 3
    assert relative_size_error(np.array([[0, 3], [0, 1]]))[1] == 3
    missed, false, absent = np.array([[9, 0], [2, 0]]), np.array([[9, 2], [0, 0]]), np.eye(2) * 0
    for metric in (precision, recall):
        assert [metric(counts)[1] for counts in (missed, false, absent)] == [0, 0, 1]
    assert [relative_size_error(counts)[1] for counts in (missed, false, absent)] == [1, 1, 0]
