"""Calibration of probabilities: how often the most probable class is right, by its probability.

Pixels that the network gives to the background with more than 99 % are left out: there are so many
of them that every network would look calibrated. Which pixels these are depends on the
probabilities alone, not on the mask, so the choice does not favor right or wrong ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

NUM_BINS = 15
NUM_PIXELS = 100_000
"""About so many pixels of all images are looked at, evenly spaced."""
MIN_PIXELS = 100
"""Fewer pixels say nothing."""
CLEAR_BACKGROUND = 0.99
DIGITS = 5
"""Decimals of the results; the last ones of probabilities depend on the size of batches."""


class Calibration:
    """Collects pixels of images one after another.

    Args:
        num_images: Number of images that will come.
        has_background: Whether the first class is the background.
    """

    def __init__(self, num_images: int, *, has_background: bool = True) -> None:
        self.per_image = max(16, -(-NUM_PIXELS // max(1, num_images)))
        self.has_background = has_background
        self._logs: list[np.ndarray] = []
        self._right: list[np.ndarray] = []

    def add(self, probabilities: np.ndarray, mask: np.ndarray, ignore_index: int) -> None:
        """Takes evenly spaced pixels of one image.

        Args:
            probabilities: `(K, H, W)`.
            mask: True class indices `(H, W)`.
            ignore_index: Mask value of void pixels.
        """
        values, truth = probabilities.reshape(len(probabilities), -1), mask.ravel()
        used = truth != ignore_index
        if self.has_background:
            used &= values[0] < CLEAR_BACKGROUND
        indices = np.flatnonzero(used)
        indices = indices[:: max(1, -(-len(indices) // self.per_image))]
        self._logs.append(np.log(np.clip(values[:, indices], 1e-7, 1)).astype(np.float32))
        self._right.append(truth[indices].astype(np.intp))

    def summarize(self) -> dict[str, Any] | None:
        """The part `calibration` of metrics.json: `pixels`, `ece` and `bins` as predicted, and
        `temperature`, `scaled_ece` and `scaled_bins` after temperature scaling (Guo et al., 2017).

        None where there are too few pixels.
        """
        if sum(map(len, self._right)) < MIN_PIXELS:
            return None
        logs, truth = np.concatenate(self._logs, axis=1), np.concatenate(self._right)  # (K, N)
        temperature = fit_temperature(logs, truth)
        bins, scaled = (_bins(_scale(logs, t), truth) for t in (1.0, temperature))
        return {
            "pixels": len(truth),
            "ece": round(expected_error(bins), DIGITS),
            "bins": bins,
            "temperature": round(temperature, 2),
            "scaled_ece": round(expected_error(scaled), DIGITS),
            "scaled_bins": scaled,
        }


def fit_temperature(logs: np.ndarray, truth: np.ndarray) -> float:
    """The temperature in 0.1..10 with the lowest negative log-likelihood.

    Args:
        logs: Logarithms of probabilities `(K, N)`; they serve as logits.
        truth: True classes `(N,)`.
    """

    def loss(log_temperature: float) -> float:
        scaled = _scale(logs, float(np.exp(log_temperature)))
        return float(-np.log(scaled[truth, np.arange(len(truth))] + 1e-12).mean())

    bounds = (np.log(0.1), np.log(10))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(found.x))


def expected_error(bins: Sequence[dict[str, float]]) -> float:
    """ECE: the mean distance of confidence and accuracy over all pixels (Naeini et al., 2015)."""
    total = sum(row["n"] for row in bins)
    return sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / total


def _scale(logs: np.ndarray, temperature: float) -> np.ndarray:
    powers = np.exp((logs - logs.max(0)) / temperature)
    return powers / powers.sum(0)


def _bins(probabilities: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """Mean confidence, accuracy and number of pixels of equally wide bins of the confidence."""
    confidence = probabilities.max(0)
    is_right = probabilities.argmax(0) == truth
    bin_of = np.minimum((confidence * NUM_BINS).astype(np.intp), NUM_BINS - 1)
    sizes = np.bincount(bin_of, minlength=NUM_BINS)
    sums = np.bincount(bin_of, weights=confidence, minlength=NUM_BINS)
    hits = np.bincount(bin_of, weights=is_right, minlength=NUM_BINS)
    return [
        {
            "confidence": round(total / max(size, 1), DIGITS),
            "accuracy": round(right / max(size, 1), DIGITS),
            "n": int(size),
        }
        for total, right, size in zip(sums.tolist(), hits.tolist(), sizes.tolist(), strict=True)
    ]
