"""Image and mask files to arrays. Whatever is wrong with a file is said with its name and the likely fix."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.errors import DataError

IGNORE_INDEX = 255
"""Class index of void pixels in arrays, whatever their value in files."""

SCALED_VALUES = ((0, 255), (0, 127, 255), (0, 128, 255), (0, 85, 170, 255))
"""Mask values of writers that stretch class numbers to the whole grey range."""


def read_image(path: Path, *, channels: int = 1) -> np.ndarray:
    """An 8 or 16-bit image as float32 `(C, H, W)` in 0..1.

    Raises:
        DataError: The file is unreadable or truncated, not of 8 or 16 bits, or has other channels than configured.
    """
    pixels = _decode(path)
    found = 1 if pixels.ndim == 2 else pixels.shape[2]
    if found != channels:
        raise DataError(f"{path}: the image has {found} channels where {channels} are configured; set data.channels or convert the file")
    scaled = pixels.astype(np.float32) / np.iinfo(pixels.dtype).max
    return scaled[None] if scaled.ndim == 2 else np.ascontiguousarray(scaled.transpose(2, 0, 1))  # (C, H, W)


def read_mask(path: Path, classes: ClassesConfig) -> np.ndarray:
    """A mask file as class indices, uint8 `(H, W)`; void pixels are `IGNORE_INDEX`.

    Raises:
        DataError: The file is unreadable, not of 8 or 16 bits, or holds a value or colour that is no class.
    """
    pixels = _decode(path)
    if classes.masks == "values":
        return _indices_of_values(path, pixels, classes)
    return _indices_of_colors(path, pixels, classes)


def check_size(image: np.ndarray, mask: np.ndarray, *, image_path: Path, mask_path: Path) -> None:
    """Raises DataError unless image `(C, H, W)` and mask `(H, W)` cover the same pixels."""
    if image.shape[1:] != mask.shape:
        raise DataError(
            f"{mask_path}: the mask is {mask.shape[0]}x{mask.shape[1]}, its image {image_path.name} is "
            f"{image.shape[1]}x{image.shape[2]} pixels; export both at one size"
        )


def _decode(path: Path) -> np.ndarray:
    """Pixels as stored: `(H, W)`, or `(H, W, 3)` in the order R, G, B."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the file ({error.strerror}); check the path and its permissions") from None
    previous = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error:
        pixels = None
    finally:
        cv2.utils.logging.setLogLevel(previous)
    if pixels is None:
        raise DataError(f"{path}: not a readable image ({len(data):,} bytes, truncated or damaged); copy it again from its source")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: pixels are {pixels.dtype}, only 8 and 16-bit images are read; convert the file")
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels


def _indices_of_values(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    if pixels.ndim != 2:
        raise DataError(
            f"{path}: the mask is a colour image where class numbers are configured; set classes.masks=colors and classes.colors"
        )
    found = np.unique(pixels)
    known = {value: index for index, value in enumerate(classes.values)}
    if classes.ignore_value is not None:
        known[classes.ignore_value] = IGNORE_INDEX
    if unknown := [int(value) for value in found if int(value) not in known]:
        raise DataError(_describe_unknown(path, pixels, unknown, classes))
    indices = np.array([known[int(value)] for value in found], np.uint8)
    return indices[np.searchsorted(found, pixels)]  # (H, W)


def _describe_unknown(path: Path, pixels: np.ndarray, unknown: Sequence[int], classes: ClassesConfig) -> str:
    counts = ", ".join(f"{value} ({np.count_nonzero(pixels == value):,} pixels)" for value in unknown[:8])
    fix = "correct the mask, or set classes.values"
    present = {int(value) for value in np.unique(pixels)}
    for scaled in SCALED_VALUES:
        if present <= set(scaled) and len(scaled) == len(classes.names):
            fix = f"the values look like class numbers stretched to 0..255: set classes.values={list(scaled)} if that is so"
        elif present == set(scaled):
            fix = f"this looks like {len(scaled)} classes stretched to 0..255: set classes.values={list(scaled)} and as many classes.names"
    return f"{path}: mask value {counts} is no class, the classes are {list(classes.values)}; {fix}"


def _indices_of_colors(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise DataError(f"{path}: the mask is not an RGB image, but classes.masks={classes.masks}; set classes.masks=values")
    palette = np.array(classes.colors, np.int32)  # (K, 3)
    found, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    distance = np.abs(found[:, None].astype(np.int32) - palette).sum(-1)  # (colours, K)
    if classes.masks == "colors" and distance.min(1).any():
        wrong = tuple(int(part) for part in found[distance.min(1).argmax()])
        raise DataError(f"{path}: colour {wrong} is no class; correct classes.colors, or set classes.masks=nearest_color for JPEG masks")
    return distance.argmin(1).astype(np.uint8)[inverse].reshape(pixels.shape[:2])  # (H, W)
