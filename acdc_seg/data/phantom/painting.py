"""Painting of synthetic photos: textured shapes on an image and its labels, and a camera's flaws.

Scenes are drawn at `OVERSAMPLING` times their size, so that edges blend in the image.
"""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np

from acdc_seg.errors import DataError

OVERSAMPLING = 2


class Look(NamedTuple):
    """Appearance of a shape, and its label."""

    color: np.ndarray
    """Its colour R, G, B in 0..1, or an image `(H, W, 3)` of the canvas's size to cut it from."""
    label: int | None = None
    """None leaves the labels."""
    texture: float = 0.06
    """Standard deviation of its brightness."""
    rough: float = 0.0
    """Length by which its edge frays, pixels on a canvas."""
    shading: float = 0.0
    """How much darker its edge is than its middle, 0..1."""
    outline: int | None = None
    """Label of a thin line around it, towards other labels."""


def draw_color(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float] = (0, 1),
    saturation: tuple[float, float] = (0, 0.3),
    value: tuple[float, float] = (0.2, 0.8),
) -> np.ndarray:
    """A colour R, G, B, uniform in these ranges of 0..1."""
    return np.array(
        colorsys.hsv_to_rgb(rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value))
    )


def gray(value: float) -> np.ndarray:
    """A grey of 0..1 as a colour."""
    return np.full(3, value)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """A random field `(H, W)` of variance near 1, smooth over `cell` pixels."""
    height, width = shape
    knots = rng.standard_normal((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32)
    return cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)


def ellipse_points(center: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Outline `(24, 2)` of an ellipse, x and y."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.array(center) + np.array(radii) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def check_numbers(num_images: int, size: int, seed: int) -> None:
    """Raises DataError where the images of a synthetic set cannot be drawn so."""
    if num_images < 1 or size < 32 or seed < 0:
        raise DataError(
            f"num_images={num_images}, size={size}, seed={seed}: at least one image of 32 pixels "
            "is needed, and no negative seed"
        )


class Canvas:
    """An image `(H, W, 3)` and labels `(H, W)` that are painted together.

    Args:
        shape: Height and width in pixels.
        rng: Draws the textures.
    """

    def __init__(self, shape: tuple[int, int], rng: np.random.Generator) -> None:
        self.shape = shape
        self.image = np.zeros((*shape, 3), np.float32)
        self.labels = np.zeros(shape, np.uint8)
        edge = max(shape)
        self.grain = 0.6 * smooth_noise(rng, shape, 2) + 0.6 * smooth_noise(rng, shape, edge / 90)
        self.grain += 0.5 * smooth_noise(rng, shape, edge / 25)
        clumps = smooth_noise(rng, shape, edge / 70) + 0.7 * smooth_noise(rng, shape, 3)
        self.clumps = np.clip(clumps, -2, 2)

    def fill(self, points: np.ndarray, look: Look) -> None:
        """Paints a polygon of corners `(N, 2)`, x and y in pixels."""
        limit = 8 * max(self.shape)
        corners = np.rint(np.clip(points, -limit, limit)).astype(np.int32)
        margin = 2 + round(3 * look.rough)
        x, y = np.maximum(corners.min(axis=0) - margin, 0)
        right, bottom = np.maximum(corners.max(axis=0) + margin + 1, 0)
        area = (slice(y, bottom), slice(x, right))
        labels = self.labels[area]
        if not labels.size:
            return
        if look.outline is not None:
            line = np.zeros(labels.shape, np.uint8)
            cv2.polylines(line, [corners - (x, y)], True, 1, 2 * OVERSAMPLING)
            labels[(line > 0) & (labels != look.label)] = look.outline
        inside = np.zeros(labels.shape, np.uint8)
        cv2.fillPoly(inside, [corners - (x, y)], 1)
        if look.rough:
            blurred = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), look.rough)
            inside = (blurred + 0.2 * self.clumps[area] > 0.5).astype(np.uint8)
        self._color(area, inside, look)
        if look.label is not None:
            labels[inside > 0] = look.label

    def _color(self, area: tuple[slice, slice], inside: np.ndarray, look: Look) -> None:
        is_inside = inside > 0
        light: np.ndarray = 1 + look.texture * self.grain[area]
        if look.shading and 0 < is_inside.mean() < 1:
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
            light *= 1 - look.shading * (1 - np.minimum(2.5 * depth / depth.max(), 1))
        color = look.color.astype(np.float32)
        if color.ndim == 3:
            color = color[area][is_inside]
        self.image[area][is_inside] = light[is_inside, None] * color

    def finished(self) -> tuple[np.ndarray, np.ndarray]:
        """Image and labels at the scene's own size."""
        height, width = (edge // OVERSAMPLING for edge in self.shape)
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA)
        return image, self.labels[::OVERSAMPLING, ::OVERSAMPLING].copy()


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo, uint8 `(H, W, 3)`, of a scene in 0..1: exposure, tint, vignette, blur and noise."""
    height, width = image.shape[:2]
    exposure = rng.uniform(0.5, 1.25)
    tint = rng.normal(1, 0.035, 3)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    vignette = 1 - rng.uniform(0, 0.3) * (rows**2 + columns**2) / 2
    scene = np.clip(image * vignette[..., None] * exposure * tint, 0, 1) ** rng.uniform(0.75, 1.2)
    scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.3, 0.9))
    noise = rng.standard_normal(scene.shape, dtype=np.float32) * rng.uniform(0.01, 0.045)
    return (255 * np.clip(scene + noise, 0, 1)).round().astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    """A JPEG file of an RGB image, uint8 `(H, W, 3)`."""
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
