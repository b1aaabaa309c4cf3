"""The picture of an exam: pixels of the heart, contours in the colors of the classes."""

import numpy as np
from PIL import Image

from acdc_seg.prediction.pictures import PANEL, write_picture


def test_contours_are_where_labels_change(tmp_path):
    labels = np.zeros((60, 60, 2), np.uint8)
    labels[20:40, 20:40] = 3
    image = np.full(labels.shape, 100, np.float32)
    image[:5] = 0  # some range of values
    path = write_picture(tmp_path / "a.jpg", {"ED": (image, labels)}, (1.0, 1.0, 8.0))
    pixels = np.asarray(Image.open(path)).astype(int)
    assert pixels.shape == (PANEL, 2 * PANEL, 3)
    redness = pixels[..., 0] - pixels[..., 2]
    # the box is that of the labels and 20 mm around them: their edge is a third of the panel away
    edge = slice(PANEL // 3 - 1, PANEL // 3 + 2)
    assert redness[edge, PANEL // 2].max() > 50
    assert redness[PANEL // 2, edge].max() > 50
    assert abs(redness[PANEL // 2, PANEL // 2]) < 20
    assert abs(redness[PANEL // 6, PANEL // 6]) < 20


def test_an_exam_without_heart_is_shown_whole(tmp_path):
    labels = np.zeros((40, 30, 3), np.uint8)
    image = np.random.default_rng(0).uniform(0, 9, labels.shape).astype(np.float32)
    path = write_picture(tmp_path / "a.jpg", {"": (image, labels)}, (1.0, 1.0, 8.0))
    assert Image.open(path).size == (3 * PANEL, PANEL)
