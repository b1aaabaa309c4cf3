"""Figures over epochs: losses, Dice, and where validation and training loss cross."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.experiments.drawing import (
    Line,
    Shown,
    draw_line,
    fit_axis,
    label_ends,
    mean_line,
    panels,
    style_epochs,
)
from acdc_seg.report.style import ACCENT, GRAY, INK

NUM_COLUMNS = 3


def draw_curves(shown: Shown) -> Figure:
    """Training and validation loss side by side on shared axes, a row for each group; a dot is the
    epoch with the best validation Dice.
    """
    groups = shown.groups
    figure, grid = panels(len(groups), 2, width=5, height=3.4)
    for row, (group, summaries) in zip(grid, groups.items(), strict=True):
        values: list[float] = []
        ends = []
        for summary in summaries:
            lines = [
                draw_line(axes, summary, column, shown)
                for axes, column in zip(row, ("train_loss", "val_loss"), strict=True)
            ]
            values += [value for line in lines for value in line.values()]
            if lines[1]:
                _mark_best(row[1], summary, lines[1], shown.color(summary))
                end = list(lines[1].values())[-1]
                ends.append((summary.variant.label, end, shown.color(summary)))
        for axes, name in zip(row, ("training", "validation"), strict=True):
            style_epochs(axes, f"{name} loss{f', {group}' if group else ''}")
            fit_axis(axes, values)
        row[1].tick_params(labelleft=False)
        label_ends(row[1], ends)
    return figure


def draw_dice(shown: Shown) -> Figure:
    """Validation Dice by epoch, a panel for each group."""
    groups = shown.groups
    columns = min(len(groups), 2)
    rows = math.ceil(len(groups) / columns)
    figure, grid = panels(rows, columns, width=7 if columns == 1 else 5, height=3.4)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    for axes, (group, summaries) in zip(grid.flat, groups.items(), strict=False):
        values, ends = [], []
        for summary in summaries:
            line = draw_line(axes, summary, "dice", shown)
            for bound in mean_line(summary, "dice")[1:]:
                values += list(bound.values())[len(bound) // 10 :]
            if line:
                best = max(line, key=lambda epoch: line[epoch])
                color = shown.color(summary)
                axes.plot(best, line[best], "o", color=color, ms=5)
                ends.append((summary.variant.label, list(line.values())[-1], color))
        style_epochs(axes, f"validation Dice{f', {group}' if group else ''}")
        if values:
            low, high = min(values), max(values)
            margin = max(0.005, 0.06 * (high - low))
            axes.set_ylim(max(0, low - margin), min(1, high + margin))
            label_ends(axes, ends)
    return figure


def draw_crossing(shown: Shown) -> Figure:
    """Training and validation loss of each variant, with the epoch from which on the validation
    loss stays above.
    """
    summaries = [summary for group in shown.groups.values() for summary in group]
    summaries = [summary for summary in summaries if mean_line(summary, "val_loss")[0]]
    columns = min(NUM_COLUMNS, len(summaries))
    figure, grid = panels(math.ceil(len(summaries) / columns), columns, width=3.6, height=2.8)
    values: list[float] = []
    for axes, summary in zip(grid.flat, summaries, strict=False):
        for column, color in (("train_loss", GRAY), ("val_loss", ACCENT)):
            line = mean_line(summary, column)[0]
            axes.plot([*line], [*line.values()], color=color, lw=1.5)
            values += line.values()
        crossing = summary.crossing_epoch
        style_epochs(axes, f"{summary.variant.label}: {_in_words(crossing)}")
        if crossing is not None and crossing > 1:
            axes.axvline(crossing, color=INK, ls=":", lw=1)
    for axes in grid.flat[len(summaries) :]:
        axes.set_visible(False)
    for axes in grid.flat[: len(summaries)]:
        fit_axis(axes, values)
    for axes, summary in zip(grid.flat[columns - 1 :], summaries[columns - 1 :], strict=False):
        names = (("training", "train_loss", GRAY), ("validation", "val_loss", ACCENT))
        lines = [(name, mean_line(summary, column)[0], color) for name, column, color in names]
        label_ends(axes, [(name, list(line.values())[-1], color) for name, line, color in lines])
        break  # one panel, at the right, says it for all
    return figure


def _in_words(crossing: float | None) -> str:
    if crossing is None:
        return "no crossing"
    return f"crosses at {crossing:.0f}" if crossing > 1 else "above from the start"


def _mark_best(axes: Axes, summary: VariantSummary, loss: Line, color: str) -> None:
    dice = mean_line(summary, "dice")[0]
    best = max(dice, key=lambda epoch: dice[epoch], default=0)
    if best in loss:
        axes.plot(best, loss[best], "o", color=color, ms=5)
