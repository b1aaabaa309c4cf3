"""Buildings, trees, poles, cars and people of a synthetic street."""

import numpy as np

from acdc_seg.data.phantom.painting import Look, draw_color, gray
from acdc_seg.data.phantom.street_view import (
    CONSTRUCTION,
    HUMAN,
    NATURE,
    OBJECT,
    VEHICLE,
    VOID,
    View,
)

FLOOR = 3.2
"""Height of a storey in metres."""
CAR = np.array([(-1, 0.22), (1, 0.22), (1, 0.62), (0.78, 1), (-0.78, 1), (-1, 0.62)])
"""Outline of a car from behind: half widths and heights."""
CAR_SIDE = np.array(
    [(0, 0.2), (1, 0.2), (1, 0.52), (0.78, 0.62), (0.66, 1), (0.22, 1), (0.06, 0.62), (0, 0.55)]
)
"""Outline of a car from the side: lengths and heights."""
SIGN_COLORS = np.array([(0.8, 0.08, 0.1), (0.05, 0.2, 0.65), (0.85, 0.7, 0.1), (0.85, 0.85, 0.85)])
SHADOW = Look(gray(0.07), None, 0.2)


def paint_facade(
    view: View,
    right: float,
    ahead: tuple[float, float],
    light: float,
    rng: np.random.Generator,
) -> None:
    """A house with its front along the street and its end wall towards the camera."""
    height = FLOOR * rng.integers(1, 8) + rng.uniform(0, 2)
    color = draw_color(rng, hue=(-0.05, 0.2), saturation=(0, 0.5), value=(0.2, 0.95))
    if rng.random() < 0.2:
        color = draw_color(rng, hue=(0.2, 0.65), value=(0.3, 0.9))
    look = Look(color * light, CONSTRUCTION, rng.uniform(0.03, 0.2))
    away = right + np.sign(right) * rng.uniform(6, 14)
    view.box((right, away), (0, height), ahead[0], look._replace(color=color * 0.8))
    view.wall(right, (0, height), ahead, look)
    glass = Look(draw_color(rng, hue=(0.5, 0.65), value=(0.1, 0.8)), CONSTRUCTION, 0.25)
    frame = look.color * rng.uniform(0.7, 1.3)
    width = rng.uniform(1.8, 3.5)
    low, high = rng.uniform(0.25, 0.35), rng.uniform(0.65, 0.85)
    for floor in np.arange(0, height - FLOOR + 0.1, FLOOR):
        above = (floor + low * FLOOR, floor + high * FLOOR)
        if rng.random() < 0.4:
            view.wall(right, (floor, floor + 0.25), ahead, look._replace(color=frame))
        for start in np.arange(ahead[0] + 0.5, ahead[1] - width / 2, width):
            lit = glass.color * rng.uniform(0.5, 1.4)
            view.wall(right, above, (start, start + width / 2), glass._replace(color=lit))


