"""Paired differences of runs on the images that all of them were scored on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from acdc_seg.errors import ConfigError
from acdc_seg.report.page import counted, decimals, interval_text, signed
from acdc_seg.report.reported import ReportedRun
from acdc_seg.report.scores import Scores

KEPT = ("protocol", "empty_policy", "calibration")
"""Parts of metrics.json that are true of a part of the images too."""


@dataclass(frozen=True)
class Difference:
    """The mean paired difference of two runs over the units of the headline's level, positive
    where the first is better, with its 95 % interval over patients.
    """

    mean: float
    interval: tuple[float, float] | None
    by_unit: Mapping[str, float]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def compare(first: Scores, second: Scores) -> Difference:
    """The paired difference of two runs on the same images."""
    sign = 1 if first.higher_is_better else -1
    ours, theirs = first.unit_means(), second.unit_means()
    by_unit = {id: sign * (ours[id] - theirs[id]) for id in ours}
    known = {id: value for id, value in by_unit.items() if math.isfinite(value)}
    mean = sum(known.values()) / len(known) if known else float("nan")
    return Difference(mean, first.interval_of(known), known)


def rank(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """The runs on the images that all share, best first, with names that differ.

    Raises:
        ConfigError: They share no image, or have other classes or another headline metric.
    """
    first = runs[0].scores
    for other in runs[1:]:
        if (other.scores.scored, other.scores.metric) != (first.scored, first.metric):
            raise ConfigError(
                f"{runs[0].folder}, {other.folder}: scored {_scored(first)} and "
                f"{_scored(other.scores)}; only scores of the same classes compare"
            )
    shared = [
        image["id"] for image in first.images if all(image["id"] in each.scores for each in runs)
    ]
    if not shared:
        names = ", ".join(str(each.folder) for each in runs)
        raise ConfigError(
            f"{names}: share no image; score all of them on the same data, for example with "
            "acdc-evaluate RUN --data DIR"
        )
    titles = [each.scores.name for each in runs]
    if len(set(titles)) < len(titles):
        titles = [str(each.folder) for each in runs]
    restricted = [
        replace(each, scores=_restrict(each.scores, shared, title))
        for each, title in zip(runs, titles, strict=True)
    ]
    sign = -1 if first.higher_is_better else 1
    return sorted(restricted, key=lambda each: sign * each.scores.headline)


def verdict(best: Scores, others: Sequence[Scores], differences: Mapping[str, Difference]) -> str:
    """Which run is better and how sure that is, in one or two sentences."""
    second = others[0]
    difference = differences[second.name]
    over = f"{best.label} {decimals(best.headline)} against {decimals(second.headline)}"
    amount = f"difference {signed(difference.mean)}"
    if difference.interval:
        amount += f", {interval_text(difference.interval, difference=True)}"
    wins = sum(value > 0 for value in difference.by_unit.values())
    numbers = f"{over}, {amount}; better on {wins} of "
    numbers += f"{counted(len(difference.by_unit), best.level)}."
    if difference.interval is None:
        return f"{best.name} leads {second.name}, but one patient says nothing of others: {numbers}"
    if not difference.is_clear:
        return f"{best.name} leads, but {second.name} may be as good: {numbers}"
    return f"{best.name} is better than {second.name}: {numbers}"


def _restrict(scores: Scores, ids: Sequence[str], name: str) -> Scores:
    """Scores of these images alone, with their means; without volumes, which may be cut."""
    if len(ids) == len(scores.images):
        return replace(scores, name=name)
    by_id = {image["id"]: image for image in scores.images}
    classes = {}
    for each in scores.scored:
        values = [value for value in (scores.value(id, each) for id in ids) if math.isfinite(value)]
        mean = sum(values) / len(values) if values else float("nan")
        classes[each] = {f"{scores.metric}_mean": mean}
    means = [values[f"{scores.metric}_mean"] for values in classes.values()]
    kept = {
        key: scores.content[key]
        for key in ("protocol", "empty_policy", "calibration")
        if key in scores.content
    }
    content = {
        **kept,
        "level": scores.noun,
        "metrics": {scores.metric: scores.label},
        "images": [by_id[id] for id in ids],
        "classes": classes,
        "n": len(ids),
        scores.metric: sum(means) / len(means),
    }
    return replace(scores, name=name, content=content)


def _scored(scores: Scores) -> str:
    return f"{scores.label} of {', '.join(scores.scored)}"
