"""Post-processing of probabilities: only the largest region of a class."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from acdc_seg.config import DataConfig
from acdc_seg.errors import ConfigError
from acdc_seg.inference.predictors import Predictor


def without_largest(predictor: Predictor) -> Predictor:
    """The predictor that gives all regions, which is all of it that a file of an export holds."""
    return predictor.predictor if isinstance(predictor, KeepLargest) else predictor


class KeepLargest(Predictor):
    """Leaves one connected region of each named class, the largest; other pixels get their next
    best class.

    Args:
        predictor: A model or an ensemble.
        names: Foreground classes, by name.

    Raises:
        ConfigError: A name that is not a foreground class.
    """

    def __init__(self, predictor: Predictor, names: Sequence[str]) -> None:
        foreground = predictor.classes.foreground
        if unknown := [name for name in names if name not in foreground]:
            raise ConfigError(
                f"keep_largest names '{unknown[0]}'; choose from the foreground classes: "
                f"{', '.join(foreground)}"
            )
        self.predictor, self.names = predictor, tuple(names)
        self.config, self.classes = predictor.config, predictor.classes
        self.channels, self.origins = predictor.channels, predictor.origins

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        """Probabilities `(B, K, H, W)`, every image processed by itself."""
        probabilities = self.predictor.predict_batch(images)
        indices = [self.classes.names.index(name) for name in self.names]
        kept = [keep_largest(array, indices) for array in probabilities.cpu().numpy()]
        return torch.from_numpy(np.stack(kept)).to(probabilities.device)  # (B, K, H, W)

    def data_settings(self) -> list[DataConfig]:
        """Those of the predictor."""
        return self.predictor.data_settings()

    def change_data(self, changes: Mapping[str, Any]) -> None:
        """In the predictor."""
        self.predictor.change_data(changes)

    def describe(self) -> dict[str, Any]:
        """The predictor's, with the classes."""
        return {**self.predictor.describe(), "keep_largest": list(self.names)}

    def __repr__(self) -> str:
        return f"KeepLargest({self.predictor}, {', '.join(self.names)})"


def keep_largest(probabilities: np.ndarray, indices: Sequence[int]) -> np.ndarray:
    """A copy of probabilities `(K, H, W)` in which each class of `indices` has at most one region.

    Pixels that touch at a corner are connected; of equal regions the first from the top stays.
    Where a class loses a pixel its probability becomes 0 and the others are scaled to sum to 1, all
    to the background where nothing is left. That can cut off another class in turn, so it is
    repeated until nothing changes.
    """
    kept = probabilities.copy()
    while True:
        labels = kept.argmax(0)
        lost = {index: (labels == index) & ~_largest_region(labels == index) for index in indices}
        if not any(pixels.any() for pixels in lost.values()):
            return kept
        for index, pixels in lost.items():
            rest = kept[:, pixels]  # (K, N)
            rest[index] = 0
            rest[0, rest.sum(0) == 0] = 1
            kept[:, pixels] = rest / rest.sum(0)


def _largest_region(pixels: np.ndarray) -> np.ndarray:
    _, regions, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8), connectivity=8)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    return regions == 1 + sizes.argmax() if len(sizes) else pixels
