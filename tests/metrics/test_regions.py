import numpy as np
import pytest

from acdc_seg.metrics.regions import FalseRegions, find_false_regions


@pytest.fixture
def mask():
    mask = np.zeros((9, 9, 3), np.uint8)
    mask[3:6, 3:6, 1] = 3
    return mask


def test_regions_away_from_the_heart_are_counted_with_their_size(mask):
    labels = mask.copy()
    labels[0, 0, 0] = 1  # a voxel, and one that shares a corner with it: one region
    labels[1, 1, 1] = 2
    labels[8, 8, 2] = 3
    assert find_false_regions(labels, mask) == FalseRegions(2, 3)


@pytest.mark.parametrize("voxel", [(2, 4, 1), (4, 4, 0), (6, 6, 2), (4, 4, 1)])
def test_a_region_that_overlaps_or_touches_the_heart_is_a_contour_error(mask, voxel):
    labels = np.zeros_like(mask)
    labels[voxel] = 1
    assert find_false_regions(labels, mask) == FalseRegions(0, 0)


def test_the_whole_region_counts_by_whether_any_of_it_touches(mask):
    labels = np.zeros_like(mask)
    labels[0:3, 4, 1] = 2
    assert find_false_regions(labels, mask) == FalseRegions(0, 0)
    labels[2, 4, 1] = 0
    assert find_false_regions(labels, mask) == FalseRegions(1, 2)


def test_everything_is_false_without_a_heart_and_void_counts_nowhere(mask):
    labels = mask.copy()
    assert find_false_regions(labels, np.zeros_like(mask)) == FalseRegions(1, 9)
    assert find_false_regions(labels, np.full_like(mask, 255), ignore_index=255) == (
        FalseRegions(0, 0)
    )
