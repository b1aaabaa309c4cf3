"""Figures of clinical numbers: volumes over the cycle, the wall as a bull's-eye, agreement."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from acdc_seg.errors import DataError
from acdc_seg.labels import LV, RV
from acdc_seg.metrics.agreement import agreement, known_pairs
from acdc_seg.metrics.wall import SEGMENTS
from acdc_seg.report.style import (
    GRAY,
    INK,
    hex_color,
    new_figure,
    run_color,
    spread,
    style_axes,
)

RINGS = (
    # segments from the first one on, its middle in degrees, inner and outer radius
    (range(1, 7), 90, 2 / 3, 1.0),
    (range(7, 13), 90, 1 / 3, 2 / 3),
    (range(13, 17), 90, 0.0, 1 / 3),
)
"""The bull's-eye of the AHA: anterior above, septum on the left, counterclockwise."""
COLOR_MAP = "YlGnBu"
WALL_LIMITS = (4.0, 16.0)
"""In mm: a thinned wall, and one that is hypertrophic by the guidelines (15 mm)."""


def draw_volumes(
    curves: Mapping[str, Sequence[float]],
    *,
    ed: int | None = None,
    es: int | None = None,
    frame_seconds: float | None = None,
) -> Figure:
    """Volumes of both ventricles over the cycle, ED and ES marked.

    Frames in which a ventricle is absent are gaps of its line.

    Args:
        curves: Volume in mL of `lv` and `rv` by frame, as in `Measurements`.
        ed: Index of the end-diastolic frame, from 0.
        es: Index of the end-systolic frame.
        frame_seconds: Time between frames; without it they are counted, from 1.
    """
    figure, axes = new_figure()
    count = len(curves[LV.name])
    times = _frame_times(count, frame_seconds)
    ends = []
    for label in (LV, RV):
        volumes = np.array([volume or np.nan for volume in curves[label.name]], float)
        color, marker = hex_color(label.color), "o" if count < 5 else ""
        axes.plot(times, volumes, color=color, lw=1.8, marker=marker, ms=5, label=label.name)
        present = volumes[np.isfinite(volumes)]
        if present.size:
            ends.append((label.name.upper(), float(present[-1]), color))
    axes.set_ylim(bottom=0)
    for name, frame in (("ED", ed), ("ES", es)):
        if frame is not None:
            _mark_phase(axes, name, times[frame], curves, frame)
    if frame_seconds is None:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    xlabel = "frame" if frame_seconds is None else "time (ms)"
    style_axes(axes, xlabel=xlabel, ylabel="volume (mL)")
    _name_lines(axes, ends)
    return figure


def draw_bullseye(
    values: Sequence[float | None],
    *,
    label: str = "wall thickness (mm)",
    limits: tuple[float, float] = WALL_LIMITS,
) -> Figure:
    """The 16 segments of the AHA as rings, base outside; segments without value are blank.

    Args:
        values: Of segments 1 to 16.
        label: What they are.
        limits: Values of the lightest and the darkest color, the same for all cases of a page.

    Raises:
        DataError: There are not 16 values.
    """
    if len(values) != len(SEGMENTS):
        raise DataError(f"{len(values)} values, expected {len(SEGMENTS)}: one for each AHA segment")
    figure, axes = new_figure(width=4.4, height=3.6)
    scale = Normalize(*limits, clip=True)
    colors = matplotlib.colormaps[COLOR_MAP]
    for numbers, middle, inner, outer in RINGS:
        step = 360 / len(numbers)
        for place, number in enumerate(numbers):
            value = values[number - 1]
            angle = middle + place * step
            color = None if value is None else colors(0.05 + 0.9 * scale(value))
            _draw_segment(axes, (angle - step / 2, angle + step / 2), (inner, outer), color)
            text = "–" if value is None else f"{value:.1f}"
            _write(axes, angle, (inner + outer) / 2 if inner else 0.2, text, color)
    _name_walls(axes)
    axes.set(aspect="equal", xlim=(-1.35, 1.35), ylim=(-1.2, 1.2))
    axes.set_axis_off()
    axes.set_title(label, loc="left", fontsize=9, color=INK)
    return figure


