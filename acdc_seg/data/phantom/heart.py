"""The beating heart of the phantom: radii in polar coordinates around the long axis of the left
ventricle.

Every surface is a radius r(angle, depth) in mm, so classes nest and cannot overlap. Angle 0 points
from the left to the right ventricle; depth runs from the base at end-diastole (0) to the apex.
Volumes are prescribed and the radii solved from them in closed form, so a heart's ejection fraction
is what its group's column in `GROUP_RANGES` says; the mass of the heart muscle is kept, so walls
thicken where they move.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from acdc_seg.labels import GROUPS

NUM_ANGLES = 360
ANGLES = np.linspace(-np.pi, np.pi, NUM_ANGLES, endpoint=False)
RADIANS = 2 * np.pi / NUM_ANGLES
GRID = (np.arange(40) + 0.5) / 40
"""Relative depths that volumes are integrated over."""
ATRIAL_WALL = 2.0
"""Thickness in mm of the wall above the ventricle's base."""

Range = tuple[float, float]


GROUP_RANGES: dict[str, tuple[Range, ...]] = {
    # ml, mm and radians, for NOR, MINF, DCM, HCM and RV
    "lv_volume": ((110, 165), (130, 215), (210, 310), (95, 150), (75, 130)),
    "lv_ef": ((0.54, 0.66), (0.24, 0.38), (0.16, 0.34), (0.62, 0.74), (0.5, 0.62)),
    "length": ((80, 94), (84, 98), (90, 106), (80, 94), (76, 90)),
    "wall": ((7.5, 9.5), (7.5, 9.5), (7.5, 9.5), (11, 15), (6, 8)),
    "rv_volume": ((125, 175), (100, 160), (110, 210), (80, 135), (180, 250)),
    "rv_ef": ((0.48, 0.6), (0.42, 0.58), (0.25, 0.5), (0.5, 0.62), (0.2, 0.36)),
    "rv_half_angle": ((1.25, 1.5), (1.2, 1.45), (1.1, 1.35), (1.1, 1.4), (1.45, 1.75)),
    "septal_thickening": ((0, 0.1), (0, 0.1), (0, 0.1), (0.1, 0.5), (0, 0.1)),
    "septal_flattening": ((0, 0.05), (0, 0.05), (0, 0.05), (0, 0.05), (0.08, 0.2)),
    "infarct_width": ((0, 0), (0.7, 1.1), (0, 0), (0, 0), (0, 0)),
}
"""Ranges that hearts of each group are drawn from, uniformly."""


class Contours(NamedTuple):
    """Radii in mm, `(N, NUM_ANGLES)` for N depths."""

    endo: np.ndarray
    """Inner side of the left ventricle's wall: papillary muscles and trabeculae are inside, as in
    ACDC's masks.
    """
    epi: np.ndarray
    """Outer side of the left ventricle's wall, inner side of the right ventricle."""
    rv: np.ndarray
    """Outer side of the right ventricle's cavity; equals `epi` where there is none."""
    lv_blood: np.ndarray
    rv_blood: np.ndarray
    wall: np.ndarray
    """Outer side of all heart muscle, the right ventricle's thin free wall included."""
    fat: np.ndarray
    """Outer side of the epicardial fat."""
    papillary: np.ndarray
    """Center radius, angle and own radius of the papillary muscles, `(N, 2, 3)`."""
    is_lv: np.ndarray
    """Whether a depth is in the left ventricle `(N,)`, not in the atrium above it."""
    is_rv: np.ndarray


class Waves:
    """A random smooth periodic function of angle, with variance near 1, that drifts with depth."""

    def __init__(self, rng: np.random.Generator, orders: Iterable[int], *, drift: float) -> None:
        self.orders = np.array(list(orders))[:, None, None]
        self.phases = rng.uniform(-np.pi, np.pi, self.orders.shape)
        self.drifts = rng.normal(0, drift, self.orders.shape)
        self.sizes = rng.rayleigh(1 / np.sqrt(len(self.orders)), self.orders.shape)

    def __call__(self, t: np.ndarray) -> np.ndarray:
        """Values `(N, NUM_ANGLES)` at relative depths `(N, 1)`."""
        waves = np.cos(self.orders * ANGLES + self.phases + self.drifts * t)
        return np.asarray((self.sizes * waves).sum(axis=0))  # over (K, N, NUM_ANGLES)


