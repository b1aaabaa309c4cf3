"""A picture of an exam: the heart in all slices at ED and ES, with the contours that were found."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from acdc_seg.data.resampling import resize_array
from acdc_seg.data.slicing import stretch
from acdc_seg.files import replacing
from acdc_seg.labels import LV, MYO, RV

PANEL = 132
"""Pixels of the edge of a slice in the picture."""
MAX_SLICES = 12
"""More are thinned out evenly."""
MARGIN_MM = 20
COLORS = {label.value: label.color for label in (RV, MYO, LV)}
QUALITY = 85


def write_picture(
    path: Path,
    phases: Mapping[str, tuple[np.ndarray, np.ndarray]],
    spacing: tuple[float, float, float],
) -> Path:
    """Writes a JPEG with a row per phase, from the base to the apex as the slices are ordered.

    Args:
        path: To write.
        phases: Image and labels `(X, Y, Z)` by name.
        spacing: (x, y, z) in mm.

    Raises:
        DataError: The file cannot be written.
    """
    masks = [labels for _, labels in phases.values()]
    heart = np.any([labels > 0 for labels in masks], axis=0)
    box = _find_box(heart, spacing)
    slices = _choose_slices(heart)
    rows = [
        np.concatenate(
            [_draw_slice(image[..., place], labels[..., place], box, spacing) for place in slices],
            axis=1,
        )
        for image, labels in phases.values()
    ]
    picture = np.concatenate(rows, axis=0)
    with replacing(path) as file:
        Image.fromarray(picture).save(file, format="JPEG", quality=QUALITY)
    return path


def _find_box(heart: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """A square in mm around the heart in all slices; the whole slice where there is none."""
    plane = heart.any(axis=2)
    if not plane.any():
        return slice(0, heart.shape[0]), slice(0, heart.shape[1])
    places = np.argwhere(plane)
    first, last = places.min(0), places.max(0) + 1
    edge = max((last - first) * spacing[:2]) + 2 * MARGIN_MM
    half = np.ceil(edge / 2 / np.array(spacing[:2])).astype(int)
    middle = (first + last) // 2
    low, high = np.maximum(middle - half, 0), np.minimum(middle + half, heart.shape[:2])
    return slice(low[0], high[0]), slice(low[1], high[1])


def _choose_slices(heart: np.ndarray) -> list[int]:
    """Slices with heart, or all."""
    places = np.flatnonzero(heart.any(axis=(0, 1)))
    if not places.size:
        places = np.arange(heart.shape[2])
    if len(places) > MAX_SLICES:
        places = places[np.linspace(0, len(places) - 1, MAX_SLICES).round().astype(int)]
    return [int(place) for place in places]


def _draw_slice(
    image: np.ndarray,
    labels: np.ndarray,
    box: tuple[slice, slice],
    spacing: tuple[float, float, float],
) -> np.ndarray:
    """One slice `(X, Y)` as RGB with y down, at `PANEL` pixels, and its contours."""
    part, found = image[box].T, labels[box].T  # (Y, X)
    height, width = part.shape[0] * spacing[1], part.shape[1] * spacing[0]
    scale = PANEL / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey = Image.fromarray(stretch(np.ascontiguousarray(part)))
    enlarged = np.asarray(grey.resize(size[::-1], Image.Resampling.BICUBIC), np.float32)
    drawn = np.repeat(enlarged[..., None], 3, axis=2)
    for value, color in COLORS.items():
        line = _contour((found == value).astype(np.float32), size)[..., None]
        drawn += line * (np.array(color, np.float32) - drawn)
    panel = np.zeros((PANEL, PANEL, 3), np.uint8)
    top, left = (PANEL - size[0]) // 2, (PANEL - size[1]) // 2
    panel[top : top + size[0], left : left + size[1]] = drawn.round()
    return panel


def _contour(shape: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Opacity in 0..1 `size` of a line of one pixel around a shape `(H, W)`, smooth at its edges.

    The enlarged shape falls from 1 to 0 at its edge: how far from 0.5, divided by how steeply, is
    the distance to the contour in pixels.
    """
    field = resize_array(shape, size)
    steepness = np.maximum(np.hypot(*np.gradient(field)), 1e-6)
    opacity: np.ndarray = np.clip(1.25 - np.abs(field - 0.5) / steepness, 0, 1)
    return opacity
