"""Images with their masks and predictions in a grid."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acdc_seg.report.evidence import Evidence, decode
from acdc_seg.report.scores import Scores
from acdc_seg.report.style import INK, Color, hex_color
from acdc_seg.report.tables import worst_first
from acdc_seg.runs.overlay import overlay, stretch


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
    """One row per case: image, mask (where known) and prediction, with a legend of the classes.

    Args:
        images: (H, W) or (C, H, W) of any range.
        predictions: Class indices (H, W).
        masks: True class indices (H, W).
        colors: (R, G, B) in 0..255 of every class.
        names: Class names.
        titles: Texts at the left of each row.
        first: Index of the first class that is painted; 0 where none is the background.
    """
    columns = {"mask": masks, "prediction": predictions}
    shown = {name: labels for name, labels in columns.items() if labels is not None}
    ratios = [image.shape[-2] / image.shape[-1] for image in images]
    panel = 2.6
    width, height = panel * (1 + len(shown)) + 0.4, panel * sum(ratios) + 0.6
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(
        len(images), 1 + len(shown), squeeze=False, gridspec_kw={"height_ratios": ratios}
    )
    for row, (image, title) in enumerate(zip(images, titles, strict=True)):
        pictures = {"image": stretch(image)}
        for name, labels in shown.items():
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
        handles=legend,
        loc="outside lower center",
        ncols=min(6, len(legend)),
        frameon=False,
        fontsize=9,
    )
    return figure


def pick_cases(scores: Scores) -> dict[str, str]:
    """Ids of the best, the median and the worst image by the headline metric, each once.

    The first two are of images whose mask is not empty, where there are such.
    """
    ranked = worst_first(scores)
    filled = [image for image in ranked if not scores.is_empty(image)] or ranked
    cases: dict[str, str] = {}
    for name, images, position in (
        ("worst", ranked, 0),
        ("best", filled, -1),
        ("median", filled, len(filled) // 2),
    ):
        id = images[position]["id"] if images else ""
        if id and id not in cases.values():
            cases[name] = id
    return {name: cases[name] for name in ("best", "median", "worst") if name in cases}


def draw_cases(scores: Scores, evidence: Evidence) -> Figure:
    """The cases of `pick_cases` with their scores, those whose pictures were kept."""
    cases = {name: id for name, id in pick_cases(scores).items() if id in evidence}
    pictures = [decode(evidence[id]) for id in cases.values()]
    return prediction_grid(
        [_channels_first(each["image"]) for each in pictures],
        [each["labels"] for each in pictures],
        [each["mask"] for each in pictures],
        colors=[scores.colors[name] for name in scores.classes],
        names=scores.classes,
        first=len(scores.classes) - len(scores.scored),
        titles=[
            f"{name}: {scores.label} {scores.mean(id):.3f}\n{id}" for name, id in cases.items()
        ],
    )


def _channels_first(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image.transpose(2, 0, 1)
