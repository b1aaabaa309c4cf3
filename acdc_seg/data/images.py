"""Reads image files to arrays; errors name the file and the likely fix."""

import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from acdc_seg.data.resampling import LARGEST_IMAGE
from acdc_seg.errors import DataError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF", "SUN")
"""Formats that are read, whatever the file's ending."""


PAGED_FORMATS = ("TIFF", "GIF", "WEBP", "PNG")
"""Formats whose files may hold several pages or frames that are images of their own."""

DEPTHS = {np.dtype(np.uint8): (0, 255), np.dtype(np.uint16): (0, 65535)}
DEPTHS[np.dtype(np.int16)] = (-32768, 65535)
"""Lowest value and range of the kinds of pixel that are read."""


Half = Literal["", "left", "right"]
"""Half of a file that is read, where image and mask are side by side in it; empty reads all."""
OTHER_HALF: dict[Half, Half] = {"": "", "left": "right", "right": "left"}
"""The half with the mask, by that with the image."""


def read_image(
    path: Path, *, channels: int = 1, page: int | None = None, half: Half = ""
) -> np.ndarray:
    """An image of 8 or 16 bits, signed or not, as float32 `(C, H, W)` in 0..1.

    Gray is repeated where 3 channels are configured; RGB whose channels are equal is read as gray
    where 1 is. An opaque alpha channel is dropped, transparent pixels are blended onto black. Files
    with a palette are read as its colors. Signed values are shifted: -32768 is 0, 32767 is 1.

    Args:
        path: The file.
        channels: 1 for gray, 3 for RGB.
        page: Page of a file with several, from 0; None expects the file to have one.
        half: The part of the file to read.

    Raises:
        DataError: The file is unreadable or truncated, claims more than `LARGEST_IMAGE` pixels, has
            another depth, several pages where `page` is None, or colors where 1 channel is
            configured.
    """
    pixels = crop_half(path, decode(path, read_bytes(path), page), half)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)  # (C, H, W)
    lowest, span = DEPTHS[pixels.dtype]
    image = planes.astype(np.float32, order="C")
    if lowest:
        image -= lowest
    image /= span
    return _fit_channels(path, image, channels)


def _fit_channels(path: Path, image: np.ndarray, channels: int) -> np.ndarray:
    """An image `(1, H, W)`, `(3, H, W)` or, with alpha, `(4, H, W)` in the configured channels."""
    if len(image) == 4:
        image = np.ascontiguousarray(image[:3] * image[3] if image[3].min() < 1 else image[:3])
    if len(image) == channels:
        return image
    if len(image) == 1:
        return np.repeat(image, channels, axis=0)
    if len(image) == 3 and (image == image[0]).all():
        return image[:1].copy()
    remedy = "set data.channels=3, or convert the images to gray"
    raise DataError(
        f"{path}: the image has {len(image)} channels where {channels} are configured; "
        + (remedy if len(image) == 3 else "convert it to gray or RGB"),
        code="channels",
        settings=("data.channels=3",) if len(image) == 3 else (),
    )


def crop_half(path: Path, pixels: np.ndarray, half: Half) -> np.ndarray:
    """The left or right half of pixels `(H, W, ...)`; all of them where `half` is empty.

    Raises:
        DataError: They cannot be halved.
    """
    width = pixels.shape[1]
    if half and width % 2:
        raise DataError(
            f"{path}: the file is {width} pixels wide, an image and its mask side by side need an "
            "even width; cut it again",
            code="size",
        )
    middle = width // 2 if half else 0
    return pixels[:, :middle] if half == "left" else pixels[:, middle:]


def image_shape(path: Path, page: int | None = None) -> tuple[int, int]:
    """Height and width of an image, or of a page of it, from its header.

    Raises:
        DataError: The file is unreadable, or has several pages and `page` is None.
    """
    with _at_page(path, _open(path), page) as image:
        width, height = image.size
    return height, width


def num_pages(path: Path) -> int:
    """Number of pages of a TIFF, or frames of an animation; 1 for every other image.

    Raises:
        DataError: The file is unreadable.
    """
    with _open(path) as image:
        return _count_pages(path, image)


def read_bytes(path: Path) -> bytes:
    """Content of a file; raises DataError where it cannot be read, or is no file."""
    try:
        check_regular(path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the file ({error.strerror}); check the path and its permissions",
            code="unreadable",
        ) from None


