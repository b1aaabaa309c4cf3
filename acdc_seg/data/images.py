"""Image and mask files to arrays.

Whatever is wrong with a file is said with its name and the likely fix.
"""

import io
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from acdc_seg.config import ClassesConfig
from acdc_seg.errors import DataError

IGNORE_INDEX = 255
"""Class index of void pixels in arrays, whatever their value in files."""

LARGEST_IMAGE = 2**26
"""Pixels (8192 x 8192) above which a header is taken for damaged or for a trap; nothing is decoded
then.
"""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "SUN")
"""What a file may be, whatever its ending."""

SCALED_VALUES = ((0, 255), (0, 127, 255), (0, 128, 255), (0, 85, 170, 255))
"""Mask values of writers that stretch class numbers to the whole grey range."""


def read_image(path: Path, *, channels: int = 1) -> np.ndarray:
    """An 8 or 16-bit image as float32 `(C, H, W)` in 0..1.

    Raises:
        DataError: The file is unreadable or truncated, claims more than `LARGEST_IMAGE` pixels, is
            not of 8 or 16 bits, or has other channels than configured.
    """
    pixels = _decode(path, _read_bytes(path))
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # (C, H, W)
    if len(planes) != channels:
        raise DataError(
            f"{path}: the image has {len(planes)} channels where {channels} are configured; set "
            "data.channels or convert the file"
        )
    image = planes.astype(np.float32, order="C")
    image /= np.iinfo(pixels.dtype).max
    return image


