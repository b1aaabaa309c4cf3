"""Writes DICOM series of small arrays, as scanners store them, for tests that read them."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)


def write_series(
    folder: Path,
    image: np.ndarray,
    affine: np.ndarray,
    *,
    frame_ms: float | None = 40.0,
    slope: float = 1.0,
    intercept: float = 0.0,
    per_slice: bool = False,
    seed: int = 0,
    **tags: Any,
) -> list[Path]:
    """Writes a file per image, named and numbered in random order, the frames timed by TriggerTime.

    Reading gives back `image` and `affine`; where `affine` is left-handed (negative determinant),
    with the slice axis reversed, for slices are read along row x column.

    Args:
        folder: Made where missing.
        image: `(X, Y, Z)` or `(X, Y, Z, T)`; first axis columns, second rows.
        affine: `(4, 4)` voxel to RAS+ mm; no shear.
        frame_ms: Time between frames; None writes no TriggerTime.
        slope, intercept: Rescaling; stored values are rounded to int16.
        per_slice: A series per slice (equal study, numbers 1, 2, ...) instead of one.
        seed: Of the UIDs and of the order of files.
        **tags: Further or other attributes of all files by keyword; None removes one.

    Returns:
        The files in the order z0 t0, z0 t1, ..., z1 t0, ...
    """
    image = image if image.ndim == 4 else image[..., None]
    places = [(z, t) for z in range(image.shape[2]) for t in range(image.shape[3])]
    names = list(range(len(places)))
    random.Random(seed).shuffle(names)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for (z, t), name in zip(places, names, strict=True):
        series = z if per_slice else 0
        dataset = make_dataset(f"{folder.name}-{seed}", series, len(paths))
        set_geometry(dataset, dataset, dataset, affine, z)
        if frame_ms is not None:
            dataset.TriggerTime = round(t * frame_ms, 3)
        stored = np.rint((image[:, :, z, t].astype(float) - intercept) / slope)
        set_pixels(dataset, stored.T, slope, intercept)
        set_tags(dataset, tags)
        paths.append(save(dataset, folder / f"IM{name:05d}"))
    return paths


def write_multiframe(
    path: Path, image: np.ndarray, affine: np.ndarray, *, frame_ms: float = 40.0, **tags: Any
) -> Path:
    """Writes `image` `(X, Y, Z, T)` as one enhanced MR file, frame by frame all slices."""
    dataset = make_dataset(path.name, 0, 0)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    for keyword in ("PixelSpacing", "SliceThickness", "TriggerTime", "RescaleSlope"):
        dataset.pop(keyword, None)
    frames, stored = [], []
    measures, orientation = Dataset(), Dataset()
    for t in range(image.shape[3]):
        for z in range(image.shape[2]):
            position, cardiac, frame = Dataset(), Dataset(), Dataset()
            set_geometry(position, orientation, measures, affine, z)
            cardiac.NominalCardiacTriggerDelayTime = t * frame_ms
            frame.PlanePositionSequence = Sequence([position])
            frame.CardiacSynchronizationSequence = Sequence([cardiac])
            frames.append(frame)
            stored.append(image[:, :, z, t].T)
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(frames)
    set_pixels(dataset, np.stack(stored))
    set_tags(dataset, tags)
    return save(dataset, path)


def make_dataset(name: str, series: int, number: int) -> FileDataset:
    """A data set of patient, study and series, without geometry and voxels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid(name, "image", series, number)
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = uid(name, "study")
    dataset.SeriesInstanceUID = uid(name, "series", series)
    dataset.FrameOfReferenceUID = uid(name, "reference")
    dataset.Modality, dataset.Manufacturer = "MR", "none"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.PatientID = dataset.PatientName = name
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
    dataset.ReferringPhysicianName = ""
    dataset.SeriesNumber, dataset.InstanceNumber = series + 1, number + 1
    dataset.SeriesDescription = f"SAX_b{series + 1}"
    return dataset


def set_geometry(
    position: Dataset, orientation: Dataset, measures: Dataset, affine: np.ndarray, z: int
) -> None:
    """Sets the place of slice `z` in the data sets that hold its position, direction and size."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    column, row, step = (np.linalg.norm(lps[:3, axis]) for axis in range(3))
    position.ImagePositionPatient = decimals(lps[:3, 3] + z * lps[:3, 2])
    orientation.ImageOrientationPatient = decimals([*lps[:3, 0] / column, *lps[:3, 1] / row])
    measures.PixelSpacing = decimals([row, column])
    measures.SliceThickness = decimals([step / 2])[0]  # a gap as wide as the slice


def set_pixels(
    dataset: Dataset, stored: np.ndarray, slope: float = 1.0, intercept: float = 0.0
) -> None:
    """Sets stored values `(rows, columns)` or `(frames, rows, columns)`, as int16."""
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.PixelData = stored.astype("<i2").tobytes()


def set_tags(dataset: Dataset, tags: dict[str, Any]) -> None:
    """Sets attributes by keyword, or removes those that are None."""
    for keyword, value in tags.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)


def save(dataset: FileDataset, path: Path) -> Path:
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def uid(*parts: Any) -> str:
    """A UID that depends on `parts` alone."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def decimals(numbers: Iterable[float]) -> list[str]:
    """Numbers as decimal strings of at most 16 characters, as DICOM has them."""
    return [f"{number:.10f}"[:16] for number in numbers]
