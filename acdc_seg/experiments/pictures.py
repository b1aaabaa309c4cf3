"""Predictions of all variants side by side."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from acdc_seg.config import Config
from acdc_seg.data.examples import Example, read_example
from acdc_seg.data.source import open_source
from acdc_seg.errors import DataError
from acdc_seg.experiments.plan import Plan
from acdc_seg.experiments.sweep import JobState
from acdc_seg.inference.stored import StoredProbabilities, load_probabilities
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.report.style import INK, hex_color
from acdc_seg.runs.overlay import overlay
from acdc_seg.training.finish import PROBABILITIES

NUM_IMAGES = 3


class Shelf(NamedTuple):
    """A variant's first finished training, with its stored probabilities."""

    state: JobState
    stored: StoredProbabilities

    def dice(self, id: str) -> float:
        """The image's Dice."""
        images = self.state.result.images if self.state.result else []
        return next((image["dice"] for image in images if image["id"] == id), float("nan"))


def draw_predictions(plan: Plan, states: Sequence[JobState]) -> Figure | None:
    """Image, mask and the prediction of each variant: in groups a row for each group, else one for
    the worst, the median and the best image. None where no probabilities are stored here.
    """
    groups: dict[str, list[Shelf]] = {}
    for variant in plan.variants:
        shelf = _shelf(plan, [state for state in states if state.job.variant.name == variant.name])
        if shelf is not None:
            groups.setdefault(variant.group, []).append(shelf)
    if not groups:
        return None
    rows: list[tuple[str, str, list[Shelf]]] = []
    for group, shelves in groups.items():
        ids = _ranked_ids(shelves)
        if len(groups) > 1:
            rows.append((group, ids[len(ids) // 2], shelves))
            continue
        places = {0: "worst", len(ids) // 2: "median", len(ids) - 1: "best"}
        rows += [(f"{name}\n{ids[place]}", ids[place], shelves) for place, name in places.items()]
    return _draw(rows)


def _shelf(plan: Plan, states: Sequence[JobState]) -> Shelf | None:
    for state in states:
        if state.result is not None:
            try:
                folder = plan.run_folder(state.job) / PROBABILITIES
                return Shelf(state, load_probabilities(folder))
            except DataError:
                continue
    return None


def _ranked_ids(shelves: Sequence[Shelf]) -> list[str]:
    """Ids of the images that all have, by ascending mean Dice."""
    common = [id for id in shelves[0].stored if all(id in shelf.stored for shelf in shelves)]
    return sorted(common, key=lambda id: float(np.mean([shelf.dice(id) for shelf in shelves])))


def _draw(rows: Sequence[tuple[str, str, list[Shelf]]]) -> Figure:
    num_columns = 2 + max(len(shelves) for _, _, shelves in rows)
    figure = Figure(figsize=(1.45 * num_columns, 1.75 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), num_columns, squeeze=False)
    for line, (title, id, shelves) in zip(grid, rows, strict=True):
        config = shelves[0].state.job.config
        example, colors = _example(config, id), config.classes.colors
        nothing = np.full(example.mask.shape, IGNORE_INDEX)
        pictures = [("image", nothing), ("mask", example.mask.numpy())]
        for shelf in shelves:
            name = f"{shelf.state.job.variant.label}\n{shelf.dice(id):.3f}"
            pictures.append((name, np.asarray(shelf.stored[id]).argmax(0)))
        for axes, (name, labels) in zip(line, pictures, strict=False):
            image, first = example.image.numpy(), config.classes.first
            picture = overlay(image, labels, colors=colors, first=first)
            axes.imshow(picture, interpolation="nearest")
            axes.set_title(name, fontsize=8, color=INK)
        for axes in line:
            axes.set(xticks=[], yticks=[], frame_on=False)
        line[0].set_ylabel(title, fontsize=8, color=INK)
    config = rows[0][2][0].state.job.config
    labels = config.classes.labels[config.classes.first :]
    legend = [Patch(color=hex_color(label.color), label=label.name) for label in labels]
    columns = min(num_columns, len(legend))  # a name is about as wide as a picture
    figure.legend(
        handles=legend, loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )
    return figure


def _example(config: Config, id: str) -> Example:
    source = open_source(config.data, prepare_settings=config.prepare)
    record = next(record for record in source.split("val") if record.id == id)
    return read_example(record, data=config.data, classes=config.classes)
