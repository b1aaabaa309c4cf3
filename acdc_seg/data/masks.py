"""Mask files to class indices and back; errors name the values and the likely fix."""

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.distance import cdist

from acdc_seg.config import ClassesConfig, ClassLabel
from acdc_seg.data.class_offers import offer_for_colors, offer_for_levels, offer_for_values
from acdc_seg.data.images import (
    Half,
    crop_half,
    decode,
    quiet_decoders,
    read_bytes,
    read_header,
    unreadable,
)
from acdc_seg.errors import DataError
from acdc_seg.labels import IGNORE_INDEX

LOSSY_FORMATS = ("JPEG", "WEBP", "JPEG2000", "AVIF")
"""Formats in which pixels may differ from those that were saved; in JPEG files they always do."""
MIN_LOSSY_GAP = 16
"""Least distance of the values of two classes that a lossy file can tell apart."""


def read_mask(
    path: Path, classes: ClassesConfig, page: int | None = None, half: Half = ""
) -> np.ndarray:
    """A mask file as class indices, uint8 `(H, W)`; void pixels are `IGNORE_INDEX`.

    The values of a palette image are the numbers of its colours, as in Pascal VOC's masks, those of
    RGB whose channels are equal its grey. An opaque alpha channel is dropped. In a lossy file the
    nearest value or colour counts.

    Args:
        path: The file.
        classes: Values and colors of the classes.
        page: Page of a file with several, from 0; None expects the file to have one.
        half: The part of the file to read.

    Raises:
        DataError: The file is unreadable, claims too many pixels, is not of 8 or 16 bits, has
            transparent pixels, or holds a value or colour that is not a class.
    """
    content = read_bytes(path)
    pixels = decode(path, content, page)
    header = read_header(path, content, page)
    has_numbers = header.mode == "P" and classes.mask_encoding == "values"
    pixels = _palette_numbers(path, content, page) if has_numbers else _without_alpha(path, pixels)
    pixels = crop_half(path, pixels, half)
    is_lossy = header.format in LOSSY_FORMATS
    if classes.mask_encoding != "values":
        is_exact = classes.mask_encoding == "colors" and not is_lossy
        return _indices_of_colors(path, pixels, classes, is_exact=is_exact)
    if pixels.ndim == 3:
        pixels = _grey(path, pixels)
    if is_lossy:
        return _nearest_values(path, pixels, classes, always=header.format == "JPEG")
    return _indices_of_values(path, pixels, classes)


