"""Tables of scores as plain text."""

from collections.abc import Callable, Sequence

from acdc_seg.metrics import EMPTY_POLICY, METRICS
from acdc_seg.metrics.levels import (
    HEADLINE,
    count_errors,
    distance_note,
    headline_level,
    levels_of,
    parts_of,
)
from acdc_seg.metrics.pooled import POOLED, POOLED_RULE
from acdc_seg.metrics.summary import Summary, summarize
from acdc_seg.metrics.volumes import ScoreSet

METRICS_PER_BLOCK = 4
"""So many metrics fit beside each other into a terminal of 100 columns."""
COUNTS = {
    "num_empty_truth": "empty truth",
    "num_empty_prediction": "empty prediction",
    "num_missed": "missed",
    "num_false": "false",
}


def format_table(summary: Summary, *, unit: str = "image") -> str:
    """The classes with mean ± standard deviation of every metric, the means over classes,
    counts of empty, missed and false structures, and n and the policy below it.

    Args:
        summary: At least one image.
        unit: Word for one of its images: image, slice, volume or patient.
    """
    metrics = list(summary.mean)
    blocks = [
        _metric_block(summary, metrics[start : start + METRICS_PER_BLOCK])
        for start in range(0, len(metrics), METRICS_PER_BLOCK)
    ]
    counts = [["class", *COUNTS.values()]]
    for name, row in summary.classes.items():
        counts.append([name, *(str(row[key]) for key in COUNTS)])
    pooled = [_pooled_block(summary)] if summary.pooled else []
    lines = "\n\n".join(map(align, [*blocks, *pooled, counts]))
    of_patients = f" of {count(summary.num_patients, 'patient')}" if summary.num_patients else ""
    rules = [f"n = {count(summary.n, unit)}{of_patients}."]
    if summary.num_void:
        rules.append(f"Left out, for all of their pixels are void: {summary.num_void}.")
    rules += [EMPTY_POLICY, *([POOLED_RULE] if pooled else [])]
    return f"{lines}\n{' '.join(rules)}"


def _pooled_block(summary: Summary) -> list[list[str]]:
    table = [["class", *(f"pooled {METRICS[metric].title}" for metric in POOLED)]]
    for name, row in summary.pooled["classes"].items():
        values = [row[metric] for metric in POOLED]
        table.append([name, *("-" if value is None else number(value, "dice") for value in values)])
    return [*table, ["mean", *(number(summary.pooled[metric], metric) for metric in POOLED)]]


def _metric_block(summary: Summary, metrics: Sequence[str]) -> list[list[str]]:
    table = [["class", *(METRICS[name].label(summary.units) for name in metrics)]]
    for name, row in summary.classes.items():
        values = [
            f"{number(row[f'{metric}_mean'], metric)} ± {number(row[f'{metric}_std'], metric)}"
            for metric in metrics
        ]
        table.append([name, *values])
    means = [number(summary.mean[metric], metric) for metric in metrics]
    return [*table, ["mean", *means]]


def with_interval(
    value: float,
    interval: Sequence[float] | None,
    metric: str,
    show: Callable[[float, str], str] | None = None,
) -> str:
    """0.8123 [0.7890, 0.8345]"""
    show = show or number
    if interval is None:
        return show(value, metric)
    return f"{show(value, metric)} [{', '.join(show(bound, metric) for bound in interval)}]"


def number(value: float, metric: str) -> str:
    """Four decimals of a ratio, two of a value with a unit."""
    return f"{value:.2f}" if METRICS[metric].unit else f"{value:.4f}"


def signed(value: float, metric: str) -> str:
    """A difference, as `number` but with its sign."""
    return f"{value:+.2f}" if METRICS[metric].unit else f"{value:+.4f}"


def count(number: int, noun: str) -> str:
    """1 image, 2 images."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def align(table: Sequence[Sequence[str]]) -> str:
    """Lines of cells in columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    ]
    return "\n".join(lines)


def format_score_set(scores: ScoreSet) -> str:
    """The headline with its level, its table by class, all levels and parts, and the slices where a
    class is missed or invented.
    """
    level = headline_level(scores)
    units = levels_of(scores)[level]
    summary = summarize(units)
    value = with_interval(summary.mean[HEADLINE], summary.intervals[HEADLINE], HEADLINE)
    interval = " (95 % interval over patients)" if summary.intervals[HEADLINE] else ""
    return "\n\n".join(
        [
            f"{METRICS[HEADLINE].title} by {level}: {value}{interval}",
            f"{format_table(summary, unit=level)} {distance_note(scores)}",
            _format_levels(scores),
            *([_format_errors(scores)] if scores.regions else []),
        ]
    )


def _format_levels(scores: ScoreSet) -> str:
    """A line for every level, phase, group and region."""
    rows = dict(levels_of(scores))
    for part in parts_of(scores).values():
        rows |= {f"  {word or 'other'}": units for word, units in part.items()}
    names = list(rows[next(iter(rows))][0].dice)
    table = [["level", "n", METRICS[HEADLINE].title, *names, "missed", "false"]]
    for word, units in rows.items():
        summary = summarize(units)
        by_class = [number(summary.classes[name][f"{HEADLINE}_mean"], HEADLINE) for name in names]
        table.append(
            [
                word,
                str(summary.n),
                with_interval(summary.mean[HEADLINE], summary.intervals[HEADLINE], HEADLINE),
                *by_class,
                str(sum(row["num_missed"] for row in summary.classes.values())),
                str(sum(row["num_false"] for row in summary.classes.values())),
            ]
        )
    return align(table)


def _format_errors(scores: ScoreSet) -> str:
    """Missed of the slices that have the class, and invented of those that do not, by region."""
    names = list(scores.images[0].dice)
    table = [["slices", *(f"{name} missed, invented" for name in names)]]
    for region, row in count_errors(scores.images).items():
        cells = [
            f"{part['num_missed']} of {part['num_present']}, "
            f"{part['num_false']} of {part['num_absent']}"
            for part in row.values()
        ]
        table.append([region, *cells])
    return align(table)
