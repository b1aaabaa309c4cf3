"""The size to train at, chosen by the images where the settings leave it open."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from acdc_seg.config import DataConfig
from acdc_seg.data.examples import example_size
from acdc_seg.data.geometry import Size
from acdc_seg.data.source import Source

CHOSEN_SIZES = (64, 512)
"""Least and greatest side of a window that is chosen by the images."""
MULTIPLE = 32
"""Chosen sides are multiples of this, which no network has to pad."""


def with_size(
    data: DataConfig, source: Source, *, on_notice: Callable[[str], None] = lambda text: None
) -> DataConfig:
    """The settings with a `size` where they need one and have none: images of several sizes do, and
    windows do. All folds of a data set are given the same.

    Args:
        data: Settings of the data.
        source: Images to train on, and to validate.
        on_notice: Called with a sentence about the choice.

    Raises:
        DataError: An unreadable file.
    """
    if data.size is not None:
        return data
    sizes = [example_size(record) for record in source.split("train")]
    if len(set(sizes)) < 2 and data.fit != "crop":
        return data
    sizes += [example_size(record) for record in source.split("val")]
    fit = "crop" if data.fit == "auto" else data.fit
    data = data.model_copy(update={"size": choose_size(sizes, fit=fit), "fit": fit})
    on_notice(_describe(data, sizes))
    return data


def choose_size(sizes: Sequence[Size], *, fit: str) -> Size:
    """Median height and width of images, from 64 to 512 and rounded up to a multiple of 32; the
    greatest for `pad`.
    """
    if fit == "pad":
        sides = np.max(sizes, axis=0)
    else:
        sides = np.clip(np.median(sizes, axis=0), *CHOSEN_SIZES)
    height, width = (int(np.ceil(side / MULTIPLE)) * MULTIPLE for side in sides)
    return height, width


def _describe(data: DataConfig, sizes: Sequence[Size]) -> str:
    """The images, what was chosen for them, and the settings for another choice."""
    assert data.size is not None
    height, width = data.size
    (low, left), (high, right) = np.min(sizes, axis=0), np.max(sizes, axis=0)
    text = f"The images are {low} to {high} pixels high and {left} to {right} wide: "
    if not data.window:
        return f"{text}data.size=[{height},{width}] is chosen for data.fit={data.fit}."
    text += (
        f"random windows of {height}x{width} train and overlapping ones predict "
        f"(data.size=[{height},{width}] data.fit=crop; data.fit=resize scales the images instead)."
    )
    num_windows = round(prod(np.median(sizes, axis=0)) / prod(data.size))
    if num_windows > 1:
        text += (
            " An epoch takes one window of every image, and with "
            f"augment.repeats={num_windows} about as many as cover it."
        )
    return text
