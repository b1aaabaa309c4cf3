"""Examinations to segment: NIfTI volumes and cines, ACDC trees and DICOM series, found by looking.

An exam is what one label map, or one per phase, is written for. No mask is looked for.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from acdc_seg.data.nifti import NiftiFile, describe_nifti, open_nifti
from acdc_seg.data.readers.acdc import SUFFIXES, body_size, patient_folders, read_info
from acdc_seg.data.record import natural_key
from acdc_seg.errors import DataError, path_hint
from acdc_seg.labels import PHASES

if TYPE_CHECKING:
    from acdc_seg.data.dicom import DicomVolume, Series

NOT_IMAGES = re.compile(
    r"(?i)[_-](gt|seg(mentation)?|label(s|map)?|mask|pred(iction)?|probabilities|uncertainty)$"
)
"""Ends of the names of files that are no images, but made of them."""
FURTHER_CHANNEL = re.compile(r"_(?!0000)\d{4}$")
"""nnU-Net's second channel and so on."""


@dataclass(frozen=True)
class ExamImages:
    """The frames of an exam, read one by one.

    Attributes:
        files: One cine or volume, or a volume per phase; all on one grid.
        names: Of the label map of each file.
        phases: Index of the frame of ED and of ES, as far as they are known.
        height_cm: Of the patient, None where it is unknown.
        weight_kg: Of the patient.
        heart_rate: In beats per minute.
        group: Diagnosis by Info.cfg, or nothing.
        findings: What was odd about the files.
        dicom: The series that they were read from.
    """

    files: tuple[NiftiFile, ...]
    names: tuple[str, ...]
    phases: Mapping[str, int] = field(default_factory=dict)
    height_cm: float | None = None
    weight_kg: float | None = None
    heart_rate: float | None = None
    group: str = ""
    findings: tuple[str, ...] = ()
    dicom: "DicomVolume | None" = None

    @property
    def num_frames(self) -> int:
        """Of all files."""
        return sum(file.num_frames for file in self.files)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size (x, y, z) in mm."""
        return self.files[0].spacing

    def frame(self, index: int) -> np.ndarray:
        """Grey values `(X, Y, Z)` float32 of a frame, counted over all files."""
        for file in self.files:
            if index < file.num_frames:
                return file.frame(index)
            index -= file.num_frames
        raise IndexError(index)


@dataclass(frozen=True)
class Exam:
    """An examination that was found but not read: a unique name, its files, and how to read it.

    It can be sent to another process: `read` is a function of a module with its arguments.
    """

    id: str
    paths: tuple[Path, ...]
    read: Callable[[], ExamImages]


def find_exams(inputs: Sequence[Path]) -> list[Exam]:
    """The exams in files and folders, in the order of their names; ids are unique.

    Args:
        inputs: NIfTI files, ACDC trees, folders with NIfTI files or DICOM series anywhere below.

    Raises:
        DataError: A path that does not exist, or with nothing to segment in it.
        ConfigError: DICOM files, and pydicom is not installed.
    """
    exams: list[Exam] = []
    for path in inputs:
        found = _find(path)
        if not found:
            raise DataError(
                f"{path}: nothing to segment here; expected a NIfTI file (.nii, .nii.gz), a folder "
                "with some, an ACDC tree, or DICOM series",
                code="no_image",
            )
        exams += found
    return _with_unique_ids(exams)


def _find(path: Path) -> list[Exam]:
    if path.is_file():
        return [_nifti_exam(path, _stem(path))] if path.name.endswith(SUFFIXES) else _dicom(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; {path_hint(path)}")
    patients = sorted(patient_folders(path), key=lambda folder: natural_key(folder.name))
    exams = [exam for folder in patients if (exam := _patient_exam(folder))]
    return exams or _nifti_exams(path) or _dicom(path)


def _nifti_exams(root: Path) -> list[Exam]:
    """One exam per file; NAME_ED and NAME_ES of one folder are one."""
    files = [
        path
        for path in root.rglob("*")
        if path.name.endswith(SUFFIXES)
        and not path.name.startswith(".")
        and not NOT_IMAGES.search(_stem(path))
        and not FURTHER_CHANNEL.search(_stem(path))
    ]
    exams: list[Exam] = []
    by_place = {(path.parent, _stem(path)): path for path in files}
    for (folder, stem), path in sorted(by_place.items(), key=lambda item: natural_key(str(item))):
        name = "_".join([*folder.relative_to(root).parts, stem])
        pair = [by_place.get((folder, f"{stem[:-2]}{phase}")) for phase in PHASES]
        if stem[-3:] == "_ES" and all(pair):
            continue
        if stem[-3:] == "_ED" and all(pair):
            exams.append(_phases_exam(name[:-3], [file for file in pair if file]))
        else:
            exams.append(_nifti_exam(path, name))
    return exams


def _nifti_exam(path: Path, name: str) -> Exam:
    return Exam(name, (path,), partial(_read_file, path, name))


def _read_file(path: Path, name: str) -> ExamImages:
    return ExamImages((open_nifti(path, frames=True),), (name,))


def _phases_exam(name: str, files: Sequence[Path], info: Mapping[str, str] | None = None) -> Exam:
    """An exam of a volume at ED and one at ES."""
    return Exam(name, tuple(files), partial(_read_phases, tuple(files), info or {}))


def _read_phases(files: Sequence[Path], info: Mapping[str, str]) -> ExamImages:
    images = tuple(open_nifti(file) for file in files)
    shapes = [image.image.shape for image in images]
    if len(set(shapes)) > 1:
        raise DataError(
            f"{files[1]}: shape {shapes[1]}, {files[0].name} has {shapes[0]}; both phases must "
            "be on one grid",
            code="size",
        )
    names = tuple(map(_stem, files))
    return ExamImages(images, names, {"ED": 0, "ES": 1}, **_patient_facts(info))


def _patient_exam(folder: Path) -> Exam | None:
    """An ACDC patient: the cine where there is one, else the volumes at ED and ES."""
    info, problems = read_info(folder / "Info.cfg")
    if problems:
        info = {}
    cine = _first(folder / f"{folder.name}_4d{suffix}" for suffix in SUFFIXES)
    if cine is None:
        numbers = [int(info[phase]) for phase in PHASES if info.get(phase, "").isdecimal()]
        stems = [f"{folder.name}_frame{number:02d}" for number in numbers]
        files = [_first(folder / f"{stem}{suffix}" for suffix in SUFFIXES) for stem in stems]
        if len(files) == 2 and all(files):
            return _phases_exam(folder.name, [file for file in files if file], info)
        # without Info.cfg, as in a folder of one's own
        found = _nifti_exams(folder)
        return replace(found[0], id=folder.name) if len(found) == 1 else None
    return Exam(folder.name, (cine,), partial(_read_cine, cine, folder.name, info))


def _read_cine(path: Path, name: str, info: Mapping[str, str]) -> ExamImages:
    file = open_nifti(path, frames=True)
    phases = {
        phase: int(info[phase]) - 1
        for phase in PHASES
        if info.get(phase, "").isdecimal() and 0 < int(info[phase]) <= file.num_frames
    }
    return ExamImages((file,), (name,), phases, **_patient_facts(info))


def _patient_facts(info: Mapping[str, str]) -> dict[str, Any]:
    height, weight = body_size(info)
    return {"group": info.get("Group", ""), "height_cm": height, "weight_kg": weight}


def _dicom(path: Path) -> list[Exam]:
    from acdc_seg.data.dicom import find_series, is_dicom

    files = [path] if path.is_file() else (each for each in path.rglob("*") if each.is_file())
    if not any(is_dicom(file) for file in files):
        return []
    return [
        Exam(series.name, tuple(series.paths), partial(_read_dicom, series, series.name))
        for series in find_series(path)
    ]


def _read_dicom(series: "Series", name: str) -> ExamImages:
    from acdc_seg.data.dicom import read_series

    volume = read_series(series)
    image = volume.image[..., 0] if volume.image.shape[-1] == 1 else volume.image
    nifti = nib.Nifti1Image(image, volume.affine)
    nifti.header.set_xyzt_units("mm", "sec")
    if image.ndim == 4 and volume.frame_seconds:
        nifti.header.set_zooms((*nifti.header.get_zooms()[:3], volume.frame_seconds))
    file = describe_nifti(series.paths[0], nifti)
    return ExamImages(
        (file,),
        (name,),
        height_cm=volume.height_cm,
        weight_kg=volume.weight_kg,
        heart_rate=volume.heart_rate,
        findings=tuple(volume.findings),
        dicom=volume,
    )


def _with_unique_ids(exams: Sequence[Exam]) -> list[Exam]:
    """Exams of one name are told apart by the folder above, then by a number."""
    counts = Counter(exam.id for exam in exams)
    used: Counter[str] = Counter()
    unique = []
    for exam in exams:
        name = exam.id
        if counts[name] > 1:
            name = f"{exam.paths[0].resolve().parent.name}_{name}"
        used[name] += 1
        if used[name] > 1:
            name = f"{name}-{used[name]}"
        unique.append(replace(exam, id=name))
    return unique


def _first(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _stem(path: Path) -> str:
    """Name of a NIfTI file without its ending, and without nnU-Net's number of the channel."""
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")
