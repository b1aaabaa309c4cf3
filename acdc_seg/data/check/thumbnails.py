"""Thumbnails of images: small pictures with landmarks, by which duplicates are found.

A landmark is a bright or dark spot. The patch around it is described by numbers that a change of
brightness or contrast leaves as they are, and that move with the picture when a crop is shifted.
"""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

EDGE = 96
"""Pixels of the longer edge that larger images are shrunk to."""
NUM_LANDMARKS = 5
PATCH, CELLS = 32, 8
"""Pixels of the square around a landmark, and the edge that it is shrunk to."""
SMOOTHING = 1.0
"""Standard deviation in pixels of the thumbnail, against shifts by parts of a pixel."""
FAINT = 1.0
"""Length of a patch's contrast below which it describes noise only."""


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of one image or slice.

    `digest` is of size and values at full size, equal for equal images only. `pixels` uint8
    `(h, w)`; `landmarks` int `(N, 2)` rows and columns; `patches` float32 `(N, 64)` of zero mean
    and unit length, one for each landmark.
    """

    digest: bytes
    pixels: np.ndarray
    landmarks: np.ndarray
    patches: np.ndarray


def make_thumbnail(image: np.ndarray) -> Thumbnail | None:
    """The thumbnail of an image `(H, W)` of any range; None where all pixels are equal."""
    low, high = float(image.min()), float(image.max())
    if not high > low:
        return None
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    pixels = _shrink(image.astype(np.float32, copy=False))
    pixels = (pixels - low) * (255 / (high - low))
    pixels = cv2.GaussianBlur(pixels, (0, 0), SMOOTHING).clip(0, 255)
    landmarks, patches = _describe(pixels)
    return Thumbnail(digest.digest(), pixels.astype(np.uint8), landmarks, patches)


def _shrink(image: np.ndarray) -> np.ndarray:
    factor = EDGE / max(image.shape)
    if factor >= 1:
        return image
    height, width = (max(1, round(edge * factor)) for edge in image.shape)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _describe(smooth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clearest landmarks of a picture and their patches."""
    patch = min(PATCH, min(smooth.shape) * 2 // 3) // 2 * 2
    landmarks = _landmarks(smooth, margin=patch // 2) if patch >= CELLS else np.empty((0, 2), int)
    patches = []
    for row, column in landmarks - patch // 2:
        square = smooth[row : row + patch, column : column + patch]
        cells = cv2.resize(square, (CELLS, CELLS), interpolation=cv2.INTER_AREA).ravel()
        cells = cells - cells.mean()
        length = float(np.linalg.norm(cells))
        patches.append(cells / length if length > FAINT else np.zeros_like(cells))
    return landmarks, np.asarray(patches, np.float32).reshape(-1, CELLS * CELLS)


def _landmarks(smooth: np.ndarray, *, margin: int) -> np.ndarray:
    """Rows and columns `(N, 2)` of the strongest spots (differences of Gaussians)."""
    fine, coarse = (cv2.GaussianBlur(smooth, (0, 0), sigma) for sigma in (1.5, 3.0))
    strength = np.abs(fine - coarse)
    is_spot = strength == cv2.dilate(strength, np.ones((7, 7), np.uint8))
    is_spot &= strength > 0
    inside = np.zeros_like(is_spot)
    inside[margin : smooth.shape[0] - margin + 1, margin : smooth.shape[1] - margin + 1] = True
    spots = np.argwhere(is_spot & inside)
    order = np.argsort(-strength[spots[:, 0], spots[:, 1]], kind="stable")
    return spots[order[:NUM_LANDMARKS]]
