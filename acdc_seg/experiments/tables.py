"""Table of an experiment, a row for each variant: as CSV, Markdown and cells of a page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from acdc_seg.config.experiment import ExperimentFile
from acdc_seg.experiments.compare import NO_INTERVAL, VariantSummary
from acdc_seg.files import write_table, write_text


class Column(NamedTuple):
    """A column: its title for readers, empty where it is in table.csv alone, its key there, its
    value, and the format of its cells.
    """

    title: str
    key: str
    value: Callable[[VariantSummary], float | None]
    format: str


COLUMNS = (
    Column("Dice", "dice", lambda row: row.mean(), ".4f"),
    Column("", "dice_low", lambda row: row.interval[0], ".3f"),
    Column("", "dice_high", lambda row: row.interval[1], ".3f"),
    Column("IoU", "iou", lambda row: row.mean("iou"), ".4f"),
    Column("Cross-entropy", "cross_entropy", lambda row: row.average("cross_entropy"), ".4g"),
    Column("Lowest loss", "val_loss", lambda row: row.lowest_loss, ".4g"),
    Column("Best epoch", "best_epoch", lambda row: row.average("best_epoch"), ".0f"),
    Column("Crossing", "crossing_epoch", lambda row: row.crossing_epoch, ".0f"),
    Column("Parameters", "parameters", lambda row: row.average("num_parameters"), ",.0f"),
    Column("Images/s", "images_per_s", lambda row: row.average("images_per_second"), ".1f"),
    Column("Minutes", "minutes", lambda row: _minutes(row), ".1f"),
)


def make_table(
    experiment: ExperimentFile, summaries: Sequence[VariantSummary]
) -> tuple[list[str], list[list[str]]]:
    """Titles and cells for readers; columns without any value are left out."""
    columns = [
        column
        for column in COLUMNS
        if column.title
        and any(_is_number(column.value(row)) for row in summaries)
        and (column.key != "crossing_epoch" or "crossing" in experiment.figures)
    ]
    first, *others = (column.title for column in columns)
    header = ["Variant", first, "95 % interval", *others, "Trainings"]
    has_study = bool(experiment.study_dice)
    rows = []
    for row in summaries:
        dice, *cells = (_cell(column.value(row), column.format) for column in columns)
        rows.append([row.variant.name, dice, _interval(row), *cells, _trainings(row)])
        if has_study:
            rows[-1].append(_cell(experiment.study_dice.get(row.variant.name), ".4f"))
    return [*header, "Study's Dice"] if has_study else header, rows


def write_tables(
    folder: Path, experiment: ExperimentFile, summaries: Sequence[VariantSummary]
) -> None:
    """Writes table.csv, with all digits, and table.md; raises DataError where that fails."""
    header = ["variant", *(column.key for column in COLUMNS), "finished", "trainings", "failures"]
    rows: list[list[object]] = [[*header]]
    for row in summaries:
        values = [column.value(row) for column in COLUMNS]
        cells = [value if _is_number(value) else "" for value in values]
        ends = [len(row.results), row.num_jobs, "; ".join(dict.fromkeys(row.failures))]
        rows.append([row.variant.name, *cells, *ends])
    write_table(folder / "table.csv", rows)
    titles, lines = make_table(experiment, summaries)
    ruler = ["---", *["---:"] * (len(titles) - 1)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ruler, *lines))
    write_text(folder / "table.md", f"{text}\n")


def _interval(row: VariantSummary) -> str:
    low, high = row.interval if row.results else NO_INTERVAL
    return f"{low:.3f} to {high:.3f}" if _is_number(low) else ""


def _trainings(row: VariantSummary) -> str:
    if len(row.results) == row.num_jobs:
        return str(row.num_jobs)
    failed = f", {len(row.failures)} failed" if row.failures else ""
    return f"{len(row.results)} of {row.num_jobs}{failed}"


def _minutes(row: VariantSummary) -> float | None:
    seconds = row.average("seconds")
    return None if seconds is None else seconds / 60


def _cell(value: float | None, form: str) -> str:
    return format(value, form) if _is_number(value) else ""


def _is_number(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))
