"""Draws docs/images/metrics.png: what the metrics say of small examples, and where they mislead."""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.volumes import Case, Scorer

CLASSES = ("background", "lv")
SPACING = 2.0
"""Millimetres of a pixel's side."""
SIZE = 32
COLORS = {
    "both": (0.35, 0.67, 0.47),
    "mask only": (0.90, 0.62, 0.0),
    "prediction only": (0.0, 0.45, 0.70),
}
PAPER = (0.96, 0.96, 0.96)
Pair = tuple[np.ndarray, np.ndarray]
"""Mask and prediction."""


def disk(radius: float, row: float = 15.5, column: float = 15.5) -> np.ndarray:
    """A disk in a small image; none for a radius of 0."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (np.hypot(rows - row, columns - column) < radius).astype(np.uint8)


def with_speck(labels: np.ndarray) -> np.ndarray:
    """The same with a pixel in a corner."""
    labels = labels.copy()
    labels[2, 2] = 1
    return labels


IMAGES: dict[str, Pair] = {
    "moved by one pixel": (disk(9), disk(9, column=16.5)),
    "the same, small": (disk(3), disk(3, column=16.5)),
    "one pixel far away": (disk(9), with_speck(disk(9))),
    "missed": (disk(4), disk(0)),
    "invented": (disk(0), disk(4)),
    "empty in both": (disk(0), disk(0)),
}
SLICES: tuple[Pair, ...] = (
    (disk(0), disk(2)),
    (disk(11), disk(11)),
    (disk(9), disk(9, column=16)),
    (disk(6), disk(6, column=16.5)),
    (disk(2), disk(0)),
    (disk(0), disk(0)),
)


def score(pairs: list[Pair]) -> tuple[list[ImageScore], ImageScore]:
    """Scores of slices 8 mm apart, and of the volume that they are."""
    cases = [
        Case(str(n), spacing=(SPACING, SPACING), volume="v", slice=n, slice_spacing=8.0)
        for n in range(len(pairs))
    ]
    scorer = Scorer(cases, classes=CLASSES)
    for case, (mask, prediction) in zip(cases, pairs, strict=True):
        scorer.add(prediction, mask, case)
    scores = scorer.result()
    return scores.images, scores.volumes[0]


def draw(axes: Axes, pair: Pair, title: str, text: str) -> None:
    """Mask and prediction over each other, with a line above and some below."""
    mask, prediction = (labels.astype(bool) for labels in pair)
    picture = np.full((SIZE, SIZE, 3), PAPER)
    picture[mask & prediction] = COLORS["both"]
    picture[mask & ~prediction] = COLORS["mask only"]
    picture[prediction & ~mask] = COLORS["prediction only"]
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(text, fontsize=8.5, linespacing=1.5)


def describe(values: ImageScore) -> str:
    """Dice, distances and NSD of the ventricle."""
    lv = {metric: row["lv"] for metric, row in values.values.items()}
    return (
        f"Dice {lv['dice']:.2f}   NSD {lv['nsd']:.2f}\n"
        f"HD {lv['hd']:.1f} mm   HD95 {lv['hd95']:.1f} mm"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/images/metrics.png"))
    options = parser.parse_args()
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    top.suptitle(
        f"Images of {SIZE} x {SIZE} pixels of {SPACING:g} mm", x=0.01, ha="left", fontsize=11
    )
    pairs = list(IMAGES.values())
    images, _ = score(pairs)
    for axes, (title, pair), values in zip(
        top.subplots(1, len(pairs)), IMAGES.items(), images, strict=True
    ):
        draw(axes, pair, title, describe(values))
    slices, volume = score(list(SLICES))
    mean = np.mean([values.dice["lv"] for values in slices])
    bottom.suptitle(
        f"Six slices of one volume: mean Dice by slice {mean:.2f}, Dice of the volume "
        f"{volume.dice['lv']:.2f}, HD of the volume {volume.values['hd']['lv']:.1f} mm",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    for number, (axes, pair, values) in enumerate(
        zip(bottom.subplots(1, len(SLICES)), SLICES, slices, strict=True), start=1
    ):
        draw(axes, pair, f"slice {number}", describe(values))
    legend = [Patch(color=color, label=name) for name, color in COLORS.items()]
    figure.legend(handles=legend, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
