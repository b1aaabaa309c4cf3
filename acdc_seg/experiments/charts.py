"""Figures of results: scores with intervals, results along a setting, and what they cost."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.experiments.drawing import PALETTE, Shown, fit_axis, label_ends, panels
from acdc_seg.report.style import ACCENT, GRAY, INK, spread, style_axes

Value = Callable[[VariantSummary], float | None]


def draw_scores(shown: Shown) -> Figure:
    """The Dice of each variant with its interval by patient, single trainings as small dots, and
    the study's where it published one.
    """
    summaries = [summary for group in shown.groups.values() for summary in group]
    figure, grid = panels(1, 1, width=7.5, height=0.7 + 0.32 * len(summaries))
    axes = grid[0, 0]
    for row, summary in enumerate(summaries):
        color = shown.color(summary)
        axes.plot(summary.interval, (row, row), color=color, lw=2, alpha=0.6)
        axes.plot(summary.mean(), row, "o", color=color, ms=7)
        if len(summary.results) > 1:
            dice = [result.dice for result in summary.results]
            axes.plot(dice, [row + 0.22] * len(dice), "o", color=GRAY, ms=2.5)
        study = shown.experiment.study_dice.get(summary.variant.name)
        if study is not None:
            axes.plot(study, row, "D", mfc="none", mec=INK, ms=6)
        axes.text(
            1.02,
            row,
            f"{summary.mean():.3f}",
            transform=axes.get_yaxis_transform(),
            color=INK,
            fontsize=9,
            va="center",
        )
    style_axes(axes, xlabel=_scores_label(shown, summaries), grid="x")
    axes.set_yticks(range(len(summaries)), [summary.variant.name for summary in summaries])
    axes.set_ylim(len(summaries) - 0.4, -0.6)
    return figure


def _scores_label(shown: Shown, summaries: Sequence[VariantSummary]) -> str:
    label = "validation Dice with 95 % interval by patient"
    if any(len(summary.results) > 1 for summary in summaries):
        label += ", small dots: single trainings"
    return f"{label}, diamonds: the study" if shown.experiment.study_dice else label


def draw_axis(shown: Shown) -> Figure:
    """Results along a numeric setting: the lowest losses and the Dice; in groups the cross-entropy,
    the Dice and the IoU, a line for each group.
    """
    return _draw_groups(shown) if len(shown.groups) > 1 else _draw_variants(shown)


def _draw_groups(shown: Shown) -> Figure:
    figure, grid = panels(1, 3, width=4, height=3.2)
    rows: list[tuple[str, Value]] = [
        ("cross-entropy", lambda row: row.average("cross_entropy")),
        ("Dice", lambda row: row.mean()),
        ("IoU", lambda row: row.mean("iou")),
    ]
    for axes, (title, value) in zip(grid[0], rows, strict=True):
        ends = []
        for number, (group, summaries) in enumerate(shown.groups.items()):
            color = PALETTE[number % len(PALETTE)]
            end = _along(axes, shown, summaries, value, color)
            ends += [] if end is None else [(group, end, color)]
        _style(axes, shown, title)
    label_ends(axes, ends)
    return figure


def _draw_variants(shown: Shown) -> Figure:
    figure, grid = panels(1, 2, width=4.6, height=3.2)
    losses, dice = grid[0]
    (summaries,) = shown.groups.values()
    lines: list[tuple[str, Value, str]] = [
        ("training", lambda row: row.lowest_train_loss, GRAY),
        ("validation", lambda row: row.lowest_loss, ACCENT),
    ]
    ends, values = [], []
    for name, value, color in lines:
        end = _along(losses, shown, summaries, value, color)
        ends += [] if end is None else [(name, end, color)]
        values += [each for each in map(value, summaries) if each is not None]
    fit_axis(losses, values, top=100)
    _style(losses, shown, "lowest loss")
    label_ends(losses, ends)
    _along(dice, shown, summaries, lambda row: row.mean(), INK)
    for summary in summaries:
        x = _position(shown, summary)
        if x is not None:
            dice.plot((x, x), summary.interval, color=INK, lw=2, alpha=0.4)
    _style(dice, shown, "Dice with 95 % interval")
    return figure


def _along(
    axes: Axes, shown: Shown, summaries: Sequence[VariantSummary], value: Value, color: str
) -> float | None:
    """Draws values by the setting; gives the last one."""
    pairs = [(_position(shown, summary), value(summary)) for summary in summaries]
    points = sorted((x, y) for x, y in pairs if x is not None and y is not None)
    if not points:
        return None
    axes.plot(*zip(*points, strict=True), "o-", color=color, lw=1.6, ms=4.5)
    return points[-1][1]


def _is_spread(shown: Shown, ratio: float) -> bool:
    values = [value for value in shown.settings.values() if value is not None]
    return bool(values) and min(values) > 0 and max(values) / min(values) >= ratio


def _position(shown: Shown, summary: VariantSummary) -> float | None:
    """The setting's value, or -log10 of one that spans orders of magnitude."""
    value = shown.settings.get(summary.variant.name)
    return value if value is None or not _is_spread(shown, 1000) else -float(np.log10(value))


def _style(axes: Axes, shown: Shown, title: str) -> None:
    name = shown.experiment.axis or ""
    values = sorted({value for value in shown.settings.values() if value is not None})
    is_log10 = _is_spread(shown, 1000)
    style_axes(axes, xlabel=f"-log10({name})" if is_log10 else name)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    if is_log10:
        axes.xaxis.set_major_locator(FixedLocator([-float(np.log10(value)) for value in values]))
    elif _is_spread(shown, 8):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(values))
        axes.xaxis.set_minor_locator(NullLocator())
    elif len(values) <= 8:
        axes.xaxis.set_major_locator(FixedLocator(values))
    if not is_log10:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def draw_cost(shown: Shown) -> Figure:
    """The Dice against the number of parameters and against the speed of training."""
    figure, grid = panels(1, 2, width=5, height=3.8)
    quantities = (("num_parameters", "parameters"), ("images_per_second", "training images/s"))
    summaries = [summary for group in shown.groups.values() for summary in group]
    for axes, (quantity, label) in zip(grid[0], quantities, strict=True):
        points = []
        for summary in summaries:
            cost = summary.average(quantity)
            if cost is None or summary.variant.name == shown.experiment.vote:
                continue
            color = shown.color(summary)
            axes.plot((cost, cost), summary.interval, color=color, lw=2, alpha=0.4)
            axes.plot(cost, summary.mean(), "o", color=color, ms=6)
            points.append((cost, summary))
        style_axes(axes, xlabel=label)
        axes.set_title("Dice with 95 % interval", loc="left", fontsize=10, color=INK)
        _name_points(axes, points, shown)
    return figure


def _name_points(axes: Axes, points: Sequence[tuple[float, VariantSummary]], shown: Shown) -> None:
    """A logarithmic horizontal axis, and the names right of the points, moved apart."""
    axes.set_xscale("log")
    costs = [cost for cost, _ in points]
    is_wide = bool(costs) and max(costs) > 50 * min(costs)
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if is_wide else (1, 2, 5), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(_short))
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    heights = spread([summary.mean() for _, summary in points], 0.05 * (high - low))
    for (cost, summary), height in zip(points, heights, strict=True):
        axes.annotate(
            summary.variant.name,
            (cost, height),
            xytext=(7, 0),
            textcoords="offset points",
            color=shown.color(summary),
            fontsize=8,
            va="center",
        )
    axes.margins(x=0.25)


def _short(value: float, _: object) -> str:
    """12,000,000 as 12 M."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
