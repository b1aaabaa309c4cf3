"""Reads paired folders: `image/NAME.png` beside `mask/NAME_mask.png`, also in split folders."""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

from acdc_seg.config import DataConfig, split_pattern
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.record import SPLITS, Record, natural_key
from acdc_seg.errors import DataError


def is_paired(path: Path, config: DataConfig) -> bool:
    """Whether the folder, or one of its split folders, holds the image folder."""
    return any((path / split / config.image_dir).is_dir() for split in ("", *SPLITS))


def scan_paired(path: Path, config: DataConfig) -> Scan:
    """Records of all split folders, in natural order of file names; an image without mask (outside
    test), a mask without image, and two images of one name are problems.
    """
    records, problems = [], []
    try:
        details = _read_details(path / "records.csv")
        for split in ("", *SPLITS):
            if (path / split / config.image_dir).is_dir():
                scan = _scan_split(path / split, split, config, details)
                records += scan.records
                problems += scan.problems
    except DataError as error:
        problems.append(Problem.from_error(path, error))
    if not records and not problems:
        text = f"no images in {config.image_dir}/ with endings {', '.join(config.extensions)}"
        fix = "check the folder and data.extensions"
        problems.append(Problem(path, "no_image", "error", text, fix))
    if len({record.id for record in records}) < len(records):
        text = "two images share one name across the split folders"
        problems.append(Problem(path, "duplicate_id", "error", text, "names must be unique"))
    return Scan(records, problems, [])


def find_images(path: Path, config: DataConfig) -> dict[str, Path]:
    """Images to predict, by stem in natural order: those of `path/test/image`, else of
    `path/image`, else of `path` itself.

    Raises:
        DataError: There are none.
    """
    folders = (path / "test" / config.image_dir, path / config.image_dir, path)
    folder = next((folder for folder in folders if folder.is_dir()), None)
    images = _list_images(folder, config) if folder else {}
    if not images:
        raise DataError(
            f"{path}: no images ({', '.join(config.extensions)}) in test/{config.image_dir}/, "
            f"{config.image_dir}/ or the folder itself; check --data"
        )
    return images


def patient_of(stem: str, rule: str) -> str:
    """The patient that an image name belongs to, by the setting `data.patient_rule`.

    Raises:
        DataError: The rule is a regular expression that does not match.
    """
    if rule == "each":
        return stem
    if rule == "pairs" or (rule == "auto" and re.fullmatch(r"cmr\d+", stem)):
        number = re.search(r"(\d+)$", stem)
        return f"pair{(int(number[1]) + 1) // 2:03d}" if number else stem
    if rule == "auto":
        name = re.search(r"patient\d+", stem, re.IGNORECASE)
        return name[0].lower() if name else stem
    match = re.search(rule, stem)
    if match is None or match[1] is None:
        raise DataError(
            f"{stem}: data.patient_rule='{rule}' finds no patient in this name; it must be a "
            "regular expression with one group"
        )
    return match[1]


def _scan_split(
    folder: Path, split: str, config: DataConfig, details: Mapping[str, Mapping[str, str]]
) -> Scan:
    images = _list_images(folder / config.image_dir, config)
    mask_folder = folder / config.mask_dir
    masks = _list_images(mask_folder, config) if mask_folder.is_dir() else {}
    before, after = split_pattern(config.mask_pattern)
    mask_stems = {stem: f"{before}{stem}{after}" for stem in images}
    problems = []
    for stem, image in images.items():
        if mask_stems[stem] not in masks and (masks or split != "test"):
            text = f"has no mask, expected {config.mask_dir}/{mask_stems[stem]}.png"
            fix = "add it (settings data.mask_dir, data.mask_pattern)"
            problems.append(Problem(image, "no_mask", "error", text, fix))
    for stem in sorted(set(masks) - set(mask_stems.values()), key=natural_key):
        text, fix = "the mask has no image", "add the image or remove the mask"
        problems.append(Problem(masks[stem], "no_image", "error", text, fix))
    records = []
    for stem, image in images.items():
        detail = details.get(stem, {})
        records.append(
            Record(
                stem,
                image,
                masks.get(mask_stems[stem]),
                patient=detail.get("patient") or patient_of(stem, config.patient_rule),
                split=split,
                phase=detail.get("phase") or "",
                group=detail.get("group") or "",
                spacing=_read_spacing(stem, detail),
                slice=_read_slice(stem, detail),
                slice_spacing=_read_slice_spacing(stem, detail),
            )
        )
    return Scan(records, problems, [])


def _list_images(folder: Path, config: DataConfig) -> dict[str, Path]:
    """Images of a folder by stem, in natural order."""
    try:
        paths = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in config.extensions and not path.name.startswith(".")
        ]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot list the folder ({error.strerror}); check its permissions"
        ) from None
    by_stem = {
        path.stem: path for path in sorted(sorted(paths), key=lambda path: natural_key(path.name))
    }
    if len(by_stem) < len(paths):
        raise DataError(f"{folder}: two files differ only in their ending; keep one of each name")
    return by_stem


def _read_details(path: Path) -> dict[str, dict[str, str]]:
    """Patient, phase, group, slice and spacing by image id, from records.csv."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["id"]: row for row in csv.DictReader(file)}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error):
        raise DataError(
            f"{path}: not a readable table with a column 'id'; run acdc-data prepare again or "
            "remove the file"
        ) from None


def _read_spacing(stem: str, detail: Mapping[str, str]) -> tuple[float, float] | None:
    texts = [detail.get("spacing_row") or "", detail.get("spacing_col") or ""]
    if not any(texts):
        return None
    try:
        row, column = map(float, texts)
    except ValueError:
        row = column = math.nan
    if not (0 < row < math.inf and 0 < column < math.inf):
        raise DataError(
            f"records.csv: spacing_row and spacing_col of {stem} must both be positive numbers in "
            "mm, or both be empty"
        )
    return row, column


def _read_slice(stem: str, detail: Mapping[str, str]) -> int | None:
    text = detail.get("slice") or ""
    if text and not text.isdecimal():
        raise DataError(
            f"records.csv: slice of {stem} is '{text}'; it must be a number from 0, or be empty"
        )
    return int(text) if text else None


def _read_slice_spacing(stem: str, detail: Mapping[str, str]) -> float | None:
    text = detail.get("spacing_slice") or ""
    if not text:
        return None
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 0 < size < math.inf:
        raise DataError(
            f"records.csv: spacing_slice of {stem} is '{text}'; it must be a positive number in "
            "mm, or be empty"
        )
    return size
