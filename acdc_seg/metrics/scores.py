"""Overlap of predicted and true label arrays: one row of numbers per image, their summary, and the
tables of both.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.files import write_table, write_text

EMPTY_POLICY = (
    "A class that is empty in truth and prediction scores 1; empty in only one of them, 0."
)


@dataclass(frozen=True)
class ImageScore:
    """Overlap of one image or volume; every dict has one entry per foreground class, sizes are in
    pixels.
    """

    id: str
    patient: str
    phase: str
    dice: dict[str, float]
    iou: dict[str, float]
    truth_size: dict[str, int]
    prediction_size: dict[str, int]


@dataclass(frozen=True)
class ClassSummary:
    """One class over `n` images; standard deviations are those of the population."""

    n: int
    dice_mean: float
    dice_std: float
    iou_mean: float
    iou_std: float
    num_empty_truth: int
    num_empty_prediction: int


@dataclass(frozen=True)
class Summary:
    """A set of images; `dice` and `iou` are means over images and foreground classes."""

    n: int
    dice: float
    iou: float
    classes: dict[str, ClassSummary]


def score_labels(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    id: str,
    classes: Sequence[str],
    ignore_index: int | None = None,
    patient: str = "",
    phase: str = "",
) -> ImageScore:
    """Dice and IoU of every foreground class, by `EMPTY_POLICY`.

    Args:
        prediction: Class indices (H, W) or (X, Y, Z).
        truth: Class indices of the same shape.
        classes: Names of all classes, background first.
        ignore_index: Truth value of void pixels; they count for no class.

    Raises:
        DataError: The shapes differ, or an array holds something that is no class index.
    """
    confusion = _confusion_matrix(
        np.asarray(prediction), np.asarray(truth), len(classes), ignore_index, id
    )
    overlap, truth_size, prediction_size = (
        np.diagonal(confusion),
        confusion.sum(axis=1),
        confusion.sum(axis=0),
    )
    total = truth_size + prediction_size

    def named(values: np.ndarray) -> dict[str, Any]:
        return dict(zip(classes[1:], values[1:].tolist(), strict=True))

    dice, iou = _ratio(2 * overlap, total), _ratio(overlap, total - overlap)
    return ImageScore(
        id, patient, phase, named(dice), named(iou), named(truth_size), named(prediction_size)
    )


def summarize(rows: Sequence[ImageScore]) -> Summary:
    """Means over images; `Summary.dice` is Kaggle's score.

    Raises:
        DataError: There are no rows.
    """
    if not rows:
        raise DataError(
            "there are no scores to summarise: no image has a truth mask to compare with"
        )
    classes = {name: _summarize_class(rows, name) for name in rows[0].dice}
    dice, iou = (
        np.mean([getattr(each, field) for each in classes.values()])
        for field in ("dice_mean", "iou_mean")
    )
    return Summary(len(rows), float(dice), float(iou), classes)


def flat_row(row: ImageScore) -> dict[str, Any]:
    """The row as one level of columns: id, patient, phase, dice_<class>, iou_<class>, ..."""
    flat: dict[str, Any] = {}
    for key, value in asdict(row).items():
        flat |= (
            {f"{key}_{name}": number for name, number in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
    return flat


def write_csv(path: Path, rows: Sequence[ImageScore]) -> None:
    """Writes one line per image; raises DataError like `write_table`."""
    table = [flat_row(row) for row in rows]
    header = list(table[0]) if table else ["id", "patient", "phase"]
    write_table(path, [header, *([_rounded(value) for value in row.values()] for row in table)])


def scores_to_dict(rows: Sequence[ImageScore], summary: Summary) -> dict[str, Any]:
    """Policy (`empty_policy`), n, headline, `classes` and all rows (`images`) as plain dicts and
    lists.
    """
    return {
        "empty_policy": EMPTY_POLICY,
        **asdict(summary),
        "images": [asdict(row) for row in rows],
    }


def write_json(path: Path, rows: Sequence[ImageScore], summary: Summary) -> None:
    """Writes `scores_to_dict` as one JSON object."""
    write_text(
        path,
        json.dumps(scores_to_dict(rows, summary), indent=2, ensure_ascii=False, allow_nan=False)
        + "\n",
    )


def format_table(summary: Summary) -> str:
    """A plain text table of the classes, with the headline, n and the policy below it."""
    header = ("class", "Dice", "IoU", "empty truth", "empty prediction")
    lines = [
        (
            name,
            f"{c.dice_mean:.4f} ± {c.dice_std:.4f}",
            f"{c.iou_mean:.4f} ± {c.iou_std:.4f}",
            c.num_empty_truth,
            c.num_empty_prediction,
        )
        for name, c in summary.classes.items()
    ]
    table = [
        [str(cell) for cell in line]
        for line in (
            header,
            *lines,
            ("foreground", f"{summary.dice:.4f}", f"{summary.iou:.4f}", "", ""),
        )
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]
    return "\n".join([*text, f"n = {summary.n} images. {EMPTY_POLICY}"])


def _confusion_matrix(
    prediction: np.ndarray, truth: np.ndarray, num_classes: int, ignore_index: int | None, id: str
) -> np.ndarray:
    """Pixel counts (K, K), truth in rows, prediction in columns."""
    if prediction.shape != truth.shape:
        raise DataError(
            f"{id}: the prediction is {prediction.shape}, the truth {truth.shape}; they must have "
            "one shape"
        )
    if ignore_index is not None:
        kept = truth != ignore_index
        prediction, truth = prediction[kept], truth[kept]
    for name, labels in (("prediction", prediction), ("truth", truth)):
        _check_labels(labels, num_classes, f"{id}: the {name}")
    pairs = truth.ravel().astype(np.intp) * num_classes + prediction.ravel()  # (N,)
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_labels(labels: np.ndarray, num_classes: int, name: str) -> None:
    if labels.dtype.kind not in "biu":
        raise DataError(f"{name} is an array of {labels.dtype}; class indices are integers")
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise DataError(
            f"{name} holds values {labels.min()} to {labels.max()}; class indices are 0 to "
            f"{num_classes - 1}"
        )


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 1 where both are 0."""
    return np.divide(part, whole, out=np.ones(len(whole)), where=whole > 0)


def _summarize_class(rows: Sequence[ImageScore], name: str) -> ClassSummary:
    def column(field: str) -> np.ndarray:
        return np.array([getattr(row, field)[name] for row in rows])

    dice, iou = column("dice"), column("iou")
    return ClassSummary(
        n=len(rows),
        dice_mean=float(dice.mean()),
        dice_std=float(dice.std()),
        iou_mean=float(iou.mean()),
        iou_std=float(iou.std()),
        num_empty_truth=int((column("truth_size") == 0).sum()),
        num_empty_prediction=int((column("prediction_size") == 0).sum()),
    )


def _rounded(value: Any) -> Any:
    return f"{value:.6f}" if isinstance(value, float) else value
