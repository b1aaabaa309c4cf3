"""The files of an ensemble: ensemble.yaml predicts, ensemble.json records the choice, and
report.html shows it.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from acdc_seg.config.ensemble import EnsembleFile, EnsembleMember, ensemble_yaml
from acdc_seg.ensembling.candidates import MemberRun
from acdc_seg.ensembling.page import write_ensemble_page
from acdc_seg.ensembling.search import NUM_FOLDS, NUM_RESAMPLES, Leak, SearchResult, Variant
from acdc_seg.files import cached_sha256, write_text
from acdc_seg.inference.load import find_checkpoint
from acdc_seg.metrics import BOTH_EMPTY_IS_ONE


def write_ensemble(folder: Path, result: SearchResult) -> None:
    """Writes both files and a page; fold runs share the weight of their candidate."""
    members = []
    for variant in result.variants:
        weight = variant.count / len(variant.candidate.runs)
        for run in variant.candidate.runs if variant.count else ():
            member = {**_describe_run(run, folder), "weight": weight, "tta": variant.tta}
            members.append(EnsembleMember.model_validate(member))
    classes = result.variants[0].candidate.runs[0].config.classes.names
    ensemble = EnsembleFile(
        classes=classes, members=tuple(members), keep_largest=result.keep_largest
    )
    write_text(folder / "ensemble.yaml", ensemble_yaml(ensemble))
    report = json.dumps(_report(folder, result), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(folder / "ensemble.json", report + "\n")
    write_ensemble_page(folder, result)


def _report(folder: Path, result: SearchResult) -> dict[str, Any]:
    patients = sorted({record.patient for record in result.records})
    leaks = {leak.candidate: leak for leak in result.leaks}
    excluded = [] if result.settings.allow_seen else [*map(_describe_leak, result.leaks)]
    return {
        "statistic": f"mean over images and foreground classes of Dice. {BOTH_EMPTY_IS_ONE}",
        "interval": f"95 % percentiles of {NUM_RESAMPLES} resamples of patients with replacement, "
        "paired by image",
        "settings": asdict(result.settings),
        "images": [record.id for record in result.records],
        "patients": patients,
        "candidates": [
            _describe_variant(variant, leaks.get(variant.candidate), folder)
            for variant in result.variants
        ],
        "excluded": excluded,
        "keep_largest": list(result.keep_largest),
        "best_member": {
            "candidate": result.best.counts.index(1),
            "keep_largest": list(result.best.keep_largest),
        },
        "chosen_on": asdict(result.chosen_on),
        "held_out": {"patient_folds": min(NUM_FOLDS, len(patients)), **asdict(result.held_out)},
    }


def _describe_variant(variant: Variant, leak: Leak | None, folder: Path) -> dict[str, Any]:
    runs = [_describe_run(run, folder) for run in variant.candidate.runs]
    return {
        "name": variant.candidate.name,
        "tta": variant.tta,
        "dice": variant.dice,
        "count": variant.count,
        "num_leaked_images": len(leak.images) if leak else 0,
        "runs": runs,
    }


def _describe_run(run: MemberRun, folder: Path) -> dict[str, str]:
    return {
        "path": _relative(run.folder, folder),
        "sha256": cached_sha256(find_checkpoint(run.folder)),
    }


def _describe_leak(leak: Leak) -> dict[str, Any]:
    num_images = len(leak.images)
    return {"name": leak.candidate.name, "num_leaked_images": num_images, "first": leak.images[0]}


def _relative(path: Path, folder: Path) -> str:
    """The path seen from the folder, with forward slashes; absolute if on another drive."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
