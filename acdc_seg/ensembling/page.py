"""The page of an ensemble: what it gains, and of what it is made."""

import shlex
from pathlib import Path
from typing import Any

from acdc_seg.ensembling.search import NUM_FOLDS, Estimate, SearchResult
from acdc_seg.metrics import EMPTY_POLICY
from acdc_seg.report.distributions import draw_intervals
from acdc_seg.report.figures import Figures
from acdc_seg.report.page import column, counted, interval_text, row, signed, table, write_page


def write_ensemble_page(folder: Path, result: SearchResult) -> None:
    """Writes report.html beside ensemble.yaml; raises DataError where that fails."""
    patients = {record.patient for record in result.records}
    name = folder.resolve().name
    best, gains = result.best_member, _gains(result)
    svg = Figures().draw("gain", lambda: draw_intervals(gains, "Dice: ensemble minus best member"))
    images = f"{counted(len(result.records), 'image')} of {counted(len(patients), 'patient')}"
    write_page(
        folder / "report.html",
        "ensemble.html",
        title="Ensemble" if name == "ensemble" else f"Ensemble {name}",
        subtitle=f"Chosen on {images}",
        answers=[
            f"{_verdict(result.held_out)} on patients held out from the choice: Dice "
            f"{result.held_out.ensemble:.4f} against {result.held_out.best_member:.4f}, difference "
            f"{_gain(result.held_out)}.",
            f"On the images of the choice itself: {result.chosen_on.ensemble:.4f} against "
            f"{result.chosen_on.best_member:.4f}, difference {_gain(result.chosen_on)}; the choice "
            "flatters this number.",
        ],
        policy=f"Mean over images and foreground classes of Dice. {EMPTY_POLICY} Intervals come "
        "from drawing the patients again with replacement.",
        figures={"What the ensemble gains": svg} if svg else {},
        members=_member_table(result),
        members_note=f"Best member alone: {best.candidate.name}, augmentation {best.tta}. A run "
        "with weight 0 was tried and not taken.",
        protocol={
            "Images of the choice": images,
            "Held out": f"{min(NUM_FOLDS, len(patients))} folds of patients; the whole choice is "
            "repeated without each",
            "Largest region kept": ", ".join(result.keep_largest) or "of no class",
            "Left out for data leakage": ", ".join(leak.candidate.name for leak in result.leaks)
            or "none",
            "Seed": str(result.settings.seed),
        },
        commands=f"acdc-evaluate {shlex.quote(str(folder))}\n"
        f"acdc-report {_run_paths(result)} {shlex.quote(str(folder))}",
    )


def _gains(result: SearchResult) -> dict[str, tuple[float, float, float]]:
    estimates = {
        "patients held out": result.held_out,
        "images of the choice": result.chosen_on,
    }
    return {name: (each.difference, each.low, each.high) for name, each in estimates.items()}


def _verdict(estimate: Estimate) -> str:
    if estimate.low > 0:
        return "The ensemble is better than its best member"
    if estimate.high < 0:
        return "The ensemble is worse than its best member"
    return "The ensemble may not be better than its best member"


def _gain(estimate: Estimate) -> str:
    interval = interval_text((estimate.low, estimate.high), difference=True)
    return f"{signed(estimate.difference)} ({interval})"


def _member_table(result: SearchResult) -> dict[str, Any]:
    total = sum(variant.count for variant in result.variants)
    headings = [
        column("Member"),
        column("Runs", number=True),
        column("Test-time augmentation"),
        column("Dice alone", number=True),
        column("Weight", number=True),
    ]
    ordered = sorted(result.variants, key=lambda variant: (-variant.count, -variant.dice))
    rows = []
    for variant in ordered:
        name, runs = variant.candidate.name, len(variant.candidate.runs)
        cells = [name, runs, variant.tta, f"{variant.dice:.4f}", f"{variant.count / total:.3f}"]
        rows.append(row(cells, best=variant.count > 0))
    return table(headings, rows)


def _run_paths(result: SearchResult) -> str:
    chosen = [variant for variant in result.variants if variant.count]
    folders = [run.folder for variant in chosen for run in variant.candidate.runs]
    return " ".join(shlex.quote(str(folder)) for folder in dict.fromkeys(folders))
