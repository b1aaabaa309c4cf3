"""Mask files to class indices and back; errors name the values and the likely fix."""

from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.images import decode, quiet_decoders, read_bytes, read_header, unreadable
from acdc_seg.errors import DataError
from acdc_seg.labels import IGNORE_INDEX

SCALED_VALUES = ((0, 255), (0, 127, 255), (0, 128, 255), (0, 85, 170, 255))
"""Mask values of programs that stretch class numbers to the whole grey range."""


def read_mask(path: Path, classes: ClassesConfig) -> np.ndarray:
    """A mask file as class indices, uint8 `(H, W)`; void pixels are `IGNORE_INDEX`.

    The values of a palette image are the numbers of its colours, as in Pascal VOC's masks.

    Raises:
        DataError: The file is unreadable, claims too many pixels, is not of 8 or 16 bits, or holds
            a value or colour that is not a class.
    """
    content = read_bytes(path)
    pixels = decode(path, content)
    if classes.mask_encoding != "values":
        return _indices_of_colors(path, pixels, classes)
    if pixels.ndim == 3:
        pixels = _palette_numbers(path, content)
    return _indices_of_values(path, pixels, classes)


def encode_mask(labels: np.ndarray, classes: ClassesConfig) -> bytes:
    """A PNG file of class indices `(H, W)`, `IGNORE_INDEX` for void; `read_mask` reads it back.

    Raises:
        DataError: An index that is not a class, or void or a class that the encoding has not.
    """
    values: dict[int, tuple[int, ...]] = {
        index: color[::-1] for index, color in enumerate(classes.colors)
    }
    if classes.mask_encoding == "values":
        values = {index: (value,) for index, value in enumerate(classes.values)}
        if classes.ignore_value is not None:
            values[IGNORE_INDEX] = (classes.ignore_value,)
    unknown = sorted(set(np.unique(labels).tolist()) - values.keys())
    if unknown:
        raise DataError(
            f"the labels hold class {unknown[0]}, which a mask cannot show; classes are 0 to "
            f"{len(classes.names) - 1}"
        )
    numbers = [number for value in values.values() for number in value]
    if not 0 <= min(numbers) <= max(numbers) < 2**16:
        raise DataError(
            f"classes.values={list(classes.values)}: a mask file holds values from 0 to 65535"
        )
    is_large = max(numbers) > np.iinfo(np.uint8).max
    pixels = np.zeros((IGNORE_INDEX + 1, len(values[0])), np.uint16 if is_large else np.uint8)
    for index, value in values.items():
        pixels[index] = value
    return cv2.imencode(".png", pixels[labels])[1].tobytes()  # colors as B, G, R


def _palette_numbers(path: Path, content: bytes) -> np.ndarray:
    """Number in the palette of every pixel `(H, W)`."""
    image = read_header(path, content)
    if image.mode != "P":
        raise DataError(
            f"{path}: the mask is a colour image where class numbers are configured; set "
            "classes.mask_encoding=colors and classes.colors"
        )
    try:
        with quiet_decoders():
            return np.array(image)
    except Exception:  # a damaged stream can end in any of them
        raise unreadable(path, content) from None


def _indices_of_values(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    # two tables by value need less memory than sorting the pixels
    indices = np.zeros(np.iinfo(pixels.dtype).max + 1, np.uint8)
    known = np.zeros(len(indices), bool)
    for index, value in [*enumerate(classes.values), (IGNORE_INDEX, classes.ignore_value)]:
        if value is not None and 0 <= value < len(known):
            known[value], indices[value] = True, index
    if not known[pixels].all():
        values, counts = np.unique(pixels, return_counts=True)
        unknown = [
            f"{value} ({count:,} pixels)"
            for value, count in zip(values, counts, strict=True)
            if not known[value]
        ]
        raise DataError(
            f"{path}: the mask contains value {', '.join(unknown[:8])}, expected one of "
            f"{list(classes.values)}; {_suggest_values(set(values.tolist()), len(classes.names))}"
        )
    return indices[pixels]  # (H, W)


def _suggest_values(values: set[int], num_classes: int) -> str:
    """The likely fix for a mask of these values."""
    for scaled in SCALED_VALUES:
        if values <= set(scaled) and len(scaled) == num_classes:
            return (
                "the values look like class numbers stretched to 0..255: set "
                f"classes.values={list(scaled)} if that is so"
            )
    for scaled in SCALED_VALUES:
        if values == set(scaled):
            return (
                f"this looks like {len(scaled)} classes stretched to 0..255: set "
                f"classes.values={list(scaled)} and as many classes.names"
            )
    return "correct the mask, or set classes.values"


def _indices_of_colors(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: the mask is not an 8-bit RGB image, but "
            f"classes.mask_encoding={classes.mask_encoding}; set classes.mask_encoding=values"
        )
    # R * 65536 + G * 256 + B, in place: large masks need little more memory than their pixels
    codes = pixels[..., 0].astype(np.int32)
    for plane in (pixels[..., 1], pixels[..., 2]):
        codes <<= 8
        codes |= plane
    is_present = np.zeros(256**3, bool)
    is_present[codes] = True
    present = np.flatnonzero(is_present)
    colors = np.stack([present >> 16, present >> 8 & 255, present & 255], axis=1)  # (N, 3)
    # squared Euclidean distance of every colour that occurs from every class
    distance = np.square(colors[:, None] - np.array(classes.colors)).sum(axis=2)  # (N, K)
    if classes.mask_encoding == "colors" and distance.min(axis=1).any():
        unknown = tuple(colors[distance.min(axis=1).argmax()].tolist())
        raise DataError(
            f"{path}: colour {unknown} is not a class; correct classes.colors, or set "
            "classes.mask_encoding=nearest_color for JPEG masks"
        )
    indices = np.zeros(256**3, np.uint8)
    indices[present] = distance.argmin(axis=1)
    return indices[codes]  # (H, W)
