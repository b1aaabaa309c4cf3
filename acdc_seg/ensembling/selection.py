"""Greedy choice of members on stored probabilities, and the interval of what it gains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.images import IGNORE_INDEX
from acdc_seg.data.record import Record
from acdc_seg.errors import ConfigError
from acdc_seg.inference.postprocess import keep_largest
from acdc_seg.metrics.scores import ImageScore, score_labels

Candidate = Sequence[np.ndarray]
"""Probabilities `(K, H, W)` of every image, by one member and one way of test-time augmentation."""
LEAST_GAIN = 1e-9
"""A gain in Dice below this is rounding."""


@dataclass(frozen=True)
class Selection:
    """How often each candidate was taken, and the classes of which only the largest region is
    kept.
    """

    counts: tuple[int, ...]
    keep_largest: tuple[str, ...] = ()


class Panel:
    """Candidates before the same images and their true masks.

    Where all candidates have the same most probable class every weighted mean has it too. So a
    weighting is scored on the pixels in dispute alone, over fixed counts of the others, and a
    thousand weightings take seconds.

    Args:
        candidates: At least one; all of the same images in the same order.
        truths: True class indices `(H, W)` of every image.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        truths: Sequence[np.ndarray],
        *,
        records: Sequence[Record],
        classes: ClassesConfig,
    ) -> None:
        self.candidates, self.truths, self.records, self.classes = (
            candidates,
            truths,
            records,
            classes,
        )
        self.ignore_index = IGNORE_INDEX if classes.ignore_value is not None else None
        self._rows: dict[Selection, list[ImageScore]] = {}
        agreed, cells, disputed = zip(
            *(self._divide(number) for number in range(len(truths))), strict=True
        )
        self._agreed = np.stack(agreed)  # (N, K, K)
        self._cells = np.concatenate(cells)  # (D,)
        self.disputed = np.concatenate(disputed, axis=-1).astype(np.float32)  # (C, K, D)

    def quick_scores(self, total: np.ndarray) -> np.ndarray:
        """Mean foreground Dice `(N,)` of the images for a weighted sum `(K, D)` of `disputed`,
        without largest regions.
        """
        counts = np.bincount(self._cells + most_probable(total), minlength=self._agreed.size)
        return foreground_dice(self._agreed + counts.reshape(self._agreed.shape))

    def rows(self, selection: Selection) -> list[ImageScore]:
        """The metric row of every image for a selection."""
        if selection not in self._rows:
            indices = [self.classes.names.index(name) for name in selection.keep_largest]
            labels = (
                keep_largest(self._total(number, selection), indices).argmax(0)
                for number in range(len(self.truths))
            )
            self._rows[selection] = [
                score_labels(
                    each,
                    truth,
                    id=record.id,
                    classes=self.classes.names,
                    ignore_index=self.ignore_index,
                    patient=record.patient,
                    phase=record.phase,
                )
                for each, truth, record in zip(labels, self.truths, self.records, strict=True)
            ]
        return self._rows[selection]

    def scores(self, selection: Selection) -> np.ndarray:
        """Mean foreground Dice `(N,)` of the images for a selection."""
        return np.array([np.mean(list(row.dice.values())) for row in self.rows(selection)])

    def _total(self, number: int, selection: Selection) -> np.ndarray:
        """Weighted sum `(K, H, W)` of the candidates' probabilities of one image."""
        chosen = [
            (candidate[number], count)
            for candidate, count in zip(self.candidates, selection.counts, strict=True)
            if count
        ]
        return np.sum([each.astype(np.float32) * count for each, count in chosen], axis=0)

    def _divide(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of one image: counts `(K, K)` of pixels agreed upon, truth in rows, and cells `(D,)` and
        values `(C, K, D)` of the others.
        """
        num_classes, truth = len(self.classes.names), self.truths[number].ravel().astype(np.intp)
        values = np.stack(
            [candidate[number].reshape(num_classes, -1) for candidate in self.candidates]
        )  # (C, K, P)
        labels = values.argmax(1)  # (C, P)
        counted = (
            truth != self.ignore_index
            if self.ignore_index is not None
            else np.ones(truth.shape, bool)
        )
        agreed, disputed = (
            counted & (labels == labels[0]).all(0),
            counted & (labels != labels[0]).any(0),
        )
        pairs = np.bincount(
            truth[agreed] * num_classes + labels[0, agreed], minlength=num_classes**2
        )
        cells = (number * num_classes + truth[disputed]) * num_classes
        return pairs.reshape(num_classes, num_classes), cells, values[:, :, disputed]


def most_probable(values: np.ndarray) -> np.ndarray:
    """What `values.argmax(0)` gives for `(K, D)`, several times as fast for few classes."""
    labels, highest = np.zeros(values.shape[1:], np.intp), values[0]
    for index in range(1, len(values)):
        np.putmask(labels, values[index] > highest, index)
        highest = np.maximum(highest, values[index])
    return labels


def foreground_dice(confusion: np.ndarray) -> np.ndarray:
    """Mean foreground Dice `(N,)` of pixel counts `(N, K, K)` by the policy of `acdc_seg.metrics`
    for empty classes.
    """
    overlap = np.diagonal(confusion, axis1=1, axis2=2)
    sizes = confusion.sum(1) + confusion.sum(2)  # (N, K)
    return np.divide(2 * overlap, sizes, out=np.ones(sizes.shape), where=sizes > 0)[:, 1:].mean(1)


def best_single(panel: Panel, *, images: np.ndarray, largest: bool = True) -> Selection:
    """The candidate that alone has the highest mean Dice over `images` (N,), a boolean mask; the
    first of equals.
    """
    winner = int(
        np.argmax([panel.quick_scores(values)[images].mean() for values in panel.disputed])
    )
    single = Selection(tuple(int(number == winner) for number in range(len(panel.disputed))))
    return with_largest(panel, single, images=images) if largest else single


def greedy(
    panel: Panel, *, images: np.ndarray, rounds: int = 25, largest: bool = True
) -> Selection:
    """Ensemble selection with replacement (Caruana et al., ICML 2004).

    Starts from the best single candidate. Each round adds the candidate, new or taken before, with
    which the averaged probabilities have the highest mean foreground Dice, also where that is lower
    than before: a weak member may help once a strong one has been taken several times. The round
    with the highest Dice counts, the first of equals. Then largest regions are kept class by class
    where that helps.

    Args:
        images: Mask `(N,)` of the images to choose on.
        rounds: Most candidates to take, counting repeats.
        largest: Whether to consider keeping largest regions at all.

    Raises:
        ConfigError: Less than one round.
    """
    if rounds < 1:
        raise ConfigError(f"{rounds} rounds choose nothing; give 1 or more")
    counts = np.array(best_single(panel, images=images, largest=False).counts)
    total = panel.disputed[counts.argmax()].copy()
    best, score = counts.copy(), panel.quick_scores(total)[images].mean()
    while counts.sum() < rounds:
        trials = [panel.quick_scores(total + values)[images].mean() for values in panel.disputed]
        winner = int(np.argmax(trials))
        counts[winner] += 1
        total += panel.disputed[winner]
        if trials[winner] > score + LEAST_GAIN:
            best, score = counts.copy(), trials[winner]
    chosen = Selection(tuple(best.tolist()))
    return with_largest(panel, chosen, images=images) if largest else chosen


def with_largest(panel: Panel, selection: Selection, *, images: np.ndarray) -> Selection:
    """Adds to `keep_largest` one class after another, each time the one that raises the mean Dice
    over `images` most.
    """
    score = panel.scores(selection)[images].mean()
    while rest := [name for name in panel.classes.names[1:] if name not in selection.keep_largest]:
        trials = [Selection(selection.counts, (*selection.keep_largest, name)) for name in rest]
        scores = [panel.scores(trial)[images].mean() for trial in trials]
        winner = int(np.argmax(scores))
        if scores[winner] <= score + LEAST_GAIN:
            break
        selection, score = trials[winner], scores[winner]
    return selection


def patient_bootstrap(
    differences: np.ndarray, patients: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of paired differences `(N,)` when patients are drawn
    anew with replacement.

    A patient's images are drawn together, for they are alike; a draw's mean is over its images
    (Efron and Tibshirani, 1993).
    """
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    sums, sizes = np.bincount(patient_of, weights=differences), np.bincount(patient_of)
    draws = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    low, high = np.percentile(sums[draws].sum(1) / sizes[draws].sum(1), [2.5, 97.5])
    return float(low), float(high)
