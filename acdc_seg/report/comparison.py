"""The page that compares runs on the images that all of them were scored on."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from acdc_seg.report.curves import draw_shared
from acdc_seg.report.distributions import draw_class_means, draw_differences
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.figures import Figures
from acdc_seg.report.page import (
    column,
    counted,
    decimals,
    row,
    signed,
    table,
    write_page,
)
from acdc_seg.report.paired import Difference, compare, verdict
from acdc_seg.report.reported import ReportedRun
from acdc_seg.report.scores import Scores
from acdc_seg.report.viewer import viewer_content, worst_mean

MAX_PAIRED = 3
"""Runs whose differences to the best are drawn."""


def write_comparison(
    path: Path,
    runs: Sequence[ReportedRun],
    *,
    evidence: Mapping[Path, Evidence],
    notes: Sequence[str] = (),
) -> None:
    """Writes the page.

    Args:
        path: The file.
        runs: Those of `rank`.
        evidence: Pictures by the folder of the run; the viewer shows the runs that have them.
        notes: What the reader must know, for example why pictures are missing.

    Raises:
        DataError: The file cannot be written.
    """
    scores, best = [each.scores for each in runs], runs[0].scores
    noun = best.noun
    pictured = [each.scores for each in runs if each.folder in evidence]
    parts = [evidence[each.folder] for each in runs if each.folder in evidence]
    differences = {other.name: compare(best, other) for other in scores[1:]}
    write_page(
        path,
        "comparison.html",
        title=" against ".join(each.name for each in scores)
        if len(scores) <= 3
        else f"{len(scores)} runs compared",
        subtitle=f"{best.label} on the same {counted(len(best.images), noun)}"
        + (f" of {counted(best.num_patients, 'patient')}" if best.num_patients else ""),
        answers=[verdict(best, scores[1:], differences), _weakness(best, noun)],
        runs=_run_table(runs, differences),
        policy=f"{best.label} of each {best.level}, mean over {best.level}s and classes. Intervals "
        "and differences come from drawing the patients again with replacement, the same for all "
        f"runs. {best.empty_policy}",
        cases=viewer_content(pictured, parts, noun=noun) if parts else None,
        notes=[*notes, *_notes(runs)],
        figures=_figures(runs, differences),
        images=_image_table(scores, noun),
        noun=noun,
        commands="\n".join(["acdc-report " + " ".join(str(each.folder) for each in runs)]),
    )


def _weakness(best: Scores, noun: str) -> str:
    """The weakest class and the worst image of the best run."""
    means = {name: row[f"{best.metric}_mean"] for name, row in best.class_means.items()}
    pick = min if best.higher_is_better else max
    weakest = pick(means, key=lambda name: means[name])
    worst = min(best.images, key=lambda image: worst_mean(image["id"], [best]))["id"]
    parts = [f"its weakest class is {weakest} ({decimals(means[weakest])})"]
    parts = parts if len(means) > 1 else []
    parts.append(f"its worst {noun} {worst} ({decimals(best.mean(worst))})")
    return f"Where {best.name} fails: {', '.join(parts)}."


def _run_table(
    runs: Sequence[ReportedRun], differences: Mapping[str, Difference]
) -> dict[str, Any]:
    best = runs[0].scores
    classes = best.scored if len(best.scored) > 1 else []
    headings = [column("Run"), column("Network"), column(best.label, number=True)]
    headings += [column("95 % interval", number=True), column("to the best", number=True)]
    headings += [column("95 % interval", number=True)]
    headings += [column(name, number=True) for name in classes]
    headings += [column("ECE", number=True)]
    rows = []
    for each in runs:
        scores, difference = each.scores, differences.get(each.scores.name)
        cells: list[Any] = [scores.name, _network(each), scores.headline, _ends(scores.interval())]
        if difference is None:
            cells += ["", ""]
        else:
            ends = difference.interval and (-difference.interval[1], -difference.interval[0])
            cells += [signed(-difference.mean), _ends(ends, sign=True)]
        cells += [scores.class_means[name][f"{scores.metric}_mean"] for name in classes]
        cells.append((scores.content.get("calibration") or {}).get("ece"))
        rows.append(row(cells, best=difference is None))
    return table(headings, rows)


def _image_table(scores: Sequence[Scores], noun: str) -> dict[str, Any]:
    """A row for every image, that with the worst score of any run first."""
    images = sorted(scores[0].images, key=lambda image: worst_mean(image["id"], scores))
    headings = [column(noun.capitalize()), column("Patient")]
    headings += [column(each.name, number=True) for each in scores]
    headings.append(column("spread", number=True))
    rows = []
    for image in images:
        means = [each.mean(image["id"]) for each in scores]
        cells = [image["id"], image["patient"], *means, max(means) - min(means)]
        rows.append(row(cells, case=image["id"]))
    return table(headings, rows)


def _figures(runs: Sequence[ReportedRun], differences: Mapping[str, Difference]) -> dict[str, str]:
    figures, best = Figures(), runs[0].scores
    patients = best.patients()
    means = {
        each.scores.name: {
            name: values[f"{best.metric}_mean"] for name, values in each.scores.class_means.items()
        }
        for each in runs
    }
    drawn = {
        f"{best.label} by class": figures.draw(
            "classes", partial(draw_class_means, means, best.label)
        )
    }
    for name, difference in list(differences.items())[:MAX_PAIRED]:
        values = list(difference.by_unit.values())
        of_patients = [patients[id] for id in difference.by_unit]
        draw = partial(draw_differences, values, of_patients, label=f"{best.label} difference")
        drawn[f"{best.name} minus {name}, by patient"] = figures.draw("differences", draw)
    histories = {each.scores.name: each.history for each in runs}
    if any(histories.values()):
        for key, label in (("val_loss", "Validation loss"), ("dice", "Validation Dice")):
            drawn[label] = figures.draw(key, partial(draw_shared, histories, key, label))
    return {caption: svg for caption, svg in drawn.items() if svg}


def _notes(runs: Sequence[ReportedRun]) -> list[str]:
    notes = []
    digests = {each.protocol.get("data_sha256") for each in runs} - {None}
    if len(digests) > 1:
        notes.append(
            "The runs were scored on data that differs; only images of the same name are compared."
        )
    for each in runs:
        if num_seen := each.protocol.get("num_seen_images"):
            notes.append(
                f"Data leakage: {each.scores.name} was trained on {num_seen} of its images or "
                "their patients; its score is too high."
            )
    return notes


def _network(run: ReportedRun) -> str:
    members = run.protocol.get("members") or []
    if len(members) > 1:
        return f"vote of {len(members)}"
    return run.config.model.name if run.config else ""


def _ends(interval: tuple[float, float] | None, *, sign: bool = False) -> str:
    if interval is None:
        return "–"
    return " to ".join(signed(end) if sign else decimals(end) for end in interval)
