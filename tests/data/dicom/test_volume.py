import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom import write_multiframe, write_series
from pydicom.uid import RLELossless
from scipy.spatial.transform import Rotation

from acdc_seg.data.dicom import find_series, read_series
from acdc_seg.errors import DataError

AFFINE = np.array([[-1.5, 0, 0, 60], [0, -1.25, 0, 40], [0, 0, 10, -20], [0, 0, 0, 1]], dtype=float)
"""Axial slices as scanners store them: columns toward the left, rows toward the back."""


def oblique(handed: int = 1) -> np.ndarray:
    """A double-oblique affine of spacing (1.5, 1.25, 8) mm."""
    affine = np.eye(4)
    rotation = Rotation.from_euler("xyz", [25, -40, 110], degrees=True).as_matrix()
    affine[:3, :3] = rotation * (1.5, 1.25, 8.0 * handed)
    affine[:3, 3] = (-31.25, 44.5, 12.0)
    return affine


def make_image(num_frames: int = 2) -> np.ndarray:
    """`(5, 4, 3, T)` of all different values."""
    return np.arange(60 * num_frames).reshape(5, 4, 3, num_frames).astype(np.int16)


def read(folder):
    (series,) = find_series(folder)
    return read_series(series)


@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["axial", "oblique"])
@pytest.mark.parametrize("per_slice", [False, True])
def test_image_and_affine_are_exact(tmp_path, affine, per_slice):
    write_series(tmp_path, make_image(), affine, per_slice=per_slice)
    volume = read(tmp_path)
    assert volume.image.dtype == np.float32
    np.testing.assert_array_equal(volume.image, make_image())
    np.testing.assert_allclose(volume.affine, affine, atol=1e-8)
    np.testing.assert_allclose(volume.spacing, np.linalg.norm(affine[:3, :3], axis=0), atol=1e-8)
    assert volume.frame_seconds == pytest.approx(0.04)


def test_affine_by_hand(tmp_path):
    """Of the axial series: column 2, row 3, slice 1 is 3 mm further left, 3.75 mm further back."""
    paths = write_series(tmp_path, make_image(1), AFFINE)
    first = pydicom.dcmread(paths[0])
    assert list(first.ImagePositionPatient) == [-60, -40, -20]  # LPS
    assert list(first.ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert list(first.PixelSpacing) == [1.25, 1.5]  # between rows, between columns
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine @ (2, 3, 1, 1), (57, 36.25, -10, 1))
    assert volume.image[2, 3, 1, 0] == first_value(paths[1], column=2, row=3)


def first_value(path, column, row):
    return pydicom.dcmread(path).pixel_array[row, column]


def test_left_handed_affine_reverses_the_slices(tmp_path):
    affine = oblique(handed=-1)
    write_series(tmp_path, make_image(), affine)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image[:, :, ::-1], make_image())
    # equal voxels are at equal places
    np.testing.assert_allclose(volume.affine @ (1, 2, 0, 1), affine @ (1, 2, 2, 1), atol=1e-8)


def test_rescaled_values(tmp_path):
    image = make_image(1) * 0.5 - 7
    write_series(tmp_path, image, AFFINE, slope=0.5, intercept=-7)
    np.testing.assert_array_equal(read(tmp_path).image, image)


def test_distance_between_slices_is_not_their_thickness(tmp_path):
    paths = write_series(tmp_path, make_image(1), AFFINE, SpacingBetweenSlices="5")
    assert pydicom.dcmread(paths[0]).SliceThickness == 5
    volume = read(tmp_path)
    assert volume.spacing == (1.5, 1.25, 10.0)
    assert volume.findings == [
        "slices are 10 mm apart by their positions, SpacingBetweenSlices says 5 mm; the positions "
        "were used"
    ]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"PatientSize": "1.75", "PatientWeight": "70.5", "HeartRate": 62}, (175, 70.5, 62)),
        ({"PatientSize": "175", "NominalInterval": 750}, (175, None, 80)),
        ({"PatientSize": "0", "PatientWeight": "", "NominalInterval": 0}, (None, None, None)),
    ],
)
def test_patient(tmp_path, tags, expected):
    write_series(tmp_path, make_image(1), AFFINE, **tags)
    volume = read(tmp_path)
    assert (volume.height_cm, volume.weight_kg, volume.heart_rate) == expected


def test_heart_rate_is_the_median_of_the_files(tmp_path):
    paths = write_series(tmp_path, make_image(1), AFFINE)
    for path, rate in zip(paths, (60, 90, 62), strict=True):
        change(path, HeartRate=rate)
    assert read(tmp_path).heart_rate == 62


def change(path, **tags):
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_planes_name_the_source_of_every_image(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE)
    volume = read(tmp_path)
    assert [plane.path for frames in volume.planes for plane in frames] == paths


@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["axial", "oblique"])
def test_multiframe_file(tmp_path, affine):
    write_multiframe(tmp_path / "enhanced", make_image(), affine, frame_ms=30)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image())
    np.testing.assert_allclose(volume.affine, affine, atol=1e-8)
    assert volume.frame_seconds == pytest.approx(0.03)
    assert volume.planes[2][1].index == 5


def test_compressed_voxels(tmp_path):
    for path in write_series(tmp_path, make_image(), AFFINE):
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    np.testing.assert_array_equal(read(tmp_path).image, make_image())


def test_single_slice(tmp_path):
    write_series(tmp_path, make_image()[:, :, :1], AFFINE)
    volume = read(tmp_path)
    assert volume.image.shape == (5, 4, 1, 2)
    assert volume.spacing == (1.5, 1.25, 5.0)
    assert volume.findings == ["a single slice; its extent is SliceThickness, 5 mm"]


def test_single_slice_of_unknown_thickness(tmp_path):
    write_series(tmp_path, make_image()[:, :, :1], AFFINE, SliceThickness=None)
    volume = read(tmp_path)
    assert volume.spacing[2] == 1
    assert "unknown thickness" in volume.findings[0]


def test_truncated_voxels(tmp_path):
    path = write_series(tmp_path, make_image(1), AFFINE)[1]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match=rf"{path.name}: voxels cannot be read .* copy the file"):
        read(tmp_path)


def test_claim_of_too_many_voxels_is_refused_before_reading(tmp_path):
    write_series(tmp_path, make_image(1), AFFINE, Rows=30000, Columns=30000)
    with pytest.raises(DataError, match=r"claims \(30000, 30000, 3, 1\) voxels, 10\.1 GiB"):
        read(tmp_path)


def test_skipped_series_is_not_read(tmp_path):
    write_series(tmp_path, make_image(1), AFFINE, Modality="CT")
    (series,) = find_series(tmp_path)
    with pytest.raises(DataError, match="not used: modality CT, expected MR"):
        read_series(series)


def test_missing_pydicom(tmp_path):
    """The package loads without it, and its absence is an error that says what to install."""
    code = (
        "import sys; sys.modules['pydicom'] = None\n"
        "from pathlib import Path\n"
        "from acdc_seg.data.dicom import find_series, is_dicom\n"
        "from acdc_seg.errors import ConfigError\n"
        f"print(is_dicom(Path({str(tmp_path)!r})))\n"
        f"try: find_series(Path({str(tmp_path)!r}))\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert "False" in done.stdout
    assert "pip install 'acdc_seg[dicom]'" in done.stdout
