"""The content of the viewer: which images are shown, and their pictures as text."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from acdc_seg.report.evidence import Evidence
from acdc_seg.report.scores import Scores
from acdc_seg.report.style import OUTLINES, hex_color

MAX_CHARACTERS = 9_000_000
"""Of all pictures, so that a page with its tables stays below 10 MB."""
OVERHEAD = 400
"""Characters of an image's name and scores."""
NUM_EXTREME = 20
"""Images of the whole set, of each end, that come first where not all fit."""


def viewer_content(
    runs: Sequence[Scores],
    evidence: Sequence[Evidence],
    *,
    noun: str = "image",
    reserved: int = 0,
) -> dict[str, Any] | None:
    """The content of `viewer-data` for runs that predicted the same images; None without pictures.

    Args:
        runs: Scores of each run.
        evidence: Pictures of each run, in the same order.
        noun: What an image is called.
        reserved: Characters of the page that something else needs.
    """
    first, *others = runs
    known = [
        image
        for image in first.images
        if all(image["id"] in part for part in evidence)
        and all(image["id"] in each for each in others)
    ]
    if not known:
        return None
    chosen = _choose(known, runs, evidence, MAX_CHARACTERS - reserved)
    left_out = len(first.images) - len(chosen)
    return {
        "runs": [each.name for each in runs],
        "classes": class_colors(first),
        "metric": first.label,
        "higher": first.higher_is_better,
        "cases": [_case(image, runs, evidence) for image in known if image["id"] in chosen],
        "left_out": f"{left_out} of {len(first.images)} {noun}s are left out to keep this page "
        "small: those between the worst, the median and the best of every patient."
        if left_out
        else "",
    }


def class_colors(scores: Scores) -> list[dict[str, Any]]:
    """Name and color of all classes in order; those that are scored are painted.

    Up to seven of them have colors that are told apart with every kind of color vision.
    """
    painted = [name for name in scores.classes if name in scores.scored]
    colors = {name: hex_color(scores.colors.get(name)) for name in painted}
    if len(painted) <= len(OUTLINES):
        colors = dict(zip(painted, OUTLINES, strict=False))
    return [
        {"name": name, "color": colors.get(name, "#000000"), "painted": name in colors}
        for name in scores.classes
    ]


def _choose(
    images: Sequence[Mapping[str, Any]],
    runs: Sequence[Scores],
    evidence: Sequence[Evidence],
    max_characters: int,
) -> set[str]:
    """Ids of all images where they fit; else first the ends of the whole set, then the worst, the
    median and the best of every patient, then the worst of the others.
    """
    worst_first = sorted(images, key=lambda image: worst_mean(image["id"], runs))
    ranked = [image["id"] for image in worst_first]
    filled = [image["id"] for image in worst_first if not runs[0].is_empty(image)]
    middle = len(filled) // 2
    priority = ranked[:NUM_EXTREME] + filled[-NUM_EXTREME:] + filled[middle : middle + NUM_EXTREME]
    by_patient: dict[str, list[str]] = {}
    for image in worst_first:
        by_patient.setdefault(image["patient"], []).append(image["id"])
    for ids in by_patient.values():
        priority += [ids[0], ids[len(ids) // 2], ids[-1]]
    chosen: set[str] = set()
    used = 0
    for id in dict.fromkeys([*priority, *ranked]):
        size = OVERHEAD + sum(part.size(id) for part in evidence) * 4 // 3
        if used + size <= max_characters:
            used += size
            chosen.add(id)
    return chosen


def worst_mean(id: str, runs: Sequence[Scores]) -> float:
    """The worst of the runs' means of an image, the lower the worse."""
    sign = 1 if runs[0].higher_is_better else -1
    means = [sign * run.mean(id) for run in runs]
    return min((mean for mean in means if math.isfinite(mean)), default=math.inf)


def _case(
    image: Mapping[str, Any], runs: Sequence[Scores], evidence: Sequence[Evidence]
) -> dict[str, Any]:
    id = image["id"]
    parts = [each[id] for each in evidence]
    return {
        "id": id,
        "patient": image["patient"],
        "phase": image["phase"],
        "empty": runs[0].is_empty(image),
        "size": [parts[0].height, parts[0].width],
        "scores": [[_finite(run.value(id, name)) for name in run.scored] for run in runs],
        "means": [_finite(run.mean(id)) for run in runs],
        "image": _text(parts[0].image),
        "mask": _text(parts[0].mask),
        "labels": [_text(part.labels) for part in parts],
        "uncertainty": [_text(part.uncertainty) for part in parts],
    }


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
