"""Paired folders: `image/NAME.png` beside `mask/NAME_mask.png`, with or without split folders
around them.
"""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path

from acdc_seg.config import DataConfig, split_pattern
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

SPLITS = ("train", "val", "test")


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts `cmr2` before `cmr10`."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", text)
        if part
    )


def is_paired(path: Path, config: DataConfig) -> bool:
    """Whether the folder, or one of its split folders, holds the image folder."""
    return any((path / split / config.image_dir).is_dir() for split in ("", *SPLITS))


def read_paired(path: Path, config: DataConfig) -> list[Record]:
    """Records of all split folders, in natural order of file names.

    Raises:
        DataError: No images, an image without mask (outside test), or a mask without image.
    """
    details = _read_details(path / "records.csv")
    records = []
    for split in ("", *SPLITS):
        if (path / split / config.image_dir).is_dir():
            records += _read_split(path / split, split, config, details)
    if not records:
        raise DataError(
            f"{path}: no images in {config.image_dir}/ with endings "
            f"{', '.join(config.extensions)}; check the folder and data.extensions"
        )
    if len({record.id for record in records}) < len(records):
        raise DataError(
            f"{path}: two images share one name across the split folders; names must be unique"
        )
    return records


def find_images(path: Path, config: DataConfig) -> dict[str, Path]:
    """Images to predict, by stem in natural order: those of `path/test/image`, else of
    `path/image`, else of `path` itself.

    Raises:
        DataError: There are none.
    """
    folders = [
        folder
        for folder in (path / "test" / config.image_dir, path / config.image_dir, path)
        if folder.is_dir()
    ]
    images = _files(folders[0], config) if folders else {}
    if not images:
        endings = ", ".join(config.extensions)
        raise DataError(
            f"{path}: no images ({endings}) in test/{config.image_dir}/, {config.image_dir}/ or "
            "the folder itself; check --data"
        )
    return images


def _read_split(
    folder: Path, split: str, config: DataConfig, details: Mapping[str, Mapping[str, str]]
) -> list[Record]:
    images = _files(folder / config.image_dir, config)
    masks = _files(folder / config.mask_dir, config) if (folder / config.mask_dir).is_dir() else {}
    before, after = split_pattern(config.mask_pattern)
    wanted = {stem: f"{before}{stem}{after}" for stem in images}
    has_masks = bool(masks) or split != "test"
    lacking = [images[stem].name for stem, mask in wanted.items() if mask not in masks]
    if has_masks and lacking:
        raise DataError(
            f"{folder}: {len(lacking)} of {len(images)} images have no mask, first "
            f"{', '.join(lacking[:3])}; expected "
            f"{config.mask_dir}/{wanted[Path(lacking[0]).stem]}.png (settings data.mask_dir, "
            "data.mask_pattern)"
        )
    if orphans := sorted(set(masks) - set(wanted.values()), key=natural_key):
        raise DataError(
            f"{folder}: {len(orphans)} masks have no image, first {masks[orphans[0]].name}; add "
            "the image or remove the mask"
        )
    return [
        _record(stem, images[stem], masks.get(wanted[stem]), split, config, details.get(stem, {}))
        for stem in images
    ]


def _record(
    stem: str,
    image: Path,
    mask: Path | None,
    split: str,
    config: DataConfig,
    detail: Mapping[str, str],
) -> Record:
    patient = detail.get("patient") or patient_of(stem, config.patient_rule)
    return Record(
        stem,
        image,
        mask,
        patient,
        split,
        detail.get("phase") or "",
        detail.get("group") or "",
        _spacing(stem, detail),
    )


def _spacing(stem: str, detail: Mapping[str, str]) -> tuple[float, float] | None:
    given = detail.get("spacing_row"), detail.get("spacing_col")
    if not any(given):
        return None
    try:
        row, column = (float(size or "") for size in given)
    except ValueError:
        row = column = math.nan
    if not (0 < row < math.inf and 0 < column < math.inf):
        raise DataError(
            f"records.csv: spacing_row and spacing_col of {stem} must both be positive numbers in "
            "mm, or both be empty"
        )
    return row, column


def patient_of(stem: str, rule: str) -> str:
    """The patient that an image name belongs to, by the setting `data.patient_rule`.

    Raises:
        DataError: The rule is a regular expression without a group, or does not match.
    """
    if rule == "each":
        return stem
    if rule == "pairs" or (rule == "auto" and re.fullmatch(r"cmr\d+", stem)):
        number = re.search(r"(\d+)$", stem)
        return f"pair{(int(number[1]) + 1) // 2:03d}" if number else stem
    if rule == "auto":
        named = re.search(r"patient\d+", stem, re.IGNORECASE)
        return named[0].lower() if named else stem
    try:
        patient = match[1] if (match := re.search(rule, stem)) else None
    except (re.error, IndexError):
        patient = None
    if patient is None:
        raise DataError(
            f"{stem}: data.patient_rule='{rule}' finds no patient in this name; it must be a "
            "regular "
            "expression with one group"
        )
    return patient


def _files(folder: Path, config: DataConfig) -> dict[str, Path]:
    """Images of a folder by stem, in natural order."""
    try:
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in config.extensions and not path.name.startswith(".")
        ]
    except OSError as error:
        raise DataError(
            f"{folder}: cannot list the folder ({error.strerror}); check its permissions"
        ) from None
    by_stem = {path.stem: path for path in sorted(found, key=lambda path: natural_key(path.name))}
    if len(by_stem) < len(found):
        raise DataError(f"{folder}: two files differ only in their ending; keep one of each name")
    return by_stem


def _read_details(path: Path) -> dict[str, dict[str, str]]:
    """Patient, phase, group and spacing by image id, from the table that `acdc-data prepare`
    writes.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {row["id"]: row for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this table ({error.strerror}); check its permissions"
        ) from None
    except (KeyError, UnicodeDecodeError, csv.Error):
        raise DataError(
            f"{path}: not a table with a column 'id'; run acdc-data prepare again or remove the "
            "file"
        ) from None
