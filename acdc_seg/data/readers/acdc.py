"""Reads an ACDC tree: folders patientNNN with Info.cfg and NIfTI volumes at end-diastole and
end-systole (Bernard et al., IEEE TMI 2018).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.record import Record
from acdc_seg.errors import did_you_mean
from acdc_seg.labels import GROUPS, PHASES

SPLIT_OF_FOLDER = {"training": "train", "testing": "test"}
SUFFIXES = (".nii.gz", ".nii")


def is_acdc_tree(path: Path, config: DataConfig) -> bool:
    """Whether the path is, or holds, a folder patientNNN with an Info.cfg or a NIfTI file."""
    return any(
        (folder / "Info.cfg").is_file()
        or any(file.name.endswith(SUFFIXES) for file in folder.iterdir())
        for folder in patient_folders(path)
    )


def scan_acdc(path: Path, config: DataConfig) -> Scan:
    """Records of the volumes at ED and ES of all patients, sorted by patient.

    A frame without a file of its own is taken from the whole heart beat, patientNNN_4d.nii.gz.

    Args:
        path: A folder with training/ and testing/ (or one of them, or both below database/), a
            folder of patient folders, or one patient folder.
        config: Not used.
    """
    folders = sorted(patient_folders(path), key=lambda folder: folder.name)
    if not folders:
        text = "no folders patient001, patient002, ... here or in training/, testing/"
        fix = "give the folder that holds them"
        return Scan([], [Problem(path, "no_image", "error", text, fix)], [])
    problems = [
        Problem(
            path,
            "duplicate_id",
            "error",
            f"{name} is in both training/ and testing/",
            "keep one of them",
        )
        for name, count in Counter(folder.name for folder in folders).items()
        if count > 1
    ]
    records: list[Record] = []
    for folder in folders:
        scan = _scan_patient(folder)
        records += scan.records
        problems += scan.problems
    return Scan(records, problems + _missing_masks(records), [])


def patient_folders(path: Path) -> list[Path]:
    if is_patient(path.resolve()):
        return [path.resolve()]
    parents = [root / name for root in (path, path / "database") for name in SPLIT_OF_FOLDER]
    in_splits = [folder for parent in parents for folder in parent.glob("patient*")]
    return [folder for folder in in_splits if is_patient(folder)] or [
        folder for folder in path.glob("patient*") if is_patient(folder)
    ]


def is_patient(folder: Path) -> bool:
    return re.fullmatch(r"patient\d+", folder.name) is not None and folder.is_dir()


def _scan_patient(folder: Path) -> Scan:
    path = folder / "Info.cfg"
    info, problems = read_info(path)
    if problems:
        return Scan([], problems, [])
    split = SPLIT_OF_FOLDER.get(folder.parent.resolve().name, "")
    problems += _group_problems(path, info, withheld=split == "test")
    problems += _frame_problems(path, info)
    records = []
    if not any(problem.severity == "error" for problem in problems):
        for phase in PHASES:
            record = _find_record(folder, phase, int(info[phase]), split, info.get("Group", ""))
            if isinstance(record, Record):
                records.append(record)
            else:
                problems.append(record)
    return Scan(records, problems, [])


def read_info(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Keys and values of an Info.cfg, and what is wrong with its lines."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text"
        text, fix = f"cannot read the file ({reason})", "copy it from the challenge's archive"
        return {}, [Problem(path, "info", "error", text, fix)]
    info, problems = {}, []
    for number, line in enumerate(lines, start=1):
        key, colon, value = line.partition(":")
        if line.strip() and not (key.strip() and colon):
            text = f"line {number}: expected 'Key: value', got '{line.strip()}'"
            problems.append(Problem(path, "info", "error", text, "correct the line"))
        info[key.strip()] = value.strip()
    return info, problems


def body_size(info: Mapping[str, str]) -> tuple[float | None, float | None]:
    """Height in cm and weight in kg of an Info.cfg; None where it has no such number."""
    texts = (info.get(key, "") for key in ("Height", "Weight"))
    height, weight = (float(text) if re.fullmatch(r"\d+(\.\d*)?", text) else None for text in texts)
    return height, weight


def _group_problems(path: Path, info: Mapping[str, str], *, withheld: bool) -> list[Problem]:
    """What is wrong with the diagnosis, which the challenge withheld for testing patients."""
    group = info.get("Group", "")
    if group and group not in GROUPS:
        text = f"Group '{group}' is unknown"
        return [Problem(path, "info", "error", text, did_you_mean(group, GROUPS))]
    if group or withheld:
        return []
    text = "the diagnosis ('Group') is unknown, so splits cannot be balanced by it"
    return [Problem(path, "no_group", "warning", text)]


def _frame_problems(path: Path, info: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the numbers of frames."""
    problems = []
    keys = [*PHASES, *(key for key in ("NbFrame",) if key in info)]
    for key in keys:
        text, fix = "", f"add a line '{key}: NUMBER'"
        if key not in info:
            text = f"the key '{key}' is missing"
        elif not re.fullmatch("0*[1-9][0-9]{0,3}", info[key]):
            text = f"{key} is '{info[key]}', it must be a frame number 1, 2, ..."
            fix = "correct the line"
        if text:
            problems.append(Problem(path, "info", "error", text, fix))
    if problems:
        return problems
    texts = {
        f"{key} is frame {info[key]} of {info['NbFrame']} (NbFrame)": "correct one of the two lines"
        for key in PHASES
        if "NbFrame" in info and int(info[key]) > int(info["NbFrame"])
    }
    if int(info["ED"]) == int(info["ES"]):
        texts[f"ED and ES are both frame {info['ED']}"] = "correct one of them"
    return [Problem(path, "info", "error", text, fix) for text, fix in texts.items()]


def _find_record(folder: Path, phase: str, number: int, split: str, group: str) -> Record | Problem:
    stem = f"{folder.name}_frame{number:02d}"
    image, page = _first_file(folder, stem), None
    if image is None:
        image, page = _first_file(folder, f"{folder.name}_4d"), number - 1
    if image is None:
        frames = sorted(file.name for file in folder.glob("*_frame*") if "_gt" not in file.name)
        text = (
            f"the {phase} frame that Info.cfg names is missing, the folder has "
            f"{' and '.join(frames) or 'no frame at all'}"
        )
        fix = f"add the file or correct {phase}"
        return Problem(folder / f"{stem}.nii.gz", "no_image", "error", text, fix)
    return Record(
        id=f"{folder.name}_{phase}",
        image=image,
        mask=_first_file(folder, f"{stem}_gt"),
        patient=folder.name,
        split=split,
        phase=phase,
        group=group,
        page=page,
    )


def _first_file(folder: Path, stem: str) -> Path | None:
    paths = (folder / f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file() or path.is_symlink()), None)


def _missing_masks(records: list[Record]) -> list[Problem]:
    """Frames without mask in training, and where other frames of their split have one."""
    labelled = {record.split for record in records if record.mask} | {"train"}
    problems = []
    for record in records:
        if record.mask is None and record.split in labelled:
            stem = record.image.name.partition(".")[0]
            if record.page is not None:
                stem = f"{record.patient}_frame{record.page + 1:02d}"
            path = record.image.with_name(f"{stem}_gt.nii.gz")
            text, fix = f"the mask of the {record.phase} frame is missing", "add the file"
            problems.append(Problem(path, "no_mask", "error", text, fix))
    return problems
