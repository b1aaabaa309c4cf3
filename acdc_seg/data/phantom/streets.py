"""Synthetic street scenes: an image and its mask in colours side by side in one JPEG file.

Labels and colours are those of `classes=cityscapes8`.
Each scene is a function of the seed and the scene's number alone.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.phantom.painting import (
    OVERSAMPLING,
    Look,
    check_numbers,
    draw_color,
    gray,
    jpeg,
    photograph,
    smooth_noise,
)
from acdc_seg.data.phantom.street_things import (
    paint_bin,
    paint_car,
    paint_crossing_car,
    paint_facade,
    paint_person,
    paint_pole,
    paint_tree,
)
from acdc_seg.data.phantom.street_view import (
    CONSTRUCTION,
    FLAT,
    NATURE,
    SKY,
    VOID,
    View,
)
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.files import new_folder

Thing = tuple[float, Callable[[], None]]
"""How far ahead it is, and what paints it."""


def write_streets(
    out: Path,
    *,
    num_images: int = 200,
    size: int = 256,
    seed: int = 0,
    on_progress: ProgressCallback = no_progress,
) -> list[Path]:
    """Writes `train/1.jpg` and so on, and a quarter as many to `val/`; returns the paths.

    Args:
        out: Folder to make, complete or not at all; it must not exist, or be empty.
        num_images: Images to train on.
        size: Height and width of a scene in pixels; a file is twice as wide.
        seed: Same seed, same files, byte for byte.
        on_progress: Called after each image.

    Raises:
        DataError: `out` holds files already or cannot be written, or a number is out of range.
    """
    check_numbers(num_images, size, seed)
    colors = np.array(ClassesConfig.model_validate("cityscapes8").colors, np.uint8)
    num_val = max(num_images // 4, 1)
    files = [f"train/{number}.jpg" for number in range(1, num_images + 1)]
    files += [f"val/{number}.jpg" for number in range(1, num_val + 1)]
    with new_folder(out) as folder:
        for name in ("train", "val"):
            (folder / name).mkdir()
        for index, file in enumerate(files):
            image, labels = draw_street(np.random.default_rng([seed, index]), size)
            (folder / file).write_bytes(jpeg(np.concatenate([image, colors[labels]], axis=1)))
            on_progress("street scenes", index + 1, len(files))
    return [out / file for file in files]


def draw_street(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo, uint8 `(size, size, 3)`, and its labels, uint8 `(size, size)`."""
    view = View(size * OVERSAMPLING, rng)
    half_road = rng.uniform(3, 7.5)
    half_street = half_road + rng.uniform(1.5, 6)
    _paint_sky(view, rng)
    _paint_ground(view, half_road, half_street, rng)
    _paint_houses(view, half_street, rng)
    for _, paint in sorted(_draw_things(view, half_road, half_street, rng), key=_nearest_last):
        paint()
    _paint_own_car(view, rng)
    image, labels = view.canvas.finished()
    image = photograph(image, rng)
    if rng.random() < 0.6:  # the frame of a rectified picture
        edge = max(size * int(rng.integers(1, 5)) // 256, 1)
        labels[:edge], labels[:, :edge], labels[:, -edge:] = VOID, VOID, VOID
        if rng.random() < 0.5:
            image[:edge], image[:, :edge], image[:, -edge:] = 0, 0, 0
    return image, labels


def _nearest_last(thing: Thing) -> float:
    return -thing[0]


def _paint_sky(view: View, rng: np.random.Generator) -> None:
    """A gradient from the haze at the horizon up, with clouds, and hills or trees far away."""
    canvas = view.canvas
    top = np.array(draw_color(rng, hue=(0.53, 0.65), saturation=(0, 0.6), value=(0.35, 1)))
    rows = np.linspace(1, 0, int(view.horizon) + 1)[:, None, None]
    sky = rows * top + (1 - rows) * view.haze
    clouds = smooth_noise(rng, canvas.shape, canvas.shape[0] / rng.uniform(3, 12))[: len(sky)]
    clouds = np.clip(clouds * rng.uniform(0, 0.6), 0, 0.7)[..., None]
    canvas.image[: len(sky)] = sky * (1 - clouds) + clouds * rng.uniform(0.7, 1)
    canvas.labels[: len(sky)] = SKY
    for right in rng.uniform(-120, 120, rng.integers(8, 30)):
        green = draw_color(rng, hue=(0.15, 0.4), saturation=(0.1, 0.5), value=(0.15, 0.45))
        radii = (rng.uniform(8, 20), rng.uniform(4, 12))
        view.disc((right, 0), radii, 110, Look(green, NATURE, 0.2, rough=1))


def _paint_ground(
    view: View, half_road: float, half_street: float, rng: np.random.Generator
) -> None:
    """Meadow or yards, pavement, perhaps a strip of grass, the road and its markings."""
    grey = draw_color(rng, saturation=(0, 0.15), value=(0.15, 0.55))
    stone = draw_color(rng, hue=(0, 0.15), saturation=(0, 0.25), value=(0.25, 0.7))
    grass = draw_color(rng, hue=(0.12, 0.35), saturation=(0.2, 0.6), value=(0.15, 0.5))
    is_green = rng.random() < 0.6
    yard = Look(grass, NATURE, 0.25) if is_green else Look(stone, FLAT, 0.12)
    view.ground((-400, 400), (0, 150), yard)
    view.ground((-half_street, half_street), (0, 150), Look(stone, FLAT, rng.uniform(0.05, 0.2)))
    for side in (-1, 1):
        if rng.random() < 0.35:
            strip = sorted((side * half_road, side * (half_road + rng.uniform(0.6, 1.5))))
            view.ground((strip[0], strip[1]), (0, 150), Look(grass, NATURE, 0.3, rough=0.02))
    view.ground((-half_road, half_road), (0, 150), Look(grey, FLAT, rng.uniform(0.04, 0.15)))
    light = Look(gray(rng.uniform(0.5, 0.9)), FLAT)
    for side in (-1, 1):
        view.ground((side * half_road - 0.08, side * half_road + 0.08), (0, 150), light)
    if rng.random() < 0.7:
        middle, dash = rng.uniform(-1, 1), rng.uniform(2, 5)
        for start in np.arange(2, 60, 2 * dash):
            view.ground((middle - 0.07, middle + 0.07), (start, start + dash), light)
    if rng.random() < 0.25:
        start = rng.uniform(6, 18)
        for right in np.arange(-half_road + 0.3, half_road - 0.5, 1):
            view.ground((right, right + 0.5), (start, start + 3), light)
    _cast_shadows(view, rng)


def _cast_shadows(view: View, rng: np.random.Generator) -> None:
    """Darkens parts of the ground: shadows of houses, or patches under trees."""
    canvas, low = view.canvas, int(view.horizon)
    height, width = canvas.shape
    bands = smooth_noise(rng, (height - low, width // 6), rng.uniform(12, 40))
    bands = cv2.resize(bands, (width, height - low)) - rng.uniform(0, 1.5)
    dark = 1 - rng.uniform(0, 0.5) * np.clip(1.5 * bands, 0, 1)
    canvas.image[low:] *= dark[..., None]
    right = rng.uniform(-6, 6)
    if rng.random() < 0.5:
        ends = sorted((right, np.sign(right) * 40))
        view.ground((ends[0], ends[1]), (rng.uniform(2, 10), 60), Look(gray(0.08), None, 0.2))


def _paint_houses(view: View, half_street: float, rng: np.random.Generator) -> None:
    """Rows of houses on both sides, with gaps, the farthest first; one side is in the sun."""
    lights = {-1: rng.uniform(0.5, 1.1), 1: rng.uniform(0.5, 1.1)}
    rows = []
    for side, setback in ((-1, rng.uniform(0, 5)), (1, rng.uniform(0, 5))):
        start, density = rng.uniform(2, 10), rng.uniform(0.4, 1)
        while start < 100:
            end = start + rng.uniform(6, 22)
            if rng.random() < density:
                right = side * (half_street + setback + rng.uniform(0, 1))
                rows.append((start, partial(paint_facade, view, right, (start, end), lights[side])))
            start = end + rng.uniform(0, 6) * (rng.random() < 0.4)
    if rng.random() < 0.35:  # the street ends at a house across
        color = draw_color(rng, hue=(-0.05, 0.2), value=(0.3, 0.8))
        look = Look(color, CONSTRUCTION, 0.15)
        view.box((-60, 60), (0, rng.uniform(6, 18)), rng.uniform(50, 100), look)
    for _, paint in sorted(rows, key=lambda row: -row[0]):
        paint(rng)


def _draw_things(
    view: View, half_road: float, half_street: float, rng: np.random.Generator
) -> list[Thing]:
    """What stands, walks and drives in the street."""

    def place(paint: Callable[..., None], right: float, low: float, high: float) -> Thing:
        ahead = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        return ahead, partial(paint, view, right, ahead, rng)

    def beside() -> float:
        return float(rng.choice([-1, 1]) * rng.uniform(half_road + 0.3, half_street))

    curb = half_road + 0.4
    things = [place(paint_tree, beside() * 1.1, 5, 60) for _ in range(rng.integers(0, 9))]
    for _ in range(rng.integers(1, 8)):
        things.append(place(paint_pole, float(rng.choice([-curb, curb])), 4, 45))
    for _ in range(rng.integers(0, 8)):
        lane = half_road - 1.1 if rng.random() < 0.6 else half_road * 0.35
        things.append(place(paint_car, float(rng.choice([-lane, lane])), 5, 50))
    for _ in range(rng.integers(0, 2)):
        things.append(place(paint_crossing_car, float(rng.uniform(-8, 4)), 12, 40))
    for _ in range(rng.integers(0, 9)):
        is_crossing = rng.random() < 0.2
        right = float(rng.uniform(-half_road, half_road)) if is_crossing else beside()
        things.append(place(paint_person, right, 4, 40))
    things += [place(paint_bin, beside(), 4, 25) for _ in range(rng.integers(0, 3))]
    return things


def _paint_own_car(view: View, rng: np.random.Generator) -> None:
    """The bonnet of the car that the camera is in, at the lower edge."""
    if rng.random() < 0.2:
        return
    size = view.canvas.shape[0]
    height, half = rng.uniform(0.04, 0.13) * size, rng.uniform(0.5, 0.75) * size
    turn = np.linspace(0, np.pi, 24)
    middle = size / 2 + rng.normal(0, 0.03) * size
    points = np.stack([middle - half * np.cos(turn), size - height * np.sin(turn) ** 0.5], axis=1)
    color = draw_color(rng, saturation=(0, 0.2), value=(0.05, 0.4))
    view.canvas.fill(points, Look(color, VOID, 0.03))
