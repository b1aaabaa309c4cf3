"""Reads an ACDC tree: folders patientNNN with Info.cfg and NIfTI volumes at end-diastole and
end-systole (Bernard et al., IEEE TMI 2018).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError, did_you_mean
from acdc_seg.labels import GROUPS, PHASES

SPLIT_OF_FOLDER = {"training": "train", "testing": "test"}
SUFFIXES = (".nii.gz", ".nii")


def is_acdc_tree(path: Path, config: DataConfig) -> bool:
    """Whether the path is, or holds, a folder patientNNN with an Info.cfg or a NIfTI file."""
    return any(
        (folder / "Info.cfg").is_file()
        or any(file.name.endswith(SUFFIXES) for file in folder.iterdir())
        for folder in _patient_folders(path)
    )


def read_acdc(path: Path, config: DataConfig) -> list[Record]:
    """Records of the volumes at ED and ES of all patients, sorted by patient.

    Args:
        path: A folder with training/ and testing/ (or one of them, or both below database/), a
            folder of patient folders, or one patient folder.
        config: Not used.

    Raises:
        DataError: No patients, one patient twice, an Info.cfg that is missing or wrong, or a frame
            file that it names is absent.
    """
    folders = sorted(_patient_folders(path), key=lambda folder: folder.name)
    if not folders:
        raise DataError(
            f"{path}: no folders patient001, patient002, ... here or in training/, testing/; give "
            "the folder that holds them"
        )
    name, count = Counter(folder.name for folder in folders).most_common(1)[0]
    if count > 1:
        raise DataError(f"{path}: {name} is in both training/ and testing/; keep one of them")
    records: list[Record] = []
    for folder in folders:
        records += _read_patient(folder)
    return records


def _patient_folders(path: Path) -> list[Path]:
    if _is_patient(path.resolve()):
        return [path.resolve()]
    parents = [root / name for root in (path, path / "database") for name in SPLIT_OF_FOLDER]
    in_splits = [folder for parent in parents for folder in parent.glob("patient*")]
    return [folder for folder in in_splits if _is_patient(folder)] or [
        folder for folder in path.glob("patient*") if _is_patient(folder)
    ]


def _is_patient(folder: Path) -> bool:
    return re.fullmatch(r"patient\d+", folder.name) is not None and folder.is_dir()


def _read_patient(folder: Path) -> list[Record]:
    path = folder / "Info.cfg"
    info = _read_info(path)
    split = SPLIT_OF_FOLDER.get(folder.parent.resolve().name, "")
    group = _read_group(path, info, required=split != "test")
    frames = {phase: _read_frame_number(path, info, phase) for phase in PHASES}
    if frames["ED"] == frames["ES"]:
        raise DataError(f"{path}: ED and ES are both frame {frames['ED']}; correct one of them")
    return [
        Record(
            id=f"{folder.name}_{phase}",
            image=_find_frame(folder, phase, number),
            mask=_first_file(folder, f"{folder.name}_frame{number:02d}_gt"),
            patient=folder.name,
            split=split,
            phase=phase,
            group=group,
        )
        for phase, number in frames.items()
    ]


def _read_info(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        raise DataError(
            f"{path}: cannot read the file ({reason}); copy it from the challenge's archive"
        ) from None
    info = {}
    for number, line in enumerate(lines, start=1):
        key, colon, value = line.partition(":")
        if line.strip() and not (key.strip() and colon):
            raise DataError(
                f"{path}, line {number}: expected 'Key: value', got '{line.strip()}'; correct the "
                "line"
            )
        info[key.strip()] = value.strip()
    return info


def _read_group(path: Path, info: Mapping[str, str], *, required: bool) -> str:
    """Diagnosis; the challenge withheld it for testing patients."""
    if required and "Group" not in info:
        raise DataError(
            f"{path}: the key 'Group' is missing; add a line 'Group: {GROUPS[0]}' (or "
            f"{', '.join(GROUPS[1:])})"
        )
    group = info.get("Group", "")
    if group and group not in GROUPS:
        raise DataError(f"{path}: Group '{group}' is unknown; {did_you_mean(group, GROUPS)}")
    return group


def _read_frame_number(path: Path, info: Mapping[str, str], key: str) -> int:
    if key not in info:
        raise DataError(f"{path}: the key '{key}' is missing; add a line '{key}: NUMBER'")
    if not re.fullmatch("0*[1-9][0-9]{0,3}", info[key]):
        raise DataError(
            f"{path}: {key} is '{info[key]}', it must be a frame number 1, 2, ...; correct the line"
        )
    number = int(info[key])
    if key in PHASES and "NbFrame" in info:
        num_frames = _read_frame_number(path, info, "NbFrame")
        if number > num_frames:
            raise DataError(
                f"{path}: {key} is frame {number} of {num_frames} (NbFrame); correct one of the "
                "two lines"
            )
    return number


def _find_frame(folder: Path, phase: str, number: int) -> Path:
    stem = f"{folder.name}_frame{number:02d}"
    image = _first_file(folder, stem)
    if image is None:
        frames = sorted(file.name for file in folder.glob("*_frame*") if "_gt" not in file.name)
        raise DataError(
            f"{folder / stem}.nii.gz: the {phase} frame that Info.cfg names is missing, the folder "
            f"has {' and '.join(frames) or 'no frame at all'}; add the file or correct {phase}"
        )
    return image


def _first_file(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)