def draw_agreement(
    measured: Sequence[float | None],
    truth: Sequence[float | None],
    *,
    name: str,
    unit: str,
    groups: Sequence[str] | None = None,
) -> Figure:
    """Differences by mean with bias and limits of agreement (Bland and Altman, 1986).

    Args:
        measured: A number for each case; pairs with None are left out.
        truth: The true ones.
        name: Of the number, such as LVEF.
        unit: Its unit.
        groups: A group for each case, for the colors of the points.

    Raises:
        DataError: The two differ in length.
    """
    result = agreement(measured, truth)
    figure, axes = new_figure(height=3.3)
    for number, (group, pairs) in enumerate(_split(measured, truth, groups).items()):
        first, second = known_pairs(*pairs)
        color = run_color(number)
        means = (first + second) / 2
        axes.plot(means, first - second, "o", ms=5, mew=0, alpha=0.8, color=color, label=group)
    lines = [
        ("bias", result.bias, "-"),
        ("+1.96 SD", result.high, "--"),
        ("−1.96 SD", result.low, "--"),
    ]
    shown = [(title, value, dash) for title, value, dash in lines if value is not None]
    axes.axhline(0, color=GRAY, linewidth=0.8)
    for _, value, dash in shown:
        axes.axhline(value, color=INK, linewidth=1.2, linestyle=dash)
    axes.margins(y=0.12)
    style_axes(
        axes, xlabel=f"mean of measured and true {name} ({unit})", ylabel=f"difference ({unit})"
    )
    names = [(f"{title}: {value:+.1f}".replace("-", "−"), value, INK) for title, value, _ in shown]
    _name_lines(axes, names)
    axes.set_title(_headline(name, result.n, result.r), loc="left", fontsize=9, color=INK)
    if groups:
        figure.legend(
            loc="outside lower center", ncols=5, frameon=False, fontsize=9, labelcolor=INK
        )
    return figure


def _frame_times(count: int, frame_seconds: float | None) -> list[float]:
    if frame_seconds is None:
        return [float(frame) for frame in range(1, count + 1)]
    return [1000 * frame_seconds * frame for frame in range(count)]


def _mark_phase(
    axes: Axes, name: str, time: float, curves: Mapping[str, Sequence[float]], frame: int
) -> None:
    axes.axvline(time, color=GRAY, linestyle=":", linewidth=1)
    for label in (LV, RV):
        volume = curves[label.name][frame]
        if volume:
            axes.plot(time, volume, "o", ms=6, color=hex_color(label.color), label=name)
    axes.text(
        time,
        1.01,
        name,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va="bottom",
        fontsize=9,
        color=INK,
    )


def _name_lines(axes: Axes, ends: Sequence[tuple[str, float, str]]) -> None:
    """Names of (name, height in data, color) beside the right end of the axes."""
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    heights = spread([to_axes.transform((0, height))[1] for _, height, _ in ends], 0.08)
    for (name, _, color), height in zip(ends, heights, strict=True):
        axes.text(
            1.02, height, name, transform=axes.transAxes, color=color, fontsize=9, va="center"
        )


def _draw_segment(
    axes: Axes,
    angles: tuple[float, float],
    radii: tuple[float, float],
    color: tuple[float, float, float, float] | None,
) -> None:
    turns = np.radians(np.linspace(*angles, 31))
    around = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    corners = np.concatenate([radii[1] * around, radii[0] * around[::-1]])
    axes.fill(
        *corners.T, facecolor=color or "none", edgecolor=GRAY, linewidth=0.8, joinstyle="round"
    )


def _write(
    axes: Axes,
    angle: float,
    radius: float,
    text: str,
    color: tuple[float, float, float, float] | None,
) -> None:
    """A text in a segment, light on dark colors."""
    turn = np.radians(angle)
    is_dark = color is not None and np.dot(color[:3], (0.3, 0.59, 0.11)) < 0.5
    # ink is that of a page, which may be light; a filled segment is always of its own color
    ink = "white" if is_dark else INK if color is None else "#16202a"
    axes.text(
        radius * np.cos(turn),
        radius * np.sin(turn),
        text,
        ha="center",
        va="center",
        fontsize=8,
        color=ink,
    )


def _name_walls(axes: Axes) -> None:
    sides = ("anterior", 0, 1.05, "center", "bottom"), ("inferior", 0, -1.05, "center", "top")
    walls = ("septal", -1.05, 0, "right", "center"), ("lateral", 1.05, 0, "left", "center")
    for name, x, y, horizontal, vertical in (*sides, *walls):
        axes.text(x, y, name, ha=horizontal, va=vertical, fontsize=9, color=INK)


def _split(
    measured: Sequence[float | None],
    truth: Sequence[float | None],
    groups: Sequence[str] | None,
) -> dict[str, tuple[list[float | None], list[float | None]]]:
    """Both sides by group, in the order in which groups appear."""
    if not groups:
        return {"": (list(measured), list(truth))}
    parts: dict[str, tuple[list[float | None], list[float | None]]] = {}
    for first, second, group in zip(measured, truth, groups, strict=True):
        sides = parts.setdefault(group, ([], []))
        sides[0].append(first)
        sides[1].append(second)
    return parts


def _headline(name: str, count: int, r: float | None) -> str:
    noun = "case" if count == 1 else "cases"
    return f"{name}, {count} {noun}" + ("" if r is None else f", r = {r:.3f}")
