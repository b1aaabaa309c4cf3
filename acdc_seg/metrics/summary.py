"""Summary of the scores of images, and the tables of both.

Images whose pixels are all void have no score: they are left out, and counted (`num_void`). The
foreground classes are all but the background, or all where the classes have none.

metrics.csv has a row per image: `id`, `patient`, `phase`, then `<metric>_<class>` for every metric
and foreground class, then `truth_size_<class>` and `prediction_size_<class>` in pixels.

metrics.json holds `protocol` (see `evaluation.make_protocol`), `empty_policy`, `metrics` (their
labels), `n`, the mean of each over images and foreground classes (`dice`, `iou`), `classes` (of
each `n`, `<metric>_mean`, `<metric>_std`, `num_empty_truth` and `num_empty_prediction`), `pooled`
(see `pooled.pool_counts`) and
`images`, the rows of metrics.csv with a dict by class in place of the columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from acdc_seg.errors import DataError
from acdc_seg.files import write_table
from acdc_seg.metrics import EMPTY_POLICY, METRICS, NO_UNITS, Units
from acdc_seg.metrics.intervals import bootstrap_columns
from acdc_seg.metrics.pooled import pool_counts
from acdc_seg.metrics.scores import ImageScore


@dataclass(frozen=True)
class Summary:
    """A set of images.

    Attributes:
        n: Number of images.
        mean: Mean over images and foreground classes, by metric.
        classes: Of each class its part of metrics.json; standard deviations are the population's.
        num_patients: Number of patients that they are of.
        intervals: 95 % interval of each mean when patients are drawn anew, see
            `intervals.patient_bootstrap`; None for a single patient.
        units: Of lengths and sizes.
        num_void: Images that are left out, for all of their pixels are void.
        pooled: Dice and IoU of all images as one, see `pooled.pool_counts`.
    """

    n: int
    mean: dict[str, float]
    classes: dict[str, dict[str, Any]]
    num_patients: int = 0
    intervals: dict[str, list[float] | None] = field(default_factory=dict)
    units: Units = NO_UNITS
    num_void: int = 0
    pooled: dict[str, Any] = field(default_factory=dict)

    @property
    def dice(self) -> float:
        """Mean Dice, Kaggle's score."""
        return self.mean["dice"]


def summarize(scores: Sequence[ImageScore]) -> Summary:
    """Means over images and classes, with intervals over patients.

    Raises:
        DataError: There are no scores, or all images are wholly void.
    """
    if not scores:
        raise DataError("there are no scores to summarize: no image has a mask to compare with")
    num_all, scores = len(scores), without_void(scores)
    if not scores:
        raise DataError(f"all pixels of all {num_all} masks are void; check classes.void")
    metrics = list(scores[0].values)
    classes = {name: _summarize_class(scores, name, metrics) for name in scores[0].dice}
    mean = {
        metric: float(np.mean([summary[f"{metric}_mean"] for summary in classes.values()]))
        for metric in metrics
    }
    intervals = _add_intervals(scores, classes, metrics)
    num_patients = len({score.patient for score in scores})
    return Summary(
        len(scores),
        mean,
        classes,
        num_patients,
        intervals,
        scores[0].units,
        num_void=num_all - len(scores),
        pooled=pool_counts(sum_counts(scores), list(classes)),
    )


def without_void(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """The scores of images that have a pixel of a class."""
    return [score for score in scores if not score.is_void]


def _add_intervals(
    scores: Sequence[ImageScore], classes: Mapping[str, dict[str, Any]], metrics: Sequence[str]
) -> dict[str, list[float] | None]:
    """Adds `<metric>_interval` to every class, and returns those of the means over classes."""
    patients = [score.patient for score in scores]
    if len(set(patients)) < 2:
        bounds = None
    else:
        rows = [[list(score.values[metric].values()) for metric in metrics] for score in scores]
        table = np.array(rows)  # (N, metrics, classes)
        table = np.concatenate([table, table.mean(-1, keepdims=True)], axis=-1)
        found = bootstrap_columns(table.reshape(len(scores), -1), patients)
        bounds = found.reshape(*table.shape[1:], 2)
    intervals: dict[str, list[float] | None] = {}
    for row, metric in enumerate(metrics):
        for column, summary in enumerate(classes.values()):
            summary[f"{metric}_interval"] = None if bounds is None else bounds[row, column].tolist()
        intervals[metric] = None if bounds is None else bounds[row, -1].tolist()
    return intervals


def write_csv(
    path: Path,
    scores: Sequence[ImageScore],
    extra: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> None:
    """Writes metrics.csv, with further columns by id; raises DataError like `write_table`."""
    rows = []
    for score in without_void(scores):
        row: dict[str, Any] = {}
        for key, value in score_to_dict(score).items():
            if isinstance(value, dict):
                row |= {f"{key}_{name}": _rounded(number) for name, number in value.items()}
            else:
                row[key] = value
        more = extra.get(score.id, {})
        rows.append(row | {name: _rounded(value) for name, value in more.items()})
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
        "metrics": {name: METRICS[name].label(summary.units) for name in summary.mean},
        "n": summary.n,
        "num_void": summary.num_void,
        **summary.mean,
        "classes": summary.classes,
        "confusion": sum_counts(scores).tolist(),
        "pooled": summary.pooled,
        "images": [score_to_dict(score) for score in without_void(scores)],
    }


def _summarize_class(
    scores: Sequence[ImageScore], name: str, metrics: Sequence[str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(scores)}
    for metric in metrics:
        values = [score.values[metric][name] for score in scores]
        row |= {f"{metric}_mean": float(np.mean(values)), f"{metric}_std": float(np.std(values))}
    row["num_empty_truth"] = sum(score.truth_size[name] == 0 for score in scores)
    row["num_empty_prediction"] = sum(score.prediction_size[name] == 0 for score in scores)
    row["num_missed"] = sum(score.num_missed[name] for score in scores)
    row["num_false"] = sum(score.num_false[name] for score in scores)
    return row


def score_to_dict(score: ImageScore) -> dict[str, Any]:
    """A row of `images`, `volumes` and `patients` in metrics.json."""
    row: dict[str, Any] = {}
    for key, value in vars(score).items():
        if key not in ("counts", "units"):
            row |= value if key == "values" else {key: value}
    return row


def _rounded(cell: Any) -> Any:
    return f"{cell:.6f}" if isinstance(cell, float) else cell
