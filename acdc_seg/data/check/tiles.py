"""Tiles of a contact sheet: an image with the borders of its mask's classes, and a caption."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.look import read_pair
from acdc_seg.data.problems import Problem
from acdc_seg.data.record import Record

Color = tuple[int, int, int]

TILE = 192
"""Pixels of a tile's edge."""
CAPTION, LINE = 44, 17
"""Height of the captions below a tile, and of one line of them."""
BRIGHT = 180
"""Value of all channels above which a border gets a dark edge."""
INK, GRAY, EMPTY = (28, 39, 51), (110, 122, 134), (226, 230, 234)
SEVERITY: dict[str, Color] = {"error": (200, 30, 30), "warning": (176, 104, 0)}


class Tile(NamedTuple):
    """A picture, RGB uint8 `(TILE, TILE, 3)`, and the lines below it with their colors."""

    picture: np.ndarray
    captions: tuple[tuple[str, Color], ...]


def make_tile(
    record: Record,
    problems: Sequence[Problem],
    *,
    kind: str,
    data: DataConfig,
    classes: ClassesConfig,
) -> Tile:
    """Image of a record with the borders of its mask, of a volume the slice with most foreground.

    Args:
        record: The image or volume.
        problems: Its problems, of which the worst is in the caption.
        kind: `images` or `volumes`.
        data: How images are read.
        classes: How masks are read, and their colors.
    """
    image, mask, *_ = read_pair(record, kind=kind, data=data, classes=classes)
    if image is not None and kind == "volumes":
        number = image.shape[2] // 2
        if mask is not None:
            number = int(np.count_nonzero(mask, axis=(0, 1)).argmax())
            mask = mask[:, :, number]
        image = image[None, :, :, number]
    picture = _no_picture() if image is None else draw_borders(image, mask, classes)
    patient = "" if record.patient == record.id else record.patient
    details = (record.split, patient, record.group)
    captions = [(record.id, INK), (" · ".join(text for text in details if text), GRAY)]
    if problems:
        worst = min(problems, key=lambda problem: problem.severity != "error")
        captions[1] = (worst.code.replace("_", " "), SEVERITY[worst.severity])
    return Tile(picture, tuple(captions))


def draw_borders(image: np.ndarray, mask: np.ndarray | None, classes: ClassesConfig) -> np.ndarray:
    """An image `(C, H, W)` of any range in a square, uint8 `(TILE, TILE, 3)`, with the borders of
    the classes of its mask `(H, W)` in their colors.
    """
    low, high = np.percentile(image, (0.5, 99.5))
    scale = 255 / (high - low) if high > low else 0.0
    pixels = ((image - low) * scale).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    factor = TILE / max(pixels.shape[:2])
    height, width = (max(1, round(edge * factor)) for edge in pixels.shape[:2])
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    picture = cv2.resize(pixels, (width, height), interpolation=method)
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    if mask is not None and mask.shape == image.shape[1:]:
        for index in range(classes.first, len(classes.names)):
            _draw_border(picture, mask == index, classes.colors[index])
    square = np.full((TILE, TILE, 3), EMPTY, np.uint8)
    top, left = (TILE - height) // 2, (TILE - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def paste_tile(sheet: Image.Image, tile: Tile, *, left: int, top: int) -> None:
    """Puts a tile and its captions on a sheet."""
    sheet.paste(Image.fromarray(tile.picture), (left, top))
    draw = ImageDraw.Draw(sheet)
    for number, (text, color) in enumerate(tile.captions):
        position = (left, top + TILE + 4 + number * LINE)
        draw.text(position, shorten(text, size=12, width=TILE), color, font(12))


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's font, which has the letters of most languages."""
    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    return ImageFont.truetype(str(folder / "DejaVuSans.ttf"), size)


def shorten(text: str, *, size: int, width: int) -> str:
    """A text with its middle left out where it is wider than so many pixels."""
    kept = text
    while font(size).getlength(kept) > width and len(text) > 1:
        middle = len(text) // 2
        text = text[:middle] + text[middle + 1 :]
        kept = f"{text[:middle]}…{text[middle:]}"
    return kept


def _draw_border(picture: np.ndarray, region: np.ndarray, color: Color) -> None:
    """Draws the smooth border of a region `(H, W)` into a picture of any size."""
    height, width = picture.shape[:2]
    soft = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    inside = (soft >= 0.5).astype(np.uint8)
    borders, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if min(color) > BRIGHT:  # else it is lost on a bright image
        cv2.drawContours(picture, borders, -1, INK, 3, cv2.LINE_AA)
    cv2.drawContours(picture, borders, -1, color, 1, cv2.LINE_AA)


def _no_picture() -> np.ndarray:
    """A cross, for an image that cannot be read."""
    picture = np.full((TILE, TILE, 3), EMPTY, np.uint8)
    near, far = TILE // 3, TILE - TILE // 3
    cv2.line(picture, (near, near), (far, far), SEVERITY["error"], 2, cv2.LINE_AA)
    cv2.line(picture, (near, far), (far, near), SEVERITY["error"], 2, cv2.LINE_AA)
    return picture
