"""From runs to an ensemble: choice, its estimates, and the two files that describe it."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.config import Config
from acdc_seg.config.ensemble import EnsembleFile, EnsembleMember, ensemble_yaml
from acdc_seg.data.record import Record
from acdc_seg.data.source import Progress
from acdc_seg.data.splits import fold_patients
from acdc_seg.data.transforms import load_example
from acdc_seg.ensembling.candidates import Unit, common_validation, predict_unit
from acdc_seg.ensembling.selection import Panel, Selection, best_single, greedy, patient_bootstrap
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import sha256_file, write_text
from acdc_seg.inference.predictors import TTA_VIEWS
from acdc_seg.inference.stored import NO_TTA
from acdc_seg.metrics.scores import EMPTY_POLICY
from acdc_seg.runs.folder import Run

TTA_CHOICES = (NO_TTA, *TTA_VIEWS)
RESAMPLES = 2000
NUM_FOLDS = 5
"""Patient folds of the held-out estimate."""


@dataclass(frozen=True)
class Settings:
    """How to choose; `tta` lists the variants every unit may enter with."""

    tta: tuple[str, ...] = TTA_CHOICES
    rounds: int = 25
    largest: bool = True
    allow_seen: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Seen:
    """A unit that was trained on selection images."""

    unit: Unit
    images: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Mean foreground Dice of the ensemble and of its best member, and their difference with its 95
    % interval.
    """

    ensemble: float
    best_member: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """What was chosen, from what, and what it gains; `dice` is each candidate's own."""

    candidates: tuple[tuple[Unit, str], ...]
    dice: tuple[float, ...]
    selection: Selection
    best: Selection
    chosen_on: Estimate
    held_out: Estimate
    records: tuple[Record, ...]
    seen: tuple[Seen, ...]
    settings: Settings


def choose(
    units: Sequence[Unit],
    *,
    records: Sequence[Record] | None = None,
    settings: Settings | None = None,
    device: str = "auto",
    batch_size: int = 16,
    on_progress: Progress = lambda what, done, total: None,
) -> Choice:
    """Chooses members, weights, test-time augmentation and largest regions, and estimates the gain.

    Args:
        records: Images to choose on, with masks; by default those that all units validated on.

    Raises:
        DataError: Nothing to choose on, too few patients for an interval, or an image without mask.
        ConfigError: Every unit was trained on the images to choose on, or settings that choose
            nothing.
    """
    settings = settings or Settings()
    records = common_validation(units) if records is None else records
    if len({record.patient for record in records}) < 2:
        raise DataError(
            f"{len(records)} images of one patient give no interval; choose on 2 patients or "
            "more, see --data and --split"
        )
    found = {unit: unit.seen(records) for unit in units}
    seen = tuple(
        Seen(unit, tuple(record.id for record in images))
        for unit, images in found.items()
        if images
    )
    entered = [unit for unit in units if settings.allow_seen or not found[unit]]
    if not entered:
        raise ConfigError(
            "every run was trained on images to choose on; give other images with --data and "
            "--split"
        )
    candidates = tuple((unit, tta) for unit in entered for tta in dict.fromkeys(settings.tta))
    arrays = [
        predict_unit(
            unit, records, tta=tta, device=device, batch_size=batch_size, on_progress=on_progress
        )
        for unit, tta in candidates
    ]
    config = units[0].runs[0].config
    panel = Panel(
        arrays,
        [_truth(record, config) for record in records],
        records=records,
        classes=config.classes,
    )
    everywhere = np.ones(len(records), bool)
    selection = greedy(panel, images=everywhere, rounds=settings.rounds, largest=settings.largest)
    best = best_single(panel, images=everywhere, largest=settings.largest)
    return Choice(
        candidates=candidates,
        dice=tuple(float(panel.quick_scores(values).mean()) for values in panel.disputed),
        selection=selection,
        best=best,
        chosen_on=estimate(
            panel.scores(selection), panel.scores(best), records, seed=settings.seed
        ),
        held_out=held_out_estimate(panel, settings, on_progress=on_progress),
        records=tuple(records),
        seen=seen,
        settings=settings,
    )


