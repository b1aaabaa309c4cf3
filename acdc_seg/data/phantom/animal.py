"""A furry animal, standing, sitting or lying."""

import cv2
import numpy as np

from acdc_seg.data.phantom.painting import Canvas, Look, draw_color, ellipse_points, smooth_noise

Point = tuple[float, float]


def rotation(angle: float) -> np.ndarray:
    """Matrix that turns points `(N, 2)`, x and y, on its left."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([(cosine, sine), (-sine, cosine)])


class Animal:
    """An animal on a canvas; places are in body lengths to the right and down of its middle."""

    def __init__(self, canvas: Canvas, fur: np.ndarray, rng: np.random.Generator) -> None:
        self.canvas, self.rng = canvas, rng
        height, width = canvas.shape
        self.scale = min(height, width) * rng.uniform(0.38, 0.75)
        self.middle = np.array([width, height]) * rng.uniform((0.35, 0.4), (0.65, 0.6))
        turn = rotation(rng.normal(0, 0.12))
        self.axes = turn * np.array([rng.choice([-1, 1]), 1])[:, None] * self.scale
        self.fur = Look(_draw_fur(canvas, fur, rng), 1, 0.08, 0.012 * self.scale, 0.45)
        self.ear = rng.integers(0, 3)
        self.snout = rng.uniform(0.6, 1.3)
        self.leg = rng.uniform(0.6, 1.15)

    def paint(self) -> None:
        """Paints it standing, sitting or lying."""
        (self._stand, self._sit, self._lie)[self.rng.integers(0, 3)]()

    def _part(self, points: np.ndarray, light: float = 1.0) -> None:
        color = np.asarray(self.fur.color) * np.float32(light)
        self.canvas.fill(points @ self.axes + self.middle, self.fur._replace(color=color))

    def _oval(self, center: Point, radii: Point, *, turn: float = 0, light: float = 1.0) -> None:
        self._part(ellipse_points((0, 0), radii) @ rotation(turn) + center, light)

    def _limb(self, path: list[Point], widths: Point, light: float = 1.0) -> None:
        """A tapered tube along a path of three points."""
        first, second, third = np.array(path)
        t = np.linspace(0, 1, 9)[:, None]
        line = (1 - t) ** 2 * first + 2 * t * (1 - t) * second + t**2 * third
        along = np.gradient(line, axis=0)
        normal = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
        half = normal * np.linspace(*widths, len(line))[:, None] / 2
        self._part(np.concatenate([line + half, (line - half)[::-1]]), light)
        self._oval((float(third[0]), float(third[1])), (widths[1] / 2, widths[1] / 2), light=light)

    def _stand(self) -> None:
        rng, leg = self.rng, self.leg
        tail = (rng.uniform(-0.95, -0.7), rng.uniform(-0.5, 0.3))
        self._limb([(-0.42, -0.1), (-0.75, -0.1), tail], (0.11, rng.uniform(0.04, 0.09)))
        for x, light in ((-0.42, 0.7), (0.28, 0.7), (-0.33, 1.0), (0.37, 1.0)):
            foot = x + rng.normal(0, 0.07)
            knee = ((x + foot) / 2 + rng.normal(0, 0.03), 0.25)
            self._limb([(x, 0.05), knee, (foot, 0.18 + 0.36 * leg)], (0.17, 0.09), light)
            self._oval((foot + 0.03, 0.2 + 0.36 * leg), (0.08, 0.045), light=light)
        self._oval((0, 0), (0.5, rng.uniform(0.19, 0.27)))
        self._oval((0.3, -0.02), (0.22, 0.22))
        head = (rng.uniform(0.52, 0.68), rng.uniform(-0.4, -0.15))
        self._limb([(0.3, -0.05), (0.45, -0.1), head], (0.3, 0.2))
        self._profile(head)

    def _lie(self) -> None:
        rng = self.rng
        tail = (rng.uniform(-0.9, -0.5), 0.3)
        self._limb([(-0.42, 0.15), (-0.85, 0.1), tail], (0.11, rng.uniform(0.04, 0.09)))
        self._oval((0, 0.08), (0.5, rng.uniform(0.19, 0.26)))
        self._oval((-0.3, 0.14), (0.22, 0.19))
        for y, light in ((0.2, 0.7), (0.26, 1.0)):
            paw = (rng.uniform(0.65, 0.9), y)
            self._limb([(0.25, 0.15), (0.4, y + 0.03), paw], (0.14, 0.09), light)
        self._limb([(-0.3, 0.25), (-0.15, 0.3), (0.02, 0.28)], (0.14, 0.09))
        head = (rng.uniform(0.45, 0.62), rng.uniform(-0.3, -0.05))
        self._limb([(0.28, 0.05), (0.4, 0), head], (0.3, 0.2))
        self._profile(head)

    def _sit(self) -> None:
        rng = self.rng
        end = (rng.uniform(0.4, 0.75), rng.uniform(0.1, 0.5))
        self._limb([(0.15, 0.4), (0.5, 0.55), end], (0.1, rng.uniform(0.04, 0.09)), 0.85)
        self._oval((0, 0.16), (rng.uniform(0.24, 0.34), 0.38))
        for side in (-1, 1):
            self._oval((side * 0.24, 0.36), (0.13, 0.2), turn=side * 0.3, light=0.9)
            self._oval((side * 0.27, 0.52), (0.11, 0.05))
            top, foot = (side * 0.11, 0.05), (side * rng.uniform(0.08, 0.13), 0.52)
            self._limb([top, (side * 0.12, 0.3), foot], (0.15, 0.1), 1.05)
        head, radius = (rng.normal(0, 0.05), -0.36), rng.uniform(0.18, 0.23)
        for side in (-1, 1):
            self._ear((head[0] + side * radius * 0.7, head[1] - radius * 0.6), radius, side)
        self._oval(head, (radius * 1.08, radius))
        muzzle = (head[0], head[1] + 0.4 * radius)
        self._oval(muzzle, (radius * 0.45, radius * 0.35 * self.snout), light=1.15)
        for side in (-1, 1):
            self._spot((head[0] + side * 0.42 * radius, head[1] - 0.08 * radius), 0.13 * radius)
        self._spot((muzzle[0], muzzle[1] - 0.12 * radius), 0.14 * radius)

    def _profile(self, head: Point) -> None:
        """A head that looks to the right."""
        radius = self.rng.uniform(0.13, 0.18)
        self._ear((head[0] - 0.1 * radius, head[1] - 0.7 * radius), radius, 0.4, light=0.7)
        self._oval(head, (radius, radius * 0.95))
        muzzle = (head[0] + radius * (0.6 + 0.4 * self.snout), head[1] + 0.3 * radius)
        self._oval(muzzle, (radius * 0.7 * self.snout, radius * 0.42), turn=-0.1)
        self._ear((head[0] - 0.45 * radius, head[1] - 0.6 * radius), radius, -0.4)
        self._spot((head[0] + 0.35 * radius, head[1] - 0.15 * radius), 0.14 * radius)
        nose = muzzle[0] + 0.6 * radius * self.snout
        self._spot((nose, muzzle[1] - 0.1 * radius), 0.16 * radius)

    def _ear(self, place: Point, radius: float, side: float, *, light: float = 0.85) -> None:
        """Pointed, floppy or round, leaning to the side."""
        x, y = place
        if self.ear == 0:
            tip = (x + side * 0.3 * radius, y - 1.05 * radius)
            self._part(np.array([(x - 0.42 * radius, y), tip, (x + 0.42 * radius, y)]), light)
        elif self.ear == 1:
            center = (x + side * 0.25 * radius, y + 0.55 * radius)
            self._oval(center, (0.32 * radius, 0.8 * radius), turn=side * 0.3, light=light)
        else:
            self._oval((x, y - 0.1 * radius), (0.45 * radius, 0.5 * radius), light=light)

    def _spot(self, place: Point, radius: float) -> None:
        """An eye or a nose."""
        points = ellipse_points(place, (radius, radius)) @ self.axes + self.middle
        self.canvas.fill(points, Look(np.array((0.04, 0.03, 0.03)), 1))


def _draw_fur(canvas: Canvas, fur: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image `(H, W, 3)` of hairs in one or two colours, in patches or stripes."""
    shape, edge = canvas.shape, min(canvas.shape)
    other = draw_color(rng, hue=(0.02, 0.13), saturation=(0, 0.6), value=(0.08, 0.95))
    field = smooth_noise(rng, shape, edge / rng.uniform(3, 9))
    if rng.random() < 0.3:
        columns = np.arange(shape[1]) * rng.uniform(20, 45) / edge
        field = np.sin(columns + 2 * field)
    part = np.clip(3 * (field - rng.uniform(0, 1.5)), 0, 1)[..., None].astype(np.float32)
    length = max(edge // 50, 3)
    hair = cv2.warpAffine(
        np.eye(length, dtype=np.float32) / length,
        cv2.getRotationMatrix2D((length / 2, length / 2), rng.uniform(0, 180), 1),
        (length, length),
    )
    hairs = cv2.filter2D(rng.standard_normal(shape, dtype=np.float32), -1, hair)
    light = 1 + rng.uniform(0.2, 0.5) * hairs[..., None]
    return np.asarray((fur * (1 - part) + other * part) * light)
