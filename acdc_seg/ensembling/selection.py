"""Greedy selection of ensemble members on stored probabilities, and the interval of its gain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.errors import ConfigError
from acdc_seg.evaluation import score_example
from acdc_seg.inference.postprocess import keep_largest
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.overlap import dice
from acdc_seg.metrics.scores import ImageScore

MIN_GAIN = 1e-9
"""A gain in Dice below this is rounding."""


@dataclass(frozen=True)
class Selection:
    """The number of times each candidate was taken, and the classes of which only the largest
    region is kept.
    """

    counts: tuple[int, ...]
    keep_largest: tuple[str, ...] = ()


class CandidatePool:
    """Probabilities of all candidates for the same images, with the true masks.

    Where all candidates have the same most probable class every weighted mean has it too. So a
    weighting is scored on the contested pixels alone, over fixed counts of the others, and a
    thousand weightings take seconds.

    Args:
        probabilities: Of every candidate, at least one, `(K, H, W)` of every image.
        examples: The images in the same order, with their masks `(H, W)`.
        classes: Names of the classes, and whether masks have void pixels.
    """

    def __init__(
        self,
        probabilities: Sequence[Sequence[np.ndarray]],
        examples: Sequence[Example],
        classes: ClassesConfig,
    ) -> None:
        self.probabilities, self.examples, self.classes = probabilities, examples, classes
        self._scores: dict[Selection, list[ImageScore]] = {}
        parts = [self._split(index) for index in range(len(examples))]
        self._agreed = np.stack([agreed for agreed, _, _ in parts])  # (N, K, K)
        self._cells = np.concatenate([cells for _, cells, _ in parts])  # (D,)
        contested = np.concatenate([values for _, _, values in parts], axis=-1)
        self.contested = contested.astype(np.float32)  # (C, K, D)

    def quick_dice(self, total: np.ndarray) -> np.ndarray:
        """Mean foreground Dice `(N,)` of the images for a weighted sum `(K, D)` of `contested`,
        without largest regions.
        """
        counts = np.bincount(self._cells + most_probable(total), minlength=self._agreed.size)
        return foreground_dice(
            self._agreed + counts.reshape(self._agreed.shape), self.classes.first
        )

    def image_scores(self, selection: Selection) -> list[ImageScore]:
        """All metrics of every image for a selection."""
        if selection not in self._scores:
            indices = [self.classes.names.index(name) for name in selection.keep_largest]
            scores = []
            for number, example in enumerate(self.examples):
                labels = keep_largest(self._total(number, selection), indices).argmax(0)
                scores.append(score_example(labels, example, self.classes))
            self._scores[selection] = scores
        return self._scores[selection]

    def dice(self, selection: Selection) -> np.ndarray:
        """Mean foreground Dice `(N,)` of the images for a selection."""
        scores = self.image_scores(selection)
        return np.array([score.mean() for score in scores])

    def _total(self, number: int, selection: Selection) -> np.ndarray:
        """Weighted sum `(K, H, W)` of the candidates' probabilities of one image."""
        weighted = [
            images[number].astype(np.float32) * count
            for images, count in zip(self.probabilities, selection.counts, strict=True)
            if count
        ]
        return np.sum(weighted, axis=0)

    def _split(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels of one image: counts `(K, K)` of those agreed upon, by class in the mask and
        predicted class; cells `(D,)` of such counts and values `(C, K, D)` of those contested.
        """
        num_classes = len(self.classes.names)
        mask = np.asarray(self.examples[number].mask).ravel().astype(np.intp)  # (P,)
        values = np.stack(
            [images[number].reshape(num_classes, -1) for images in self.probabilities]
        )  # (C, K, P)
        labels = values.argmax(1)  # (C, P)
        is_counted = mask != IGNORE_INDEX
        is_agreed = (labels == labels[0]).all(0)
        agreed, contested = is_counted & is_agreed, is_counted & ~is_agreed
        cells = mask[agreed] * num_classes + labels[0, agreed]
        counts = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
        return (
            counts,
            (number * num_classes + mask[contested]) * num_classes,
            values[..., contested],
        )


def most_probable(values: np.ndarray) -> np.ndarray:
    """`values.argmax(0)` of `(K, D)`, several times as fast for few classes."""
    labels, highest = np.zeros(values.shape[1:], np.intp), values[0]
    for index in range(1, len(values)):
        np.putmask(labels, values[index] > highest, index)
        highest = np.maximum(highest, values[index])
    return labels


def foreground_dice(confusion: np.ndarray, first: int = 1) -> np.ndarray:
    """Mean foreground Dice `(N,)` of pixel counts `(N, K, K)`; a class that is empty in mask and
    prediction scores 1.
    """
    return dice(confusion)[:, first:].mean(1)


def best_single(pool: CandidatePool, *, images: np.ndarray, largest: bool = True) -> Selection:
    """The candidate that alone has the highest mean Dice over `images` (N,), a boolean mask; the
    first of equals.
    """
    winner = np.argmax([pool.quick_dice(values)[images].mean() for values in pool.contested])
    single = Selection(tuple(int(number == winner) for number in range(len(pool.contested))))
    return with_largest(pool, single, images=images) if largest else single


def greedy(
    pool: CandidatePool, *, images: np.ndarray, rounds: int = 25, largest: bool = True
) -> Selection:
    """Ensemble selection with replacement (Caruana et al., ICML 2004).

    Starts from the best single candidate. Each round adds the candidate, new or taken before, with
    which the averaged probabilities have the highest mean foreground Dice, also where that is lower
    than before: a weak member may help once a strong one has been taken several times. The round
    with the highest Dice counts, the first of equals. Then largest regions are kept class by class
    where that helps.

    Args:
        pool: The candidates.
        images: Boolean mask `(N,)` of the images to choose on.
        rounds: Most candidates to take, counting repeats.
        largest: Whether to consider keeping largest regions at all.

    Raises:
        ConfigError: Fewer than one round.
    """
    if rounds < 1:
        raise ConfigError(f"{rounds} rounds choose nothing; give 1 or more")
    counts = np.array(best_single(pool, images=images, largest=False).counts)
    total = pool.contested[counts.argmax()].copy()
    best, score = counts.copy(), pool.quick_dice(total)[images].mean()
    while counts.sum() < rounds:
        scores = [pool.quick_dice(total + values)[images].mean() for values in pool.contested]
        winner = int(np.argmax(scores))
        counts[winner] += 1
        total += pool.contested[winner]
        if scores[winner] > score + MIN_GAIN:
            best, score = counts.copy(), scores[winner]
    chosen = Selection(tuple(best.tolist()))
    return with_largest(pool, chosen, images=images) if largest else chosen


def with_largest(pool: CandidatePool, selection: Selection, *, images: np.ndarray) -> Selection:
    """Adds classes to `keep_largest` one by one, each time the one that raises the mean Dice over
    `images` `(N,)` most.
    """
    score = pool.dice(selection)[images].mean()
    names = list(pool.classes.foreground)
    while names:
        options = [Selection(selection.counts, (*selection.keep_largest, name)) for name in names]
        scores = [pool.dice(option)[images].mean() for option in options]
        winner = int(np.argmax(scores))
        if scores[winner] <= score + MIN_GAIN:
            break
        selection, score = options[winner], scores[winner]
        del names[winner]
    return selection
