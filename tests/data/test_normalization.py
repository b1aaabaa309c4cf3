import numpy as np
import pytest
import torch

from acdc_seg.config import DataConfig
from acdc_seg.data.normalization import normalize


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize": "per_image"},
        {"normalize": "imagenet"},
        {"normalize": "fixed", "mean": 0.25, "std": 0.5},
        {"normalize": "fixed", "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)},
        {"normalize": "none"},
    ],
    ids=str,
)
def test_arrays_as_tensors(settings):
    data = DataConfig(channels=3, **settings)
    images = np.random.default_rng(0).random((2, 3, 9, 7), np.float32)
    found = normalize(images, data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalize(torch.from_numpy(images), data), atol=1e-5)


def test_arrays_by_hand():
    images = np.array([[[[0.0, 1.0]]], [[[0.5, 0.5]]]], np.float32)  # the second one is constant
    found = normalize(images, DataConfig(normalize="per_image"))
    assert found.tolist() == [[[[-1, 1]]], [[[0, 0]]]]
    assert normalize(images, DataConfig(normalize="fixed", mean=0.5, std=0.25))[0].tolist() == [
        [[-2, 2]]
    ]
