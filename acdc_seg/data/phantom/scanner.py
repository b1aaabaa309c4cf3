"""MR signal of the phantom: partial volume, contrast, coil sensitivity, blur and noise."""

from typing import NamedTuple

import cv2
import numpy as np

from acdc_seg.data.phantom.body import Signals, smooth_field
from acdc_seg.data.phantom.heart import NUM_ANGLES, RADIANS, Contours

SUBSLICES = 3
SUBPIXELS = 2


class Geometry(NamedTuple):
    """Position of the Z slices in the patient."""

    matrix: tuple[int, int]
    """Pixels (X, Y)."""
    spacing: tuple[float, float, float]
    """Pixel size and slice distance (X, Y, Z) in mm."""
    depths: np.ndarray
    """Depth of each slice's center along the heart's axis `(Z,)` in mm."""
    centers: np.ndarray
    """Where the heart's axis crosses each slice `(Z, 2)` in mm from the image's corner."""
    body_angle: float
    """Rotation of the body in the image, radians."""
    heart_angle: float
    """Direction from the left to the right ventricle in the image, radians from the X axis."""


class Tissues(NamedTuple):
    """Parts of each pixel of the heart's box in 0..1, `(Z, X, Y)`."""

    rv: np.ndarray
    myo: np.ndarray
    lv: np.ndarray
    lv_blood: np.ndarray
    rv_blood: np.ndarray
    muscle: np.ndarray
    fat: np.ndarray


