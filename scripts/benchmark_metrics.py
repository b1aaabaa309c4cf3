"""Time of the metrics of many slices, and of three ways to measure distances between surfaces."""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.spatial import cKDTree

from acdc_seg.metrics.distances import assd, find_surface, hd, hd95, measure_distances, nsd
from acdc_seg.metrics.scores import score_labels
from acdc_seg.metrics.summary import summarize

CLASSES = ("background", "rv", "myo", "lv")
SPACING = (1.4, 1.7)
Values = np.ndarray
"""HD95, HD, ASSD and NSD at 2 mm of every slice and class, `(N, 3, 4)`."""


def draw_hearts(number: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks uint8 `(N, size, size)` of disks and a ring, and predictions: moved and with holes."""
    rng, grid = np.random.default_rng(seed), np.mgrid[:size, :size] / size
    masks = np.zeros((number, size, size), np.uint8)
    for mask in masks:
        center, scale = rng.uniform(0.4, 0.6, 2)[:, None, None], rng.uniform(0.6, 1.1)
        radius = np.hypot(*(grid - center)) / scale
        mask[np.hypot(*((grid - center) * [[[0.7]], [[1]]] + [[[0]], [[0.16]]])) / scale < 0.15] = 1
        mask[radius < 0.17], mask[radius < 0.11] = 2, 3
    moved = [np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in masks]
    return masks, np.where(rng.random(masks.shape) < 0.01, 0, moved).astype(np.uint8)


def by_transform(masks: np.ndarray, predictions: np.ndarray) -> Values:
    """This package's: scipy's exact Euclidean distance transform in the box of both."""
    values = []
    for mask, prediction in zip(masks, predictions, strict=True):
        for index in (1, 2, 3):
            found = measure_distances(mask == index, prediction == index, spacing=SPACING)
            assert found
            values.append([metric(found) for metric in (hd95, hd, assd, nsd)])
    return np.reshape(values, (len(masks), 3, 4))


def by_tree(masks: np.ndarray, predictions: np.ndarray) -> Values:
    """Nearest surface pixels from scipy's k-d trees."""
    values = []
    for mask, prediction in zip(masks, predictions, strict=True):
        for index in (1, 2, 3):
            points = [
                np.argwhere(find_surface(pixels == index)) * SPACING
                for pixels in (mask, prediction)
            ]
            there = cKDTree(points[1]).query(points[0])[0]
            back = cKDTree(points[0]).query(points[1])[0]
            both = np.concatenate([there, back])
            larger = max(np.percentile(there, 95), np.percentile(back, 95))
            values.append([larger, both.max(), both.mean(), (both <= 2).mean()])
    return np.reshape(values, (len(masks), 3, 4))


def by_monai(masks: np.ndarray, predictions: np.ndarray) -> Values:
    """MONAI's four functions."""
    truth, predicted = (
        torch.nn.functional.one_hot(torch.from_numpy(each).long(), 4).movedim(-1, 1)
        for each in (masks, predictions)
    )
    values = [
        compute_hausdorff_distance(predicted, truth, percentile=95, spacing=SPACING),
        compute_hausdorff_distance(predicted, truth, spacing=SPACING),
        compute_average_surface_distance(predicted, truth, symmetric=True, spacing=SPACING),
        compute_surface_dice(predicted, truth, class_thresholds=[2.0] * 3, spacing=SPACING),
    ]
    return torch.stack([each.double() for each in values], -1).numpy()


def timed(work: Callable[[], Values]) -> tuple[Values, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--compared", type=int, default=100, help="slices for the comparison")
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    masks, predictions = draw_hearts(options.slices, options.size, seed=0)
    few = masks[: options.compared], predictions[: options.compared]
    expected, _ = timed(lambda: by_transform(*few))
    for name, ways in (("transform", by_transform), ("tree", by_tree), ("MONAI", by_monai)):
        values, seconds = timed(lambda ways=ways: ways(*few))
        print(
            f"{name}: {1000 * seconds / len(few[0]):.2f} ms a slice, largest difference "
            f"{np.abs(values - expected).max():.1e}"
        )
    start = time.perf_counter()
    scores = [
        score_labels(
            prediction,
            mask,
            id=str(number),
            patient=f"patient{number // 10}",
            classes=CLASSES,
            spacing=SPACING,
            distances=True,
        )
        for number, (mask, prediction) in enumerate(zip(masks, predictions, strict=True))
    ]
    summarize(scores)
    seconds = time.perf_counter() - start
    print(f"all metrics of {len(masks)} slices, with intervals: {seconds:.1f} s")


if __name__ == "__main__":
    main()
