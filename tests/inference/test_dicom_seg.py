import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom import write_multiframe, write_series
from scipy.spatial.transform import Rotation

from acdc_seg.data.dicom import find_series, read_series
from acdc_seg.errors import DataError
from acdc_seg.inference.dicom_seg import write_dicom_seg

AXIAL = np.diag([-1.5, -1.25, 10.0, 1.0])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = Rotation.from_euler("xyz", [25, -40, 110], degrees=True).as_matrix() * (
    1.5,
    1.25,
    8,
)
OBLIQUE[:3, 3] = (-31.25, 44.5, 12.0)
SHAPE = (5, 4, 3, 2)


def make_volume(folder, affine=AXIAL, **tags):
    write_series(folder, np.zeros(SHAPE, np.int16), affine, **tags)
    (series,) = find_series(folder)
    return read_series(series)


def make_labels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


def read_labels(path, affine, shape) -> np.ndarray:
    """The label map `(X, Y, Z)` on the grid of `affine`, by the positions in the file alone."""
    seg = pydicom.dcmread(path)
    size = (seg.NumberOfFrames, seg.Rows, seg.Columns)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: np.prod(size)].reshape(size)
    shared = seg.SharedFunctionalGroupsSequence[0]
    direction = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    rows, columns = np.array(shared.PixelMeasuresSequence[0].PixelSpacing, float)
    labels = np.zeros(shape, np.uint8)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(frame)
        lps = (
            position
            + column[:, None] * columns * direction[:3]
            + row[:, None] * rows * direction[3:]
        )
        ras = lps * (-1, -1, 1)
        voxels = (ras - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
        np.testing.assert_allclose(voxels, np.rint(voxels), atol=1e-4)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[tuple(np.rint(voxels).astype(int).T)] += number
    return labels


@pytest.mark.parametrize("affine", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
@pytest.mark.parametrize("per_slice", [False, True])
def test_labels_come_back_on_the_grid_of_the_source(tmp_path, affine, per_slice):
    volume = make_volume(tmp_path / "mr", affine, per_slice=per_slice)
    labels = make_labels()
    paths = write_dicom_seg(
        labels, volume, tmp_path, name="P1", model="m", phases={"ES": 1, "ED": 0}
    )
    assert [path.name for path in paths] == ["P1_ES_seg.dcm", "P1_ED_seg.dcm"]
    for path, frame in zip(paths, (1, 0), strict=True):
        np.testing.assert_array_equal(read_labels(path, affine, SHAPE[:3]), labels[..., frame])


def test_multiframe_source(tmp_path):
    write_multiframe(tmp_path / "mr", np.zeros(SHAPE, np.int16), OBLIQUE)
    (series,) = find_series(tmp_path)
    labels = make_labels()
    path = write_dicom_seg(
        labels, read_series(series), tmp_path, name="P1", model="m", phases={"ES": 1}
    )[0]
    np.testing.assert_array_equal(read_labels(path, OBLIQUE, SHAPE[:3]), labels[..., 1])
    assert {frame for _, _, frame in list_sources(path)} == {4, 5, 6}  # 3 slices, second time


def list_sources(path) -> list[tuple]:
    """Position (LPS, rounded), source UID and source frame of every frame of a SEG."""
    sources = []
    for group in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0].ImagePositionPatient
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        sources.append(
            (
                tuple(round(float(number), 3) for number in position),
                source.ReferencedSOPInstanceUID,
                source.get("ReferencedFrameNumber"),
            )
        )
    return sources


@pytest.mark.parametrize("per_slice", [False, True])
def test_every_frame_names_its_source_image(tmp_path, per_slice):
    volume = make_volume(tmp_path / "mr", OBLIQUE, per_slice=per_slice)
    path = write_dicom_seg(make_labels(), volume, tmp_path, name="P1", model="m")[1]
    images = [pydicom.dcmread(frames[1].path) for frames in volume.planes]
    expected = {
        (tuple(round(float(x), 3) for x in image.ImagePositionPatient), image.SOPInstanceUID, None)
        for image in images
    }
    assert set(list_sources(path)) == expected
    by_series = {
        series.SeriesInstanceUID: {
            item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence
        }
        for series in pydicom.dcmread(path).ReferencedSeriesSequence
    }
    assert len(by_series) == (3 if per_slice else 1)
    for image in images:
        assert image.SOPInstanceUID in by_series[image.SeriesInstanceUID]


def test_what_the_file_says(tmp_path):
    volume = make_volume(tmp_path / "mr", SeriesNumber=4, PatientName="Doe^Jane")
    path = write_dicom_seg(
        make_labels(), volume, tmp_path, name="P1", model="net", phases={"ED": 0}
    )[0]
    seg = pydicom.dcmread(path)
    source = pydicom.dcmread(volume.planes[0][0].path)
    assert (seg.Modality, seg.SegmentationType) == ("SEG", "BINARY")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert seg[keyword].value == source[keyword].value
    assert (seg.SeriesNumber, seg.InstanceNumber) == (1004, 1)
    assert seg.SeriesDescription == "acdc_seg ED, research only"
    assert "research only" in seg.ContentDescription
    assert seg.ContentQualification == "RESEARCH"
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"AUTOMATIC"}
    assert seg.ManufacturerModelName == "net"


