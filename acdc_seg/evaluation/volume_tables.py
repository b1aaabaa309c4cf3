"""Scores of label maps as text: by phase, structure and disease."""

from collections.abc import Mapping, Sequence
from typing import Any

from acdc_seg.evaluation.volume_agreement import (
    AGREEMENT_RULE,
    ClinicalPair,
    format_agreement,
)
from acdc_seg.evaluation.volume_files import by_phase_and_group, summarize_regions
from acdc_seg.metrics import EMPTY_POLICY, METRICS
from acdc_seg.metrics.clinical import CONVENTIONS
from acdc_seg.metrics.levels import parts_of
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import summarize
from acdc_seg.metrics.tables import align, count, format_score_set, with_interval
from acdc_seg.metrics.volumes import ScoreSet

OFFICIAL = ("dice", "hd", "hd95", "assd")
"""Metrics of the table by phase and structure."""
OF_GROUPS = ("dice", "hd")
"""Metrics of the challenge's own tables, by disease."""
HARDEST = "HCM ES"
"""Group and phase that is shown apart: the smallest cavities, behind the thickest walls."""


def format_volume_scores(
    score_set: ScoreSet,
    false_regions: Mapping[str, Mapping[str, Any]],
    clinical: Sequence[ClinicalPair],
) -> str:
    """The tables of `format_score_set`, then those by phase and by disease, false regions, and the
    agreement of clinical numbers.
    """
    groups = by_phase_and_group(score_set.volumes)
    phases = parts_of(score_set).get("phase", {})
    parts = {phase or "other": scores for phase, scores in phases.items()}
    if HARDEST in groups:
        parts[HARDEST] = groups[HARDEST]
    blocks = [format_score_set(score_set)]
    if parts:
        blocks.append(f"{_format_structures(parts)}\n{_rules(score_set.volumes)}")
    if len(groups) > 1:
        blocks.append(_format_groups(groups))
    regions = summarize_regions(score_set.volumes, false_regions)
    if regions is not None:
        blocks.append(_format_regions(regions))
    if clinical:
        blocks.append(f"{format_agreement(clinical)}\n{AGREEMENT_RULE} {CONVENTIONS}")
    return "\n\n".join(blocks)


def _format_structures(parts: Mapping[str, Sequence[ImageScore]]) -> str:
    """A line for each phase and structure: means with intervals."""
    units = next(iter(parts.values()))[0].units
    table = [["phase", "class", "n", *(METRICS[metric].label(units) for metric in OFFICIAL)]]
    for part, scores in parts.items():
        for name, row in summarize(scores).classes.items():
            cells = [
                with_interval(row[f"{metric}_mean"], row[f"{metric}_interval"], metric, _short)
                for metric in OFFICIAL
            ]
            table.append([part, name, str(row["n"]), *cells])
    return align(table)


def _rules(scores: Sequence[ImageScore]) -> str:
    num_patients = len({score.patient for score in scores})
    interval = "; in brackets 95 % intervals over patients" if num_patients > 1 else ""
    return f"Means over volumes{interval}. {EMPTY_POLICY}"


def _format_groups(groups: Mapping[str, Sequence[ImageScore]]) -> str:
    """A line for each disease and phase: Dice and HD of every structure."""
    first = next(iter(groups.values()))[0]
    titles = [
        f"{METRICS[metric].label(first.units)} {name}"
        for metric in OF_GROUPS
        for name in first.dice
    ]
    table = [["group", "phase", "n", *titles]]
    for words, scores in groups.items():
        classes = summarize(scores).classes
        cells = [
            _short(row[f"{metric}_mean"], metric)
            for metric in OF_GROUPS
            for row in classes.values()
        ]
        table.append([*words.rsplit(" ", 1), str(len(scores)), *cells])
    return align(table)


def _format_regions(regions: Mapping[str, Any]) -> str:
    interval = regions["interval_ml"]
    bounds = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    return (
        f"False regions: {regions['num_regions']} in {regions['num_volumes']} of "
        f"{count(regions['n'], 'volume')}; {regions['mean_ml']:.2f}{bounds} mL by volume, at most "
        f"{regions['largest_ml']:.2f} mL.\n{regions['rule']}"
    )


def _short(value: float, metric: str) -> str:
    """Three decimals of a ratio, one of a value with a unit, as the challenge publishes them."""
    return f"{value:.1f}" if METRICS[metric].unit else f"{value:.3f}"
