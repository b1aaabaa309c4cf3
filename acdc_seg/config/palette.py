"""Colors for classes that have none of their own."""

import math
from collections.abc import Iterator, Sequence
from itertools import product

from acdc_seg.config.section import Color
from acdc_seg.labels import ACDC_LABELS

WHITE: Color = (255, 255, 255)


def default_colors(names: Sequence[str], *, has_background: bool = True) -> list[Color]:
    """A color for each name: the heart's classes have theirs, all others distinct ones."""
    known = {label.name: label.color for label in ACDC_LABELS}
    if has_background and names:
        known[names[0]] = ACDC_LABELS[0].color
    taken = {known[name] for name in names if name in known}
    free = (color for color in _palette() if color not in taken)
    return [known[name] if name in known else next(free) for name in names]


def _palette() -> Iterator[Color]:
    """Distinct colors: those of the heart, then always the one that is farthest from the others."""
    chosen: list[Color] = [*(label.color for label in ACDC_LABELS), WHITE]
    yield from chosen[1:-1]
    levels = range(0, 256, 36)
    distance: dict[Color, float] = {
        color: min(math.dist(color, other) for other in chosen)
        for color in product(levels, levels, levels)
    }
    for _ in range(len(distance)):
        farthest = max(distance, key=distance.__getitem__)
        yield farthest
        distance = {
            color: min(least, math.dist(color, farthest)) for color, least in distance.items()
        }
