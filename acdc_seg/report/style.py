"""Colors of figures, and figures as SVG that follows the light or dark colors of a page.

matplotlib and scikit-learn are imported when something is drawn: acdc-predict of ONNX files does
without both.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acdc_seg.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[int, ...]

INK, GRAY, ACCENT, GRID = "#1c2733", "#8a97a5", "#0b5c7d", "#e6eaee"
VARIABLES = {INK: "--ink", GRAY: "--soft", ACCENT: "--accent", GRID: "--line"}
"""Colors of figures that a page replaces by its own."""

OUTLINES = ("#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#f0e442", "#0072b2", "#d55e00")
"""Colors that are told apart with every kind of color vision (Okabe and Ito, 2008)."""


def hex_color(color: Color | None) -> str:
    """#rrggbb of (R, G, B) in 0..255; the accent color for None."""
    return "#{:02x}{:02x}{:02x}".format(*color) if color else ACCENT


def run_color(number: int) -> str:
    """The color of one of several runs in figures."""
    return (ACCENT, "#d55e00", "#009e73", "#cc79a7", "#e69f00", GRAY)[number % 6]


def new_figure(width: float = 5.2, height: float = 3.1) -> "tuple[Figure, Axes]":
    """A figure of one panel, in inches, that needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_facecolor("none")
    return figure, figure.subplots()


def style_axes(axes: "Axes", *, xlabel: str = "", ylabel: str = "", grid: str = "y") -> None:
    """Thin gray axes and a light grid behind the data."""
    axes.set_facecolor("none")
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(ylabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    if grid:
        axes.grid(axis="y" if grid == "y" else "x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def spread(
    positions: Sequence[float], gap: float, *, low: float | None = None, high: float | None = None
) -> list[float]:
    """Positions moved apart to at least `gap`, in their order, by the least sum of squares, and
    between `low` and `high` where there is room.
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(positions, kind="stable")
    steps = gap * np.arange(len(order))
    moved = np.empty(len(order))
    if len(order):
        highest = None if high is None else high - steps[-1]
        if low is not None and highest is not None:
            highest = max(low, highest)
        shifted = np.asarray(positions, float)[order] - steps
        moved[order] = isotonic_regression(shifted, y_min=low, y_max=highest) + steps
    return moved.tolist()


def page_svg(figure: "Figure") -> str:
    """The figure as an SVG element in the colors and the font of the page around it.

    Equal figures give equal text.
    """
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "acdc_seg", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)  # HTML knows both
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'role="img"', svg, count=1)


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes the figure as `path` with the endings .svg and .png, on white.

    Raises:
        DataError: A file cannot be written.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "acdc_seg"}):
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            with replacing(path.with_suffix(f".{kind}")) as file:
                figure.savefig(file, format=kind, metadata=metadata, dpi=150, facecolor="white")
