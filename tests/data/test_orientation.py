import itertools

import nibabel as nib
import numpy as np
import pytest

from acdc_seg.data.orientation import Orientation, find_orientation, find_spacing
from acdc_seg.errors import DataError

LPS = np.diag([-1.5, -1.25, 10.0, 1.0])
VOXELS = np.arange(4 * 3 * 2).reshape(4, 3, 2)
TURNS = [
    "".join(codes)
    for order in itertools.permutations(("LR", "AP", "IS"))
    for codes in itertools.product(*order)
]


@pytest.mark.parametrize("codes", TURNS)
def test_every_orientation_of_a_file_gives_the_same_volume_and_back(codes):
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(LPS), nib.orientations.axcodes2ornt(codes)
    )
    file = nib.Nifti1Image(VOXELS.astype(np.int16), LPS).as_reoriented(turn)
    array, spacing = np.asarray(file.dataobj), find_spacing(file.affine, file.header.get_zooms())
    orientation = find_orientation(file.affine, spacing, array.shape)
    np.testing.assert_array_equal(orientation.apply(array), VOXELS)
    assert orientation.reorder(spacing) == (1.5, 1.25, 10.0)
    np.testing.assert_array_equal(orientation.undo(VOXELS), array)


def test_further_axes_stay_behind():
    orientation = Orientation((2, 0, 1), (False, True, False))
    cine = np.stack([VOXELS, VOXELS + 100], axis=-1)
    assert orientation.apply(cine).shape == (2, 4, 3, 2)
    assert orientation.apply(cine)[1, 0, 2, 1] == 100 + VOXELS[3, 2, 1]
    np.testing.assert_array_equal(orientation.undo(orientation.apply(cine)), cine)


def test_oblique_planes_point_left_and_to_the_feet():
    # a short-axis plane: its first axis up, its second one to the right and front
    x, y = np.array([0.1, 0.2, 1.0]), np.array([0.7, 0.7, -0.2])
    x, y = x / np.linalg.norm(x), (y - y @ x * x / (x @ x)) / np.linalg.norm(y)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([x, y, np.cross(x, y)], axis=1) * (1.4, 1.4, 8)
    orientation = find_orientation(affine, (1.4, 1.4, 8), (200, 180, 10))
    assert orientation.axes == (1, 0, 2)
    assert orientation.flips[:2] == (True, True)


@pytest.mark.parametrize(
    ("spacing", "shape", "axis"),
    [
        ((1.4, 1.4, 8), (9, 9, 9), 2),
        ((8, 1.4, 1.4), (9, 9, 9), 0),
        ((1.4, 8, 1.4), (9, 9, 9), 1),
        ((1.5, 1.5, 1.2), (9, 9, 9), 2),
        ((1.5, 1.5, 1.2), (9, 1, 9), 1),
        ((1.5, 1.2, 1.2), (9, 9, 9), 2),
    ],
)
def test_slices_are_along_the_coarsest_axis(spacing, shape, axis):
    affine = np.diag([*spacing, 1.0])
    assert find_orientation(affine, spacing, shape).axes[2] == axis


@pytest.mark.parametrize(
    ("sizes", "pixdim", "expected"),
    [
        ((1.5, 1.25, 10), (1.5, 1.25, 10), (1.5, 1.25, 10)),
        ((1, 1, 1), (1.56, 1.56, 10), (1.56, 1.56, 10)),
        ((1.5, 1.25, 10), (1, 1, 1), (1.5, 1.25, 10)),
        ((1.5, 1.25, 10), (1.5, 1.25), (1.5, 1.25, 10)),
        ((1.5, 1.25, 10), (1.501, 1.25, 10.01), (1.5, 1.25, 10)),
    ],
)
def test_spacing_of_the_affine_where_one_was_written(sizes, pixdim, expected):
    assert find_spacing(np.diag([-1, -1, 1, 1]) * np.array([*sizes, 1]), pixdim) == expected


def test_sizes_that_contradict_each_other_or_are_zero():
    message = r"1.5 x 1.25 x 10 mm by the affine and 1.5 x 1.25 x 8 mm by pixdim; correct the"
    with pytest.raises(DataError, match=message):
        find_spacing(LPS, (1.5, 1.25, 8))
    with pytest.raises(DataError, match=r"voxel size \(0, 1, 1\) mm must be positive"):
        find_spacing(np.diag([0.0, 1, 1, 1]), (1, 1, 1))