class HeartGrid:
    """`SUBSLICES` x `SUBPIXELS`^2 points in every pixel of a box around the heart, in polar
    coordinates of its axis.
    """

    def __init__(self, geometry: Geometry, *, reach: float) -> None:
        rows, columns = (_span(geometry, axis, reach) for axis in (0, 1))
        self.box = (slice(None), rows, columns)
        depths = geometry.depths[:, None] + geometry.spacing[2] * _parts(SUBSLICES)
        self.depths = depths.ravel()  # (Z * SUBSLICES,)
        x = _points(geometry, 0, rows)[:, :, None, :, None]  # (Z, SUBPIXELS, 1, X, 1)
        y = _points(geometry, 1, columns)[:, None, :, None, :]  # (Z, 1, SUBPIXELS, 1, Y)
        shape = (len(x), SUBPIXELS**2, x.shape[3], y.shape[4])
        self.radius = np.sqrt(x**2 + y**2).reshape(shape)
        angle = np.arctan2(y, x).reshape(shape) - np.float32(geometry.heart_angle)
        index = np.rint((angle + np.float32(np.pi)) / np.float32(RADIANS))
        self.index = index.astype(np.intp) % NUM_ANGLES

    def tissues(self, contours: Contours) -> Tissues:
        """The part that each tissue has in each pixel; contours are those at `depths`."""
        shape = (len(Tissues._fields), len(self.radius), *self.radius.shape[2:])
        counts = np.zeros(shape, dtype=np.uint8)
        for row in range(len(self.depths)):
            for count, mask in zip(counts, self._masks(contours, row), strict=True):
                count[row // SUBSLICES] += mask.sum(axis=0, dtype=np.uint8)
        return Tissues(*(counts / np.float32(SUBSLICES * SUBPIXELS**2)))

    def _masks(self, contours: Contours, row: int) -> tuple[np.ndarray, ...]:
        radius, index = self.radius[row // SUBSLICES], self.index[row // SUBSLICES]
        inside = [radius < table[row].astype(np.float32).take(index) for table in contours[:7]]
        endo, epi, rv, lv_blood, rv_blood, wall, fat = inside
        lv_blood &= ~self._papillary(contours.papillary[row], radius, index)
        rv_blood &= ~epi
        muscle = wall & ~(lv_blood | rv_blood)
        is_lv, is_rv = contours.is_lv[row], contours.is_rv[row]
        classes = (is_rv & rv & ~epi, is_lv & epi & ~endo, is_lv & endo)
        return (*classes, lv_blood, rv_blood, muscle, fat & ~wall)

    def _papillary(self, discs: np.ndarray, radius: np.ndarray, index: np.ndarray) -> np.ndarray:
        mask = np.zeros(radius.shape, dtype=bool)
        angles = np.arange(NUM_ANGLES) * RADIANS - np.pi
        for center, angle, own in discs:
            cosine = (2 * center * np.cos(angles - angle)).astype(np.float32).take(index)
            mask |= radius * (radius - cosine) < own**2 - center**2
        return mask


def paint_mask(tissues: Tissues, shape: tuple[int, int, int], box: tuple[slice, ...]) -> np.ndarray:
    """Largest class of each pixel `(Z, X, Y)`: 0 background, 1 RV, 2 MYO, 3 LV."""
    mask = np.zeros(shape, dtype=np.uint8)
    classes = np.stack(tissues[:3])
    mask[box] = np.concatenate([1 - classes.sum(axis=0, keepdims=True), classes]).argmax(axis=0)
    return mask


class Scanner:
    """Turns tissues into images: what stays the same over all frames of one patient."""

    def __init__(
        self, body: np.ndarray, signals: Signals, geometry: Geometry, rng: np.random.Generator
    ) -> None:
        self.body, self.signals = body, signals
        self.noise, self.blur = rng.uniform(0.01, 0.04), rng.uniform(0.45, 0.8)
        self.texture = 1 + 0.13 * smooth_field(rng, body.shape, 14 / geometry.spacing[0])
        self.gain = _coil(geometry, body.shape, rng)
        self.dtype: np.dtype = np.dtype(np.int16 if rng.random() < 0.6 else np.float32)
        self.scale = rng.uniform(180, 600) if self.dtype == np.int16 else rng.uniform(90, 140)

    def image(
        self, tissues: Tissues, box: tuple[slice, ...], rng: np.random.Generator
    ) -> np.ndarray:
        """One frame `(Z, X, Y)` of whole numbers, as int16 or as float32 up to 255."""
        signal = self.body.copy()
        rest = 1 - tissues.lv_blood - tissues.rv_blood - tissues.muscle - tissues.fat
        blood = tissues.lv_blood + self.signals["rv_blood"] * tissues.rv_blood
        signal[box] = (
            signal[box] * rest
            + self.signals["muscle"] * tissues.muscle
            + self.signals["fat"] * tissues.fat
            + blood * self.texture[box]
        )
        signal *= self.gain
        level = np.float32(self.noise * 2 * np.sqrt(np.pi) * self.blur)
        channels = rng.standard_normal((2, *signal.shape), dtype=np.float32) * level
        channels[0] += signal
        for channel in channels.reshape(-1, *signal.shape[1:]):  # (2 * Z, X, Y)
            cv2.GaussianBlur(channel, (5, 5), self.blur, dst=channel)
        magnitude = np.hypot(channels[0], channels[1]) * np.float32(self.scale)
        limit = np.iinfo(np.int16).max if self.dtype == np.int16 else 255
        return np.rint(np.minimum(magnitude, limit)).astype(self.dtype)


def _coil(geometry: Geometry, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Sensitivity of a coil on the chest, with a small drift from slice to slice `(Z, X, Y)`."""
    axes = []
    for axis in (0, 1):
        position = np.arange(shape[axis + 1], dtype=np.float32) * geometry.spacing[axis]
        axes.append((position - geometry.centers[:, axis : axis + 1].mean()) / 100)
    x, y = axes[0][:, None], axes[1][None, :]
    slope_x, slope_y = -rng.uniform(0.1, 0.75), rng.normal(0, 0.25)
    log_gain = slope_x * x + slope_y * y + rng.normal(0, 0.1) * x * y - rng.uniform(0, 0.2) * y**2
    drift = rng.lognormal(0, 0.04, (shape[0], 1, 1))
    return (np.exp(np.clip(log_gain, -1.5, 0.9)) * drift).astype(np.float32)


def _parts(count: int) -> np.ndarray:
    """Centers of `count` equal parts of an interval of length 1 around 0."""
    return (np.arange(count) + 0.5) / count - 0.5


def _span(geometry: Geometry, axis: int, reach: float) -> slice:
    """The pixels within `reach` mm of the heart's axis in any slice."""
    low = (geometry.centers[:, axis].min() - reach) / geometry.spacing[axis]
    high = (geometry.centers[:, axis].max() + reach) / geometry.spacing[axis]
    return slice(max(int(low), 0), min(int(high) + 2, geometry.matrix[axis]))


def _points(geometry: Geometry, axis: int, span: slice) -> np.ndarray:
    """Distances in mm of the points in `span` from the heart's axis, `(Z, SUBPIXELS, pixels)`."""
    pixels = np.arange(span.start, span.stop) + 0.5
    points = (pixels + _parts(SUBPIXELS)[:, None]) * geometry.spacing[axis]
    return (points - geometry.centers[:, axis, None, None]).astype(np.float32)
