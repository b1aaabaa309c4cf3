"""Parts of figures: colors of variants, lines with a band over seeds, labels beside their ends."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.report.style import ACCENT, INK, spread, style_axes

PALETTE = (
    *(ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c6d31"),
    *("#a83232", "#5b8c2a"),
)
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
"""Dashes of lines where there are more variants than colors."""
LINE_HEIGHT = 0.15
"""Inches between labels."""
MOST_SPREAD = 20
"""Values above so many medians leave the axes: those of trainings that diverge."""
LOG_RATIO = 8
"""Axes are logarithmic where positive values differ by more than this factor."""

Line = Mapping[int, float]


@dataclass(frozen=True)
class Shown:
    """What a figure shows of an experiment: variants with results, in groups, and their looks."""

    experiment: ExperimentFile
    summaries: Sequence[VariantSummary]
    settings: Mapping[str, float | None] = field(default_factory=dict)
    """Value of `axis` by variant, where it is a number."""

    @property
    def groups(self) -> dict[str, list[VariantSummary]]:
        """Variants with results by their group; one without name where there are no groups."""
        groups: dict[str, list[VariantSummary]] = {}
        for summary in self.summaries:
            if summary.results:
                groups.setdefault(summary.variant.group, []).append(summary)
        return groups

    def color(self, summary: VariantSummary) -> str:
        """The same for all variants of a label; along the colormap where an axis orders them."""
        number, total = self._position(summary)
        if summary.variant.name == self.experiment.vote:
            return INK
        if self.experiment.axis is not None and total > 2:
            return to_hex(colormaps["viridis"](0.82 * number / (total - 1)))
        return PALETTE[number % len(PALETTE)]

    def dashes(self, summary: VariantSummary) -> object:
        """The line's style."""
        return DASHES[self._position(summary)[0] // len(PALETTE) % len(DASHES)]

    def _position(self, summary: VariantSummary) -> tuple[int, int]:
        labels = list(dict.fromkeys(each.variant.label for each in self.summaries))
        return labels.index(summary.variant.label), len(labels)


def panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure of panels `(rows, columns)`, each of this size in inches, that needs no display."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.set_facecolor("none")
    return figure, figure.subplots(rows, columns, squeeze=False)


def mean_line(summary: VariantSummary, column: str) -> tuple[Line, Line, Line]:
    """Mean, lowest and highest value of a column of the histories by epoch, over the trainings."""
    columns = [result.column(column) for result in summary.results]
    values = {
        epoch: [line[epoch] for line in columns if epoch in line]
        for epoch in sorted({epoch for line in columns for epoch in line})
    }
    return tuple(  # type: ignore[return-value]
        {epoch: float(reduce(each)) for epoch, each in values.items()}
        for reduce in (np.mean, np.min, np.max)
    )


def draw_line(axes: Axes, summary: VariantSummary, column: str, shown: Shown) -> Line:
    """Draws the mean over the trainings, with a band from the lowest to the highest."""
    mean, lowest, highest = mean_line(summary, column)
    if not mean:
        return mean
    color = shown.color(summary)
    marker = "o" if len(mean) == 1 else ""
    style = shown.dashes(summary)
    axes.plot([*mean], [*mean.values()], color=color, lw=1.6, ls=style, marker=marker)
    if len(summary.results) > 1:
        bounds = [*lowest.values()], [*highest.values()]
        axes.fill_between([*mean], *bounds, color=color, alpha=0.15, lw=0)
    return mean


def fit_axis(axes: Axes, values: Sequence[float], *, top: float = 98) -> None:
    """Sets the vertical range by the values, up to their percentile `top` and `MOST_SPREAD` times
    their median; logarithmic where they are positive and differ much.
    """
    if not values:
        return
    low, most = min(values), MOST_SPREAD * float(np.median(values))
    high = max(low, min(float(np.percentile(values, top)), most if most > 0 else math.inf))
    if low > 0 and high / low > LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.15, high * 1.15)
        subs = (1,) if high / low > 300 else (1, 2, 5)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=10))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        margin = 0.06 * (high - low or abs(high) or 1)
        axes.set_ylim(low - margin, high + margin)


def label_ends(axes: Axes, labels: Sequence[tuple[str, float, str]], *, size: float = 8) -> None:
    """Names at the right of the axes, moved apart, near the last values of their lines.

    Args:
        axes: With its final vertical range.
        labels: Name, value and color of each line.
        size: Of the letters, in points.
    """
    height = axes.get_position().height * axes.figure.get_size_inches()[1]  # type: ignore[union-attr]
    gap = LINE_HEIGHT / max(height, 1.0)
    ends = axes.transLimits.transform(
        axes.transScale.transform([(0, value) for _, value, _ in labels])
    )
    places = spread(np.clip(ends[:, 1], 0, 1).tolist(), gap, low=0, high=1)
    for (name, _, color), place in zip(labels, places, strict=True):
        axes.text(
            1.02,
            place,
            name,
            transform=axes.transAxes,
            color=color,
            fontsize=size,
            va="center",
        )


def style_epochs(axes: Axes, title: str, *, ylabel: str = "") -> None:
    """Axes over epochs."""
    style_axes(axes, xlabel="epoch", ylabel=ylabel)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
