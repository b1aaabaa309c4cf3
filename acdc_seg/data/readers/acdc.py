"""Reads an ACDC tree: folders patientNNN with Info.cfg and NIfTI volumes at end-diastole and
end-systole.

What is wrong with a file is said with its name and the likely fix. ACDC: Bernard et al., IEEE TMI
2018.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from acdc_seg.errors import DataError, did_you_mean
from acdc_seg.labels import GROUPS, PHASES

SPLIT_FOLDERS = ("training", "testing")
ROOTS = (".", "database")
MOST_FRAMES = 9999
SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Frame:
    """One phase of the cardiac cycle; `label` is None where no segmentation was published."""

    phase: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Patient:
    """One patient folder.

    `split_folder` is training, testing or empty; `height` in cm, `weight` in kg; `ed`, `es` count
    from 1.

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


def is_acdc_tree(path: Path) -> bool:
    """Whether the path is, or holds, at least one folder patientNNN with an Info.cfg or a NIfTI
    file.
    """
    return any(_looks_like_patient(folder) for folder, _ in _patient_folders(path))


def read_tree(path: Path) -> list[Patient]:
    """All patients below the path, sorted by id.

    Args:
        path: A folder with training/ and testing/ (or one of them, or both below database/), a
            folder of patient folders, or one patient folder.

    Raises:
        DataError: No patients, one patient twice, an Info.cfg that is missing or wrong, or a frame
            file that it names is absent.
    """
    if not path.is_dir():
        raise DataError(
            f"{path}: no such folder; give the one that holds training/ and testing/, or "
            "patient001, patient002, ..."
        )
    folders = _patient_folders(path)
    if not folders:
        raise DataError(
            f"{path}: no folders patient001, patient002, ... here or in training/, testing/; give "
            "the folder that holds them"
        )
    counts = Counter(folder.name for folder, _ in folders)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise DataError(
            f"{path}: {', '.join(twice[:3])} lies in training/ and in testing/; keep one of them"
        )
    return sorted(
        (_read_patient(folder, split_folder) for folder, split_folder in folders),
        key=lambda patient: patient.id,
    )


def _patient_folders(path: Path) -> list[tuple[Path, str]]:
    """Patient folders with the split folder that they lie in."""
    resolved = path.resolve()
    if _is_patient_name(resolved):
        return [(resolved, _split_folder(resolved.parent))]
    roots = [path / root / split for root in ROOTS for split in SPLIT_FOLDERS]
    inside = [
        (folder, root.name)
        for root in roots
        if root.is_dir()
        for folder in root.iterdir()
        if _is_patient_name(folder)
    ]
    if inside or not path.is_dir():
        return inside
    return [
        (folder, _split_folder(resolved)) for folder in path.iterdir() if _is_patient_name(folder)
    ]


def _split_folder(folder: Path) -> str:
    return folder.name if folder.name in SPLIT_FOLDERS else ""


def _is_patient_name(folder: Path) -> bool:
    return re.fullmatch(r"patient\d+", folder.name) is not None and folder.is_dir()


def _looks_like_patient(folder: Path) -> bool:
    return (folder / "Info.cfg").is_file() or any(
        file.name.endswith(SUFFIXES) for file in folder.iterdir()
    )


def _read_patient(folder: Path, split_folder: str) -> Patient:
    path = folder / "Info.cfg"
    info = _read_info(path)
    if "Group" not in info and split_folder != "testing":
        raise DataError(
            f"{path}: the key 'Group' is missing; add a line 'Group: {GROUPS[0]}' (or "
            f"{', '.join(GROUPS[1:])})"
        )
    group = info.get("Group", "")
    if group and group not in GROUPS:
        raise DataError(f"{path}: Group '{group}' is unknown; {did_you_mean(group, GROUPS)}")
    ed, es = (_frame_number(path, info, phase) for phase in PHASES)
    if ed == es:
        raise DataError(f"{path}: ED and ES are both frame {ed}; correct one of them")
    frames = tuple(
        _find_frame(folder, phase, number) for phase, number in zip(PHASES, (ed, es), strict=True)
    )
    height, weight = _positive(path, info, "Height"), _positive(path, info, "Weight")
    return Patient(folder.name, folder, split_folder, group, height, weight, ed, es, frames)


def _read_info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(
            f"{path}: the file is missing; copy the patient's Info.cfg from the challenge's archive"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot read the file ({error}); copy it again from the challenge's archive"
        ) from None
    pairs = [
        (number, *line.partition(":")) for number, line in enumerate(lines, start=1) if line.strip()
    ]
    if wrong := [number for number, key, colon, _ in pairs if not (key.strip() and colon)]:
        raise DataError(
            f"{path}, line {wrong[0]}: '{lines[wrong[0] - 1].strip()}' is no 'Key: value'; "
            "correct the line"
        )
    return {key.strip(): value.strip() for _, key, _, value in pairs}


def _positive(path: Path, info: Mapping[str, str], key: str) -> float:
    if key not in info:
        raise DataError(f"{path}: the key '{key}' is missing; add a line '{key}: NUMBER'")
    try:
        number = float(info[key])
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise DataError(
            f"{path}: {key} is '{info[key]}', it must be a positive number; correct the line"
        )
    return number


def _frame_number(path: Path, info: Mapping[str, str], phase: str) -> int:
    number = _positive(path, info, phase)
    if not number.is_integer() or number > MOST_FRAMES:
        raise DataError(
            f"{path}: {phase} is '{info[phase]}', it must be a frame number 1, 2, ...; correct "
            "the line"
        )
    if "NbFrame" in info and number > _positive(path, info, "NbFrame"):
        raise DataError(
            f"{path}: {phase} is frame {number:.0f} of {info['NbFrame']} (NbFrame); correct one "
            "of the two lines"
        )
    return int(number)


def _find_frame(folder: Path, phase: str, number: int) -> Frame:
    stem = f"{folder.name}_frame{number:02d}"
    image = _first_file(folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    if image is None:
        found = sorted(
            {
                match[1]
                for file in folder.iterdir()
                if (match := re.match(rf"{folder.name}_frame(\d+)\.nii", file.name))
            }
        )
        there = (
            f"the folder has frame {' and '.join(found)}"
            if found
            else "the folder has no frame at all"
        )
        raise DataError(
            f"{folder / stem}.nii.gz: the {phase} frame that Info.cfg names is missing, {there}; "
            f"add the file or correct {phase}"
        )
    return Frame(phase, image, _first_file(folder / f"{stem}_gt{suffix}" for suffix in SUFFIXES))


def _first_file(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
