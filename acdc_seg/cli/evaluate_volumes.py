"""acdc-evaluate --volumes: folders of label maps against each other."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from acdc_seg.cli.app import console, shell_path
from acdc_seg.cli.options import split_words
from acdc_seg.cli.progress import progress_bar
from acdc_seg.cli.settings import print_notes

if TYPE_CHECKING:
    from acdc_seg.evaluation.volumes import VolumeEvaluation

FIGURES = "figures"
"""Folder of the figures, beside the tables."""
MIN_PATIENTS = 2
"""From which on there are limits of agreement to draw."""
TAKEN = {"volumes", "runs", "tolerance", "out", "debug", "version"}
"""Parameters that have an effect with --volumes."""
READING = ("classes", "data.patient_rule")
"""Settings that say how label maps are read."""


def evaluate_volumes(
    context: typer.Context,
    folders: tuple[Path, Path],
    words: list[str],
    *,
    tolerance: float,
    out: Path | None,
) -> None:
    """Scores label maps, writes and prints the scores."""
    overrides = _check_options(context, words)
    from acdc_seg.config import load_config
    from acdc_seg.evaluation.volumes import score_volumes

    config = load_config(overrides=overrides)
    prediction, truth = folders
    with progress_bar() as report:
        evaluation = score_volumes(
            prediction,
            truth,
            classes=config.classes,
            patient_rule=config.data.patient_rule,
            tolerance=tolerance,
            on_progress=report,
        )
    place = prediction.resolve()
    folder = out or place.with_name(f"{place.name}-scores")
    evaluation.write(folder)
    num_patients = len({score.patient for score in evaluation.scores})
    console.print(
        f"{escape(str(prediction))} against {escape(str(truth))}: {len(evaluation.scores)} volumes "
        f"of {num_patients} patients"
    )
    print_notes(evaluation.notes)
    console.print(str(evaluation), markup=False)
    files = [*evaluation.files, *_draw_agreement(evaluation, folder)]
    console.print(f"Wrote {shell_path(folder)}/{', '.join(files)} and metrics.json")


def _draw_agreement(evaluation: "VolumeEvaluation", folder: Path) -> list[str]:
    """Bland-Altman figures of all numbers; names what was written."""
    if len(evaluation.clinical) < MIN_PATIENTS:
        return []
    from acdc_seg.evaluation.volume_agreement import NUMBERS
    from acdc_seg.metrics.clinical import UNITS
    from acdc_seg.report.clinical import draw_agreement
    from acdc_seg.report.figures import Figures

    figures, patients = Figures(folder / FIGURES), evaluation.clinical
    groups = [patient.group for patient in patients] if patients[0].group else None
    for name in NUMBERS:
        draw = partial(
            draw_agreement,
            [patient.predicted[name] for patient in patients],
            [patient.truth[name] for patient in patients],
            name=name,
            unit=UNITS[name],
            groups=groups,
        )
        figures.draw(f"agreement_{name}", draw, on_page=False)
    return [f"{FIGURES}/"]


def _check_options(context: typer.Context, words: list[str]) -> list[str]:
    """The settings among the words; raises ConfigError for what has no effect."""
    from acdc_seg.config import parse_override
    from acdc_seg.errors import ConfigError

    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    unused = [f"--{name.replace('_', '-')}" for name in sorted(given) if name not in TAKEN]
    paths, overrides = split_words(words)
    unused = [*map(str, paths), *unused]
    unused += [key for key, _ in map(parse_override, overrides) if not key.startswith(READING)]
    if unused:
        raise ConfigError(
            f"{', '.join(unused)} has no effect with --volumes, which takes --out, --tolerance and "
            f"settings of {' and '.join(READING)}; leave it out"
        )
    return overrides
