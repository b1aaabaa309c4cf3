"""Kaggle's run-length encoding of masks: down the columns, pixels counted from 1, `start length`
pairs; an empty mask is empty text.
"""

import re

import numpy as np

from acdc_seg.errors import DataError

NUMBER = re.compile(r"[0-9]{1,18}")

Shape = tuple[int, int]


def encode_rle(mask: np.ndarray) -> str:
    """A mask `(H, W)` of 0 and 1 as column-major, 1-indexed `start length` pairs.

    Raises:
        DataError: The array is not 2-D or holds other values.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise DataError(f"a mask of shape {mask.shape} cannot be encoded; it must be (H, W)")
    pixels = np.zeros(mask.size + 2, bool)  # empty on both ends
    pixels[1:-1] = mask.ravel(order="F")
    if not np.array_equal(pixels[1:-1], mask.ravel(order="F")):
        raise DataError(
            "only masks of 0 and 1 can be encoded; compare with the class first, as in labels == 1"
        )
    edges = np.flatnonzero(pixels[1:] != pixels[:-1])
    starts, ends = edges[::2], edges[1::2]
    return " ".join(map(str, np.stack([starts + 1, ends - starts], axis=1).ravel().tolist()))


def decode_rle(text: str, shape: Shape) -> np.ndarray:
    """The boolean mask `(H, W)` of an encoding; the inverse of `encode_rle`.

    Raises:
        DataError: A pair is not two numbers, leaves the image, or does not come after the one
            before it.
    """
    num_pixels = shape[0] * shape[1]
    runs = _parse_runs(text, num_pixels)
    starts, ends = runs[:, 0], runs[:, 0] + runs[:, 1]
    overlaps = np.zeros(len(runs), bool)
    overlaps[1:] = starts[1:] < ends[:-1]
    for is_wrong, reason in (
        (starts < 1, "starts before pixel 1"),
        (runs[:, 1] < 1, "is shorter than one pixel"),
        (ends - 1 > num_pixels, f"runs out of the image of {shape[0]}x{shape[1]} pixels"),
        (overlaps, "does not come after the one before it; runs ascend and do not overlap"),
    ):
        if is_wrong.any():
            index = int(is_wrong.argmax())
            raise DataError(f"pair {index + 1} ({runs[index, 0]} {runs[index, 1]}) {reason}")
    steps = np.zeros(num_pixels + 1, np.int8)
    steps[starts - 1] += 1
    steps[ends - 1] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(shape, order="F")  # (H, W)


def _parse_runs(text: str, num_pixels: int) -> np.ndarray:
    """Numbers `(N, 2)` of an encoding, in memory bounded by the image."""
    if text.count(" ") > 2 * num_pixels:
        raise DataError(f"{text.count(' ') // 2 + 1} pairs are too many for {num_pixels} pixels")
    words = text.split(" ") if text else []
    for index, word in enumerate(words):
        if not NUMBER.fullmatch(word):
            raise DataError(
                f"pair {index // 2 + 1}: {word[:20]!r} is not a pixel number; write digits "
                "separated by single spaces"
            )
    if len(words) % 2:
        raise DataError(f"pair {len(words) // 2 + 1} has a start and no length")
    return np.fromiter(map(int, words), np.int64, len(words)).reshape(-1, 2)  # (N, 2)
