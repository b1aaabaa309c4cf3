"""Reads image files to arrays; errors name the file and the likely fix."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from acdc_seg.errors import DataError

LARGEST_IMAGE = 2**26
"""Pixels (8192 x 8192) above which a file is refused by its header, damaged or an image bomb."""

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "SUN")
"""Formats that are read, whatever the file's ending."""


def read_image(path: Path, *, channels: int = 1) -> np.ndarray:
    """An 8 or 16-bit image as float32 `(C, H, W)` in 0..1.

    Raises:
        DataError: The file is unreadable or truncated, claims more than `LARGEST_IMAGE` pixels, is
            not of 8 or 16 bits, or has other channels than configured.
    """
    pixels = decode(path, read_bytes(path))
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
    width, height = read_header(path, read_bytes(path)).size
    return height, width


def read_bytes(path: Path) -> bytes:
    """Content of a file; raises DataError where it cannot be read, or is no file."""
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


def decode(path: Path, content: bytes) -> np.ndarray:
    """Pixels as stored: `(H, W)`, or `(H, W, 3)` in the order R, G, B."""
    image = read_header(path, content)
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise DataError(
            f"{path}: the header claims {width:,} x {height:,} pixels, at most {LARGEST_IMAGE:,} "
            "are read; the file is damaged, or cut it into smaller images"
        )
    with quiet_decoders():
        try:
            # OpenCV reserves the memory that a PNG chunk claims, even in a file of 100 bytes
            image.verify()
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        except Exception:  # a damaged stream can end in any of them
            pixels = None
    if pixels is None:
        raise unreadable(path, content)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{path}: pixels are {pixels.dtype}, only 8 and 16-bit images are read; convert the "
            "file"
        )
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return pixels


def read_header(path: Path, content: bytes) -> Image.Image:
    """The image before any pixel is decoded."""
    try:
        with quiet_decoders():
            return Image.open(io.BytesIO(content), formats=FORMATS)
    except Exception:  # a damaged header can end in any of them
        raise unreadable(path, content) from None


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silences OpenCV and Pillow, and lifts Pillow's limit on pixels, for which ours is checked."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    max_pixels, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = max_pixels
        cv2.utils.logging.setLogLevel(level)


def unreadable(path: Path, content: bytes) -> DataError:
    """The error of a file that no decoder reads."""
    return DataError(
        f"{path}: not a readable image ({len(content):,} bytes, truncated or damaged); copy it "
        "again from its source"
    )
