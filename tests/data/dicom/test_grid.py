import shutil

import numpy as np
import pydicom
import pytest
from dicom import write_series

from acdc_seg.data.dicom import find_series, read_series
from acdc_seg.errors import DataError

AFFINE = np.diag([-1.5, -1.25, 10.0, 1.0])


def make_image(num_slices: int = 4, num_frames: int = 2) -> np.ndarray:
    shape = (3, 2, num_slices, num_frames)
    return np.arange(np.prod(shape)).reshape(shape).astype(np.int16)


def change(path, **tags):
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def read(folder):
    (series,) = find_series(folder)
    return read_series(series)


def move(paths, offset):
    """Moves images along the normal, by mm."""
    for path in paths:
        position = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[position[0], position[1], position[2] + offset])


def test_copy_of_a_file(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE)
    shutil.copy(paths[3], tmp_path / "copy")
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image())
    assert volume.findings == [
        "1 of 9 images are copies of others (equal SOPInstanceUID) and were left out"
    ]


def test_frame_acquired_twice(tmp_path):
    """The later one stays; its values differ by the intercept."""
    paths = write_series(tmp_path, make_image(), AFFINE)
    shutil.copy(paths[2], tmp_path / "again")
    change(tmp_path / "again", SOPInstanceUID="1.2.3", InstanceNumber=99, RescaleIntercept=500)
    volume = read(tmp_path)
    image = make_image()
    image[:, :, 1, 0] += 500
    np.testing.assert_array_equal(volume.image, image)
    assert volume.findings == [
        "slice 2: 1 duplicates (equal position and TriggerTime) were left out, the later "
        "InstanceNumber stays"
    ]


def test_slice_of_a_volume_acquired_twice(tmp_path):
    paths = write_series(tmp_path, make_image(num_frames=1), AFFINE, frame_ms=None)
    shutil.copy(paths[1], tmp_path / "again")
    change(tmp_path / "again", SOPInstanceUID="1.2.3", InstanceNumber=99, RescaleIntercept=500)
    volume = read(tmp_path)
    image = make_image(num_frames=1)
    image[:, :, 1] += 500
    np.testing.assert_array_equal(volume.image, image)
    assert volume.findings == [
        "slice 2: 1 duplicates (equal position) were left out, the later InstanceNumber stays"
    ]


def test_missing_frame(tmp_path):
    paths = write_series(tmp_path, make_image(num_frames=3), AFFINE)
    paths[7].unlink()
    message = r"unequal numbers of frames: slice 3 of 4 has 2, the others have 3; .* are missing"
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_missing_slice(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE)
    for path in paths[2:4]:
        path.unlink()
    message = r"slices 1 and 2 are 20 mm apart, the others 10 mm: a slice is missing"
    with pytest.raises(DataError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("shift", [2.6, -2.6])
def test_slice_out_of_place(tmp_path, shift):
    paths = write_series(tmp_path, make_image(), AFFINE)
    move(paths[2:4], shift)
    with pytest.raises(DataError, match="a slice is missing, or two stacks are mixed"):
        read(tmp_path)


def test_uneven_slices(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE)
    move(paths[6:], 1.5)
    volume = read(tmp_path)
    assert volume.spacing[2] == pytest.approx(10.5)
    assert volume.affine[2, 2] == pytest.approx(10.5)
    assert volume.findings == ["uneven slices: 10 to 11.5 mm apart; their mean, 10.5 mm, was used"]


def test_rounded_positions_are_even(tmp_path):
    paths = write_series(tmp_path, make_image(), AFFINE)
    move(paths[2:3], 0.02)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image())
    assert volume.findings == []


def shift_sideways(paths, shifts):
    """Moves images along their rows, by mm."""
    for path, shift in zip(paths, shifts, strict=True):
        position = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[position[0] + shift, *position[1:]])


def test_sheared_stack(tmp_path):
    paths = write_series(tmp_path, make_image(num_frames=1), AFFINE)
    shift_sideways(paths, [0, 2, 4, 6])
    volume = read(tmp_path)
    assert volume.spacing == (1.5, 1.25, 10.0)
    np.testing.assert_allclose(volume.affine[:3, 2], (-2, 0, 10))
    assert volume.findings == [
        "a sheared stack: every slice lies 2 mm beside the one before; the affine says so"
    ]


def test_slice_shifted_sideways(tmp_path):
    paths = write_series(tmp_path, make_image(num_frames=1), AFFINE)
    shift_sideways(paths, [0, 3, 0, 0])
    volume = read(tmp_path)
    np.testing.assert_allclose(volume.affine, AFFINE)
    assert volume.findings == ["slices are shifted sideways by up to 3 mm; not corrected"]


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"ImageOrientationPatient": ["0", "1", "0", "-1", "0", "0"]}, "has orientation"),
        ({"PixelSpacing": ["1.25", "1.25"]}, r"has pixel spacing \(1\.25, 1\.25\)"),
        ({"Rows": 3, "PixelData": bytes(18)}, r"has size \(3, 3\), .* has \(2, 3\)"),
    ],
)
def test_images_of_another_grid(tmp_path, tags, message):
    paths = write_series(tmp_path, make_image(), AFFINE)
    change(max(paths), **tags)
    with pytest.raises(DataError, match=rf"{max(paths).name} {message}"):
        read(tmp_path)


@pytest.mark.parametrize("tag", ["TriggerTime", "TemporalPositionIdentifier", "InstanceNumber"])
def test_frames_are_ordered_by_what_there_is(tmp_path, tag):
    """Frame 1 before frame 0, whatever the numbers of the files."""
    paths = write_series(tmp_path, make_image(), AFFINE, frame_ms=None)
    better = ["TriggerTime", "TemporalPositionIdentifier", "InstanceNumber"]
    for index, path in enumerate(paths):
        change(path, **{tag: 10 * (1 - index % 2) + 5})
        for worse in better[better.index(tag) + 1 :]:
            change(path, **{worse: index + 1})
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image()[..., ::-1])
    assert volume.frame_seconds == (pytest.approx(0.01) if tag == "TriggerTime" else None)


def test_constant_trigger_times_do_not_order(tmp_path):
    write_series(tmp_path, make_image(), AFFINE, frame_ms=0)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image())
    assert volume.findings == ["the files do not tell the time between frames (TriggerTime)"]


def test_frames_without_order(tmp_path):
    write_series(tmp_path, make_image(), AFFINE, frame_ms=None, InstanceNumber=None)
    with pytest.raises(DataError, match="no TriggerTime, TemporalPositionIdentifier or Instance"):
        read(tmp_path)


def test_heart_rates_that_differ_between_slices(tmp_path):
    paths = write_series(tmp_path, make_image(num_slices=2, num_frames=3), AFFINE)
    for path, time in zip(paths[3:], (0, 50, 100), strict=True):
        change(path, TriggerTime=time)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.image, make_image(num_slices=2, num_frames=3))
    assert volume.frame_seconds == pytest.approx(0.045)
    assert volume.findings == [
        "frames are 40 to 50 ms apart, by slice: heart rates differed; frames were matched by "
        "number"
    ]


def test_uneven_frames(tmp_path):
    paths = write_series(tmp_path, make_image(num_slices=2, num_frames=4), AFFINE)
    for path in (paths[3], paths[7]):
        change(path, TriggerTime=160)
    volume = read(tmp_path)
    assert volume.findings == ["uneven frames: 40 to 80 ms apart; their mean, 53.33 ms, was used"]
