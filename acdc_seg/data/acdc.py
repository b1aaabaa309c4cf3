"""Reads an ACDC tree: folders patientNNN with Info.cfg and NIfTI volumes at end-diastole and end-systole.

What is wrong with a file is said with its name and the likely fix. ACDC: Bernard et al., IEEE TMI 2018.
"""

import gzip
import logging
import math
import re
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger as nibabel_logger
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import HeaderDataError

from acdc_seg.errors import DataError, did_you_mean
from acdc_seg.labels import ACDC_LABELS, GROUPS, PHASES

SPLIT_FOLDERS = ("training", "testing")
ROOTS = (".", "database")
SUFFIXES = (".nii.gz", ".nii")
LABEL_VALUES = tuple(label.value for label in ACDC_LABELS)
LARGEST_VOLUME = 2 * 1024**3
"""Bytes of voxels above which a header is taken for damaged."""
UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError)


@dataclass(frozen=True)
class Frame:
    """One phase of the cardiac cycle; `label` is None where no segmentation was published."""

    phase: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Patient:
    """One patient folder. `split_folder` is training, testing or empty; `height` in cm, `weight` in kg; `ed`, `es` count from 1.

    `group` is empty where a testing patient's diagnosis is withheld.
    """

    id: str
    folder: Path
    split_folder: str
    group: str
    height: float
    weight: float
    ed: int
    es: int
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Volume:
    """`image` float32 `(X, Y, Z)`, `label` uint8 `(X, Y, Z)` or None, `spacing` (x, y, z) in mm."""

    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]


def is_acdc_tree(path: Path) -> bool:
    """Whether the path is, or holds, at least one folder patientNNN with an Info.cfg or a NIfTI file."""
    return any(_looks_like_patient(folder) for folder, _ in _patient_folders(path))


def read_tree(path: Path) -> list[Patient]:
    """All patients below the path, sorted by id.

    Args:
        path: A folder with training/ and testing/ (or one of them, or both below database/), a folder of patient folders,
            or one patient folder.

    Raises:
        DataError: No patients, one patient twice, an Info.cfg that is missing or wrong, or a frame file that it names is absent.
    """
    folders = _patient_folders(path)
    if not folders:
        raise DataError(f"{path}: no folders patient001, patient002, ... here or in training/, testing/; give the folder that holds them")
    counts = Counter(folder.name for folder, _ in folders)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise DataError(f"{path}: {', '.join(twice[:3])} lies in training/ and in testing/; keep one of them")
    return sorted((_read_patient(folder, split_folder) for folder, split_folder in folders), key=lambda patient: patient.id)


def read_volume(image_path: Path, label_path: Path | None, *, label_values: Collection[int] = LABEL_VALUES) -> Volume:
    """Reads an image and, where there is one, its label volume.

    Args:
        label_values: Values that label voxels may have, in 0..255.

    Raises:
        DataError: A file is missing, damaged or not three-dimensional, its header claims more than 2 GiB, the image holds
            NaN or infinity, the two do not cover the same voxels, or a label is none of `label_values`.
    """
    nifti, voxels = _load_nifti(image_path)
    image = voxels.astype(np.float32)
    if bad := image.size - np.count_nonzero(np.isfinite(image)):
        raise DataError(f"{image_path}: {bad:,} voxels are NaN or infinite; export the image again")
    x, y, z = (float(size) for size in nifti.header.get_zooms()[:3])
    if label_path is None:
        return Volume(image, None, (x, y, z))
    label_nifti, label_voxels = _load_nifti(label_path)
    _check_same_grid(image_path, nifti, label_path, label_nifti)
    return Volume(image, _checked_label(label_path, label_voxels, label_values), (x, y, z))


