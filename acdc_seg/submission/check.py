"""Checking a submission before it is handed in: all its problems, and its score."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig, split_pattern
from acdc_seg.errors import DataError
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.overlap import count_pixels, dice
from acdc_seg.submission.masks import read_masks
from acdc_seg.submission.rle import Shape, decode_rle
from acdc_seg.submission.table import read_rows, sort_stems

Key = tuple[str, int]
"""Image stem and class index."""


@dataclass(frozen=True)
class SubmissionCheck:
    """Everything wrong with a submission, and its score where masks are given and all rows
    decode.
    """

    num_rows: int
    num_images: int
    problems: tuple[str, ...]
    score: float | None
    class_scores: dict[str, float]


def check_submission(
    path: Path,
    *,
    classes: ClassesConfig | None = None,
    shape: Shape = (96, 96),
    shapes: Mapping[str, Shape] | None = None,
    truth: Path | None = None,
    data: DataConfig | None = None,
    template: Path | None = None,
) -> SubmissionCheck:
    """Lists all problems and scores as Kaggle does: mean Dice over images and classes, both empty
    is 1.

    Args:
        path: The CSV file.
        classes: Those of the true masks and ids.
        shape: Size (H, W) of all images that neither `shapes` nor `truth` tell.
        shapes: Sizes by image stem; then exactly these images must be there.
        truth: Folder of true masks, whose images and sizes take the place of `shapes`.
        data: Names of mask files, on which the ids depend.
        template: Sample submission whose ids and order take the place of the numeric order.

    Raises:
        DataError: The CSV or a true mask is unreadable.
    """
    classes, data = classes or ClassesConfig(), data or DataConfig()
    num_classes = len(classes.names)
    encodings = read_rows(path)
    true_masks = read_masks(truth, classes, data) if truth else {}
    if true_masks:
        shapes = {stem: (mask.shape[0], mask.shape[1]) for stem, mask in true_masks.items()}
    rows, id_problems = _parse_ids(encodings, num_classes, data.output_pattern)
    problems = _find_file_problems(path) + id_problems
    problems += _find_image_problems(rows, shapes, num_classes)
    problems += _find_order_problems(rows) if template is None else []
    if template and list(encodings) != list(read_rows(template)):
        problems.append(f"ids or their order are not those of {template}")
    masks, encoding_problems = _decode(rows, shapes or {}, shape)
    problems += encoding_problems
    problems += _find_overlaps(masks)
    scores: dict[str, float] = {}
    expected = {(stem, index) for stem in true_masks for index in range(1, num_classes)}
    if expected and expected == masks.keys():
        scores = _score(masks, true_masks, classes.names)
    return SubmissionCheck(
        num_rows=len(encodings),
        num_images=len({stem for stem, _ in rows}),
        problems=tuple(problems),
        score=float(np.mean(list(scores.values()))) if scores else None,
        class_scores=scores,
    )


def _parse_ids(
    encodings: Mapping[str, str], num_classes: int, pattern: str
) -> tuple[dict[Key, str], list[str]]:
    """Encodings by image stem and class, and the ids that are not of that form."""
    rows: dict[Key, str] = {}
    problems = []
    before, after = map(re.escape, split_pattern(pattern))
    for id, encoding in encodings.items():
        match = re.fullmatch(f"{before}(.+){after}([1-{min(num_classes - 1, 9)}])", id)
        if match:
            rows[match[1], int(match[2])] = encoding
        else:
            problems.append(
                f"{id}: this id is not {pattern} with a class digit 1 to {num_classes - 1}"
            )
    return rows, problems


def _decode(
    rows: Mapping[Key, str], shapes: Mapping[str, Shape], shape: Shape
) -> tuple[dict[Key, np.ndarray], list[str]]:
    """Masks `(H, W)` of the rows, and what is wrong with the others."""
    masks: dict[Key, np.ndarray] = {}
    problems = []
    for (stem, index), encoding in rows.items():
        try:
            masks[stem, index] = decode_rle(encoding, shapes.get(stem, shape))
        except DataError as error:
            problems.append(f"{stem}, class {index}: {error}")
    return masks, problems


def _find_file_problems(path: Path) -> list[str]:
    content = path.read_bytes()
    faults = {"a byte order mark": b"\xef\xbb\xbf", "CRLF line ends": b"\r"}
    return [
        f"the file has {fault}; write plain UTF-8 with LF line ends"
        for fault, sign in faults.items()
        if sign in content
    ]


def _find_image_problems(
    keys: Iterable[Key], shapes: Mapping[str, Shape] | None, num_classes: int
) -> list[str]:
    """Missing and unknown images, missing classes."""
    present = dict.fromkeys(keys)
    if not present:
        return ["the file has no rows"]
    stems = dict.fromkeys(stem for stem, _ in present)
    expected = stems if shapes is None else shapes
    problems = [f"{stem}: no such image" for stem in stems if stem not in expected]
    for stem in sort_stems(expected):
        missing = [str(index) for index in range(1, num_classes) if (stem, index) not in present]
        if missing:
            problems.append(f"{stem}: no row for class {', '.join(missing)}")
    return problems


def _find_order_problems(keys: Iterable[Key]) -> list[str]:
    present = list(keys)
    order = {stem: number for number, stem in enumerate(sort_stems({stem for stem, _ in present}))}
    if present == sorted(present, key=lambda key: (order[key[0]], key[1])):
        return []
    return ["the rows are not in numeric order of images and classes"]


def _find_overlaps(masks: Mapping[Key, np.ndarray]) -> Iterator[str]:
    counts: dict[str, np.ndarray] = {}
    for (stem, _), mask in masks.items():
        counts[stem] = counts.get(stem, 0) + mask.astype(np.uint8)
    for stem, count in counts.items():
        if count.max(initial=0) > 1:
            yield f"{stem}: {(count > 1).sum()} pixels belong to two classes"


def _score(
    masks: Mapping[Key, np.ndarray], true_masks: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, float]:
    """Mean Dice by class; every class against the rest, because rows of one image may overlap."""
    scores = {}
    for index, name in enumerate(names[1:], start=1):
        counts = []
        for stem, mask in true_masks.items():
            target = np.where(mask == IGNORE_INDEX, IGNORE_INDEX, mask == index)
            counts.append(count_pixels(masks[stem, index], target, 2, ignore_index=IGNORE_INDEX))
        scores[name] = float(dice(np.stack(counts))[:, 1].mean())  # counts (N, 2, 2)
    return scores
