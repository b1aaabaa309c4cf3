"""Synthetic pets: photos of furry animals of several sizes, and masks of 0 and 255.

Each picture is a function of the seed and its number alone.
"""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import cv2
import numpy as np

from acdc_seg.data.phantom.animal import Animal, rotation
from acdc_seg.data.phantom.painting import (
    OVERSAMPLING,
    Canvas,
    Look,
    check_numbers,
    draw_color,
    ellipse_points,
    jpeg,
    photograph,
)
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.errors import DataError
from acdc_seg.files import new_folder

SYLLABLES = ("ba", "do", "ki", "lu", "ma", "ne", "pi", "ro", "su", "ti", "vo", "za")
MAX_IMAGES = len(SYLLABLES) ** 4


def write_pets(
    out: Path,
    *,
    num_images: int = 200,
    size: int = 256,
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> list[Path]:
    """Writes `images/NAME.jpg` and `masks/NAME.png`; returns the images' paths.

    Args:
        out: Folder to make, complete or not at all; it must not exist, or be empty.
        num_images: Number of pictures, each of another animal.
        size: Mean edge of a picture in pixels; edges are between 0.7 and 1.3 times that.
        seed: Same seed, same files, byte for byte.
        on_progress: Called after each picture.

    Raises:
        DataError: `out` holds files already or cannot be written, or a number is out of range.
    """
    check_numbers(num_images, size, seed)
    if num_images > MAX_IMAGES:
        raise DataError(f"num_images={num_images}: at most {MAX_IMAGES} pets have names")
    names = list(islice(_names(), num_images))
    with new_folder(out) as folder:
        for name in ("images", "masks"):
            (folder / name).mkdir()
        for index, name in enumerate(names):
            image, mask = draw_pet(np.random.default_rng([seed, index]), size)
            (folder / "images" / f"{name}.jpg").write_bytes(jpeg(image))
            (folder / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
            on_progress("pets", index + 1, num_images)
    return [out / "images" / f"{name}.jpg" for name in names]


def _names() -> Iterator[str]:
    """Names without a number, so that none looks like the next image of another animal."""
    for syllables in product(SYLLABLES, repeat=4):
        yield "".join(syllables[::-1])


def draw_pet(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo, uint8 `(H, W, 3)`, and its mask, uint8 `(H, W)`, 255 where the animal is."""
    height, width = (rng.uniform(0.7, 1.3, 2) * size).astype(int)
    canvas = Canvas((height * OVERSAMPLING, width * OVERSAMPLING), rng)
    fur = draw_color(rng, hue=(0.02, 0.13), saturation=(0, 0.65), value=(0.12, 0.95))
    _paint_room(canvas, fur, rng)
    Animal(canvas, fur, rng).paint()
    for _ in range(rng.integers(0, 3)):
        _paint_clutter(canvas, fur, rng, small=True)
    image, labels = canvas.finished()
    return photograph(image, rng), labels * np.uint8(255)


def _paint_room(canvas: Canvas, fur: np.ndarray, rng: np.random.Generator) -> None:
    """Wall and floor, or trees and meadow, with clutter; some of it is as the fur is."""
    height, width = canvas.shape
    floor = height * rng.uniform(0.3, 0.75)
    everything = np.array([(-9, -9), (width, -9), (width, height), (-9, height)])
    below = np.array(
        [(-9, floor), (width, floor + rng.normal(0, 9)), (width, height), (-9, height)]
    )
    for area in (everything, below):
        canvas.fill(area, Look(_room_color(fur, rng), 0, rng.uniform(0.05, 0.35)))
    for _ in range(rng.integers(4, 14)):
        _paint_clutter(canvas, fur, rng)


def _room_color(fur: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the time near the fur's colour."""
    if rng.random() < 0.5:
        return fur * rng.uniform(0.6, 1.3)
    return draw_color(rng, saturation=(0, 0.6), value=(0.1, 0.95))


def _paint_clutter(
    canvas: Canvas, fur: np.ndarray, rng: np.random.Generator, *, small: bool = False
) -> None:
    """A cushion, a plank, a bush or the like; `small` ones may be in front of the animal."""
    edge = min(canvas.shape)
    center = rng.uniform(0, 1, 2) * canvas.shape[::-1]
    radii = rng.uniform(0.03, 0.1 if small else 0.3, 2) * edge
    look = Look(_room_color(fur, rng), 0, rng.uniform(0.03, 0.35), shading=rng.uniform(0, 0.6))
    kind = rng.integers(0, 3)
    if kind == 0:
        canvas.fill(ellipse_points(tuple(center), tuple(radii)), look._replace(rough=edge * 0.008))
    elif kind == 1:
        plank = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * radii * rng.choice([0.3, 1, 3], 2)
        canvas.fill(plank @ rotation(rng.normal(0, 0.3)) + center, look)
    else:
        blades = rng.normal(0, 1, (rng.integers(3, 9), 2)) * radii
        canvas.fill(blades + center, look)