def check_regular(path: Path) -> None:
    """Raises DataError for what has the name of a file and is none."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(
            f"{path}: a folder, pipe or device with the name of an image; move it elsewhere",
            code="unreadable",
        )


def decode(path: Path, content: bytes, page: int | None = None) -> np.ndarray:
    """Pixels as stored, uint8, uint16 or int16: `(H, W)`, `(H, W, 3)` in the order R, G, B, or
    `(H, W, 4)` with alpha, whose colors are not yet multiplied by it.
    """
    image = read_header(path, content, page)
    width, height = image.size
    if width * height > LARGEST_IMAGE:
        raise DataError(
            f"{path}: the header claims {width:,} x {height:,} pixels, at most {LARGEST_IMAGE:,} "
            "are read; the file is damaged, or cut it into smaller images",
            code="too_large",
        )
    with quiet_decoders():
        try:
            # OpenCV reserves the memory that a PNG chunk claims, even in a file of 100 bytes
            image.verify()
            pixels = _decode_page(content, image, page)
        except Exception:  # a damaged stream can end in any of them
            pixels = None
    if pixels is None:
        raise unreadable(path, content)
    if pixels.dtype not in DEPTHS:
        raise DataError(
            f"{path}: pixels are {pixels.dtype}, only 8 and 16-bit integers are read; convert the "
            "file",
            code="depth",
        )
    return pixels


def _decode_page(content: bytes, image: Image.Image, page: int | None) -> np.ndarray | None:
    """Pixels of one page with color as R, G, B; None for a damaged file."""
    import cv2  # volumes are segmented where it is not installed

    if page:
        encoded = np.frombuffer(content, np.uint8)
        _, pages = cv2.imdecodemulti(encoded, cv2.IMREAD_UNCHANGED, range=(page, page + 1))
        pixels = pages[0] if pages else None
    else:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or (pixels.ndim == 2 and image.mode != "LA"):
        return pixels
    # of 8-bit TIFFs, OpenCV multiplies RGB by alpha and drops the alpha of gray
    if image.format == "TIFF" and image.mode in ("LA", "RGBA") and pixels.dtype == np.uint8:
        with Image.open(io.BytesIO(content)) as again:
            again.seek(page or 0)
            return np.array(again.convert("RGBA"))
    orders = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return cv2.cvtColor(pixels, orders[pixels.shape[2]])


def read_header(path: Path, content: bytes, page: int | None = None) -> Image.Image:
    """The image before any pixel is decoded, at a page of it.

    Raises:
        DataError: The file is unreadable, has no such page, or several and `page` is None.
    """
    return _at_page(path, _open(path, content), page)


def _open(path: Path, content: bytes | None = None) -> Image.Image:
    """The header of a file, of which no more is read where its content is not given."""
    try:
        if content is None:
            check_regular(path)
        with quiet_decoders():
            return Image.open(path if content is None else io.BytesIO(content), formats=FORMATS)
    except DataError:
        raise
    except Exception:  # a damaged header can end in any of them
        raise unreadable(path, read_bytes(path) if content is None else content) from None


def _at_page(path: Path, image: Image.Image, page: int | None) -> Image.Image:
    pages = _count_pages(path, image)
    if page is None and pages > 1:
        raise DataError(
            f"{path}: the file has {pages} pages where one image is expected; save each page as a "
            "file of its own",
            code="pages",
        )
    if page is not None and not 0 <= page < pages:
        raise DataError(
            f"{path}: page {page} does not exist, the file has {pages}, counted from 0; correct "
            "the page",
            code="pages",
        )
    if page:
        with quiet_decoders():
            image.seek(page)
    return image


def _count_pages(path: Path, image: Image.Image) -> int:
    # the second picture of an MPO, which cameras write as .jpg, is another view or size of it
    if image.format not in PAGED_FORMATS:
        return 1
    try:
        with quiet_decoders():
            return getattr(image, "n_frames", 1)
    except Exception:  # a damaged header can end in any of them
        raise unreadable(path, read_bytes(path)) from None


@contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silences OpenCV and Pillow, and lifts Pillow's limit on pixels, for which ours is checked."""
    import cv2

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
        "again from its source",
        code="unreadable",
    )
