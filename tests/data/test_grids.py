import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acdc_seg.config import PrepareConfig
from acdc_seg.data.grids import make_grid
from acdc_seg.errors import DataError

sizes = st.integers(8, 60)
spacings = st.floats(0.7, 2.2)


def disk(shape, center, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (np.hypot(rows - center[0], columns - center[1]) < radius).astype(np.uint8)


def border(labels):
    """Pixels with a neighbor of another class."""
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    return edge


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, spacings, spacings, st.floats(0.7, 1.5))
def test_labels_there_and_back_change_at_their_border_only(rows, columns, x, y, target):
    target = min(target, x, y)  # a finer grid loses no pixel
    grid = make_grid((rows, columns), (x, y), PrepareConfig(spacing=target, crop="none"))
    labels = disk((rows, columns), (rows / 2, columns / 2), min(rows, columns) / 3)
    back = grid.restore_labels(grid.cut_labels(labels))
    assert back.shape == (rows, columns)
    assert not ((back != labels) & ~border(labels)).any()


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, spacings, st.integers(4, 40))
def test_probabilities_there_and_back_inside_and_outside_of_the_window(rows, columns, x, size):
    settings = PrepareConfig(spacing=None, size=(size, size), crop="center")
    grid = make_grid((rows, columns), (x, x), settings)
    labels = np.ones((rows, columns), np.uint8)
    window = torch.from_numpy(grid.cut_labels(labels)).long()
    one_hot = torch.nn.functional.one_hot(window, 2).permute(2, 0, 1)[None].float()
    back = grid.restore_probabilities(one_hot)[0]
    assert back.shape == (2, rows, columns)
    assert torch.equal(back.sum(0), torch.ones(rows, columns))
    inside = min(rows, size) * min(columns, size)
    assert int(back.argmax(0).sum()) == inside


def test_a_grid_by_hand():
    settings = PrepareConfig(spacing=2.0, size=(4, 6), crop="center")
    grid = make_grid((10, 12), (1.0, 2.0), settings)
    assert (grid.resampled, grid.corner, grid.size) == ((5, 12), (1, 3), (4, 6))
    assert grid.pixel_size == (2.0, 2.0)
    image = np.arange(120).reshape(10, 12)
    # row r of the resampled slice lies between rows 2r and 2r + 1
    np.testing.assert_allclose(grid.cut_image(image)[0], np.arange(27, 33) + 6)
    np.testing.assert_array_equal(grid.cut_labels(image)[0], image[3, 3:9])


def test_whole_slices_keep_all_pixels():
    grid = make_grid((10, 12), (1.5, 1.5), PrepareConfig(spacing=1.5, crop="none"))
    image = np.random.default_rng(0).normal(size=(10, 12)).astype(np.float32)
    np.testing.assert_array_equal(grid.cut_image(image), image)
    probabilities = torch.rand(2, 3, 10, 12)
    assert grid.restore_probabilities(probabilities) is probabilities


def test_absurd_sizes_are_refused():
    with pytest.raises(DataError, match="would have more than 67,108,864 pixels of 1 mm"):
        make_grid((10, 12), (3e4, 3e4), PrepareConfig(spacing=1.0))


def test_images_are_cut_alike_without_opencv(monkeypatch):
    image = np.random.default_rng(0).uniform(0, 900, (43, 57)).astype(np.float32)
    grid = make_grid(image.shape, (1.7, 1.3), PrepareConfig(spacing=1.2, crop="none"))
    expected = grid.cut_image(image)
    monkeypatch.setitem(sys.modules, "cv2", None)
    np.testing.assert_allclose(grid.cut_image(image), expected, atol=1e-3)