def test_segments_are_coded(tmp_path):
    """Codes of SNOMED CT, as in DICOM's tables (PS3.16, CID 7150, 7152, 7166 and 12305)."""
    volume = make_volume(tmp_path / "mr")
    path = write_dicom_seg(make_labels(), volume, tmp_path, name="P1", model="m")[0]
    found = [
        (
            segment.SegmentNumber,
            segment.SegmentLabel,
            segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue,
            segment.SegmentedPropertyTypeCodeSequence[0].CodeValue,
            segment.AnatomicRegionSequence[0].CodeValue,
        )
        for segment in pydicom.dcmread(path).SegmentSequence
    ]
    assert found == [
        (1, "RV blood pool", "91720002", "87612001", "53085002"),
        (2, "LV myocardium", "91723000", "49848007", "80891009"),
        (3, "LV blood pool", "91720002", "87612001", "87878005"),
    ]


def test_all_frames_and_one_frame(tmp_path):
    labels = make_labels()
    volume = make_volume(tmp_path / "cine")
    paths = write_dicom_seg(labels, volume, tmp_path, name="P1", model="m")
    assert [path.name for path in paths] == ["P1_frame01_seg.dcm", "P1_frame02_seg.dcm"]
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in paths}) == 2
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in paths}) == 1
    write_series(tmp_path / "one", np.zeros(SHAPE[:3], np.int16), AXIAL)
    (series,) = find_series(tmp_path / "one")
    (path,) = write_dicom_seg(labels[..., 0], read_series(series), tmp_path, name="P2", model="m")
    assert path.name == "P2_seg.dcm"
    np.testing.assert_array_equal(read_labels(path, AXIAL, SHAPE[:3]), labels[..., 0])


def test_uids_follow_from_the_content(tmp_path):
    volume = make_volume(tmp_path / "mr")

    def uid(seed):
        paths = write_dicom_seg(
            make_labels(seed), volume, tmp_path, name="P", model="m", phases={"ED": 0}
        )
        return pydicom.dcmread(paths[0]).SOPInstanceUID

    assert uid(0) == uid(0) != uid(1)


def test_empty_label_map(tmp_path):
    volume = make_volume(tmp_path / "mr")
    labels = np.zeros(SHAPE, np.uint8)
    path = write_dicom_seg(labels, volume, tmp_path, name="P", model="m")[0]
    assert not read_labels(path, AXIAL, SHAPE[:3]).any()


def test_anonymized_source(tmp_path):
    removed = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyID")
    volume = make_volume(tmp_path / "mr", **dict.fromkeys(removed))
    path = write_dicom_seg(make_labels(), volume, tmp_path, name="P", model="m")[0]
    assert pydicom.dcmread(path).PatientID == ""


@pytest.mark.parametrize(
    ("labels", "phases", "message"),
    [
        (np.zeros((4, 5, 3, 2), np.uint8), None, r"shape \(4, 5, 3, 2\), the series has \(5, 4"),
        (np.zeros(SHAPE[:3], np.uint8), None, r"shape \(5, 4, 3, 1\), the series has"),
        (np.full(SHAPE, 4, np.uint8), None, "have the value 4, expected 0 to 3"),
        (np.zeros(SHAPE, np.uint8), {"ES": 2}, "phase ES: frame 2 does not exist, .* has 2"),
    ],
)
def test_unfit_labels(tmp_path, labels, phases, message):
    volume = make_volume(tmp_path / "mr")
    with pytest.raises(DataError, match=message):
        write_dicom_seg(labels, volume, tmp_path, name="P", model="m", phases=phases)
    assert not list(tmp_path.glob("*.dcm"))


def test_source_without_frame_of_reference(tmp_path):
    volume = make_volume(tmp_path / "mr", FrameOfReferenceUID=None)
    with pytest.raises(DataError, match="FrameOfReferenceUID is missing"):
        write_dicom_seg(make_labels(), volume, tmp_path, name="P", model="m")


def test_missing_highdicom():
    code = (
        "import sys; sys.modules['highdicom'] = None\n"
        "from acdc_seg.errors import ConfigError\n"
        "from acdc_seg.inference.dicom_seg import import_highdicom\n"
        "try: import_highdicom()\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert "pip install 'acdc_seg[dicom]'" in done.stdout
