"""Kaggle's submission: run-length encoded masks in a CSV `id,encoding`, one row per image and
foreground class.

The encoding goes down the columns, counts pixels from 1 and holds `start length` pairs; an empty
mask is an empty field.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig, split_pattern
from acdc_seg.data.images import IGNORE_INDEX, read_mask
from acdc_seg.data.readers.paired import natural_key
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import replacing
from acdc_seg.metrics.scores import score_labels, summarize
from acdc_seg.submission.rle import Shape, decode_rle, encode_rle

HEADER = ["id", "encoding"]
NUM_NAMED = 3

Key = tuple[str, int]
"""Image stem and class index."""


@dataclass(frozen=True)
class SubmissionCheck:
    """What a submission holds, everything wrong with it, and its score where truth is known and
    every row decodes.
    """

    num_rows: int
    num_images: int
    problems: tuple[str, ...]
    score: float | None
    class_scores: dict[str, float]


def encode_rows(
    masks: Iterable[tuple[str, np.ndarray]], *, num_classes: int, mask_pattern: str = "{stem}_mask"
) -> list[tuple[str, str]]:
    """Rows (id, encoding) of label arrays (H, W), images in natural order, classes 1 to K-1.

    Args:
        masks: Image file stem and class indices, one image after another; none is kept.
        mask_pattern: Mask file stem for an image file stem; the id is that and the class digit.

    Raises:
        DataError: A mask holds something that is no class index, or there are more classes than
            digits.
    """
    if not 2 <= num_classes <= 10:
        raise DataError(
            f"{num_classes} classes cannot be submitted: an id ends in one class digit, 1 to 9"
        )
    prefix, suffix = _split_pattern(mask_pattern)
    encoded = {
        stem: _encodings(_check_labels(stem, np.asarray(labels), num_classes), num_classes)
        for stem, labels in masks
    }
    return [
        (f"{prefix}{stem}{suffix}{index}", encoding)
        for stem in _natural(encoded)
        for index, encoding in enumerate(encoded[stem], start=1)
    ]


def decode_rows(
    rows: Sequence[tuple[str, str]], shapes: Mapping[str, Shape]
) -> Iterator[tuple[str, np.ndarray]]:
    """Image file stem and class indices (H, W), one image after another: the inverse of
    `encode_rows` for images of these shapes.
    """
    encodings, num_classes = dict(rows), 1 + len(rows) // max(1, len(shapes))
    for stem, shape in shapes.items():
        labels = np.zeros(shape, np.uint8)
        for index in range(1, num_classes):
            labels[decode_rle(encodings[f"{stem}_mask{index}"], shape)] = index
        yield stem, labels


def write_submission(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Writes the CSV; equal rows give equal bytes.

    Raises:
        DataError: An id occurs twice, or the file cannot be written.
    """
    ids = [id for id, _ in rows]
    if repeated := _repeated(ids):
        raise DataError(
            f"{path}: not written, because {_name_some(repeated)} would occur twice; ids must be "
            "unique"
        )
    with replacing(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows([HEADER, *rows])
        text.detach()


def apply_template(rows: Sequence[tuple[str, str]], template: Path) -> list[tuple[str, str]]:
    """The rows in the order of the ids of a sample submission.

    Raises:
        DataError: The ids are not exactly those of the template.
    """
    wanted, given = list(read_submission(template)), [id for id, _ in rows]
    encodings, known = dict(rows), set(wanted)
    found = {
        "are missing": [id for id in wanted if id not in encodings],
        "are not in the template": [id for id in given if id not in known],
        "occur twice": _repeated(given),
    }
    if wrong := [
        f"{len(ids)} ids {what} ({_name_some(ids)})" for what, ids in found.items() if ids
    ]:
        raise DataError(f"{template}: {'; '.join(wrong)}; predict exactly the template's images")
    return [(id, encodings[id]) for id in wanted]


def read_submission(path: Path) -> dict[str, str]:
    """Encodings by id, in file order.

    A byte order mark, CRLF line ends and blank lines are read over.

    Raises:
        DataError: The file is unreadable, has another header or number of columns, or an id occurs
            twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = [
                (line, row)
                for line, row in enumerate(csv.reader(file, strict=True), start=1)
                if row
            ]
    except OSError as error:
        raise DataError(
            f"{path}: cannot read this file ({error.strerror}); check the path"
        ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: this is not a CSV file in UTF-8 ({error}); export it again"
        ) from None
    if not table or table[0][1] != HEADER:
        given = ",".join(table[0][1])[:80] if table else "nothing"
        raise DataError(f"{path}: the first line must be 'id,encoding', found {given!r}")
    encodings: dict[str, str] = {}
    for line, row in table[1:]:
        if len(row) != 2 or not row[0] or row[0] in encodings:
            fault = (
                f"the id {row[0][:80]!r} is empty or occurs twice"
                if len(row) == 2
                else f"{len(row)} columns instead of 2"
            )
            raise DataError(f"{path}, line {line}: {fault}")
        encodings[row[0]] = row[1]
    return encodings


def check_submission(
    path: Path,
    *,
    classes: ClassesConfig | None = None,
    mask_pattern: str = "{stem}_mask",
    shape: Shape = (96, 96),
    shapes: Mapping[str, Shape] | None = None,
    truth: Path | None = None,
) -> SubmissionCheck:
    """Lists all problems of a submission and scores it as Kaggle does: mean Dice over images and
    classes, both empty = 1.

    Args:
        shape: Size (H, W) of all images where nothing else tells it.
        shapes: Sizes by image stem; then exactly these images must be there.
        truth: Folder of true masks, named by `mask_pattern`; their images and sizes take the place
            of `shapes`.

    Raises:
        DataError: The CSV or a true mask is unreadable.
    """
    classes = classes or ClassesConfig()
    encodings = read_submission(path)
    truths = masks_from_folder(truth, pattern=mask_pattern, classes=classes) if truth else {}
    if truths:
        shapes = {stem: (mask.shape[0], mask.shape[1]) for stem, mask in truths.items()}
    keys = {id: _parse_id(id, mask_pattern, len(classes.names)) for id in encodings}
    rows = {key: encodings[id] for id, key in keys.items() if key}
    masks, unreadable = _decode_rows(rows, shapes or {}, shape)
    problems = (
        *_find_file_problems(path),
        *(
            f"{id}: this id is not {mask_pattern} with a class digit 1 to {len(classes.names) - 1}"
            for id, key in keys.items()
            if not key
        ),
        *_find_image_problems(rows, shapes, len(classes.names)),
        *unreadable,
        *_find_overlaps(masks),
    )
    wanted = {(stem, index) for stem in truths for index in range(1, len(classes.names))}
    scores = _score(masks, truths, classes.names) if wanted and wanted == set(masks) else {}
    return SubmissionCheck(
        num_rows=len(encodings),
        num_images=len({stem for stem, _ in rows}),
        problems=problems,
        score=float(np.mean(list(scores.values()))) if scores else None,
        class_scores=scores,
    )


def masks_from_folder(
    folder: Path, *, pattern: str = "{stem}_mask", classes: ClassesConfig | None = None
) -> dict[str, np.ndarray]:
    """Class indices (H, W) by image stem, from the PNG files of a folder whose names follow
    `pattern`.

    Raises:
        DataError: There are none, or one holds values that are no class.
    """
    prefix, suffix = _split_pattern(pattern)
    stems = {
        path.stem.removeprefix(prefix).removesuffix(suffix): path for path in folder.glob("*.png")
    }
    found = {
        stem: path
        for stem, path in stems.items()
        if stem and path.stem == f"{prefix}{stem}{suffix}"
    }
    if not found:
        raise DataError(
            f"{folder}: no masks named {pattern}.png; check the folder and the mask pattern"
        )
    return {stem: read_mask(found[stem], classes or ClassesConfig()) for stem in _natural(found)}


def write_masks(
    folder: Path, masks: Mapping[str, np.ndarray], *, pattern: str = "{stem}_mask"
) -> None:
    """Writes label arrays (H, W) by image stem as 8-bit PNG files; a pixel is its class index.

    Raises:
        DataError: A stem is no file name, or a file cannot be written.
    """
    prefix, suffix = _split_pattern(pattern)
    if leaving := [stem for stem in masks if "/" in stem or "\0" in stem]:
        raise DataError(
            f"{folder}: '{leaving[0]}' is no file name; masks are written into this folder only"
        )
    for stem, labels in masks.items():
        path = folder / f"{prefix}{stem}{suffix}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", labels.astype(np.uint8))[1].tobytes())
        except OSError as error:
            raise DataError(
                f"{path}: cannot write this mask ({error.strerror}); check the folder and its "
                "free space"
            ) from None


def _encodings(labels: np.ndarray, num_classes: int) -> list[str]:
    """Run lengths of classes 1 to K-1."""
    encodings = [encode_rle(labels == index) for index in range(1, num_classes)]
    for index, encoding in enumerate(encodings, start=1):
        assert np.array_equal(decode_rle(encoding, labels.shape), labels == index)
    return encodings


def _split_pattern(pattern: str) -> tuple[str, str]:
    try:
        return split_pattern(pattern)
    except ValueError as error:
        raise ConfigError(f"mask pattern {error}") from None


def _parse_id(id: str, pattern: str, num_classes: int) -> Key | None:
    prefix, suffix = map(re.escape, _split_pattern(pattern))
    match = re.fullmatch(f"{prefix}(.+){suffix}([1-{num_classes - 1}])", id)
    return (match[1], int(match[2])) if match else None


def _natural(stems: Iterable[str]) -> list[str]:
    return sorted(sorted(stems), key=natural_key)


def _repeated(ids: Sequence[str]) -> list[str]:
    return [id for id, count in Counter(ids).items() if count > 1]


def _name_some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:NUM_NAMED]) + (", ..." if len(ids) > NUM_NAMED else "")


def _check_labels(stem: str, labels: np.ndarray, num_classes: int) -> np.ndarray:
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise DataError(
            f"{stem}: the mask is {labels.dtype} {labels.shape}; class indices are integers (H, W)"
        )
    values, counts = np.unique(labels, return_counts=True)
    wrong = [
        f"{value} ({count} pixels)"
        for value, count in zip(values, counts, strict=True)
        if not 0 <= value < num_classes
    ]
    if wrong:
        raise DataError(
            f"{stem}: the mask holds {', '.join(wrong[:NUM_NAMED])}; class indices are 0 to "
            f"{num_classes - 1}"
        )
    return labels


def _decode_rows(
    rows: Mapping[Key, str], shapes: Mapping[str, Shape], shape: Shape
) -> tuple[dict[Key, np.ndarray], list[str]]:
    masks, problems = {}, []
    for (stem, index), text in rows.items():
        try:
            masks[stem, index] = decode_rle(text, shapes.get(stem, shape))
        except DataError as error:
            problems.append(f"{stem}, class {index}: {error}")
    return masks, problems


def _find_file_problems(path: Path) -> list[str]:
    content = path.read_bytes()
    found = {
        "a byte order mark": content.startswith(b"\xef\xbb\xbf"),
        "CRLF line ends": b"\r" in content,
    }
    return [
        f"the file has {what}; write plain UTF-8 with LF line ends"
        for what, is_there in found.items()
        if is_there
    ]


def _find_image_problems(
    keys: Iterable[Key], shapes: Mapping[str, Shape] | None, num_classes: int
) -> list[str]:
    """Missing and unknown images, missing classes, wrong order."""
    given = dict.fromkeys(keys)
    if not given:
        return ["the file has no rows"]
    stems = dict.fromkeys(stem for stem, _ in given)
    wanted = _natural(stems if shapes is None else shapes)
    problems = [
        f"{stem}: no such image" for stem in stems if shapes is not None and stem not in shapes
    ]
    for stem in wanted:
        if missing := [str(index) for index in range(1, num_classes) if (stem, index) not in given]:
            problems.append(f"{stem}: no row for class {', '.join(missing)}")
    ordered = [(stem, index) for stem in _natural(stems) for index in range(1, num_classes)]
    if list(given) != [key for key in ordered if key in given]:
        problems.append("the rows are not in numeric order of images and classes")
    return problems


def _find_overlaps(masks: Mapping[Key, np.ndarray]) -> list[str]:
    counts: dict[str, np.ndarray] = {}
    for (stem, _), mask in masks.items():
        counts[stem] = counts.get(stem, 0) + mask.astype(np.uint8)
    return [
        f"{stem}: {(count > 1).sum()} pixels belong to two classes"
        for stem, count in counts.items()
        if count.max(initial=0) > 1
    ]


def _score(
    masks: Mapping[Key, np.ndarray], truths: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, float]:
    """Mean Dice by class; every class against the rest, because rows of one image may overlap."""
    scores = {}
    for index, name in enumerate(names[1:], start=1):
        rows = []
        for stem, truth in truths.items():
            binary = np.where(truth == IGNORE_INDEX, IGNORE_INDEX, truth == index)
            rows.append(
                score_labels(
                    masks[stem, index],
                    binary,
                    id=stem,
                    classes=(names[0], name),
                    ignore_index=IGNORE_INDEX,
                )
            )
        scores[name] = summarize(rows).dice
    return scores
