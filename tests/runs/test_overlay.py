import numpy as np
import pytest

from acdc_seg.errors import DataError
from acdc_seg.runs.overlay import overlay

COLORS = ((0, 0, 0), (200, 0, 100), (0, 100, 0))


def test_overlay_mixes_image_and_color_by_hand():
    image = np.array([[-1.0, 0.0], [1.0, 0.0]])  # stretched: 0, 127.5 -> 128, 255, 128
    labels = np.array([[1, 0], [1, 2]])
    painted = overlay(image, labels, colors=COLORS, alpha=0.25)
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[[50, 0, 25], [128, 128, 128]], [[241, 191, 216], [96, 121, 96]]]


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 5), (3, 4, 5)])
def test_overlay_takes_gray_and_color_images(shape):
    image = np.linspace(0, 900, np.prod(shape)).reshape(shape)
    painted = overlay(image, np.zeros((4, 5), np.uint8), colors=COLORS)
    assert painted.shape == (4, 5, 3)
    assert (painted.min(), painted.max()) == (0, 255)
    channel = image[0] if len(shape) == 3 else image
    np.testing.assert_array_equal(painted[..., 0], np.rint(channel * (255 / 900)).astype(np.uint8))


def test_overlay_of_a_constant_image_is_black_and_void_stays_unpainted():
    assert not overlay(np.full((3, 3), 7.0), np.full((3, 3), 255, np.uint8), colors=COLORS).any()


def test_overlay_leaves_its_input_alone():
    image = np.array([[0, 255]], np.uint8)
    overlay(image, np.array([[1, 1]]), colors=COLORS)
    assert image.tolist() == [[0, 255]]


def test_image_and_labels_of_two_sizes_are_refused():
    with pytest.raises(DataError, match=r"image of \(2, 2\) and labels of \(3, 3\) differ"):
        overlay(np.zeros((2, 2)), np.zeros((3, 3), int), colors=COLORS)
