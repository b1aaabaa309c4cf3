"""Comparison of variants: scores with intervals by patient, and the conclusion in sentences."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acdc_seg.config.experiment import BEST, WORST, Comparison, ExperimentFile
from acdc_seg.experiments.results import RunResult
from acdc_seg.experiments.variants import Variant
from acdc_seg.metrics.intervals import patient_bootstrap

NO_INTERVAL = (np.nan, np.nan)
SMOOTHED = 5
"""Epochs of the running mean in which crossings are looked for."""


@dataclass(frozen=True)
class VariantSummary:
    """All results of a variant, over seeds and folds.

    Attributes:
        variant: The variant, or the vote of all.
        results: Of its finished trainings.
        failures: Reasons of those that failed.
        num_jobs: Its trainings in all.
    """

    variant: Variant
    results: tuple[RunResult, ...]
    failures: tuple[str, ...] = ()
    num_jobs: int = 1

    @cached_property
    def patients(self) -> dict[str, str]:
        """The patient of each validation image by its id."""
        return {image["id"]: image["patient"] for result in self.results for image in result.images}

    def scores(self, metric: str = "dice") -> dict[str, float]:
        """The metric of each image, mean over the seeds."""
        by_image = defaultdict(list)
        for result in self.results:
            for image in result.images:
                by_image[image["id"]].append(image[metric])
        return {id: float(np.mean(values)) for id, values in by_image.items()}

    def mean(self, metric: str = "dice") -> float:
        """Mean over images, nan where nothing is finished."""
        values = list(self.scores(metric).values())
        return float(np.mean(values)) if values else float("nan")

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the Dice by patient."""
        scores = self.scores()
        return _interval(np.array(list(scores.values())), [self.patients[id] for id in scores])

    def average(self, quantity: str) -> float | None:
        """Mean over the trainings of an attribute of `RunResult`, of those that have it."""
        values = [getattr(result, quantity) for result in self.results]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    @property
    def lowest_loss(self) -> float | None:
        """The lowest validation loss of an epoch, mean over the trainings."""
        lowest = [min(loss.values()) for loss in self._columns("val_loss") if loss]
        return float(np.mean(lowest)) if lowest else None

    @property
    def lowest_train_loss(self) -> float | None:
        """The lowest training loss of an epoch, mean over the trainings."""
        lowest = [min(loss.values()) for loss in self._columns("train_loss") if loss]
        return float(np.mean(lowest)) if lowest else None

    @property
    def crossing_epoch(self) -> float | None:
        """The epoch from which on the validation loss stays above the training loss, mean over the
        trainings; None where that never comes, 1 where it always is.

        Losses are running means over `SMOOTHED` epochs.
        """
        epochs = [_crossing(result) for result in self.results]
        known = [epoch for epoch in epochs if epoch is not None]
        return float(np.mean(known)) if known else None

    def _columns(self, name: str) -> list[dict[int, float]]:
        return [result.column(name) for result in self.results]


@dataclass(frozen=True)
class Difference:
    """Gain in Dice of one variant over another on the same images, with its 95 % interval."""

    gain: float
    low: float
    high: float

    @property
    def is_proven(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def compare(first: VariantSummary, second: VariantSummary) -> Difference:
    """The gain of the first over the second, paired by image."""
    ours, theirs = first.scores(), second.scores()
    common = [id for id in ours if id in theirs]
    differences = np.array([ours[id] - theirs[id] for id in common])
    interval = _interval(differences, [first.patients[id] for id in common])
    return Difference(float(differences.mean()) if common else float("nan"), *interval)


def conclude(experiment: ExperimentFile, summaries: Sequence[VariantSummary]) -> list[str]:
    """A sentence for each comparison of the file."""
    finished = {summary.variant.name: summary for summary in summaries if summary.results}
    return [_sentence(part, finished) for part in experiment.comparisons]


def _sentence(comparison: Comparison, finished: dict[str, VariantSummary]) -> str:
    named = {comparison.better, comparison.than or WORST} - {BEST, WORST}
    missing = sorted(name for name in named if name not in finished)
    if missing or len(finished) < 2:
        return f"No comparison yet: {', '.join(missing) or 'another variant'} is not finished."
    ranked = sorted(finished.values(), key=lambda summary: -summary.mean())
    first = ranked[0] if comparison.better == BEST else finished[comparison.better]
    others = [summary for summary in ranked if summary is not first]
    if comparison.than is None:
        second, role = others[0], "the best of the others" if len(others) > 1 else ""
    elif comparison.than == WORST:
        second, role = others[-1], "the worst" if len(others) > 1 else ""
    else:
        second, role = finished[comparison.than], ""
    name = second.variant.name
    other = f"{role} ({name})" if role else name
    sentence = _in_words(first.variant.name, other, compare(first, second))
    sign = "" if " beats " in sentence else "+"
    found = "" if comparison.found is None else f"; the study found {comparison.found:{sign}.3f}"
    return f"{sentence[0].upper()}{sentence[1:]}{found}."


def _in_words(first: str, second: str, difference: Difference) -> str:
    gain, low, high = difference.gain, difference.low, difference.high
    if difference.low > 0:
        return f"{first} beats {second} by {gain:.3f} ({low:.3f} to {high:.3f})"
    if difference.high < 0:
        return f"{first} is behind {second} by {-gain:.3f} ({-high:.3f} to {-low:.3f})"
    if np.isnan(low):
        return f"{first} against {second}: {gain:+.3f}, of one patient, so without an interval"
    interval = f"{gain:+.3f} ({low:.3f} to {high:.3f})"
    return f"no proven difference between {first} and {second}: {interval}"


def _crossing(result: RunResult) -> int | None:
    train, val = result.column("train_loss"), result.column("val_loss")
    epochs = sorted(train.keys() & val.keys())
    gaps = np.array([val[epoch] - train[epoch] for epoch in epochs])
    if len(gaps) < SMOOTHED:
        return None
    smooth = np.convolve(gaps, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
    below = np.flatnonzero(smooth <= 0)
    first = 0 if not len(below) else int(below[-1]) + 1
    if first in (0, len(smooth)):
        return epochs[0] if first == 0 else None
    return epochs[first + SMOOTHED // 2]


def _interval(values: np.ndarray, patients: Iterable[str]) -> tuple[float, float]:
    names = list(patients)
    return patient_bootstrap(values, names) if len(set(names)) > 1 else NO_INTERVAL
