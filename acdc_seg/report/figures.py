"""Pictures of images, label arrays, histories and scores, as matplotlib figures that need no
display.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acdc_seg.errors import DataError

Color = tuple[int, ...]

INK, GRAY, ACCENT = "#1c2733", "#8a97a5", "#0b5c7d"


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    *,
    colors: Sequence[Color],
    first: int = 1,
    alpha: float = 0.45,
) -> np.ndarray:
    """The image with its foreground classes painted over it, uint8 (H, W, 3) in R, G, B.

    Args:
        image: (H, W), (1, H, W) or (3, H, W) of any range; its smallest value becomes black, its
            largest white.
        labels: Class indices (H, W); background and void pixels stay as they are.
        colors: (R, G, B) in 0..255 of every class.
        first: Index of the first class that is painted; 0 where none is the background.
        alpha: Opacity of the paint in 0..1.
    """
    pixels = _stretch(image)
    if pixels.shape[:2] != labels.shape:
        raise DataError(
            f"an image of {pixels.shape[:2]} and labels of {labels.shape} differ in size"
        )
    palette = np.asarray(colors, np.float32)
    painted = (labels >= first) & (labels < len(palette))
    pixels[painted] = np.rint((1 - alpha) * pixels[painted] + alpha * palette[labels[painted]])
    return pixels


def curves(
    history: Sequence[Mapping[str, Any]], *, colors: Mapping[str, Color] | None = None
) -> Figure:
    """Losses and Dice by epoch, the epoch of the best foreground Dice marked.

    Args:
        history: One dict per epoch with `epoch` and, each a number or None, `train_loss`,
            `val_loss`, `dice`, `dice_<class>`.
        colors: (R, G, B) in 0..255 by class name.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for key, name, color in (("train_loss", "training", GRAY), ("val_loss", "validation", ACCENT)):
        _plot(left, history, key, label=name, color=color)
    for key in history[0] if history else ():
        if key.startswith("dice_"):
            name = key.removeprefix("dice_")
            color = hex_color((colors or {}).get(name))
            _plot(right, history, key, label=name, color=color, linewidth=1)
    _plot(right, history, "dice", label="mean", color=INK, linewidth=2)
    _mark_best(right, history)
    for axes, title in ((left, "Loss"), (right, "Dice (validation)")):
        _style(axes, title, xlabel="epoch")
        if axes.lines:
            axes.legend(frameon=False, fontsize=9)
    return figure


def prediction_grid(
    images: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    *,
    colors: Sequence[Color],
    names: Sequence[str],
    titles: Sequence[str],
    first: int = 1,
) -> Figure:
    """One row per case: image, truth (where known) and prediction, with a legend of the classes.

    Args:
        images: (H, W) or (C, H, W) of any range.
        predictions: Class indices (H, W).
        masks: True class indices (H, W).
        colors: (R, G, B) in 0..255 of every class.
        names: Class names.
        titles: Texts at the left of each row.
        first: Index of the first class that is painted; 0 where none is the background.
    """
    columns = (
        {"prediction": predictions}
        if masks is None
        else {
            "truth": masks,
            "prediction": predictions,
        }
    )
    width, height = 2.6 * (1 + len(columns)) + 0.4, 2.6 * len(images) + 0.6
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(images), 1 + len(columns), squeeze=False)
    for row, (image, title) in enumerate(zip(images, titles, strict=True)):
        pictures = {"image": _stretch(image)}
        for name, labels in columns.items():
            pictures[name] = overlay(image, labels[row], colors=colors, first=first)
        for axes, (name, picture) in zip(grid[row], pictures.items(), strict=True):
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[], frame_on=False)
            axes.set_title(name if row == 0 else "", fontsize=10, color=INK)
        grid[row, 0].set_ylabel(title, fontsize=9, color=INK)
    legend = [
        Patch(color=hex_color(color), label=name)
        for name, color in zip(names[first:], colors[first:], strict=True)
    ]
    figure.legend(
        handles=legend, loc="outside lower center", ncols=len(legend), frameon=False, fontsize=9
    )
    return figure


def score_boxplot(
    images: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    label: str,
    colors: Mapping[str, Color] | None = None,
) -> Figure:
    """A metric of every image by class: quartiles as a box, the images as dots.

    Args:
        images: `images` of metrics.json; each has a dict by class name under `metric`.
        metric: Its key.
        label: Its name in the figure.
        colors: (R, G, B) in 0..255 by class name.
    """
    figure = Figure(figsize=(10, 3), layout="constrained")
    axes = figure.subplots()
    names = list(images[0][metric]) if images else []
    values = [np.array([image[metric][name] for image in images]) for name in names]
    axes.boxplot(
        values,
        orientation="horizontal",
        widths=0.5,
        showfliers=False,
        tick_labels=names,
        medianprops={"color": INK, "linewidth": 2},
    )
    spread = np.linspace(-0.16, 0.16, max(len(images), 1))
    for row, (name, scores) in enumerate(zip(names, values, strict=True), start=1):
        color = hex_color((colors or {}).get(name))
        axes.plot(
            scores, row + spread, "o", markersize=4, alpha=0.6, color=color, markeredgewidth=0
        )
    axes.invert_yaxis()
    _style(axes, f"{label} by class, one dot per image", xlabel=label)
    return figure


def pick_cases(images: Sequence[Mapping[str, Any]], metric: str = "dice") -> dict[str, int]:
    """Indices of the best, the median and the worst image by the mean of a metric that is better
    when higher.
    """
    means = [-mean_over_classes(image, metric) for image in images]
    order = np.argsort(means, kind="stable").tolist()
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]} if order else {}


def mean_over_classes(image: Mapping[str, Any], metric: str) -> float:
    """Mean over the foreground classes of an entry of `images` in metrics.json."""
    return float(np.mean(list(image[metric].values())))


def hex_color(color: Color | None) -> str:
    """#rrggbb of (R, G, B) in 0..255; the accent color for None."""
    return "#{:02x}{:02x}{:02x}".format(*color) if color else ACCENT


def best_epoch(history: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first epoch with the highest foreground Dice; None where nothing was validated."""
    return max(
        (epoch for epoch in history if _is_number(epoch.get("dice"))),
        key=lambda epoch: epoch["dice"],
        default=None,
    )


def _stretch(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) over the full range; black where the image is constant."""
    pixels = image.astype(np.float32)
    low, high = float(pixels.min()), float(pixels.max())
    pixels = np.rint((pixels - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)
    channels = pixels[None] if pixels.ndim == 2 else pixels
    return np.repeat(channels, 3 // len(channels), axis=0).transpose(1, 2, 0).copy()  # (H, W, 3)


def _plot(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, **style: Any) -> None:
    points = [(row["epoch"], row[key]) for row in history if _is_number(row.get(key))]
    if points:
        axes.plot(*zip(*points, strict=True), marker="o" if len(points) == 1 else "", **style)


def _mark_best(axes: Axes, history: Sequence[Mapping[str, Any]]) -> None:
    if best := best_epoch(history):
        axes.axvline(best["epoch"], color=GRAY, linestyle=":", linewidth=1)
        axes.plot(
            best["epoch"],
            best["dice"],
            "o",
            color=INK,
            label=f"best: {best['dice']:.3f} at epoch {best['epoch']}",
        )


def _style(axes: Axes, title: str, *, xlabel: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=9, colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRAY)
    axes.grid(axis="y" if xlabel == "epoch" else "x", color="#e6eaee", linewidth=0.8)
    axes.set_axisbelow(True)


def _is_number(value: Any) -> bool:
    return value is not None and math.isfinite(value)