def paint_tree(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """A trunk and a frayed crown of several lumps, or a bush."""
    color = draw_color(rng, hue=(0.13, 0.4), saturation=(0.15, 0.65), value=(0.12, 0.5))
    if rng.random() < 0.15:
        color = draw_color(rng, hue=(0.04, 0.12), saturation=(0.3, 0.7), value=(0.3, 0.6))
    is_bush = rng.random() < 0.3
    height = rng.uniform(0.8, 1.8) if is_bush else rng.uniform(3.5, 9)
    crown = height * rng.uniform(0.28, 0.4)
    if not is_bush:
        bark = draw_color(rng, hue=(0.05, 0.12), value=(0.1, 0.35))
        half = height * 0.02
        look = Look(bark, NATURE, 0.2, outline=VOID)
        view.box((right - half, right + half), (0, height * 0.6), ahead, look)
    for _ in range(rng.integers(4, 9)):
        center = rng.normal((right, height - crown), crown * np.array([0.4, 0.3]))
        radii = crown * rng.uniform(0.4, 0.8, 2)
        look = Look(color * rng.uniform(0.65, 1.35), NATURE, 0.3, rough=crown * 0.12, shading=0.35)
        view.disc(tuple(center), tuple(radii), ahead, look)


def paint_pole(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """A thin pole with a sign, a traffic light, a street lamp, or nothing."""
    height, half = rng.uniform(2.4, 6.5), rng.uniform(0.04, 0.11)
    metal = Look(draw_color(rng, saturation=(0, 0.1), value=(0.15, 0.7)), OBJECT)
    view.box((right - half, right + half), (0, height), ahead, metal)
    kind = rng.integers(0, 5)
    sign = Look(rng.choice(SIGN_COLORS) * rng.uniform(0.5, 1), OBJECT)
    face = Look(gray(0.85) * rng.uniform(0.5, 1), OBJECT)
    if kind == 0:
        view.disc((right, height), (0.38, 0.38), ahead, sign)
        view.disc((right, height), (0.26, 0.26), ahead, face)
    elif kind == 1:
        corners = np.array([(-0.42, 0), (0.42, 0), (0, -0.75)]) * (1, rng.choice([-1, 1]))
        place = np.array([right, height - 0.3])
        view.upright(corners + place, ahead, sign)
        view.upright(corners * 0.55 + place, ahead, face)
    elif kind == 2:
        view.box((right - 0.16, right + 0.16), (height - 0.9, height), ahead, Look(gray(0.06), 2))
        view.disc((right, height - rng.uniform(0.2, 0.7)), (0.1, 0.1), ahead, sign)
    elif kind == 3:
        arm = right - np.sign(right) * 1.6
        ends = (min(right, arm), max(right, arm))
        view.box(ends, (height - 0.08, height + 0.06), ahead, metal)
        view.disc((arm, height), (0.35, 0.1), ahead, face)


def paint_car(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """A car, van or bus along the street, seen from behind or in front, with its inner side."""
    half, height, length = rng.uniform((0.78, 1.4, 3.6), (0.95, 1.75, 4.8))
    outline = CAR
    if rng.random() < 0.18:
        half, height, length = rng.uniform((0.95, 2.2, 5), (1.25, 3.3, 10))
        outline = np.array([(-1, 0.12), (1, 0.12), (1, 1), (-1, 1)])
    paint = Look(_car_color(rng), VEHICLE, 0.04, outline=VOID)
    glass = Look(draw_color(rng, hue=(0.5, 0.65), value=(0.05, 0.35)), VEHICLE)
    rubber = Look(gray(0.05), VEHICLE)
    view.ground((right - half - 0.2, right + half + 0.2), (ahead - 0.2, ahead + length), SHADOW)
    inner = right - np.sign(right) * half
    side = CAR_SIDE if outline is CAR else np.array([(0, 0.12), (1, 0.12), (1, 1), (0, 1)])
    profile = np.stack([side[:, 1] * height, ahead + side[:, 0] * length], axis=1)
    dark = paint._replace(color=paint.color * 0.75)
    view.polygon(np.insert(profile, 0, inner, axis=1), dark)
    for start in (0.12, 0.72):
        wheel = (ahead + start * length, ahead + start * length + 0.62)
        view.wall(inner, (0, 0.62), wheel, rubber)
    view.wall(inner, (0.62 * height, 0.9 * height), _part(ahead, length, 0.25, 0.68), glass)
    for sign in (-1, 1):
        wheel = (right + sign * half * 0.95, right + sign * half * 0.7)
        view.box((min(wheel), max(wheel)), (0, 0.4), ahead, rubber)
    view.upright(outline * (half, height) + (right, 0), ahead, paint)
    view.upright(CAR[2:] * (half * 0.82, height * 0.93) + (right, 0), ahead, glass)
    is_rear = rng.random() < 0.6
    lamp = Look(np.array([0.6, 0.05, 0.05]) if is_rear else gray(0.9), VEHICLE)
    for sign in (-1, 1):
        ends = (right + sign * half * 0.95, right + sign * half * 0.66)
        view.box((min(ends), max(ends)), (0.42 * height, 0.54 * height), ahead, lamp)
    plate = Look(np.array((0.7, 0.7, 0.66)), VEHICLE)
    view.box((right - 0.26, right + 0.26), (0.3 * height, 0.37 * height), ahead, plate)


def paint_crossing_car(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """A car seen from the side."""
    length, height = rng.uniform((3.6, 1.35), (4.8, 1.7))
    paint = Look(_car_color(rng), VEHICLE, 0.04, outline=VOID)
    glass = Look(draw_color(rng, hue=(0.5, 0.65), value=(0.05, 0.35)), VEHICLE)
    view.ground((right, right + length), (ahead - 0.5, ahead + 1.5), SHADOW)
    size, sign = np.array([length, height]), rng.choice([-1, 1])
    middle = np.array([right + length / 2, 0])
    mirrored = size * (sign, 1)
    view.upright((CAR_SIDE - (0.5, 0)) * mirrored + middle, ahead, paint)
    windows = np.array([(0.1, 0.63), (0.73, 0.63), (0.64, 0.93), (0.24, 0.93)])
    view.upright((windows - (0.5, 0)) * mirrored + middle, ahead, glass)
    for part in (-0.32, 0.32):
        center = (float(middle[0] + part * length), 0.32)
        view.disc(center, (0.33, 0.33), ahead, Look(gray(0.05), VEHICLE))
        view.disc(center, (0.17, 0.17), ahead, Look(gray(0.5), VEHICLE))


def paint_person(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """Somebody who stands or walks, some with a bag."""
    height = rng.uniform(1.5, 1.9) if rng.random() < 0.85 else rng.uniform(0.95, 1.35)
    width = height * rng.uniform(0.12, 0.15)
    legs, coat, skin, hair = (
        draw_color(rng, saturation=(0, 0.6), value=(0.06, 0.45)),
        draw_color(rng, saturation=(0, 0.8), value=(0.08, 0.8)),
        draw_color(rng, hue=(0.04, 0.09), saturation=(0.3, 0.6), value=(0.25, 0.85)),
        draw_color(rng, hue=(0.04, 0.12), saturation=(0, 0.6), value=(0.05, 0.5)),
    )
    step = rng.uniform(0.2, 1.2) * width * rng.choice([-1, 1])
    foot = np.array([right, 0])
    for side in (-1, 1):
        leg = np.array([(0.1, 0.5), (0.9, 0.5), (0.7, 0), (0.25, 0)])
        leg = leg * (side * width, height) + foot
        leg[2:, 0] += side * step
        view.upright(leg, ahead, Look(legs, HUMAN))
    sleeve = coat * rng.uniform(0.7, 1)
    for side in (-1, 1):
        arm = np.array([(0.8, 0.82), (1.25, 0.8), (1.35, 0.45), (1.0, 0.45)])
        swing = (0, 0, 0.8 * step * side, 0.8 * step * side)
        arm = arm * (side * width, height) + foot
        arm[:, 0] += swing
        view.upright(arm, ahead, Look(sleeve, HUMAN))
    torso = np.array(
        [(-1.0, 0.8), (-0.6, 0.85), (0.6, 0.85), (1.0, 0.8), (0.85, 0.42), (-0.85, 0.42)]
    )
    torso = torso * (width, height) + foot
    view.upright(torso, ahead, Look(coat, HUMAN, outline=VOID))
    radius = height * 0.062
    head = (right + 0.1 * step, height * 0.92)
    view.disc(head, (radius, radius * 1.25), ahead, Look(hair, HUMAN))
    view.disc(
        (head[0], head[1] - 0.3 * radius), (radius * 0.8, radius * 0.8), ahead, Look(skin, HUMAN)
    )
    if rng.random() < 0.3:
        bag = right + width * 1.3
        view.box((bag, bag + 0.25), (0.35 * height, 0.55 * height), ahead, Look(legs, HUMAN))


def paint_bin(view: View, right: float, ahead: float, rng: np.random.Generator) -> None:
    """A bin or box on the pavement, which no class is for."""
    half, height = rng.uniform((0.2, 0.6), (0.5, 1.2))
    color = draw_color(rng, saturation=(0, 0.6), value=(0.15, 0.6))
    view.wall(
        right - np.sign(right) * half,
        (0, height),
        (ahead, ahead + 0.6),
        Look(color * 0.7, VOID),
    )
    view.box((right - half, right + half), (0, height), ahead, Look(color, VOID))


def _part(start: float, length: float, low: float, high: float) -> tuple[float, float]:
    return start + low * length, start + high * length


def _car_color(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.65:
        return draw_color(rng, saturation=(0, 0.12), value=(0.06, 0.9))
    return draw_color(rng, saturation=(0.3, 0.85), value=(0.15, 0.7))
