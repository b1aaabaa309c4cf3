"""Scores of images, their summary, and the tables of both.

metrics.csv has a row per image: `id`, `patient`, `phase`, then `<metric>_<class>` for every metric
and foreground class, then `truth_size_<class>` and `prediction_size_<class>` in pixels.

metrics.json holds `protocol` (see `evaluation.make_protocol`), `empty_policy`, `metrics` (their
labels), `n`, the mean of each over images and foreground classes (`dice`, `iou`), `classes` (of
each `n`, `<metric>_mean`, `<metric>_std`, `num_empty_truth` and `num_empty_prediction`) and
`images`, the rows of metrics.csv with a dict by class in place of the columns.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.files import write_table, write_text
from acdc_seg.metrics import EMPTY_POLICY, METRICS
from acdc_seg.metrics.overlap import count_pixels


@dataclass(frozen=True)
class ImageScore:
    """Metrics of one image or volume by metric and foreground class; sizes are in pixels.

    `counts` are the pixels `(K, K)` by class of the mask and predicted class, background included.
    """

    id: str
    patient: str
    phase: str
    values: dict[str, dict[str, float]]
    truth_size: dict[str, int]
    prediction_size: dict[str, int]
    counts: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def dice(self) -> dict[str, float]:
        """Dice by class."""
        return self.values["dice"]

    def mean(self, metric: str = "dice") -> float:
        """Mean over the foreground classes."""
        return float(np.mean(list(self.values[metric].values())))


@dataclass(frozen=True)
class Summary:
    """A set of images.

    Attributes:
        n: Number of images.
        mean: Mean over images and foreground classes, by metric.
        classes: Of each class its part of metrics.json; standard deviations are the population's.
    """

    n: int
    mean: dict[str, float]
    classes: dict[str, dict[str, Any]]

    @property
    def dice(self) -> float:
        """Mean Dice, Kaggle's score."""
        return self.mean["dice"]


def score_labels(
    labels: np.ndarray,
    mask: np.ndarray,
    *,
    id: str,
    classes: Sequence[str],
    ignore_index: int | None = None,
    patient: str = "",
    phase: str = "",
) -> ImageScore:
    """All metrics of every foreground class.

    Args:
        labels: Predicted class indices `(H, W)` or `(X, Y, Z)`.
        mask: True class indices of the same shape.
        id: The image's name.
        classes: Names of all classes, background first.
        ignore_index: Mask value of void pixels; they count for no class.
        patient: Whose image it is.
        phase: ED, ES or nothing.

    Raises:
        DataError: The shapes differ, or an array holds values that are not class indices.
    """
    labels, mask = np.asarray(labels), np.asarray(mask)
    counts = count_pixels(labels, mask, len(classes), ignore_index=ignore_index, name=id)

    def by_class(values: np.ndarray) -> dict[str, Any]:
        return dict(zip(classes[1:], values[1:].tolist(), strict=True))

    values = {name: by_class(metric.function(counts)) for name, metric in METRICS.items()}
    sizes = by_class(counts.sum(1)), by_class(counts.sum(0))
    return ImageScore(id, patient, phase, values, *sizes, counts=counts.astype(np.int32))


def summarize(scores: Sequence[ImageScore]) -> Summary:
    """Means over images and classes.

    Raises:
        DataError: There are no scores.
    """
    if not scores:
        raise DataError("there are no scores to summarize: no image has a mask to compare with")
    classes = {name: _summarize_class(scores, name) for name in scores[0].dice}
    mean = {
        metric: float(np.mean([summary[f"{metric}_mean"] for summary in classes.values()]))
        for metric in METRICS
    }
    return Summary(len(scores), mean, classes)


def write_csv(path: Path, scores: Sequence[ImageScore]) -> None:
    """Writes metrics.csv; raises DataError like `write_table`."""
    rows = []
    for score in scores:
        row: dict[str, Any] = {}
        for key, value in _score_to_dict(score).items():
            if isinstance(value, dict):
                row |= {f"{key}_{name}": _rounded(number) for name, number in value.items()}
            else:
                row[key] = value
        rows.append(row)
    header = list(rows[0]) if rows else ["id", "patient", "phase"]
    write_table(path, [header, *(row.values() for row in rows)])


def sum_counts(scores: Sequence[ImageScore]) -> np.ndarray:
    """Pixel counts int64 `(K, K)` over all images that have them."""
    counts = [score.counts for score in scores if score.counts is not None]
    return np.stack(counts).sum(0, dtype=np.int64) if counts else np.zeros((0, 0), np.int64)


def scores_to_dict(scores: Sequence[ImageScore], summary: Summary) -> dict[str, Any]:
    """The content of metrics.json as plain dicts and lists."""
    return {
        "empty_policy": EMPTY_POLICY,
        "metrics": {name: metric.label for name, metric in METRICS.items()},
        "n": summary.n,
        **summary.mean,
        "classes": summary.classes,
        "confusion": sum_counts(scores).tolist(),
        "images": [_score_to_dict(score) for score in scores],
    }


def write_json(
    path: Path,
    scores: Sequence[ImageScore],
    summary: Summary,
    *,
    protocol: Mapping[str, Any] | None = None,
) -> None:
    """Writes metrics.json, with how the scores came about; raises DataError where that fails."""
    content = {"protocol": protocol or {}, **scores_to_dict(scores, summary)}
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def format_table(summary: Summary) -> str:
    """A plain text table of the classes, with the mean over them, n and the policy below it."""
    labels = [metric.label for metric in METRICS.values()]
    table = [["class", *labels, "empty truth", "empty prediction"]]
    for name, row in summary.classes.items():
        values = [f"{row[f'{metric}_mean']:.4f} ± {row[f'{metric}_std']:.4f}" for metric in METRICS]
        empty = str(row["num_empty_truth"]), str(row["num_empty_prediction"])
        table.append([name, *values, *empty])
    table.append(["foreground", *(f"{mean:.4f}" for mean in summary.mean.values()), "", ""])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
    return "\n".join([*lines, f"n = {summary.n} images. {EMPTY_POLICY}"])


def _summarize_class(scores: Sequence[ImageScore], name: str) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(scores)}
    for metric in METRICS:
        values = [score.values[metric][name] for score in scores]
        row |= {f"{metric}_mean": float(np.mean(values)), f"{metric}_std": float(np.std(values))}
    row["num_empty_truth"] = sum(score.truth_size[name] == 0 for score in scores)
    row["num_empty_prediction"] = sum(score.prediction_size[name] == 0 for score in scores)
    return row


def _score_to_dict(score: ImageScore) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for key, value in vars(score).items():
        if key != "counts":
            row |= value if key == "values" else {key: value}
    return row


def _rounded(cell: Any) -> Any:
    return f"{cell:.6f}" if isinstance(cell, float) else cell
