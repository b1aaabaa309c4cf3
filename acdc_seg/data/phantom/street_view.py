"""The camera of a synthetic street: shapes of the world on its picture."""

import numpy as np

from acdc_seg.data.phantom.painting import Canvas, Look, draw_color, ellipse_points

FLAT, CONSTRUCTION, OBJECT, NATURE, SKY, HUMAN, VEHICLE, VOID = range(8)

NEAREST = 1.2
"""Distance in metres at which what comes closer is cut."""


class View:
    """A camera above a street that runs away from it.

    Places are metres to the right, above the ground, and ahead; so is the roughness of a `Look`.
    """

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.canvas = Canvas((size, size), rng)
        self.horizon = rng.uniform(0.34, 0.5) * size
        self.center = rng.uniform(0.36, 0.64) * size
        self.focal = rng.uniform(0.8, 1.15) * size
        self.height = rng.uniform(1.3, 2.1)
        self.haze = np.array(draw_color(rng, hue=(0.5, 0.65), value=(0.6, 0.95)))
        self.visibility = rng.uniform(50, 250)
        self.has_outlines = rng.random() < 0.7

    def polygon(self, places: np.ndarray, look: Look) -> None:
        """Paints a polygon of places `(N, 3)`; far things fade into the haze."""
        right, above, ahead = places.T
        ahead = np.maximum(ahead, NEAREST)
        x = self.center + self.focal * right / ahead
        y = self.horizon + self.focal * (self.height - above) / ahead
        distance = float(ahead.mean())
        clear = np.exp(-distance / self.visibility)
        faded = clear * look.color + (1 - clear) * self.haze
        rough = look.rough * self.focal / distance
        outline = look.outline if self.has_outlines else None
        look = look._replace(color=faded, rough=rough, outline=outline)
        self.canvas.fill(np.stack([x, y], axis=1), look)

    def upright(self, outline: np.ndarray, ahead: float, look: Look) -> None:
        """Paints a shape that faces the camera; `outline` `(N, 2)` is right and above."""
        self.polygon(np.insert(outline, 2, ahead, axis=1), look)

    def box(
        self,
        right: tuple[float, float],
        above: tuple[float, float],
        ahead: float,
        look: Look,
    ) -> None:
        """Paints an upright rectangle that faces the camera."""
        self.upright(_rectangle(right, above), ahead, look)

    def disc(
        self, center: tuple[float, float], radii: tuple[float, float], ahead: float, look: Look
    ) -> None:
        """Paints an upright ellipse that faces the camera."""
        self.upright(ellipse_points(center, radii), ahead, look)

    def wall(
        self, right: float, above: tuple[float, float], ahead: tuple[float, float], look: Look
    ) -> None:
        """Paints an upright rectangle along the street."""
        outline = _rectangle(above, ahead)
        self.polygon(np.insert(outline, 0, right, axis=1), look)

    def ground(self, right: tuple[float, float], ahead: tuple[float, float], look: Look) -> None:
        """Paints a rectangle on the ground."""
        self.polygon(np.insert(_rectangle(right, ahead), 1, 0, axis=1), look)


def _rectangle(first: tuple[float, float], second: tuple[float, float]) -> np.ndarray:
    """Corners `(4, 2)` of the ranges of two coordinates."""
    (low, high), (start, end) = first, second
    return np.array([(low, start), (high, start), (high, end), (low, end)], float)
