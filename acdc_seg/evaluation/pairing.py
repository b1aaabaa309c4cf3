"""Pairs label maps of two folders by their names.

Files are named by their case: `NAME.nii.gz` (nnU-Net), `NAME_seg.nii.gz` (ours), `NAME_gt.nii.gz`
(ACDC). The phase and the diagnosis of a case are in the Info.cfg beside an ACDC file, else the
phase may be in its name.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from acdc_seg.data.label_maps import count_frames
from acdc_seg.data.patients import patient_of
from acdc_seg.data.readers.acdc import read_info
from acdc_seg.data.record import natural_key
from acdc_seg.errors import DataError, path_hint
from acdc_seg.labels import PHASES

SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
ENDING = re.compile(r"[_-](seg(mentation)?|gt|pred(iction)?|mask|label(s|map)?)$", re.IGNORECASE)
"""What tells label maps from the images beside them; cases are named without it."""
PART = re.compile(r"(.+?)[_-](?:frame(\d+)|(ED|ES))", re.IGNORECASE)
"""The patient in a case's name, and which volume of theirs it is."""
WHOLE_BEAT = ("", "_4d")
"""What the name of a file of all frames has after the patient."""


@dataclass(frozen=True)
class TruthCase:
    """A true label map.

    Attributes:
        name: Of the case.
        path: The file.
        patient: Whose it is.
        phase: ED, ES or nothing.
        group: Diagnosis or nothing.
        frame: Number in the heart beat, from 1, or None.
    """

    name: str
    path: Path
    patient: str
    phase: str = ""
    group: str = ""
    frame: int | None = None


@dataclass(frozen=True)
class Pair:
    """A true label map, the file of its prediction, and the frame in that, from 0, if it has
    several.
    """

    case: TruthCase
    prediction: Path
    frame: int | None = None


@dataclass(frozen=True)
class Pairing:
    """Pairs in the order of patients, and files of either folder without a partner."""

    pairs: list[Pair]
    missing: list[Path]
    extra: list[Path]


def pair_folders(prediction: Path, truth: Path, *, patient_rule: str = "auto") -> Pairing:
    """Finds the prediction of every true label map.

    Args:
        prediction: Folder of predicted label maps. A 4-D file named after the patient holds the
            frame that the truth is of, or exactly the frames that have a truth, in their order.
        truth: Folder of true label maps, for example a tree of ACDC.
        patient_rule: How names tell patients, see `data.patient_rule`.

    Raises:
        DataError: A folder without label maps, two files of one name, or no pair at all.
    """
    predictions = find_label_maps(prediction)
    cases = _read_cases(find_label_maps(truth), patient_rule)
    by_patient: dict[str, list[TruthCase]] = defaultdict(list)
    for case in cases:
        by_patient[case.patient].append(case)
    pairs, missing = [], []
    for case in cases:
        pair = _find_prediction(case, predictions, by_patient[case.patient])
        if pair is None:
            missing.append(case.path)
        else:
            pairs.append(pair)
    if not pairs:
        raise DataError(
            f"no file of {prediction} is named as one of {truth}: for example "
            f"{next(iter(predictions.values())).name} and {cases[0].path.name}; name predictions "
            f"{cases[0].name}.nii.gz or {cases[0].name}_seg.nii.gz"
        )
    used = {pair.prediction for pair in pairs}
    return Pairing(pairs, missing, [path for path in predictions.values() if path not in used])


def find_label_maps(folder: Path) -> dict[str, Path]:
    """Label maps in a folder and the folders in it, by the name of their case, sorted.

    Where some files have an ending such as _seg or _gt, the others are images.

    Raises:
        DataError: There are none, or two of one name.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder of label maps; {path_hint(folder)}")
    files = sorted(_walk(folder), key=lambda path: natural_key(str(path)))
    marked = [path for path in files if ENDING.search(SUFFIX.sub("", path.name))]
    found: dict[str, Path] = {}
    for path in marked or files:
        name = ENDING.sub("", SUFFIX.sub("", path.name))
        if name in found:
            raise DataError(
                f"{path}: is named as {found[name]}; give a folder with one label map of each case"
            )
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no label map, NAME.nii.gz or NAME.nii; check the path")
    return found


def _walk(folder: Path) -> list[Path]:
    """NIfTI files, also behind links, each folder once."""
    files: list[Path] = []
    visited = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [
            Path(parent, name) for name in names if SUFFIX.search(name) and not name.startswith(".")
        ]
    return files


def _read_cases(paths: dict[str, Path], patient_rule: str) -> list[TruthCase]:
    """Cases by patient; each patient's are in the order of their names."""
    cases = []
    for name, path in paths.items():
        part = PART.fullmatch(name)
        patient = part[1] if part else name
        if patient_rule != "auto":
            patient = patient_of(name, patient_rule)
        frame = int(part[2]) if part and part[2] else None
        phase = part[3].upper() if part and part[3] else ""
        info, _ = read_info(path.with_name("Info.cfg"))
        if info and frame is not None:
            numbers = {info.get(key, "").lstrip("0"): key for key in PHASES}
            phase = numbers.get(str(frame), phase)
        cases.append(TruthCase(name, path, patient, phase, info.get("Group", ""), frame))
    return sorted(cases, key=lambda case: natural_key(case.patient))


def _find_prediction(
    case: TruthCase, predictions: dict[str, Path], siblings: Sequence[TruthCase]
) -> Pair | None:
    """The prediction named as the case, or as its patient and phase, or of the whole heart beat."""
    for name in (case.name, f"{case.patient}_{case.phase}"):
        if name in predictions:
            return Pair(case, predictions[name])
    for ending in WHOLE_BEAT:
        path = predictions.get(f"{case.patient}{ending}")
        if path is not None:
            return Pair(case, path, _find_frame(case, path, siblings))
    return None


def _find_frame(case: TruthCase, path: Path, siblings: Sequence[TruthCase]) -> int | None:
    """Number from 0 of the case's frame in a file of several, None in a file of one."""
    num_frames = count_frames(path)
    if num_frames == len(siblings):
        return siblings.index(case) if num_frames > 1 else None
    if case.frame is None or case.frame > num_frames:
        raise DataError(
            f"{path}: has {num_frames} frames, and which one {case.path} is of is unknown; give a "
            f"file {case.name}_seg.nii.gz"
        )
    return case.frame - 1
