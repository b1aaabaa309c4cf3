"""The page of an experiment."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from acdc_seg.config import dump_yaml
from acdc_seg.experiments.compare import VariantSummary
from acdc_seg.experiments.figures import CAPTIONS
from acdc_seg.experiments.plan import Plan
from acdc_seg.experiments.sweep import JobState
from acdc_seg.experiments.tables import make_table
from acdc_seg.report.page import column, counted, row, table, write_page
from acdc_seg.report.style import page_svg

NOTE = (
    "Dice is that of the validation images at the best epoch of each training, so it is a little "
    "too high in all variants. The interval resamples patients; it does not cover that a second "
    "training differs from the first, which several seeds show."
)


def write_experiment_page(
    plan: Plan,
    states: Sequence[JobState],
    summaries: Sequence[VariantSummary],
    figures: Mapping[str, Figure],
    conclusion: Sequence[str],
) -> None:
    """Writes report.html in the experiment's folder; raises DataError where that fails."""
    experiment, first = plan.experiment, plan.jobs[0].config
    titles, lines = make_table(experiment, summaries)
    best = max(summaries, key=lambda each: each.mean() if each.results else -1.0)
    write_page(
        plan.folder / "report.html",
        "experiment.html",
        title=experiment.title,
        subtitle=f"{counted(len(plan.variants), 'variant')}, {counted(len(plan.jobs), 'training')}",
        conclusion=conclusion,
        found=experiment.found,
        note=NOTE,
        variants=table(
            [column(title, number=number > 0) for number, title in enumerate(titles)],
            [row(cells, best=cells[0] == best.variant.name) for cells in lines],
        ),
        unfinished={
            state.job.label: state.reason or "not yet" for state in states if state.result is None
        },
        figures={CAPTIONS[name]: page_svg(figure) for name, figure in figures.items()},
        protocol=_protocol(plan, states),
        command=plan.command,
        settings={
            variant.name: {key: json.dumps(value) for key, value in variant.changes.items()}
            for variant in plan.variants
        },
        config=dump_yaml(first),
    )


def _protocol(plan: Plan, states: Sequence[JobState]) -> dict[str, str]:
    """Data, seeds and conditions of all trainings, in words."""
    results = [state.result for state in states if state.result is not None]
    images = {image["id"]: image["patient"] for part in results for image in part.images}
    config = plan.jobs[0].config
    is_phantom = config.data.path is None
    seeds = sorted({job.config.seed for job in plan.jobs})
    return {
        "Data": "synthetic phantom; its scores say nothing about real hearts"
        if is_phantom
        else str(config.data.path),
        "Validation": f"{counted(len(images), 'image')} of "
        f"{counted(len(set(images.values())), 'patient')}",
        "Seeds": ", ".join(map(str, seeds)),
        "Folds": str(config.data.num_folds or "none, one split"),
        **_conditions([part.conditions for part in results]),
    }


def _conditions(conditions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Device, precision and threads, and versions, each with all values that occur."""
    shown = {}
    for key, label in (("device", "Device"), ("precision", "Precision"), ("threads", "Threads")):
        values = sorted({str(part.get(key)) for part in conditions})
        shown[label] = ", ".join(values)
    versions = {str((part.get("versions") or {}).get("torch")) for part in conditions}
    return {**shown, "PyTorch": ", ".join(sorted(versions))}
