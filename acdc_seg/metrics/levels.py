"""Levels of a set of scores: images, volumes, patients, and parts of each.

The headline is the mean Dice at the highest level that scores are published at: volumes, as in the
ACDC challenge, where the images are the slices of volumes, else the images themselves.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.files import write_json
from acdc_seg.metrics import METRICS
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import (
    Summary,
    score_to_dict,
    scores_to_dict,
    sum_counts,
    summarize,
    without_void,
    write_csv,
)
from acdc_seg.metrics.volumes import ORDER, ScoreSet

HEADLINE = next(iter(METRICS))
"""The metric that orders images and models."""


def image_word(scores: ScoreSet) -> str:
    """slice, where the images are slices of a heart or a volume; else image."""
    return "slice" if scores.volumes or scores.is_heart else "image"


def headline_level(scores: ScoreSet) -> str:
    """Level of the headline: volume, slice or image."""
    return "volume" if scores.volumes else image_word(scores)


def levels_of(scores: ScoreSet) -> dict[str, list[ImageScore]]:
    """Scores by level: slice or image where these were scored, volume where there are volumes,
    patient where there are patients with several of either.
    """
    levels = {image_word(scores): scores.images} if scores.images else {}
    if scores.volumes:
        levels["volume"] = scores.volumes
    patients = join_patients(scores.volumes or scores.images)
    if len(patients) < len(scores.volumes or scores.images):
        levels["patient"] = patients
    return levels


def tables_of(scores: ScoreSet) -> dict[str, list[ImageScore]]:
    """Scores by the name of the table that is written of them."""
    names = {image_word(scores): "metrics.csv", "volume": "volumes.csv", "patient": "patients.csv"}
    return {names[level]: rows for level, rows in levels_of(scores).items()}


def join_patients(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """One score per patient: means of values, sums of pixels and of missed and false structures."""
    by_patient: dict[str, list[ImageScore]] = defaultdict(list)
    for score in without_void(scores):
        by_patient[score.patient].append(score)
    return [_join_patient(patient, part) for patient, part in by_patient.items()]


def _join_patient(patient: str, scores: Sequence[ImageScore]) -> ImageScore:
    first = scores[0]
    values = {
        metric: {
            name: float(np.mean([score.values[metric][name] for score in scores]))
            for name in by_class
        }
        for metric, by_class in first.values.items()
    }

    def total(by_class: Callable[[ImageScore], Mapping[str, int]]) -> dict[str, int]:
        return {name: sum(by_class(score)[name] for score in scores) for name in first.dice}

    return replace(
        first,
        id=patient,
        phase="",
        values=values,
        truth_size=total(lambda score: score.truth_size),
        prediction_size=total(lambda score: score.prediction_size),
        counts=sum_counts(scores),
        num_missed=total(lambda score: score.num_missed),
        num_false=total(lambda score: score.num_false),
        slice=None,
        region="",
    )


def parts_of(scores: ScoreSet) -> dict[str, dict[str, list[ImageScore]]]:
    """Scores of the headline's level by phase and by group, and of volumes by region, where there
    are several.
    """
    units = scores.volumes or scores.images
    parts: dict[str, dict[str, list[ImageScore]]] = {}
    for key in ("phase", "group"):
        by_word: dict[str, list[ImageScore]] = defaultdict(list)
        for score in without_void(units):
            by_word[getattr(score, key)].append(score)
        if len(by_word) > 1:
            parts[key] = dict(sorted(by_word.items()))
    if scores.regions:
        parts["region"] = scores.regions
    return parts


def count_errors(images: Sequence[ImageScore]) -> dict[str, dict[str, dict[str, int]]]:
    """By region of the heart and class: slices with the class in the mask (`num_present`) and those
    of them where it is missed, slices without it (`num_absent`) and those where it is invented.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for region in ORDER:
        chosen = [score for score in without_void(images) if score.region == region]
        if chosen:
            counts[region] = {name: _count_class(chosen, name) for name in chosen[0].dice}
    return counts


def _count_class(scores: Sequence[ImageScore], name: str) -> dict[str, int]:
    num_present = sum(score.truth_size[name] > 0 for score in scores)
    return {
        "num_present": num_present,
        "num_missed": sum(score.num_missed[name] for score in scores),
        "num_absent": len(scores) - num_present,
        "num_false": sum(score.num_false[name] for score in scores),
    }


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """A level or part in metrics.json."""
    return {
        "n": summary.n,
        "num_patients": summary.num_patients,
        "metrics": {name: METRICS[name].label(summary.units) for name in summary.mean},
        "mean": summary.mean,
        "intervals": summary.intervals,
        "classes": summary.classes,
    }


def score_set_to_dict(scores: ScoreSet) -> dict[str, Any]:
    """The content of metrics.json: that of `scores_to_dict` for the images, or for volumes that
    were not scored by slice, and the levels.

    `level` is that of the `headline`; `levels` has a summary of each, `parts` one for every phase,
    group and region; `calibration` is that of `metrics.calibration`, or null; `errors` is
    `count_errors`; `volumes` and `patients` are rows like `images`.
    """
    levels = levels_of(scores)
    summaries = {level: summarize(rows) for level, rows in levels.items()}
    level = headline_level(scores)
    top, lowest = summaries[level], next(iter(levels.values()))
    return {
        "level": level,
        "headline": {
            "metric": HEADLINE,
            "level": level,
            "n": top.n,
            "num_patients": top.num_patients,
            "value": top.mean[HEADLINE],
            "interval": top.intervals[HEADLINE],
        },
        **scores_to_dict(lowest, summaries[next(iter(summaries))]),
        "images": [score_to_dict(score) for score in without_void(scores.images)],
        "distances": distance_note(scores),
        "levels": {name: summary_to_dict(summary) for name, summary in summaries.items()},
        "calibration": scores.calibration,
        "parts": {
            key: {word: summary_to_dict(summarize(rows)) for word, rows in part.items()}
            for key, part in parts_of(scores).items()
        },
        "errors": count_errors(scores.images),
        "volumes": [score_to_dict(score) for score in scores.volumes],
        "patients": [score_to_dict(score) for score in levels.get("patient", [])],
    }


def distance_note(scores: ScoreSet) -> str:
    """A sentence on where distances are measured, and in which unit."""
    in_mm = (scores.images or scores.volumes)[0].units.length == "mm"
    unit = "in mm" if in_mm else "in pixels, for the pixel size of some image is unknown"
    if not scores.volumes:
        return f"Distances are {unit}."
    if scores.distances_3d:
        return f"Distances of volumes are measured in space, {unit}."
    return (
        f"Distances of volumes are the means of those of their slices, {unit}, for the place of "
        "some slice in space is unknown."
    )


def write_scores(
    folder: Path, scores: ScoreSet, protocol: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes metrics.json and metrics.csv, and where there are such levels volumes.csv and
    patients.csv; returns the content of metrics.json.

    Raises:
        DataError: They cannot be written.
    """
    content = {"protocol": protocol or {}, **score_set_to_dict(scores)}
    for name, rows in tables_of(scores).items():
        write_csv(folder / name, rows)
    write_json(folder / "metrics.json", content)
    return content
