"""Distances against MONAI, against a second implementation, and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.spatial.distance import cdist

from acdc_seg.metrics import METRICS
from acdc_seg.metrics.distances import (
    assd,
    diagonal,
    find_surface,
    hd,
    hd95,
    measure_distances,
    nsd,
)

SPACINGS = {2: (1.4, 1.7), 3: (8.0, 1.4, 1.7)}


def blobs(num_axes, seed):
    """Two overlapping structures that touch the border, with holes and specks."""
    rng = np.random.default_rng(seed)
    shape = (7, 24, 20)[-num_axes:]
    axes = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    structures = []
    for _ in range(2):
        center = [rng.uniform(0.2, 0.8) * size for size in shape]
        parts = [
            ((axis - middle) / (0.3 * size)) ** 2
            for axis, middle, size in zip(axes, center, shape, strict=True)
        ]
        structures.append(
            (np.sum(parts, axis=0) < rng.uniform(0.5, 1.5)) ^ (rng.random(shape) < 0.02)
        )
    return structures


def by_definition(mask, prediction, spacing, tolerance):
    """All four from the full matrix of distances between surface pixels."""
    points = [np.argwhere(find_surface(each)) * spacing for each in (mask, prediction)]
    matrix = cdist(*points)
    there, back = matrix.min(1), matrix.min(0)
    both = np.concatenate([there, back])
    return {
        "hd": both.max(),
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": (there.sum() + back.sum()) / both.size,
        "nsd": np.mean(both <= tolerance),
    }


def by_monai(mask, prediction, spacing, tolerance):
    truth, predicted = (torch.from_numpy(each)[None, None].float() for each in (mask, prediction))
    both = {"y_pred": predicted, "y": truth, "include_background": True, "spacing": spacing}
    values = {
        "hd": compute_hausdorff_distance(**both),
        "hd95": compute_hausdorff_distance(**both, percentile=95),
        "assd": compute_average_surface_distance(**both, symmetric=True),
        "nsd": compute_surface_dice(**both, class_thresholds=[tolerance]),
    }
    return {name: value.item() for name, value in values.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_axes", [2, 3])
@pytest.mark.parametrize("golden", [by_definition, by_monai])
def test_golden_values(golden, num_axes, seed):
    mask, prediction = blobs(num_axes, seed)
    spacing = SPACINGS[num_axes]
    distances = measure_distances(mask, prediction, spacing=spacing, tolerance=2.0)
    values = {name: METRICS[name].function(distances) for name in ("hd", "hd95", "assd", "nsd")}
    assert values == pytest.approx(golden(mask, prediction, spacing, 2.0), rel=1e-5)


def test_by_hand():
    """Two bars of one row; the predicted one starts later and is longer."""
    mask, prediction = np.zeros((2, 3, 12), bool)
    mask[1, 2:6] = True  # columns 2 to 5
    prediction[1, 4:12] = True  # columns 4 to 11
    distances = measure_distances(mask, prediction, spacing=(1, 2), tolerance=2)
    assert distances.from_mask.tolist() == [4, 2, 0, 0]
    assert distances.from_prediction.tolist() == [0, 0, 2, 4, 6, 8, 10, 12]
    assert hd(distances) == 12
    assert assd(distances) == 48 / 12
    assert nsd(distances) == 6 / 12
    assert hd95(distances) == pytest.approx(12 - 0.35 * 2)  # 0.95 * 7 = 6.65 of 0 to 7


def test_a_surface_is_what_touches_another_class_or_the_border():
    structure = np.ones((4, 5), bool)
    assert find_surface(structure).sum() == 4 * 5 - 2 * 3
    structure = np.zeros((7, 7), bool)
    structure[1:6, 1:6] = True
    structure[2, 2] = False  # (2, 3) and (3, 2) touch it with a side, (3, 3) with a corner
    inner = structure & ~find_surface(structure)
    assert [tuple(index) for index in np.argwhere(inner).tolist()] == [
        *((2, 4), (3, 3), (3, 4), (4, 2), (4, 3), (4, 4)),
    ]


def test_an_empty_structure_has_no_distances():
    some, none = np.ones((3, 3), bool), np.zeros((3, 3), bool)
    assert measure_distances(some, none) is measure_distances(none, some) is None


def test_diagonal():
    assert diagonal((3, 4)) == 5
    assert diagonal((2, 3, 4), (6, 1, 1)) == 13


structures = st.tuples(
    st.integers(2, 3), st.integers(0, 10_000), st.tuples(*[st.floats(0.3, 9)] * 3)
)


def measured(mask, prediction, spacing):
    distances = measure_distances(mask, prediction, spacing=spacing, tolerance=2.0)
    return {name: METRICS[name].function(distances) for name in ("hd", "hd95", "assd", "nsd")}


@given(structures)
@settings(max_examples=40, deadline=None)
def test_symmetry_and_identity(case):
    num_axes, seed, spacing = case
    mask, prediction = blobs(num_axes, seed)
    spacing = spacing[:num_axes]
    assert measured(mask, prediction, spacing) == pytest.approx(measured(prediction, mask, spacing))
    assert measured(mask, mask, spacing) == {"hd": 0, "hd95": 0, "assd": 0, "nsd": 1}


@given(structures, st.floats(0.2, 5))
@settings(max_examples=40, deadline=None)
def test_lengths_scale_with_the_spacing(case, factor):
    num_axes, seed, spacing = case
    mask, prediction = blobs(num_axes, seed)
    small = measured(mask, prediction, spacing[:num_axes])
    large = measured(mask, prediction, [size * factor for size in spacing[:num_axes]])
    for name in ("hd", "hd95", "assd"):
        assert large[name] == pytest.approx(small[name] * factor)


@given(structures, st.tuples(*[st.integers(0, 6)] * 3))
@settings(max_examples=40, deadline=None)
def test_translation_of_both_changes_nothing_and_of_one_moves_by_its_length(case, shift):
    num_axes, seed, spacing = case
    spacing, shift = spacing[:num_axes], shift[:num_axes]
    mask, prediction = (np.pad(each, 6) for each in blobs(num_axes, seed))
    axes = tuple(range(num_axes))
    moved = [np.roll(each, shift, axes) for each in (mask, prediction)]
    assert measured(*moved, spacing) == pytest.approx(measured(mask, prediction, spacing))
    box = np.zeros([20] * num_axes, bool)
    box[(slice(3, 9),) * num_axes] = True
    length = float(np.hypot.reduce(np.array(shift) * spacing))
    assert measured(box, np.roll(box, shift, axes), spacing)["hd"] == pytest.approx(length)