def image_shape(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header.

    Raises:
        DataError: The file is unreadable.
    """
    width, height = _open(path, _read_bytes(path)).size
    return height, width


def read_mask(path: Path, classes: ClassesConfig) -> np.ndarray:
    """A mask file as class indices, uint8 `(H, W)`; void pixels are `IGNORE_INDEX`.

    Where masks hold values, a palette image holds them too: the number of a pixel's colour in the
    palette, as in Pascal VOC's masks.

    Raises:
        DataError: The file is unreadable, claims too many pixels, is not of 8 or 16 bits, or holds
            a value or colour that is no class.
    """
    data = _read_bytes(path)
    pixels = _decode(path, data)
    if classes.mask_encoding != "values":
        return _indices_of_colors(path, pixels, classes)
    return _indices_of_values(
        path, _palette_numbers(path, data) if pixels.ndim == 3 else pixels, classes
    )


def check_size(image: np.ndarray, mask: np.ndarray, *, image_path: Path, mask_path: Path) -> None:
    """Raises DataError unless image `(C, H, W)` and mask `(H, W)` cover the same pixels."""
    if image.shape[1:] != mask.shape:
        raise DataError(
            f"{mask_path}: the mask is {mask.shape[0]}x{mask.shape[1]}, its image "
            f"{image_path.name} is "
            f"{image.shape[1]}x{image.shape[2]} pixels; export both at one size"
        )


def _read_bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(
                f"{path}: a folder, pipe or device with the name of an image; move it elsewhere"
            )
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the file ({error.strerror}); check the path and its permissions"
        ) from None


def _decode(path: Path, data: bytes) -> np.ndarray:
    """Pixels as stored: `(H, W)`, or `(H, W, 3)` in the order R, G, B."""
    image = _open(path, data)
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise DataError(
            f"{path}: the header claims {width:,} x {height:,} pixels, at most {LARGEST_IMAGE:,} "
            "are read; "
            "the file is damaged, or cut it to smaller images"
        )
    with _quiet_decoders():
        try:
            # OpenCV reserves what a PNG chunk claims, though the file be a hundred bytes
            image.verify()
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except Exception:  # a damaged stream can end in any of them
            pixels = None
    if pixels is None:
        raise _unreadable(path, data)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: pixels are {pixels.dtype}, only 8 and 16-bit images are read; convert the "
            "file"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels


def _open(path: Path, data: bytes) -> Image.Image:
    """The file with its header read and no pixel decoded."""
    try:
        with _quiet_decoders():
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # a damaged header can end in any of them
        raise _unreadable(path, data) from None


@contextmanager
def _quiet_decoders() -> Iterator[None]:
    """Keeps OpenCV and Pillow from printing what a broken file does to them; the limit on pixels is
    ours.
    """
    level, pixels = (
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT),
        Image.MAX_IMAGE_PIXELS,
    )
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = pixels
        cv2.utils.logging.setLogLevel(level)


def _unreadable(path: Path, data: bytes) -> DataError:
    return DataError(
        f"{path}: not a readable image ({len(data):,} bytes, truncated or damaged); copy it again "
        "from its source"
    )


def _palette_numbers(path: Path, data: bytes) -> np.ndarray:
    """The number in the palette of every pixel `(H, W)`."""
    image = _open(path, data)
    if image.mode != "P":
        raise DataError(
            f"{path}: the mask is a colour image where class numbers are configured; set "
            "classes.mask_encoding=colors and classes.colors"
        )
    try:
        with _quiet_decoders():
            return np.array(image)
    except Exception:  # a damaged stream can end in any of them
        raise _unreadable(path, data) from None


def _indices_of_values(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    known = np.zeros(
        np.iinfo(pixels.dtype).max + 1, bool
    )  # by value, as `indices`: tables need less memory than sorting pixels
    indices = np.zeros(len(known), np.uint8)
    for index, value in [*enumerate(classes.values), (IGNORE_INDEX, classes.ignore_value)]:
        if value is not None and 0 <= value < len(known):
            known[value], indices[value] = True, index
    if not known[pixels].all():
        present = np.unique(pixels)
        raise DataError(
            _describe_unknown(
                path, pixels, [int(value) for value in present if not known[value]], classes
            )
        )
    return indices[pixels]  # (H, W)


def _describe_unknown(
    path: Path, pixels: np.ndarray, unknown: Sequence[int], classes: ClassesConfig
) -> str:
    counts = ", ".join(
        f"{value} ({np.count_nonzero(pixels == value):,} pixels)" for value in unknown[:8]
    )
    fix = "correct the mask, or set classes.values"
    present = {int(value) for value in np.unique(pixels)}
    for scaled in SCALED_VALUES:
        if present <= set(scaled) and len(scaled) == len(classes.names):
            fix = (
                "the values look like class numbers stretched to 0..255: set "
                f"classes.values={list(scaled)} if that is so"
            )
        elif present == set(scaled):
            fix = (
                f"this looks like {len(scaled)} classes stretched to 0..255: set "
                f"classes.values={list(scaled)} and as many classes.names"
            )
    return f"{path}: mask value {counts} is no class, the classes are {list(classes.values)}; {fix}"


def _indices_of_colors(path: Path, pixels: np.ndarray, classes: ClassesConfig) -> np.ndarray:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise DataError(
            f"{path}: the mask is not an 8-bit RGB image, but "
            f"classes.mask_encoding={classes.mask_encoding}; set "
            "classes.mask_encoding=values"
        )
    codes = pixels[..., 0].astype(
        np.int32
    )  # R * 65536 + G * 256 + B, in place: large masks need little more memory than their pixels
    for plane in (pixels[..., 1], pixels[..., 2]):
        codes <<= 8
        codes |= plane
    present = np.zeros(256**3, bool)
    present[codes] = True
    found = np.flatnonzero(present)
    colors = np.stack([found >> 16, found >> 8 & 255, found & 255], axis=1)  # (N, 3)
    distance = np.stack(
        [np.abs(colors - color).sum(axis=1) for color in classes.colors], axis=1
    )  # (N, K)
    if classes.mask_encoding == "colors" and distance.min(axis=1).any():
        wrong = tuple(colors[distance.min(axis=1).argmax()].tolist())
        raise DataError(
            f"{path}: colour {wrong} is no class; correct classes.colors, or set "
            "classes.mask_encoding=nearest_color for JPEG masks"
        )
    indices = np.zeros(256**3, np.uint8)
    indices[found] = distance.argmin(axis=1)
    return indices[codes]  # (H, W)