def _load_nifti(path: Path) -> tuple[Nifti1Image, np.ndarray]:
    """A NIfTI-1 or -2 file and its voxels `(X, Y, Z)`, checksum verified; the header is judged before any voxel is read."""
    try:
        with _quiet_nibabel(), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = nib.load(path)
            if not isinstance(header, Nifti1Image):
                raise DataError(f"{path}: this is {type(header).__name__}, not NIfTI; convert the file")
            _check_header(path, header, type(header).header_class.from_fileobj(file, check=False).get_zooms()[:3])
            file.seek(0)
            nifti = type(header).from_bytes(file.read())
            return nifti, np.asarray(nifti.dataobj).reshape(nifti.shape[:3])
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; check the path") from None
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: not a readable NIfTI file, truncated or damaged ({reason}); copy it again from its source") from None


@contextmanager
def _quiet_nibabel() -> Iterator[None]:
    """Keeps nibabel from logging the oddities of a header that it mends."""
    level = nibabel_logger.level
    nibabel_logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        nibabel_logger.setLevel(level)


def _check_header(path: Path, nifti: Nifti1Image, voxel_size: Sequence[float]) -> None:
    """`voxel_size` is what the file says: nibabel replaces 0 by 1 mm without a word."""
    shape = nifti.shape
    if len(shape) < 3 or any(size != 1 for size in shape[3:]) or min(shape) < 1:
        raise DataError(f"{path}: the volume has shape {shape}, expected (X, Y, Z); give one frame, not a single slice or a cine")
    if nifti.get_data_dtype().kind not in "iuf":
        raise DataError(f"{path}: voxels are {nifti.get_data_dtype()}, expected integers or real numbers; export grey values")
    num_bytes = math.prod(shape) * nifti.get_data_dtype().itemsize
    if num_bytes > LARGEST_VOLUME:
        claim = f"{shape} voxels, {num_bytes / 1024**3:.1f} GiB"
        raise DataError(f"{path}: the header claims {claim}; it is damaged, copy the file again from its source")
    if not all(0 < size < math.inf for size in voxel_size):
        size = ", ".join(f"{float(edge):g}" for edge in voxel_size)
        raise DataError(f"{path}: the voxel size ({size}) mm must be positive; correct pixdim in the header")


def _check_same_grid(image_path: Path, image: Nifti1Image, label_path: Path, label: Nifti1Image) -> None:
    if image.shape[:3] != label.shape[:3]:
        raise DataError(f"{label_path}: the labels have shape {label.shape}, {image_path.name} has {image.shape}; export both on one grid")
    size, label_size = (tuple(round(float(edge), 4) for edge in nifti.header.get_zooms()[:3]) for nifti in (image, label))
    if not np.allclose(size, label_size, rtol=0, atol=1e-3):
        raise DataError(f"{label_path}: voxels are {label_size} mm, those of {image_path.name} are {size} mm; export both on one grid")
    if not np.allclose(image.affine, label.affine, rtol=0, atol=1e-2):
        raise DataError(
            f"{label_path}: position or orientation (affine) differs from {image_path.name} by up to "
            f"{np.abs(image.affine - label.affine).max():.3g}; export both on one grid"
        )


def _checked_label(path: Path, voxels: np.ndarray, values: Collection[int]) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        label = voxels.astype(np.uint8)
    allowed = np.isin(np.arange(256), list(values))
    wrong = (label != voxels) | ~allowed[label]
    if wrong.any():
        found, counts = np.unique(voxels[wrong], return_counts=True)
        listed = ", ".join(f"{value:g} ({count:,} voxels)" for value, count in zip(found[:8], counts, strict=False))
        raise DataError(f"{path}: label {listed} is no class, the classes are {sorted(values)}; correct or map the labels")
    return label


