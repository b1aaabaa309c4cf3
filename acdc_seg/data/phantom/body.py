"""Chest and abdomen around the phantom's heart, painted from the outside in."""

import cv2
import numpy as np

AIR = 0.01
SIGNAL_RANGES = {
    "rv_blood": (0.65, 1.05),
    "muscle": (0.27, 0.5),
    "fat": (0.75, 1.45),
    "liver": (0.25, 0.65),
    "lung": (0.03, 0.12),
    "skeletal": (0.18, 0.4),
    "stomach": (0.15, 0.95),
    "vessel": (0.6, 1.1),
}
Signals = dict[str, float]
"""Signal of each tissue; that of the left ventricle's blood is 1."""


def draw_signals(rng: np.random.Generator) -> Signals:
    """Tissue signals of one patient, uniform in `SIGNAL_RANGES`."""
    return {name: float(rng.uniform(*limits)) for name, limits in SIGNAL_RANGES.items()}


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], cell: float) -> np.ndarray:
    """A random field `(Z, X, Y)` of variance near 1, smooth over `cell` pixels and two slices."""
    num_slices, rows, columns = shape
    num_knots = (num_slices // 2 + 2, int(rows / cell) + 2, int(columns / cell) + 2)
    knots = rng.standard_normal(num_knots, dtype=np.float32)
    planes = np.stack(
        [cv2.resize(knot, (columns, rows), interpolation=cv2.INTER_CUBIC) for knot in knots]
    )
    position = np.arange(num_slices) / 2
    below = position.astype(int)
    part = (position - below).astype(np.float32)[:, None, None]
    return planes[below] * (1 - part) + planes[below + 1] * part


class Body:
    """The scene of one patient.

    Args:
        signals: Signal of each tissue.
        u: Distance from the heart towards the back in mm, `(X, Y)`.
        v: Distance from the heart towards the feet in mm, `(X, Y)`.
        t: Depth of each slice, 0 at the base and 1 at the apex, `(Z,)`.
        pixel: Pixel size in mm.
        front: How far the heart reaches forward in mm.
    """

    def __init__(
        self,
        signals: Signals,
        u: np.ndarray,
        v: np.ndarray,
        t: np.ndarray,
        *,
        pixel: float,
        front: float,
    ) -> None:
        self.signals, self.pixel, self.front = signals, pixel, front
        self.u, self.v = u.astype(np.float32)[None], v.astype(np.float32)[None]
        self.t = t.astype(np.float32)[:, None, None]
        self.image = np.full((len(t), *u.shape), AIR, dtype=np.float32)

    def paint(self, rng: np.random.Generator) -> np.ndarray:
        """The signal `(Z, X, Y)` of everything but the heart."""
        signals = self.signals
        fine, medium, coarse = (
            smooth_field(rng, self.image.shape, size / self.pixel) for size in (5, 13, 40)
        )
        inside = self._inside_skin(rng) + 4 * coarse
        fat = rng.uniform(6, 16)
        thorax = inside - fat - rng.uniform(7, 12) - 2 * medium
        self._fill(inside, signals["fat"] * (1 + 0.1 * medium))
        self._fill(inside - fat * (1 + 0.3 * medium), signals["skeletal"] * (1 + 0.4 * fine))
        self._fill(thorax, signals["lung"] * (1 + 0.3 * fine))
        self._fill(np.minimum(thorax, 2.5 * (fine - 1.5)), signals["vessel"])
        self._paint_hilum(rng, medium)
        self._paint_abdomen(rng, thorax, (fine, medium, coarse))
        self._paint_back(rng, fine)
        pad_v, pad_radius = rng.uniform(-5, 40), rng.uniform(30, 65)
        pad = self._disc(-0.75 * self.front, pad_v, 0.6 * self.front, pad_radius)
        pad = np.minimum(thorax + 1, pad + 5 * coarse + 4 * medium)
        self._fill(pad, signals["fat"] * rng.uniform(0.6, 1) * (1 + 0.15 * fine))
        return np.maximum(self.image, AIR)

    def _fill(self, depth: np.ndarray, value: np.ndarray | float) -> None:
        """Paints where `depth`, mm inside the boundary, is positive; boundary pixels are shared."""
        part = np.clip(depth / self.pixel + 0.5, 0, 1)
        self.image += part * (value - self.image)

    def _disc(
        self, u: np.ndarray | float, v: np.ndarray | float, radius_u: float, radius_v: float
    ) -> np.ndarray:
        """About how many mm a point is inside an ellipse."""
        distance = np.sqrt(((self.u - u) / radius_u) ** 2 + ((self.v - v) / radius_v) ** 2)
        return (1 - distance) * min(radius_u, radius_v)

    def _inside_skin(self, rng: np.random.Generator) -> np.ndarray:
        """Depth below the skin in mm: a squarish ellipse, nearer to the heart at the apex."""
        half_u, half_v = rng.uniform(110, 130), rng.uniform(150, 190)
        front = self.front + rng.uniform(16, 30)
        u = self.u - half_u + front - rng.uniform(15, 30) * self.t
        v = self.v - rng.uniform(-10, 45)
        distance = np.square(np.square(u / half_u)) + np.square(np.square(v / half_v))
        return (1 - np.sqrt(np.sqrt(distance))) * half_u

    def _paint_hilum(self, rng: np.random.Generator, medium: np.ndarray) -> None:
        """Large vessels and fat behind the base of the heart."""
        u, v = rng.uniform(35, 55), rng.uniform(-25, 15)
        hilum = self._disc(u, v, rng.uniform(20, 32), rng.uniform(25, 45))
        hilum = hilum - 40 * np.maximum(self.t, 0)
        self._fill(np.minimum(hilum, 5 * (medium + 0.5)), self.signals["skeletal"])
        self._fill(np.minimum(hilum, 5 * (medium - 0.3)), self.signals["vessel"])

    def _paint_abdomen(
        self, rng: np.random.Generator, thorax: np.ndarray, fields: tuple[np.ndarray, ...]
    ) -> None:
        """Liver under the diaphragm, with vessels; stomach and fat behind it."""
        signals, (fine, medium, coarse) = self.signals, fields
        diaphragm = rng.uniform(32, 58) - rng.uniform(20, 50) * self.t
        diaphragm = diaphragm + (self.u - rng.uniform(-30, 20)) ** 2 / rng.uniform(180, 500)
        below = np.minimum(self.v - diaphragm + 4 * coarse, thorax)
        self._fill(np.minimum(below + rng.uniform(1, 5), thorax), signals["fat"])
        self._fill(below, signals["liver"] * (1 + 0.06 * fine + 0.08 * medium))
        self._fill(np.minimum(below - 4, 3 * (medium - 1.5)), signals["vessel"])
        behind = np.minimum(below - 2, self.u - rng.uniform(20, 45) + 5 * medium)
        self._fill(behind, signals["skeletal"] * (1 + 0.5 * medium))
        self._fill(np.minimum(behind, 6 * (coarse + medium - 0.8)), signals["fat"])
        u, v = rng.uniform(40, 75), rng.uniform(45, 80) - 15 * self.t
        stomach = self._disc(u, v, rng.uniform(18, 32), rng.uniform(18, 36)) + 2 * medium
        self._fill(stomach, signals["skeletal"])
        self._fill(stomach - 3, signals["stomach"] * (1 + 0.35 * fine))

    def _paint_back(self, rng: np.random.Generator, fine: np.ndarray) -> None:
        """Descending aorta and vertebra."""
        skeletal = self.signals["skeletal"]
        vertebra = self._disc(rng.uniform(95, 115), rng.uniform(5, 40), 24, 26)
        self._fill(vertebra, skeletal * 1.3 * (1 + 0.2 * fine))
        radius = rng.uniform(9, 13)
        aorta = self._disc(rng.uniform(60, 76), rng.uniform(0, 30) + 8 * self.t, radius, radius)
        self._fill(aorta + 2, skeletal)
        self._fill(aorta, self.signals["vessel"])