def estimate(
    ensemble: np.ndarray, best_member: np.ndarray, records: Sequence[Record], *, seed: int
) -> Estimate:
    """Compares the scores `(N,)` of two ways to predict the same images."""
    differences = ensemble - best_member
    interval = patient_bootstrap(
        differences, [record.patient for record in records], resamples=RESAMPLES, seed=seed
    )
    return Estimate(
        float(ensemble.mean()), float(best_member.mean()), float(differences.mean()), *interval
    )


def held_out_estimate(
    panel: Panel, settings: Settings, *, on_progress: Progress = lambda what, done, total: None
) -> Estimate:
    """The whole choice, of the ensemble and of the best member, repeated without each fold of
    patients and scored on that fold.
    """
    groups = {record.patient: record.group for record in panel.records}
    ensemble, best_member = np.zeros(len(panel.records)), np.zeros(len(panel.records))
    folds = fold_patients(groups, num_folds=min(NUM_FOLDS, len(groups)), seed=settings.seed)
    for done, patients in enumerate(folds):
        on_progress("patients held out", done, len(folds))
        held_out = np.array([record.patient in patients for record in panel.records])
        chosen = greedy(panel, images=~held_out, rounds=settings.rounds, largest=settings.largest)
        single = best_single(panel, images=~held_out, largest=settings.largest)
        ensemble[held_out], best_member[held_out] = (
            panel.scores(chosen)[held_out],
            panel.scores(single)[held_out],
        )
    return estimate(ensemble, best_member, panel.records, seed=settings.seed)


def write_ensemble(folder: Path, choice: Choice) -> None:
    """Writes ensemble.yaml, which predicts, and ensemble.json, which tells how it was chosen."""
    members = tuple(
        EnsembleMember.model_validate(
            {"path": _relative(run.folder, folder), "weight": count / len(unit.runs), "tta": tta}
        )
        for (unit, tta), count in zip(choice.candidates, choice.selection.counts, strict=True)
        if count
        for run in unit.runs
    )
    classes = choice.candidates[0][0].runs[0].config.classes
    described = EnsembleFile(
        classes=classes.names, members=members, keep_largest=choice.selection.keep_largest
    )
    write_text(folder / "ensemble.yaml", ensemble_yaml(described))
    write_text(
        folder / "ensemble.json",
        json.dumps(_report(folder, choice), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
    )


def _report(folder: Path, choice: Choice) -> dict[str, Any]:
    seen = {entry.unit: entry.images for entry in choice.seen}
    return {
        "statistic": f"mean over images and foreground classes of Dice. {EMPTY_POLICY}",
        "interval": f"95 % percentiles of {RESAMPLES} resamples of patients with replacement, "
        "paired by image",
        "settings": asdict(choice.settings),
        "images": [record.id for record in choice.records],
        "patients": sorted({record.patient for record in choice.records}),
        "candidates": [
            {
                "unit": unit.name,
                "tta": tta,
                "dice": dice,
                "count": count,
                "saw_selection_images": len(seen.get(unit, ())),
                "runs": [
                    {
                        "path": _relative(run.folder, folder),
                        "sha256": sha256_file(Run(run.folder).best),
                    }
                    for run in unit.runs
                ],
            }
            for (unit, tta), dice, count in zip(
                choice.candidates, choice.dice, choice.selection.counts, strict=True
            )
        ],
        "excluded": [
            {
                "unit": entry.unit.name,
                "saw_selection_images": len(entry.images),
                "first": entry.images[0],
            }
            for entry in choice.seen
            if not choice.settings.allow_seen
        ],
        "keep_largest": list(choice.selection.keep_largest),
        "best_member": {
            "candidate": choice.best.counts.index(1),
            "keep_largest": list(choice.best.keep_largest),
        },
        "chosen_on": asdict(choice.chosen_on),
        "held_out": {
            "patient_folds": min(NUM_FOLDS, len({record.patient for record in choice.records})),
            **asdict(choice.held_out),
        },
    }


def _truth(record: Record, config: Config) -> np.ndarray:
    _, mask = load_example(record, data=config.data, classes=config.classes)
    if mask is None:
        raise DataError(f"{record.image}: has no mask to choose by; choose on a split with masks")
    return mask.numpy()


def _relative(path: Path, folder: Path) -> str:
    """The path as seen from the folder, with forward slashes; absolute where they are on different
    drives.
    """
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return path.resolve().as_posix()
