import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, Config
from acdc_seg.errors import ConfigError
from acdc_seg.inference.postprocess import KeepLargest, keep_largest
from acdc_seg.inference.predictors import Predictor

TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))


def labelled(labels, num_classes=4, sure=0.7):
    """Probabilities (K, H, W) whose most probable class is the label; the rest is shared
    equally.
    """
    rest = (1 - sure) / (num_classes - 1)
    return np.where(np.arange(num_classes)[:, None, None] == np.array(labels), sure, rest).astype(
        np.float32
    )


def test_all_but_the_largest_region_goes_to_the_next_best_class():
    probabilities = labelled([[3, 3, 0, 3], [3, 0, 0, 0]])
    probabilities[:, 0, 3] = [0.1, 0.2, 0.3, 0.4]
    kept = keep_largest(probabilities, [3])
    np.testing.assert_array_equal(kept.argmax(0), [[3, 3, 0, 2], [3, 0, 0, 0]])
    np.testing.assert_allclose(kept[:, 0, 3], np.array([0.1, 0.2, 0.3, 0]) / 0.6, atol=1e-6)
    np.testing.assert_array_equal(kept[:, :, :3], probabilities[:, :, :3])
    np.testing.assert_array_equal(
        probabilities[:, 0, 3], np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    )
    np.testing.assert_array_equal(keep_largest(probabilities, [1, 2]), probabilities)


def test_corners_connect_and_equal_regions_leave_the_first():
    np.testing.assert_array_equal(
        keep_largest(labelled([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), [1]).argmax(0), np.eye(3)
    )
    np.testing.assert_array_equal(
        keep_largest(labelled([[1, 0, 1]], sure=0.6), [1]).argmax(0), [[1, 0, 0]]
    )


def test_what_one_class_loses_may_not_become_a_speck_of_another():
    """The single 2 is next best a 1, which would be a second region of 1."""
    probabilities = labelled([[2, 2, 0, 1, 1, 0, 2]])
    probabilities[:, 0, 6] = [0.1, 0.3, 0.5, 0.1]
    np.testing.assert_array_equal(
        keep_largest(probabilities, [2]).argmax(0), [[2, 2, 0, 1, 1, 0, 1]]
    )
    np.testing.assert_array_equal(
        keep_largest(probabilities, [1, 2]).argmax(0), [[2, 2, 0, 1, 1, 0, 0]]
    )


def test_a_pixel_without_any_class_left_is_background():
    kept = keep_largest(labelled([[1, 1, 0, 1]], num_classes=2, sure=1.0), [1])
    np.testing.assert_array_equal(kept, [[[0, 0, 1, 1]], [[1, 1, 0, 0]]])


class Painted(Predictor):
    """Finds hearts where the image is bright."""

    config, classes, channels = Config(), TWO, 1

    def predict_batch(self, images):
        return torch.cat([1 - images, images], dim=1)


def test_every_image_of_a_batch_keeps_its_own_largest_region():
    images = torch.tensor([[[[0.9, 0.1, 0.9, 0.9]]], [[[0.9, 0.9, 0.1, 0.9]]]])
    kept = KeepLargest(Painted(), ["heart"]).predict_batch(images)
    assert kept.argmax(1).tolist() == [[[0, 0, 1, 1]], [[1, 1, 0, 0]]]
    np.testing.assert_allclose(kept.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(
        KeepLargest(Painted(), []).predict_batch(images), Painted().predict_batch(images)
    )


@pytest.mark.parametrize("name", ["lung", "background"])
def test_only_foreground_classes_have_a_largest_region(name):
    with pytest.raises(
        ConfigError, match=f"keep_largest names '{name}'; choose from the foreground classes: heart"
    ):
        KeepLargest(Painted(), ["heart", name])
