"""Writes a copy of a data set without what an error of its check names.

Only what is safe is done: files with errors are left out, masks are written with the numbers of
their classes, and patients and splits are put into a table. The data itself is never changed.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.check.look import read_pair
from acdc_seg.data.check.run import Check, problems_by_record
from acdc_seg.data.masks import encode_mask
from acdc_seg.data.problems import Problem
from acdc_seg.data.record import ProgressCallback, Record, no_progress
from acdc_seg.errors import DataError
from acdc_seg.files import new_folder, write_table
from acdc_seg.labels import IGNORE_INDEX

COLUMNS = ("id", "split", "patient", "phase", "group", "spacing_row", "spacing_col")
"""Columns of records.csv."""


class Fixed(NamedTuple):
    """Images that were written, files that were left out with the problem, and problems that no
    copy can mend.
    """

    records: list[Record]
    left_out: list[Problem]
    left_alone: list[Problem]
    num_rewritten: int
    """Masks whose values were changed."""


def numbered_classes(classes: ClassesConfig) -> ClassesConfig:
    """The same classes with masks that hold 0, 1, 2, ... and, where there is void, 255."""
    labels = [
        label.model_copy(update={"value": index}) for index, label in enumerate(classes.labels)
    ]
    void = classes.void and classes.void.model_copy(update={"value": IGNORE_INDEX})
    update = {"labels": tuple(labels), "void": void, "mask_encoding": "values"}
    return classes.model_copy(update=update)


def fix_data(check: Check, out: Path, *, on_progress: ProgressCallback = no_progress) -> Fixed:
    """Writes paired folders and records.csv with all images that have no error.

    Args:
        check: The data, looked at with the settings that read it.
        out: Folder to make, complete or not at all.
        on_progress: Called after each image.

    Raises:
        DataError: Volumes, no image without an error, or `out` cannot be written.
    """
    if check.reader.kind == "volumes":
        raise DataError(
            f"{check.root}: volumes are not rewritten; cut them to images first (acdc-data "
            "prepare), or correct the files that the check names"
        )
    by_record = problems_by_record(check)
    errors = [[each for each in found if each.severity == "error"] for found in by_record]
    good = [record for record, found in zip(check.records, errors, strict=True) if not found]
    if not good:
        raise DataError(f"{check.root}: every image has an error; see acdc-data check")
    num_rewritten = 0
    with new_folder(out) as folder:
        for done, record in enumerate(good, start=1):
            num_rewritten += _write(check, record, folder)
            on_progress("images", done, len(good))
        write_table(folder / "records.csv", [COLUMNS, *map(_row, good)])
    left_out = [
        problem
        for problem in check.problems
        if problem.severity == "error" and problem.path != check.root
    ]
    left_alone = [problem for problem in check.problems if problem not in left_out]
    return Fixed(good, left_out, left_alone, num_rewritten)


def file_name(record: Record) -> str:
    """The stem of a record's files in the copy."""
    return record.id.replace("/", "_")


def _write(check: Check, record: Record, folder: Path) -> bool:
    """Writes image and mask of a record; returns whether its mask has other bytes than before."""
    classes = numbered_classes(check.classes)
    image, mask, *_ = read_pair(record, kind="images", data=check.data, classes=check.classes)
    assert image is not None
    images, masks = folder / record.split / "image", folder / record.split / "mask"
    images.mkdir(parents=True, exist_ok=True)
    if record.page is None and not record.half:
        shutil.copyfile(record.image, images / f"{file_name(record)}{record.image.suffix.lower()}")
    else:  # a part of its file
        (images / f"{file_name(record)}.png").write_bytes(_encode(image))
    if mask is None:
        return False
    masks.mkdir(parents=True, exist_ok=True)
    (masks / f"{file_name(record)}_mask.png").write_bytes(encode_mask(mask, classes))
    return check.classes != classes


def _encode(image: np.ndarray) -> bytes:
    """A PNG file of an image `(C, H, W)` in 0..1, of 16 bits where 8 do not hold it."""
    pixels = image.transpose(1, 2, 0)[..., ::-1]  # colors as B, G, R
    is_byte = np.abs(pixels * 255 - np.rint(pixels * 255)).max() < 1e-3
    dtype = np.uint8 if is_byte else np.uint16
    pixels = np.rint(pixels * np.iinfo(dtype).max).astype(dtype)
    return cv2.imencode(".png", pixels)[1].tobytes()


def _row(record: Record) -> tuple[object, ...]:
    spacing = record.spacing or ("", "")
    return (
        file_name(record),
        record.split,
        record.patient,
        record.phase,
        record.group,
        *spacing,
    )
