"""Headers of DICOM files, read up to the voxels.

A file holds one image, or many where it is an enhanced (multi-frame) one; both become `Plane`s.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.data.dicom.planes import Plane
from acdc_seg.data.dicom.values import (
    get_number,
    get_positive,
    get_text,
    get_vector,
    import_pydicom,
    list_items,
)
from acdc_seg.errors import AcdcWarning

DIRECTORY = "1.2.840.10008.1.3.10"
"""SOP class of a DICOMDIR file, the index of a disk."""
PREAMBLE = 128
"""Bytes in front of the word DICM."""
TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "ImageType",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "PatientID",
    "PatientSize",
    "PatientWeight",
    "HeartRate",
    "NominalInterval",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TriggerTime",
    "TemporalPositionIdentifier",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
"""All that is read of a header, so that thousands of files take seconds."""
PHASE_TYPES = ("P", "PHASE", "PHASE MAP", "VELOCITY", "VELOCITY MAP")
"""Third value of ImageType where voxels are velocities, not grey values."""


@dataclass(frozen=True)
class DicomFile:
    """A file's header; `skipped` says why its images are not used, `planes` is empty then.

    `height_cm`, `weight_kg` and `heart_rate` (beats per minute) are None where not given.
    """

    path: Path
    study_uid: str
    series_uid: str
    reference_uid: str
    series_number: int
    description: str
    patient_id: str
    height_cm: float | None
    weight_kg: float | None
    heart_rate: float | None
    planes: tuple[Plane, ...]
    skipped: str | None


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; needs no pydicom."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def read_header(path: Path) -> DicomFile | None:
    """Reads a file up to its voxels; None where it is no DICOM file of a series.

    A damaged one is None too, with an AcdcWarning.

    Raises:
        ConfigError: pydicom is not installed.
    """
    pydicom = import_pydicom()
    if not is_dicom(path):
        return None
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
            if dataset.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY:
                return None
            return _describe(path, dataset)
    except Exception as error:  # a damaged header can end in any of them
        reason = " ".join(str(error).split()) or type(error).__name__
        message = f"{path}: left out, a damaged DICOM file ({reason}); copy it again"
        warnings.warn(message, AcdcWarning, stacklevel=2)
        return None


def _describe(path: Path, dataset: Any) -> DicomFile:
    if not dataset.get("SeriesInstanceUID"):
        raise ValueError("SeriesInstanceUID is missing")
    planes: list[Plane] = []
    skipped = _skip_reason(dataset)
    if skipped is None:
        planes, skipped = _read_planes(path, dataset)
    # some scanners write centimeters where the standard has meters
    height = get_positive(dataset, "PatientSize")
    return DicomFile(
        path=path,
        study_uid=get_text(dataset, "StudyInstanceUID"),
        series_uid=get_text(dataset, "SeriesInstanceUID"),
        reference_uid=get_text(dataset, "FrameOfReferenceUID"),
        series_number=int(get_number(dataset, "SeriesNumber") or 0),
        description=get_text(dataset, "SeriesDescription"),
        patient_id=get_text(dataset, "PatientID"),
        height_cm=None if height is None else height * (100 if height < 3 else 1),
        weight_kg=get_positive(dataset, "PatientWeight"),
        heart_rate=_heart_rate(dataset),
        planes=tuple(planes),
        skipped=skipped,
    )


def _skip_reason(dataset: Any) -> str | None:
    """Why the images of a file are no cine or volume of the heart, by its header alone."""
    modality = get_text(dataset, "Modality")
    kinds = [str(kind).upper() for kind in dataset.get("ImageType") or ()]
    photometric = get_text(dataset, "PhotometricInterpretation")
    if modality != "MR":
        return f"modality {modality or 'unknown'}, expected MR"
    if "LOCALIZER" in kinds:
        return "a localizer (ImageType)"
    if "DERIVED" in kinds[:1]:
        return f"derived images (ImageType {'/'.join(kinds)})"
    if any(kind in PHASE_TYPES for kind in kinds[2:]):
        return f"phase images (ImageType {'/'.join(kinds)})"
    if photometric != "MONOCHROME2":
        return f"PhotometricInterpretation {photometric or 'missing'}, expected MONOCHROME2"
    return None


def _read_planes(path: Path, dataset: Any) -> tuple[list[Plane], str | None]:
    """The images of a file, or none and the reason."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    num_frames = int(get_number(dataset, "NumberOfFrames") or 1)
    if num_frames != (1 if frames is None else len(frames)):
        return [], "a multi-frame file without the place of each frame (functional groups)"
    try:
        if frames is None:
            return [_read_plane(path, [dataset], None)], None
        shared = list_items(dataset.get("SharedFunctionalGroupsSequence") or ())
        sources = [[*list_items([frame]), *shared, dataset] for frame in frames]
        return [_read_plane(path, source, index) for index, source in enumerate(sources)], None
    except ValueError as error:
        return [], str(error)


def _read_plane(path: Path, sources: list[Any], index: int | None) -> Plane:
    """An image whose attributes are in the first of `sources` that has them.

    Raises:
        ValueError: It has no place in space.
    """
    dataset = sources[-1]

    def find(*keywords: str) -> float | None:
        values = (get_number(source, keyword) for keyword in keywords for source in sources)
        return next((value for value in values if value is not None), None)

    rows, columns = find("Rows"), find("Columns")
    if not rows or not columns:
        raise ValueError("no images (Rows and Columns are missing)")
    orientation = get_vector(sources, "ImageOrientationPatient", 6)
    if not np.allclose(_products(orientation), (1, 1, 0), atol=1e-2):
        raise ValueError(f"ImageOrientationPatient {orientation} is not two perpendicular units")
    pixel_spacing = get_vector(sources, "PixelSpacing", 2)
    if min(pixel_spacing) <= 0:
        raise ValueError(f"PixelSpacing {pixel_spacing} is not positive")
    slope, number = find("RescaleSlope"), find("InstanceNumber")
    return Plane(
        path=path,
        index=index,
        uid=get_text(dataset, "SOPInstanceUID"),
        size=(int(rows), int(columns)),
        position=get_vector(sources, "ImagePositionPatient", 3),
        orientation=orientation,
        pixel_spacing=pixel_spacing,
        thickness=find("SliceThickness"),
        slice_distance=find("SpacingBetweenSlices"),
        trigger_ms=find("TriggerTime", "NominalCardiacTriggerDelayTime"),
        temporal=find("TemporalPositionIdentifier", "TemporalPositionIndex"),
        number=None if number is None else (number, index or 0),
        slope=1.0 if slope is None else slope,
        intercept=find("RescaleIntercept") or 0.0,
    )


def _products(orientation: tuple[float, ...]) -> tuple[float, float, float]:
    """Lengths (squared) of the two vectors, and their scalar product."""
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return float(row @ row), float(column @ column), float(row @ column)


def _heart_rate(dataset: Any) -> float | None:
    """HeartRate, or 60000 / NominalInterval (ms), in beats per minute."""
    interval = get_positive(dataset, "NominalInterval")
    return get_positive(dataset, "HeartRate") or (None if interval is None else 60_000 / interval)
