import nibabel
import numpy as np
import pytest

from acdc_seg.config import ClassesConfig
from acdc_seg.data.label_maps import check_same_grid, count_frames, read_label_map
from acdc_seg.errors import ConfigError, DataError

SPACING = (1.5, 1.5, 8.0)
PLACEHOLDER = np.diag([-1.0, -1.0, 1.0, 1.0])
"""The affine of ACDC's files."""


def write_map(path, labels, *, affine=None, spacing=SPACING):
    affine = np.diag([*spacing, 1.0]) if affine is None else affine
    nifti = nibabel.Nifti1Image(labels, affine)
    nifti.header.set_zooms((*spacing, 1.0)[: labels.ndim])
    nibabel.save(nifti, path)
    return path


@pytest.fixture
def labels():
    labels = np.zeros((4, 5, 2), np.uint8)
    labels[1, 1, 0], labels[2, 2, 0], labels[3, 3, 1] = 1, 2, 3
    return labels


def test_voxels_are_class_indices_and_void(tmp_path, labels):
    values = np.array([7, 10, 20, 255], np.int16)[labels]
    path = write_map(tmp_path / "case_seg.nii.gz", values)
    classes = ClassesConfig(names=["background", "a", "b"], values=[7, 20, 10], void=255)
    found = read_label_map(path, classes)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, np.array([0, 2, 1, 255])[labels])
    assert found.spacing == SPACING
    with pytest.raises(DataError, match=r"value 255 \(1 voxels\), expected one of \[7, 10, 20\]"):
        read_label_map(path, classes, allow_void=False)


def test_a_frame_of_a_cine(tmp_path, labels):
    cine = np.stack([labels, np.zeros_like(labels)], axis=-1)
    path = write_map(tmp_path / "case_seg.nii", cine)
    assert count_frames(path) == 2
    np.testing.assert_array_equal(read_label_map(path, ClassesConfig(), frame=0).labels, labels)
    assert not read_label_map(path, ClassesConfig(), frame=1).labels.any()
    assert count_frames(write_map(tmp_path / "one.nii", labels)) == 1
    (tmp_path / "text.nii").write_text("no header")
    with pytest.raises(DataError, match=r"text\.nii: not a readable NIfTI file"):
        count_frames(tmp_path / "text.nii")


@pytest.mark.parametrize(
    ("affine", "spacing", "expected"),
    [
        (PLACEHOLDER, SPACING, SPACING),
        (None, SPACING, SPACING),
        (np.diag([1.5, 1.5, 8, 1]), (1.0, 1.0, 1.0), SPACING),
    ],
)
def test_spacing_is_that_of_the_affine_or_of_pixdim_where_one_is_a_placeholder(
    tmp_path, labels, affine, spacing, expected
):
    path = write_map(tmp_path / "case.nii", labels, affine=affine, spacing=spacing)
    assert read_label_map(path, ClassesConfig()).spacing == pytest.approx(expected)


def test_contradicting_spacing_unknown_values_and_colors_are_errors(tmp_path, labels):
    path = write_map(tmp_path / "a.nii", labels, affine=np.diag([2, 2, 8, 1]), spacing=SPACING)
    with pytest.raises(DataError, match=r"2 x 2 x 8 mm by the affine and 1\.5 x 1\.5 x 8 mm"):
        read_label_map(path, ClassesConfig())
    path = write_map(tmp_path / "b.nii", labels + np.float32(0.5))
    with pytest.raises(DataError, match=r"value 0\.5 .*expected one of \[0, 1, 2, 3\]"):
        read_label_map(path, ClassesConfig())
    with pytest.raises(ConfigError, match="mask_encoding"):
        read_label_map(path, ClassesConfig(mask_encoding="colors"))


def moved(*, by=0.0, turned=False):
    affine = np.diag([1.5, 1.5, 8.0, 1.0])
    affine[0, 3] = by
    if turned:
        affine[:, 0] *= -1
    return affine


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (moved(), moved(by=0.05)),
        (PLACEHOLDER, moved(by=100)),
        (moved(turned=True), PLACEHOLDER),
        (PLACEHOLDER, np.eye(4)),
    ],
)
def test_grids_agree_where_positions_do_or_one_is_a_placeholder(tmp_path, labels, first, second):
    maps = [
        read_label_map(write_map(tmp_path / name, labels, affine=affine), ClassesConfig())
        for name, affine in (("a.nii", first), ("b.nii", second))
    ]
    check_same_grid(*maps)


@pytest.mark.parametrize(
    ("shape", "affine", "spacing", "message"),
    [
        ((5, 4, 2), None, SPACING, r"has shape \(5, 4, 2\), .*has \(4, 5, 2\)"),
        ((4, 5, 2), None, (1.5, 1.5, 10), r"voxels of 1\.5 x 1\.5 x 10 mm, .* 1\.5 x 1\.5 x 8"),
        ((4, 5, 2), PLACEHOLDER, (1.5, 1.4, 8), r"voxels of 1\.5 x 1\.4 x 8 mm"),
        ((4, 5, 2), moved(by=3), SPACING, "differs .* by up to 3 mm"),
        # the far corner is at -4.5 instead of 4.5
        ((4, 5, 2), moved(turned=True), SPACING, "differs .* by up to 9 mm"),
    ],
)
def test_other_grids_are_errors(tmp_path, labels, shape, affine, spacing, message):
    truth = read_label_map(write_map(tmp_path / "truth.nii", labels), ClassesConfig())
    path = write_map(tmp_path / "p.nii", np.zeros(shape, np.uint8), affine=affine, spacing=spacing)
    with pytest.raises(DataError, match=message) as caught:
        check_same_grid(read_label_map(path, ClassesConfig()), truth)
    assert str(caught.value).startswith(f"{path}: ")
    assert "write the prediction on the grid of the image" in str(caught.value)
