"""Figures of an experiment by their names in its file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from acdc_seg.config import to_dict
from acdc_seg.experiments.charts import draw_axis, draw_cost, draw_scores
from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.experiments.curves import draw_crossing, draw_curves, draw_dice
from acdc_seg.experiments.drawing import Shown
from acdc_seg.experiments.pictures import draw_predictions
from acdc_seg.experiments.plan import Plan
from acdc_seg.experiments.sweep import JobState

FIGURES: dict[str, Callable[[Shown], Figure]] = {
    "curves": draw_curves,
    "dice": draw_dice,
    "scores": draw_scores,
    "axis": draw_axis,
    "crossing": draw_crossing,
    "cost": draw_cost,
}
CAPTIONS = {
    "curves": "Loss by epoch. A dot marks the epoch with the best validation Dice, bands span the "
    "trainings of a variant.",
    "dice": "Validation Dice by epoch. A dot marks the best epoch, bands span the trainings of a "
    "variant.",
    "scores": "Validation Dice of the best epoch.",
    "axis": "Results along the setting.",
    "crossing": "Training and validation loss. The line marks the epoch from which on the running "
    "mean of five epochs of the validation loss stays above that of the training loss.",
    "cost": "What the networks cost. The speed is that of these trainings, on their machine.",
    "predictions": "Predictions of the best epochs, with the Dice of the image.",
}


def draw_figures(
    plan: Plan, states: Sequence[JobState], summaries: Sequence[VariantSummary]
) -> dict[str, Figure]:
    """The figures that the file names, by name, of what is finished."""
    experiment = plan.experiment
    shown = Shown(experiment, summaries, _settings(plan) if experiment.axis else {})
    figures: dict[str, Figure | None] = {}
    for name in experiment.figures:
        is_drawn = name in FIGURES
        figures[name] = FIGURES[name](shown) if is_drawn else draw_predictions(plan, states)
    return {name: figure for name, figure in figures.items() if figure is not None}


def _settings(plan: Plan) -> dict[str, float | None]:
    """The value of the experiment's axis of each variant; None where it is not a number."""
    values = {}
    for job in plan.jobs:
        value: Any = to_dict(job.config)
        for part in (plan.experiment.axis or "").split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        values[job.variant.name] = float(value) if is_number else None
    return values
