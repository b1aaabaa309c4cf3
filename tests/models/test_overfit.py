"""Each network, with its default options, learns four phantom slices by heart."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_seg.models import MODELS

script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "overfit.py"))


@pytest.fixture(scope="module")
def slices() -> tuple[torch.Tensor, torch.Tensor]:
    return script["phantom_slices"]()


def test_slices_are_of_four_patients_and_show_all_classes(
    slices: tuple[torch.Tensor, torch.Tensor],
) -> None:
    images, masks = slices
    assert (images.shape, masks.shape) == ((4, 1, 96, 96), (4, 96, 96))
    assert len({image.numpy().tobytes() for image in images}) == 4
    assert all(mask.unique().tolist() == [0, 1, 2, 3] for mask in masks)


def test_dice_is_the_mean_over_slices_and_foreground_classes() -> None:
    masks = np.array([[[0, 1], [2, 3]], [[1, 1], [2, 3]]])  # (2, 2, 2)
    labels = np.array([[[0, 1], [2, 3]], [[1, 2], [2, 3]]])
    # second slice: RV 2 * 1 / (2 + 1), MYO 2 * 1 / (1 + 2), LV 1
    assert script["foreground_dice"](labels, masks) == pytest.approx(
        (1 + 1 + 1 + 2 / 3 + 2 / 3 + 1) / 6
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.timeout(3600)
def test_overfits_four_slices(name: str, slices: tuple[torch.Tensor, torch.Tensor]) -> None:
    steps, dice = script["overfit"](name, *slices)
    assert dice > 0.95, f"{dice:.4f} after {steps} steps"