def encode_mask(labels: np.ndarray, classes: ClassesConfig) -> bytes:
    """A PNG file of class indices `(H, W)`, `IGNORE_INDEX` for void; `read_mask` reads it back.

    Raises:
        DataError: An index that is not a class, or void where the classes have none.
    """
    values: dict[int, tuple[int, ...]]
    if classes.mask_encoding == "values":
        values = {index: (label.value,) for index, label in _numbered(classes)}
    else:
        values = {index: label.color[::-1] for index, label in _numbered(classes)}
    unknown = sorted(set(np.unique(labels).tolist()) - values.keys())
    if unknown:
        raise DataError(
            f"the labels hold class {unknown[0]}, which a mask cannot show; classes are 0 to "
            f"{len(classes.labels) - 1}"
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


def _numbered(classes: ClassesConfig) -> list[tuple[int, ClassLabel]]:
    """The classes with their index, and void."""
    void = [] if classes.void is None else [(IGNORE_INDEX, classes.void)]
    return [*enumerate(classes.labels), *void]


def _without_alpha(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Pixels without their alpha channel, which must be opaque."""
    if pixels.ndim < 3 or pixels.shape[2] != 4:
        return pixels
    if (pixels[..., 3] < np.iinfo(pixels.dtype).max).any():
        raise DataError(
            f"{path}: the mask has transparent pixels, whose class is unclear; save it without an "
            "alpha channel",
            code="mask_alpha",
        )
    return pixels[..., :3]


def _grey(path: Path, pixels: np.ndarray) -> np.ndarray:
    """The one channel `(H, W)` of an image whose three are equal."""
    grey = pixels[..., 0]
    if any((pixels[..., channel] != grey).any() for channel in (1, 2)):
        offer = offer_for_colors(pixels)
        raise DataError(
            f"{path}: the mask is a colour image where class numbers are configured; {offer.text}",
            code=offer.code,
            settings=offer.settings,
        )
    return grey


def _palette_numbers(path: Path, content: bytes, page: int | None) -> np.ndarray:
    """Number in the palette of every pixel `(H, W)`."""
    try:
        with quiet_decoders():
            return np.array(read_header(path, content, page))
    except Exception:  # a damaged stream can end in any of them
        raise unreadable(path, content) from None


def _indices_of_values(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    # two tables by value need less memory than sorting the pixels
    lowest = np.iinfo(pixels.dtype).min
    indices = np.zeros(np.iinfo(pixels.dtype).max - lowest + 1, np.uint8)
    known = np.zeros(len(indices), bool)
    for index, label in _numbered(classes):
        if 0 <= label.value - lowest < len(known):
            known[label.value - lowest], indices[label.value - lowest] = True, index
    positions = pixels.astype(np.int32) - lowest if lowest else pixels
    if not known[positions].all():
        values, counts = np.unique(pixels, return_counts=True)
        raise _unknown_values(path, values, counts, classes)
    return indices[positions]  # (H, W)


def _unknown_values(
    path: Path, values: np.ndarray, counts: np.ndarray, classes: ClassesConfig
) -> DataError:
    known = {label.value for _, label in _numbered(classes)}
    unknown = [
        f"{value} ({count:,} pixels)"
        for value, count in zip(values.tolist(), counts, strict=True)
        if value not in known
    ]
    offer = offer_for_values(values.tolist(), classes)
    return DataError(
        f"{path}: the mask contains value {', '.join(unknown[:8])}, expected one of "
        f"{list(classes.values)}; {offer.text}",
        code=offer.code,
        settings=offer.settings,
    )


def _nearest_values(
    path: Path, pixels: np.ndarray, classes: ClassesConfig, *, always: bool
) -> np.ndarray:
    """Class indices `(H, W)` of a lossy file; `always` also where all of its values are classes."""
    numbered = _numbered(classes)
    values = np.array([label.value for _, label in numbered])
    if not always and np.isin(pixels, values).all():
        return _indices_of_values(path, pixels, classes)
    if np.diff(np.sort(values)).min() < MIN_LOSSY_GAP:
        offer = offer_for_levels(pixels, classes)
        raise DataError(
            f"{path}: the file's format is lossy, which changes pixels by several levels, so the "
            f"classes' values {values.tolist()} cannot be told apart; {offer.text}",
            code=offer.code,
            settings=offer.settings,
        )
    levels = np.arange(np.iinfo(pixels.dtype).max + 1)
    nearest = np.abs(levels[:, None] - values).argmin(axis=1)  # (levels,)
    indices = np.array([index for index, _ in numbered], np.uint8)
    return indices[nearest][pixels]  # (H, W)


def _indices_of_colors(
    path: Path, pixels: np.ndarray, classes: ClassesConfig, *, is_exact: bool
) -> np.ndarray:
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: the mask is not an 8-bit RGB image, but "
            f"classes.mask_encoding={classes.mask_encoding}; set classes.mask_encoding=values",
            code="mask_color",
            settings=("classes.mask_encoding=values",),
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
    numbered = _numbered(classes)
    # squared Euclidean distance of every colour that occurs from every class
    distance = cdist(colors, [label.color for _, label in numbered], "sqeuclidean")  # (N, K)
    if is_exact and distance.min(axis=1).any():
        raise _unknown_color(path, colors[distance.min(axis=1) > 0], classes)
    indices = np.zeros(256**3, np.uint8)
    indices[present] = np.array([index for index, _ in numbered])[distance.argmin(axis=1)]
    return indices[codes]  # (H, W)


def _unknown_color(path: Path, colors: np.ndarray, classes: ClassesConfig) -> DataError:
    """The error of colors `(N, 3)` of no class: one alone may be void."""
    setting, reason = "classes.mask_encoding=nearest_color", "to take the nearest class"
    if len(colors) == 1 and classes.void is None:
        color = ",".join(map(str, colors[0].tolist()))
        setting, reason = f"classes.void=[{color}]", "if these pixels have no class"
    return DataError(
        f"{path}: colour {tuple(colors[0].tolist())} is not a class; correct classes.colors, or "
        f"set {setting} {reason}",
        code="mask_color",
        settings=(setting,),
    )
