"""Figures of scores: by class, of several runs, by pixel, and of confidences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from acdc_seg.report.style import (
    ACCENT,
    GRAY,
    INK,
    Color,
    hex_color,
    new_figure,
    run_color,
    style_axes,
)

MAX_DOTS = 300
"""Images above which a box plot has no dot for each."""
MIN_SHARE = 0.001
"""Share of the pixels below which a bin of confidences is not drawn."""


def draw_scores(
    images: Sequence[Mapping[str, Any]], metric: str, *, label: str, colors: Mapping[str, Color]
) -> Figure:
    """A metric of every image by class: quartiles as a box, the images as dots.

    Args:
        images: `images` of metrics.json; each has a dict by class name under `metric`.
        metric: Its key.
        label: Its name in the figure.
        colors: (R, G, B) in 0..255 by class name.
    """
    names = list(images[0][metric]) if images else []
    figure, axes = new_figure(height=0.9 + 0.55 * max(1, len(names)))
    values = [_finite([image[metric][name] for image in images]) for name in names]
    axes.boxplot(
        values,
        orientation="horizontal",
        widths=0.5,
        showfliers=len(images) > MAX_DOTS,
        flierprops={"marker": ".", "markersize": 2, "markeredgecolor": GRAY},
        tick_labels=names,
        boxprops={"color": GRAY},
        whiskerprops={"color": GRAY},
        capprops={"color": GRAY},
        medianprops={"color": INK, "linewidth": 2},
    )
    for row, (name, scores) in enumerate(zip(names, values, strict=True), start=1):
        if len(images) <= MAX_DOTS:
            heights = row + np.linspace(-0.16, 0.16, max(len(scores), 1))[: len(scores)]
            color = hex_color(colors.get(name))
            axes.plot(scores, heights, "o", ms=4, alpha=0.6, color=color, mew=0)
    axes.invert_yaxis()
    style_axes(axes, xlabel=label, grid="x")
    return figure


def draw_class_means(scores: Mapping[str, Mapping[str, float]], label: str) -> Figure:
    """The mean of every class, a dot for each run.

    Args:
        scores: Mean by class name, by name of the run.
        label: Name of the metric.
    """
    names = list(next(iter(scores.values())))
    figure, axes = new_figure(height=0.9 + 0.5 * len(names) + 0.2 * len(scores))
    offsets = np.linspace(-0.2, 0.2, len(scores)) if len(scores) > 1 else [0.0]
    for number, (run, means) in enumerate(scores.items()):
        heights = np.arange(len(names)) + offsets[number]
        color = run_color(number)
        axes.plot([means[name] for name in names], heights, "o", ms=7, color=color, label=run)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    style_axes(axes, xlabel=label, grid="x")
    figure.legend(loc="outside upper left", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def draw_differences(
    differences: Sequence[float], patients: Sequence[str], *, label: str
) -> Figure:
    """The mean paired difference of every patient, sorted: bars to the right are wins.

    Args:
        differences: One for every image.
        patients: The patient of each image.
        label: What is subtracted from what.
    """
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(patient_of, weights=np.asarray(differences, float))
    means = np.sort(sums / np.bincount(patient_of))
    figure, axes = new_figure(height=2.6)
    colors = [ACCENT if mean > 0 else GRAY for mean in means]
    axes.bar(range(len(names)), means, color=colors, width=0.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([])
    noun = "patients" if len(names) > 1 else "patient"
    style_axes(axes, xlabel=f"{len(names)} {noun}, sorted", ylabel=label)
    return figure


def draw_intervals(values: Mapping[str, tuple[float, float, float]], label: str) -> Figure:
    """Values with their intervals, a row for each, and a line at 0.

    Args:
        values: Value, low and high end by name.
        label: What is shown.
    """
    figure, axes = new_figure(height=0.9 + 0.45 * len(values))
    for height, (value, low, high) in enumerate(values.values()):
        axes.plot([low, high], [height, height], color=ACCENT, linewidth=2)
        axes.plot(value, height, "o", ms=7, color=ACCENT)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)
    style_axes(axes, xlabel=label, grid="x")
    return figure


def draw_confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Of the pixels of every class in the masks the share that each class was predicted for.

    Args:
        counts: Pixels `(K, K)`, classes of the masks in rows.
        names: Of the K classes.
    """
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = min(7.5, 1.8 + 0.55 * len(names))
    figure, axes = new_figure(width=max(4.2, side + 0.8), height=side)
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        color = ACCENT if row == column else "#d55e00"
        alpha = 0.08 + 0.85 * float(np.sqrt(share)) if share > 0 else 0.0
        axes.fill_between([column, column + 1], row, row + 1, color=color, alpha=alpha, lw=0)
        if len(names) <= 12:
            text = f"{share:.1%}" if share else ""
            dark = alpha > 0.6
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else INK,
            )
    ticks = np.arange(len(names)) + 0.5
    axes.set_xticks(ticks, names, rotation=45 if len(names) > 4 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
    style_axes(axes, xlabel="predicted", ylabel="mask", grid="")
    return figure


def draw_reliability(
    bins: Sequence[Mapping[str, float]], scaled: Sequence[Mapping[str, float]]
) -> Figure:
    """Share of pixels that are right by the confidence of the network: the diagonal is calibrated.

    Args:
        bins: `confidence`, `accuracy` and `n` of each bin.
        scaled: The same after temperature scaling.
    """
    figure, axes = new_figure(width=4.2, height=3.4)
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for rows, color, name in ((bins, ACCENT, "as it is"), (scaled, "#d55e00", "scaled")):
        total = sum(row["n"] for row in rows)
        filled = [row for row in rows if row["n"] > MIN_SHARE * total]
        points = [row["confidence"] for row in filled], [row["accuracy"] for row in filled]
        axes.plot(*points, "o-", ms=4, color=color, label=name, linewidth=1.5)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    style_axes(axes, xlabel="confidence", ylabel="share that is right")
    axes.text(0.06, 0.93, "as it is", color=ACCENT, fontsize=9, transform=axes.transAxes)
    axes.text(0.06, 0.85, "scaled", color="#d55e00", fontsize=9, transform=axes.transAxes)
    return figure


def _finite(values: Sequence[float | None]) -> np.ndarray:
    numbers = np.array([np.nan if value is None else value for value in values], float)
    return numbers[np.isfinite(numbers)]
