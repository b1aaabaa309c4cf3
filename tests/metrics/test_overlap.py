import numpy as np
import pytest

from acdc_seg.metrics.overlap import count_pixels, dice, iou


def test_counts_have_the_mask_in_rows_and_leave_void_pixels_out():
    mask, labels = np.array([[0, 1, 255, 1]]), np.array([[0, 0, 1, 1]])
    assert count_pixels(labels, mask, 2, ignore_index=255).tolist() == [[1, 0], [1, 1]]


def test_many_images_are_scored_at_once():
    counts = np.array([[[5, 1], [1, 2]], [[9, 0], [0, 0]]])  # (2, K, K)
    assert dice(counts)[:, 1] == pytest.approx([2 * 2 / (3 + 3), 1])
    assert iou(counts)[:, 1] == pytest.approx([2 / 4, 1])
    assert dice(counts)[0].tolist() == dice(counts[0]).tolist()
