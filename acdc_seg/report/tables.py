"""Tables of scores: by class, by patient, by image."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from acdc_seg.report.page import column, counted, decimals, interval_text, row, table
from acdc_seg.report.scores import Scores
from acdc_seg.report.style import hex_color

CARD_METRICS = ("iou", "hd95")
"""Metrics beside the headline."""
MAX_CARDS = 6
MAX_COLUMNS = 6
"""Classes up to which they are columns of a table."""


def headline_text(scores: Scores) -> str:
    """Level, number and policy of the headline in sentences."""
    headline, level = scores.content.get("headline") or {}, scores.level
    number = counted(headline.get("n", scores.content["n"]), level)
    num_patients = scores.num_patients
    of_patients = f" of {counted(num_patients, 'patient')}" if num_patients else ""
    classes = "classes" if len(scores.scored) == len(scores.classes) else "foreground classes"
    interval = (
        f"The interval comes from drawing the {'patients' if num_patients else 'images'} again "
        "with replacement."
        if scores.interval()
        else "One patient gives no interval."
    )
    void = scores.content.get("num_void")
    left_out = f" Left out, for all of their pixels are void: {void}." if void else ""
    return (
        f"{scores.label} of each {level}, mean over {number}{of_patients} and the {classes}. "
        f"{interval} {scores.empty_policy}{left_out}"
    )


def score_cards(scores: Scores) -> list[dict[str, Any]]:
    """The headline with its interval, and each class where there are several."""
    metrics, one = scores.metrics, len(scores.scored) == 1
    others = {key: metrics[key] for key in CARD_METRICS if key in metrics}
    lines = [interval_text(scores.interval()), f"over {scores.level}s"]
    lines += [f"{label} {decimals(scores.means[key])}" for key, label in others.items()]
    pooled = scores.content.get("pooled") or {}
    if scores.metric in pooled:
        lines.append(f"all pixels together {decimals(pooled[scores.metric])}")
    name = scores.scored[0] if one else "Mean"
    first = {
        "name": f"{name} {scores.label}",
        "value": decimals(scores.headline),
        "lines": list(filter(None, lines)),
        "color": "",
    }
    classes = scores.class_means if not one and len(scores.scored) <= MAX_CARDS else {}
    return [first] + [
        {
            "name": f"{name} {scores.label}",
            "value": decimals(means[f"{scores.metric}_mean"]),
            "lines": [f"{label} {decimals(means[f'{key}_mean'])}" for key, label in others.items()],
            "color": hex_color(scores.colors.get(name)),
        }
        for name, means in classes.items()
    ]


def class_table(scores: Scores) -> dict[str, Any]:
    """Every metric of every class; few classes are columns, many are rows."""
    metrics, classes = scores.metrics, scores.class_means
    counts = {
        "num_empty_truth": "Empty masks",
        "num_empty_prediction": "Empty predictions",
        "num_missed": "Missed",
        "num_false": "Invented",
    }
    several = len(classes) > 1
    lines: list[list[Any]] = [["", *(["mean"] if several else []), *classes]]
    for key, label in metrics.items():
        cells = [
            f"{decimals(each[f'{key}_mean'])} ± {decimals(each[f'{key}_std'])}"
            for each in classes.values()
        ]
        lines.append([label, *([scores.means[key]] if several else []), *cells])
    for key, label in counts.items():
        if all(key in each for each in classes.values()):
            cells = [each[key] for each in classes.values()]
            lines.append([label, *([""] if several else []), *cells])
    if len(classes) > MAX_COLUMNS:
        lines = [list(line) for line in zip(*lines, strict=True)]
    first, *rows = lines
    headings = [column(first[0]), *(column(name, number=True) for name in first[1:])]
    return table(headings, [row(line) for line in rows])


def level_table(scores: Scores) -> dict[str, Any]:
    """The mean of the metrics of the cards at every level, and for every part of the data."""
    levels = scores.content.get("levels") or {}
    parts = scores.content.get("parts") or {}
    summaries = [(f"by {level}", summary) for level, summary in levels.items()]
    for key, by_word in parts.items():
        summaries += [(f"{key} {word or 'unknown'}", summary) for word, summary in by_word.items()]
    keys = [key for key in (scores.metric, *CARD_METRICS) if key in scores.metrics]
    headings = [column(""), column("n", number=True)]
    for key in keys:
        headings += [column(scores.metrics[key], number=True), column("95 % interval", number=True)]
    rows = []
    for name, summary in summaries if len(summaries) > 1 else []:
        cells: list[Any] = [name, summary["n"]]
        for key in keys:
            ends = summary["intervals"].get(key)
            cells += [summary["mean"].get(key), " to ".join(map(decimals, ends)) if ends else "–"]
        rows.append(row(cells, best=name == f"by {scores.level}"))
    return table(headings, rows)


def image_table(scores: Scores) -> dict[str, Any]:
    """A row for every image, the lowest headline first."""
    has_phase = any(image["phase"] for image in scores.images)
    has_patient = any(image["patient"] not in ("", image["id"]) for image in scores.images)
    headings = [column(scores.noun.capitalize())]
    headings += [column("Patient")] if has_patient else []
    headings += [column("Phase")] if has_phase else []
    shown = scores.scored if len(scores.scored) > 1 else []
    headings += [column(f"Mean {scores.label}" if shown else scores.label, number=True)]
    headings += [column(name, number=True) for name in shown]
    rows = []
    for image in worst_first(scores):
        id = image["id"]
        cells = [id, *([image["patient"]] if has_patient else ())]
        cells += [image["phase"]] if has_phase else []
        cells += [scores.mean(id), *(scores.value(id, name) for name in shown)]
        rows.append(row(cells, case=id))
    return table(headings, rows)


def patient_table(scores: Scores) -> dict[str, Any]:
    """A row for every patient with several images: mean and worst image; the lowest mean first."""
    by_patient: dict[str, list[str]] = {}
    for image in worst_first(scores):
        by_patient.setdefault(image["patient"], []).append(image["id"])
    if len(by_patient) == len(scores.images):
        return table([], [])
    headings = [column("Patient"), column(f"{scores.noun.capitalize()}s", number=True)]
    shown = scores.scored if len(scores.scored) > 1 else []
    headings += [column(f"Mean {scores.label}", number=True), column("Worst", number=True)]
    headings += [column(name, number=True) for name in shown]
    rows = []
    for patient, ids in by_patient.items():
        means = [_mean([scores.value(id, name) for id in ids]) for name in shown]
        overall = _mean([scores.mean(id) for id in ids])
        cells = [patient or "unknown", len(ids), overall, scores.mean(ids[0]), *means]
        rows.append((overall, row(cells, case=ids[0])))
    sign = 1 if scores.higher_is_better else -1
    rows.sort(key=lambda item: sign * item[0] if math.isfinite(item[0]) else math.inf)
    return table(headings, [each for _, each in rows])


def worst_first(scores: Scores) -> list[dict[str, Any]]:
    """The images by their mean of the headline metric; those without one last."""
    sign = 1 if scores.higher_is_better else -1

    def key(image: dict[str, Any]) -> float:
        mean = scores.mean(image["id"])
        return sign * mean if math.isfinite(mean) else math.inf

    return sorted(scores.images, key=key)


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
