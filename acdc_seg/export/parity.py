"""Whether an exported file predicts what PyTorch predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from acdc_seg.data.geometry import Size
from acdc_seg.export.about import INPUTS
from acdc_seg.inference.onnx import open_session
from acdc_seg.inference.predictors import Predictor

MAX_DIFFERENCE = 1e-4
"""Largest difference of probabilities that rounding may make in fp32."""
MIN_EQUAL = 0.9999
"""Least share of pixels with the same label."""
SIZES: tuple[Size, ...] = ((50, 67), (96, 96), (131, 64))
"""Heights and widths that are compared."""


@dataclass(frozen=True)
class Parity:
    """Largest absolute difference of probabilities, and the share of pixels of equal label."""

    max_difference: float
    equal_labels: float
    num_pixels: int

    @property
    def holds(self) -> bool:
        """Whether both are within `MAX_DIFFERENCE` and `MIN_EQUAL`."""
        return self.max_difference <= MAX_DIFFERENCE and self.equal_labels > MIN_EQUAL


def compare(path: Path, predictor: Predictor, images: Sequence[np.ndarray]) -> Parity:
    """Predicts images with both.

    Args:
        path: File of `export_onnx`.
        predictor: What was exported.
        images: Batches `(B, C, H, W)` of the type that the file takes.
    """
    session = open_session(path)
    name = session.get_inputs()[0].name
    worst, equal, total = 0.0, 0, 0
    for batch in images:
        white = INPUTS[batch.dtype.name]
        inputs = torch.from_numpy(batch.astype(np.float32) / white)
        expected = predictor.predict_batch(inputs).cpu().numpy()
        found = session.run(None, {name: batch})[0]
        worst = max(worst, float(np.abs(found - expected).max()))
        equal += int((found.argmax(1) == expected.argmax(1)).sum())
        total += found.argmax(1).size
    return Parity(worst, equal / total, total)


def make_images(
    channels: int, *, sizes: Sequence[Size] = SIZES, input_type: str = "float32", seed: int = 0
) -> Iterator[np.ndarray]:
    """Batches `(2, C, H, W)`: a bright disc on a ramp, with noise."""
    generator = np.random.default_rng(seed)
    for height, width in sizes:
        rows, columns = np.mgrid[:height, :width] / [[[height]], [[width]]]
        picture = 0.3 * rows + 0.4 * (np.hypot(rows - 0.5, columns - 0.4) < 0.2)
        noise = generator.uniform(0, 0.3, (2, channels, height, width))
        white = INPUTS[input_type]
        yield ((picture + noise) * white).astype(input_type)
