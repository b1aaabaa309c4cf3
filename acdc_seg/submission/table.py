"""Rows of a submission and its CSV: the id is the mask's file stem and the class digit."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from acdc_seg.config import MASK_PATTERN
from acdc_seg.data.record import natural_key
from acdc_seg.errors import DataError
from acdc_seg.files import replacing
from acdc_seg.submission.rle import Shape, decode_rle, encode_rle

HEADER = ["id", "encoding"]
NUM_NAMED = 3
PATTERN = MASK_PATTERN
MAX_CLASSES = 10
"""Background included: the last character of an id is the class digit, 1 to 9."""
LARGEST_FIELD = 2**31 - 1
"""Characters of an encoding that are read; the csv module stops at 131,072 by itself."""


def encode_rows(
    labels: Iterable[tuple[str, np.ndarray]], *, num_classes: int, pattern: str = PATTERN
) -> list[tuple[str, str]]:
    """Rows (id, encoding) of label arrays, images in natural order, classes 1 to K-1.

    Args:
        labels: Image file stem and class indices `(H, W)`, one image after another.
        num_classes: Background included.
        pattern: Stem of the mask of an image, `DataConfig.output_pattern`; with the class digit
            it is the id.

    Raises:
        DataError: Values that are not class indices, or more classes than digits.
    """
    if not 2 <= num_classes <= MAX_CLASSES:
        raise DataError(
            f"{num_classes} classes cannot be submitted: an id ends in one class digit, 1 to 9; "
            "acdc-submit --masks DIR without --out and --template writes masks alone"
        )
    rows = {stem: _encode_image(stem, array, num_classes, pattern) for stem, array in labels}
    return [row for stem in sort_stems(rows) for row in rows[stem]]


def decode_rows(
    rows: Sequence[tuple[str, str]], shapes: Mapping[str, Shape], *, pattern: str = PATTERN
) -> Iterator[tuple[str, np.ndarray]]:
    """Image file stem and class indices `(H, W)` image by image: the inverse of `encode_rows` for
    images of these shapes.
    """
    encodings, num_classes = dict(rows), 1 + len(rows) // max(1, len(shapes))
    for stem, shape in shapes.items():
        labels = np.zeros(shape, np.uint8)
        for index in range(1, num_classes):
            labels[decode_rle(encodings[mask_id(stem, index, pattern)], shape)] = index
        yield stem, labels


def mask_id(stem: str, index: int, pattern: str = PATTERN) -> str:
    """The id of an image and class."""
    return f"{pattern.replace('{stem}', stem)}{index}"


def write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Writes the CSV and reads it back before it takes its place; equal rows give equal bytes.

    Raises:
        DataError: An id occurs twice, or the file cannot be written or is not what was written.
    """
    if repeated := _repeated([id for id, _ in rows]):
        raise DataError(
            f"{path}: not written, because {_name_some(repeated)} would occur twice; ids must be "
            "unique"
        )
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
        text.flush()
        text.seek(0)
        if _parse(text, path) != dict(rows):
            raise DataError(f"{path}: not written, because it does not read back; check the disk")
        text.detach()


def read_rows(path: Path) -> dict[str, str]:
    """Encodings by id, in file order; a byte order mark, CRLF and blank lines are read over.

    Raises:
        DataError: The file is unreadable, has another header or number of columns, or an id occurs
            twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parse(file, path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this file ({error.strerror}); check the path"
        ) from None


def _parse(file: IO[str], path: Path) -> dict[str, str]:
    """Encodings by id; for errors see `read_rows`."""
    limit = csv.field_size_limit(LARGEST_FIELD)
    try:
        table = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: this is not a CSV file in UTF-8 ({error}); export it again"
        ) from None
    finally:
        csv.field_size_limit(limit)
    numbered = [(line, row) for line, row in enumerate(table, start=1) if row]
    if not numbered or numbered[0][1] != HEADER:
        header = ",".join(numbered[0][1])[:80] if numbered else "nothing"
        raise DataError(f"{path}: the first line must be 'id,encoding', found {header!r}")
    encodings: dict[str, str] = {}
    for line, row in numbered[1:]:
        if len(row) != 2:
            raise DataError(f"{path}, line {line}: {len(row)} columns instead of 2")
        if not row[0] or row[0] in encodings:
            raise DataError(f"{path}, line {line}: the id {row[0][:80]!r} is empty or occurs twice")
        encodings[row[0]] = row[1]
    return encodings


def apply_template(rows: Sequence[tuple[str, str]], template: Path) -> list[tuple[str, str]]:
    """The rows in the order of the ids of a sample submission.

    Raises:
        DataError: The ids are not exactly those of the template.
    """
    expected, ids, encodings = read_rows(template), [id for id, _ in rows], dict(rows)
    faults = {
        "are missing": [id for id in expected if id not in encodings],
        "are not in the template": [id for id in ids if id not in expected],
        "occur twice": _repeated(ids),
    }
    texts = [f"{len(ids)} ids {fault} ({_name_some(ids)})" for fault, ids in faults.items() if ids]
    if texts:
        raise DataError(f"{template}: {'; '.join(texts)}; predict exactly the template's images")
    return [(id, encodings[id]) for id in expected]


def sort_stems(stems: Iterable[str]) -> list[str]:
    """Image file stems in natural order: cmr9 before cmr10."""
    return sorted(sorted(stems), key=natural_key)


def _encode_image(
    stem: str, labels: np.ndarray, num_classes: int, pattern: str
) -> list[tuple[str, str]]:
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise DataError(
            f"{stem}: the labels are {labels.dtype} {labels.shape}; class indices are integers "
            "(H, W)"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"{stem}: the labels hold values {labels.min()} to {labels.max()}; class indices are "
            f"0 to {num_classes - 1}"
        )
    rows = []
    for index in range(1, num_classes):
        encoding = encode_rle(labels == index)
        # every row is decoded again: a wrong one would cost a submission, and nobody sees it
        if not np.array_equal(decode_rle(encoding, labels.shape), labels == index):
            raise DataError(f"{stem}, class {index}: the encoding is not that of the mask")
        rows.append((mask_id(stem, index, pattern), encoding))
    return rows


def _repeated(ids: Sequence[str]) -> list[str]:
    return [id for id, count in Counter(ids).items() if count > 1]


def _name_some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NUM_NAMED]) + (", ..." if len(ids) > NUM_NAMED else "")