def _patient_folders(path: Path) -> list[tuple[Path, str]]:
    """Patient folders with the split folder that they lie in."""
    resolved = path.resolve()
    if _is_patient_name(resolved):
        return [(resolved, _split_folder(resolved.parent))]
    roots = [path / root / split for root in ROOTS for split in SPLIT_FOLDERS]
    inside = [(folder, root.name) for root in roots if root.is_dir() for folder in root.iterdir() if _is_patient_name(folder)]
    if inside or not path.is_dir():
        return inside
    return [(folder, _split_folder(resolved)) for folder in path.iterdir() if _is_patient_name(folder)]


def _split_folder(folder: Path) -> str:
    return folder.name if folder.name in SPLIT_FOLDERS else ""


def _is_patient_name(folder: Path) -> bool:
    return re.fullmatch(r"patient\d+", folder.name) is not None and folder.is_dir()


def _looks_like_patient(folder: Path) -> bool:
    return (folder / "Info.cfg").is_file() or any(file.name.endswith(SUFFIXES) for file in folder.iterdir())


def _read_patient(folder: Path, split_folder: str) -> Patient:
    path = folder / "Info.cfg"
    info = _read_info(path)
    if "Group" not in info and split_folder != "testing":
        raise DataError(f"{path}: the key 'Group' is missing; add a line 'Group: {GROUPS[0]}' (or {', '.join(GROUPS[1:])})")
    group = info.get("Group", "")
    if group and group not in GROUPS:
        raise DataError(f"{path}: Group '{group}' is unknown; {did_you_mean(group, GROUPS)}")
    ed, es = (_frame_number(path, info, phase) for phase in PHASES)
    if ed == es:
        raise DataError(f"{path}: ED and ES are both frame {ed}; correct one of them")
    frames = tuple(_find_frame(folder, phase, number) for phase, number in zip(PHASES, (ed, es), strict=True))
    height, weight = _positive(path, info, "Height"), _positive(path, info, "Weight")
    return Patient(folder.name, folder, split_folder, group, height, weight, ed, es, frames)


def _read_info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: the file is missing; copy the patient's Info.cfg from the challenge's archive") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the file ({error}); copy it again from the challenge's archive") from None
    pairs = [(number, *line.partition(":")) for number, line in enumerate(lines, start=1) if line.strip()]
    if wrong := [number for number, key, colon, _ in pairs if not (key.strip() and colon)]:
        raise DataError(f"{path}, line {wrong[0]}: '{lines[wrong[0] - 1].strip()}' is no 'Key: value'; correct the line")
    return {key.strip(): value.strip() for _, key, _, value in pairs}


def _positive(path: Path, info: Mapping[str, str], key: str) -> float:
    if key not in info:
        raise DataError(f"{path}: the key '{key}' is missing; add a line '{key}: NUMBER'")
    try:
        number = float(info[key])
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise DataError(f"{path}: {key} is '{info[key]}', it must be a positive number; correct the line")
    return number


def _frame_number(path: Path, info: Mapping[str, str], phase: str) -> int:
    number = _positive(path, info, phase)
    if not number.is_integer():
        raise DataError(f"{path}: {phase} is '{info[phase]}', it must be a frame number 1, 2, ...; correct the line")
    if "NbFrame" in info and number > _positive(path, info, "NbFrame"):
        raise DataError(f"{path}: {phase} is frame {number:.0f} of {info['NbFrame']} (NbFrame); correct one of the two lines")
    return int(number)


def _find_frame(folder: Path, phase: str, number: int) -> Frame:
    stem = f"{folder.name}_frame{number:02d}"
    image = _first_file(folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    if image is None:
        found = sorted({match[1] for file in folder.iterdir() if (match := re.match(rf"{folder.name}_frame(\d+)\.nii", file.name))})
        there = f"the folder has frame {' and '.join(found)}" if found else "the folder has no frame at all"
        raise DataError(
            f"{folder / stem}.nii.gz: the {phase} frame that Info.cfg names is missing, {there}; add the file or correct {phase}"
        )
    return Frame(phase, image, _first_file(folder / f"{stem}_gt{suffix}" for suffix in SUFFIXES))


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