class Heart:
    """One heart of a group, drawn with `rng`. All lengths in mm, volumes in mm3."""

    def __init__(self, group: str, rng: np.random.Generator) -> None:
        column = GROUPS.index(group)
        drawn = {name: float(rng.uniform(*ranges[column])) for name, ranges in GROUP_RANGES.items()}
        self.length, self.wall = drawn["length"], drawn["wall"]
        self.lv_volumes = _volumes(drawn["lv_volume"], drawn["lv_ef"])
        self.rv_volumes = _volumes(drawn["rv_volume"], drawn["rv_ef"])
        self.shortening = 0.05 + 0.16 * drawn["lv_ef"]
        self.half_angle = drawn["rv_half_angle"]
        self.thickening, self.flattening = drawn["septal_thickening"], drawn["septal_flattening"]
        self.infarct = (rng.uniform(-np.pi, np.pi), rng.uniform(0.45, 0.75), drawn["infarct_width"])
        self.rv_twist = rng.uniform(0, 0.5)
        self.rv_base = rng.uniform(0, 6)
        self.rv_apex = rng.uniform(0.84, 0.98)
        self.rv_wall = rng.uniform(2, 3.5)
        self.trabeculae = rng.uniform(0.04, 0.12)
        self.fat = rng.uniform(1, 6)
        self.papillary = [  # angle, offset, size
            (rng.normal(side * 2.35, 0.2), rng.uniform(0.7, 1.5), rng.uniform(3, 5.5))
            for side in (-1, 1)
        ]
        self.lv_waves = Waves(rng, range(2, 5), drift=1.0)
        self.lv_roundness = rng.uniform(0.01, 0.035)
        self.wall_waves = Waves(rng, range(1, 4), drift=1.0)
        self.rv_waves = Waves(rng, range(1, 5), drift=2.0)
        self.trabecular_waves = Waves(rng, range(3, 26), drift=6.0)
        self.fat_waves = Waves(rng, range(1, 6), drift=3.0)
        self.radius = self._solve_radius()

    def contours(self, depth: np.ndarray, phase: float) -> Contours:
        """All surfaces at depths `(N,)`; `phase` is 0 at end-diastole and 1 at end-systole."""
        t = self._lv_depth(depth, phase)
        endo, epi = self._left_walls(t, phase)
        spread, is_rv = self._rv_spread(depth, phase)
        outer = epi
        epi = np.where(t < 0, endo + ATRIAL_WALL, epi)
        rv = epi + (outer - epi) * np.minimum(1, 3 * spread) + self._rv_extent(phase) * spread
        rough = np.maximum(self.trabecular_waves(t), 0) * self.trabeculae * (0.5 + np.clip(t, 0, 1))
        wall = np.maximum(epi, rv + self.rv_wall * np.minimum(1, 8 * spread))
        return Contours(
            endo=endo,
            epi=epi,
            rv=rv,
            lv_blood=endo - np.minimum(rough * self.radius, 0.3 * endo),
            rv_blood=rv - np.minimum(1.2 * rough, 0.4) * (rv - epi),
            wall=wall,
            fat=wall + self.fat * np.maximum(self.fat_waves(t) + 0.3, 0),
            papillary=self._papillary_discs(t[:, 0], endo),
            is_lv=t[:, 0] >= 0,
            is_rv=is_rv,
        )

    def _lv_length(self, phase: float) -> float:
        return self.length * (1 - self.shortening * phase)

    def _lv_depth(self, depth: np.ndarray, phase: float) -> np.ndarray:
        """Depths as parts of the ventricle's length `(N, 1)`: the base descends, the apex stays."""
        return (1 - (self.length - depth) / self._lv_length(phase))[:, None]

    def _endo_shape(self, t: np.ndarray) -> np.ndarray:
        septum = np.exp(-((ANGLES / 0.6) ** 2))
        shape = _taper(t) * (1 + self.lv_roundness * self.lv_waves(t))
        return shape * (1 - self.flattening * septum)

    def _infarct(self, t: np.ndarray) -> np.ndarray:
        """1 inside the infarct, smoothly 0 outside; 0 everywhere in a heart that has none."""
        angle, depth, width = self.infarct
        if not width:
            return np.zeros((len(t), NUM_ANGLES))
        return np.exp(-((_wrap(ANGLES - angle) / width) ** 4) - ((t - depth) / 0.4) ** 4)

    def _motion(self, t: np.ndarray) -> np.ndarray:
        """Inward motion of the endocardium relative to the rest of the heart `(N, NUM_ANGLES)`."""
        return 1 - 0.9 * self._infarct(t)

    def _solve_radius(self) -> float:
        square = (self._endo_shape(GRID[:, None]) ** 2).sum() / 2
        return float(np.sqrt(self.lv_volumes[0] / (square * RADIANS * self.length / len(GRID))))

    def _contraction(self, phase: float) -> float:
        """The c in r = r0 (1 - c motion) that gives the volume of this phase."""
        t = GRID[:, None]
        square, motion = self._endo_shape(t) ** 2 / 2, self._motion(t)
        cell = self.radius**2 * RADIANS * self._lv_length(phase) / len(GRID)
        still, linear, quadratic = (cell * (square * motion**power).sum() for power in (0, 1, 2))
        excess = quadratic * (still - _at_phase(self.lv_volumes, phase))
        return (linear - np.sqrt(max(linear**2 - excess, 0))) / quadratic

    def _left_walls(self, t: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
        relaxed = self.radius * self._endo_shape(t)
        endo = relaxed * (1 - self._contraction(phase) * self._motion(t))
        septum = np.exp(-((ANGLES / 0.9) ** 2))
        wall = self.wall * (1 + 0.06 * self.wall_waves(t)) * (1 + self.thickening * septum)
        wall = wall * (1 - 0.4 * self._infarct(t))
        stretched = t * self.length / (self.length + 0.8 * self.wall)
        outer = (self.radius + wall) * self._endo_shape(stretched)
        area = np.maximum(outer**2 - relaxed**2, np.where(t < 1, (0.4 * wall) ** 2, 0))
        return endo, np.sqrt(endo**2 + area * self.length / self._lv_length(phase))

    def _rv_ends(self, phase: float) -> tuple[float, float]:
        shortened = self.length - self._lv_length(phase)
        return self.rv_base + 1.25 * shortened, self.rv_apex * self.length

    def _rv_spread(self, depth: np.ndarray, phase: float) -> tuple[np.ndarray, np.ndarray]:
        """Thickness of the right ventricle in 0..1 `(N, NUM_ANGLES)`, and whether a depth is in
        it `(N,)`.
        """
        base, apex = self._rv_ends(phase)
        t = ((depth - base) / (apex - base))[:, None]
        size = np.maximum(1 - np.clip(t, 0, 1) ** 1.7, 0)
        half = self.half_angle * (0.6 + 0.4 * size)
        angle = _wrap(ANGLES - self.rv_twist * (np.clip(t, -0.2, 1) - 0.4)) / half
        bump = np.maximum(1 - np.abs(angle) ** 2.2, 0) ** 0.8
        return size**0.7 * bump * (1 + 0.07 * self.rv_waves(t)), (t[:, 0] >= 0) & (t[:, 0] < 1)

    def _rv_extent(self, phase: float) -> float:
        """The thickness of the right ventricle that gives the volume of this phase."""
        base, apex = self._rv_ends(phase)
        depth = base + GRID * (apex - base)
        _, epi = self._left_walls(self._lv_depth(depth, phase), phase)
        spread, _ = self._rv_spread(depth, phase)
        cell = RADIANS * (apex - base) / len(GRID)
        linear, quadratic = (epi * spread).sum() * cell, (spread**2).sum() / 2 * cell
        root = np.sqrt(linear**2 + 4 * quadratic * _at_phase(self.rv_volumes, phase))
        return (root - linear) / (2 * quadratic)

    def _papillary_discs(self, t: np.ndarray, endo: np.ndarray) -> np.ndarray:
        angle, offset, size = (column[None] for column in np.transpose(self.papillary))
        index = np.rint((_wrap(angle[0]) + np.pi) / RADIANS).astype(int) % NUM_ANGLES
        at_angle = endo[:, index]  # (N, 2)
        profile = np.sqrt(np.clip(1 - ((t[:, None] - 0.55) / 0.33) ** 2, 0, 1))
        own = np.minimum(size * profile, 0.35 * at_angle)
        return np.stack([at_angle - offset * own, np.broadcast_to(angle, own.shape), own], axis=-1)


def _volumes(end_diastolic_ml: float, ejection_fraction: float) -> Range:
    return 1000 * end_diastolic_ml, 1000 * end_diastolic_ml * (1 - ejection_fraction)


def _at_phase(volumes: Range, phase: float) -> float:
    return volumes[0] + phase * (volumes[1] - volumes[0])


def _taper(t: np.ndarray) -> np.ndarray:
    """Radius of the ventricle along the axis: widest at 0.3, narrow at the base, 0 at the apex."""
    apical = np.sqrt(np.maximum(1 - np.clip((t - 0.3) / 0.7, 0, 1) ** 2.2, 0))
    return apical * (1 - 0.1 * np.clip((0.3 - t) / 0.3, 0, 1.3) ** 2)


def _wrap(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi
