import shutil

import numpy as np
import pydicom
import pytest
from dicom import write_series
from pydicom.uid import MediaStorageDirectoryStorage

from acdc_seg.data.dicom import find_series, is_dicom, read_series
from acdc_seg.errors import AcdcWarning, DataError

AFFINE = np.diag([-1.5, -1.25, 10.0, 1.0])


def make_image(num_frames: int = 2) -> np.ndarray:
    return np.arange(60 * num_frames).reshape(5, 4, 3, num_frames).astype(np.int16)


def test_series_of_a_tree(tmp_path):
    write_series(tmp_path / "b" / "deep", make_image(), AFFINE, PatientID="P 1/x", SeriesNumber=7)
    write_series(tmp_path / "a", make_image(1), AFFINE, PatientID="P2", SeriesDescription="4ch")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "empty").touch()
    first, second = find_series(tmp_path)
    assert (first.name, second.name) == ("P_1_x_7", "P2_1")
    assert second.description == "4ch"
    assert (first.num_slices, len(first.planes), len(second.planes)) == (3, 6, 3)
    assert len(find_series(tmp_path / "a")) == 1


def test_names_are_unique(tmp_path):
    for folder in ("a", "b", "c"):
        write_series(tmp_path / folder, make_image(1), AFFINE, PatientID="P")
    assert {series.name for series in find_series(tmp_path)} == {"P_1", "P_1_2", "P_1_3"}


def test_one_folder_of_two_series(tmp_path):
    write_series(tmp_path, make_image(1), AFFINE, seed=1)
    for path in tmp_path.iterdir():
        path.rename(path.with_suffix(".dcm"))
    write_series(tmp_path, make_image(2), AFFINE, seed=2)
    assert sorted(len(series.planes) for series in find_series(tmp_path)) == [3, 6]


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Modality": "CT"}, "modality CT, expected MR"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a localizer (ImageType)"),
        (
            {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
            "derived images (ImageType DERIVED/SECONDARY/MPR)",
        ),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "P"]},
            "phase images (ImageType ORIGINAL/PRIMARY/P)",
        ),
        (
            {"PhotometricInterpretation": "RGB"},
            "PhotometricInterpretation RGB, expected MONOCHROME2",
        ),
        (
            {"ImagePositionPatient": None},
            "no place in space (ImagePositionPatient is missing or damaged)",
        ),
        ({"PixelSpacing": ["0", "1"]}, "PixelSpacing (0.0, 1.0) is not positive"),
        (
            {"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]},
            "ImageOrientationPatient (1.0, 0.0, 0.0, 1.0, 0.0, 0.0) is not two perpendicular units",
        ),
        (
            {"NumberOfFrames": 3},
            "a multi-frame file without the place of each frame (functional groups)",
        ),
    ],
)
def test_skipped_series(tmp_path, tags, reason):
    write_series(tmp_path / "odd", make_image(1), AFFINE, PatientID="A", **tags)
    write_series(tmp_path / "cine", make_image(), AFFINE, PatientID="B")
    odd, cine = find_series(tmp_path)
    assert (odd.skipped, odd.num_slices) == (reason, 0)
    assert cine.skipped is None


def test_derived_images_of_a_series_are_left_out(tmp_path):
    paths = write_series(tmp_path, make_image(1), AFFINE)
    derived = pydicom.dcmread(paths[0])
    derived.ImageType, derived.SOPInstanceUID = ["DERIVED", "SECONDARY", "MIP"], "1.2.3"
    derived.save_as(tmp_path / "derived")
    (series,) = find_series(tmp_path)
    volume = read_series(series)
    np.testing.assert_array_equal(volume.image, make_image(1))
    assert volume.findings == ["1 files left out: derived images (ImageType DERIVED/SECONDARY/MIP)"]


def test_slices_of_a_series_each_are_joined(tmp_path):
    write_series(tmp_path, make_image(), AFFINE, per_slice=True)
    (series,) = find_series(tmp_path)
    assert series.num_slices == 3
    assert series.findings == ("3 series of one slice each were joined (series 1, 2, 3)",)


def change_series(paths, **tags):
    for path in paths:
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


@pytest.mark.parametrize(
    "tags",
    [
        {"SeriesDescription": "LGE_1"},
        {"StudyInstanceUID": "1.2.3"},
        {"FrameOfReferenceUID": "1.2.3"},
        {"ImageOrientationPatient": ["1", "0", "0", "0", "0", "-1"]},
        {"PixelSpacing": ["2", "2"]},
    ],
)
def test_other_single_slices_are_not_joined(tmp_path, tags):
    paths = write_series(tmp_path, make_image(), AFFINE, per_slice=True)
    change_series(paths[4:], **tags)
    assert sorted(series.num_slices for series in find_series(tmp_path)) == [1, 2]


def test_single_frame_is_not_joined_to_a_cine(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE, per_slice=True)
    paths[5].unlink()
    assert sorted(series.num_slices for series in find_series(tmp_path)) == [1, 2]


def test_of_a_repeated_slice_the_later_series_stays(tmp_path):
    image = make_image()
    paths = write_series(tmp_path / "stack", image, AFFINE, per_slice=True)
    repeat = tmp_path / "repeat"
    repeat.mkdir()
    for number, path in enumerate(paths[2:4]):
        shutil.copy(path, repeat / path.name)
        change_series(
            [repeat / path.name],
            SeriesInstanceUID="1.2.3",
            SOPInstanceUID=f"1.2.3.{number}",
            SeriesNumber=9,
            RescaleIntercept=100,
        )
    (series,) = find_series(tmp_path)
    volume = read_series(series)
    image[:, :, 1] += 100
    np.testing.assert_array_equal(volume.image, image)
    assert volume.findings == [
        "3 series of one slice each were joined (series 1, 3, 9)",
        "series 2 was left out, a later one has its position",
    ]


def test_repeated_single_slice_is_no_stack(tmp_path):
    for seed in (1, 2):
        folder = tmp_path / f"{seed}"
        write_series(folder, make_image()[:, :, :1], AFFINE, seed=seed, StudyInstanceUID="1.2.3")
    assert [series.num_slices for series in find_series(tmp_path)] == [1, 1]


def test_damaged_header_is_left_out_with_a_warning(tmp_path):
    path = write_series(tmp_path, make_image(1), AFFINE)[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(AcdcWarning, match=rf"{path.name}: left out, a damaged DICOM file"):
        (series,) = find_series(tmp_path)
    assert len(series.paths) == 2


def test_index_of_a_disk_is_ignored(tmp_path):
    path = write_series(tmp_path, make_image(1), AFFINE)[0]
    index = pydicom.dcmread(path)
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.save_as(tmp_path / "DICOMDIR")
    (series,) = find_series(tmp_path)
    assert len(series.paths) == 3


@pytest.mark.parametrize(
    ("name", "message"), [("", "no DICOM images found"), ("missing", "does not exist")]
)
def test_nothing_found(tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(DataError, match=message):
        find_series(tmp_path / name)


def test_is_dicom(tmp_path):
    path = write_series(tmp_path / "series", make_image(1), AFFINE)[0]
    (tmp_path / "notes.txt").write_text("no DICOM")
    assert is_dicom(path)
    assert not is_dicom(tmp_path / "notes.txt")
    assert not is_dicom(tmp_path)
