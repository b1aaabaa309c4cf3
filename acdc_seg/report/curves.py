"""Losses and scores by epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from acdc_seg.report.style import (
    ACCENT,
    GRAY,
    INK,
    Color,
    hex_color,
    new_figure,
    run_color,
    spread,
    style_axes,
)

History = Sequence[Mapping[str, Any]]
"""One dict per epoch with `epoch` and, each a number or None, `train_loss`, `val_loss`, `dice`,
`dice_<class>`."""

LOG_RATIO = 8
"""Losses whose largest is more than so many times the smallest have a logarithmic axis."""


def draw_losses(history: History) -> Figure:
    """Training and validation loss by epoch, the epoch of the best Dice marked."""
    figure, axes = new_figure()
    lines = [
        ("training", _points(history, "train_loss"), GRAY, 1.5),
        ("validation", _points(history, "val_loss"), ACCENT, 1.5),
    ]
    values = [value for _, points, _, _ in lines for _, value in points]
    if values and min(values) > 0 and max(values) > LOG_RATIO * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=10))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    _draw(axes, lines)
    best = best_epoch(history)
    if best and _is_number(best.get("val_loss")):
        _mark(axes, best["epoch"], best["val_loss"], ACCENT)
    style_axes(axes, xlabel="epoch", ylabel="loss")
    return figure


def draw_dice(history: History, colors: Mapping[str, Color]) -> Figure:
    """Validation Dice by epoch, of all classes and of each, the best epoch marked.

    Args:
        history: Of one run.
        colors: (R, G, B) in 0..255 by class name.
    """
    figure, axes = new_figure()
    keys = [key for row in history for key in row if key.startswith("dice_")]
    names = [key.removeprefix("dice_") for key in dict.fromkeys(keys)]
    lines = [
        (name, _points(history, f"dice_{name}"), hex_color(colors.get(name)), 1.0)
        for name in (names if len(names) > 1 else ())  # of one class the mean says it already
    ]
    _draw(axes, [*lines, (_mean_name(names), _points(history, "dice"), INK, 2.0)])
    best = best_epoch(history)
    if best:
        _mark(axes, best["epoch"], best["dice"], INK)
    style_axes(axes, xlabel="epoch", ylabel="validation Dice")
    return figure


def draw_shared(histories: Mapping[str, History], key: str, label: str) -> Figure:
    """One quantity of several runs on one pair of axes.

    Args:
        histories: By name of the run, in the order of their colors; a vote has none.
        key: Column of the histories.
        label: Its name.
    """
    figure, axes = new_figure()
    lines = [
        (name, _points(history, key), run_color(number), 1.5)
        for number, (name, history) in enumerate(histories.items())
    ]
    _draw(axes, lines)
    style_axes(axes, xlabel="epoch", ylabel=label)
    return figure


def best_epoch(history: History) -> Mapping[str, Any] | None:
    """The first epoch with the highest foreground Dice; None where nothing was validated."""
    return max(
        (epoch for epoch in history if _is_number(epoch.get("dice"))),
        key=lambda epoch: epoch["dice"],
        default=None,
    )


def _mean_name(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "mean"


def _points(history: History, key: str) -> list[tuple[float, float]]:
    return [(row["epoch"], row[key]) for row in history if _is_number(row.get(key))]


def _draw(axes: Axes, lines: Sequence[tuple[str, list[tuple[float, float]], str, float]]) -> None:
    """Lines of (name, points, color, width), each with its name beside its end."""
    shown = [line for line in lines if line[1]]
    for name, points, color, width in shown:
        marker = "o" if len(points) == 1 else ""
        axes.plot(*zip(*points, strict=True), label=name, color=color, lw=width, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not shown:
        return
    # where a name is beside the axes, in 0..1 of their height
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = [to_axes.transform((0, points[-1][1]))[1] for _, points, _, _ in shown]
    heights = spread(ends, 0.08)
    for (name, _, color, _), height in zip(shown, heights, strict=True):
        axes.text(
            1.02, height, name, transform=axes.transAxes, color=color, fontsize=9, va="center"
        )


def _mark(axes: Axes, epoch: float, value: float, color: str) -> None:
    axes.axvline(epoch, color=GRAY, linestyle=":", linewidth=1)
    axes.plot(epoch, value, "o", color=color, label=f"best: {value:.3f} at epoch {epoch:.0f}")
    axes.set_title(f"best epoch {epoch:.0f}: {value:.3f}", loc="left", fontsize=9, color=INK)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
