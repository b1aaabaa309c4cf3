"""From candidates to an ensemble, and estimates of what it gains."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example, read_example
from acdc_seg.data.record import ProgressCallback, Record
from acdc_seg.data.splits import fold_patients
from acdc_seg.ensembling.candidates import Candidate, common_validation, predict_candidate
from acdc_seg.ensembling.selection import (
    CandidatePool,
    Selection,
    best_single,
    greedy,
)
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.inference.predictors import TTA_VIEWS
from acdc_seg.inference.stored import NO_TTA
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.intervals import patient_bootstrap

TTA_CHOICES = (NO_TTA, *TTA_VIEWS)
NUM_RESAMPLES = 2000
NUM_FOLDS = 5
"""Patient folds of the held-out estimate."""


@dataclass(frozen=True)
class SearchSettings:
    """Settings of a search; `tta` lists the augmentations that every candidate may enter with."""

    tta: tuple[str, ...] = TTA_CHOICES
    rounds: int = 25
    largest: bool = True
    allow_seen: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Variant:
    """A candidate with a test-time augmentation, its own Dice, and how often it was taken."""

    candidate: Candidate
    tta: str
    dice: float
    count: int


@dataclass(frozen=True)
class Leak:
    """A candidate that was trained on images to choose on, or on their patients."""

    candidate: Candidate
    images: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """Mean foreground Dice of the ensemble and of its best member, and their difference with its
    95 % interval.
    """

    ensemble: float
    best_member: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class SearchResult:
    """The chosen ensemble, what it was chosen from, and its gain.

    `best` is the best single variant, `chosen_on` the gain on the images of the choice and
    `held_out` that on patients who took no part in it.
    """

    variants: tuple[Variant, ...]
    keep_largest: tuple[str, ...]
    best: Selection
    chosen_on: Estimate
    held_out: Estimate
    records: tuple[Record, ...]
    leaks: tuple[Leak, ...]
    settings: SearchSettings

    @property
    def best_member(self) -> Variant:
        """The variant that alone is best."""
        return self.variants[self.best.counts.index(1)]


def search_ensemble(
    candidates: Sequence[Candidate],
    *,
    records: Sequence[Record] | None = None,
    classes: ClassesConfig | None = None,
    settings: SearchSettings | None = None,
    device: str = "auto",
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> SearchResult:
    """Chooses members, weights, test-time augmentation and largest regions, and estimates the gain.

    Args:
        candidates: Those of `open_candidates`.
        records: Images to choose on, with masks; by default those that most candidates validated
            on.
        classes: Of their masks; by default those of the first run.
        settings: By default those of `SearchSettings`.
        device: auto, cpu, cuda or mps.
        batch_size: Most images that are predicted at a time.
        on_progress: Called with a description, the number done and the total.

    Raises:
        DataError: Nothing to choose on, too few patients for an interval, or an image without mask.
        ConfigError: Every candidate was trained on the images to choose on, or fewer than one
            round.
    """
    settings = settings or SearchSettings()
    records = common_validation(candidates) if records is None else records
    classes = classes or candidates[0].runs[0].config.classes
    examples = _read_examples(records, candidates[0], classes)
    records = [example.record for example in examples]
    if len({record.patient for record in records}) < 2:
        raise DataError(
            f"{len(records)} images of one patient give no interval; choose on 2 patients or "
            "more, see --data and --split"
        )
    entered, leaks = _check_leakage(candidates, records, settings)
    entries = [(candidate, tta) for candidate in entered for tta in dict.fromkeys(settings.tta)]
    predict = partial(
        predict_candidate, device=device, batch_size=batch_size, on_progress=on_progress
    )
    probabilities = [predict(candidate, records, tta=tta) for candidate, tta in entries]
    pool = CandidatePool(probabilities, examples, classes)
    images = np.ones(len(records), bool)
    selection = greedy(pool, images=images, rounds=settings.rounds, largest=settings.largest)
    best = best_single(pool, images=images, largest=settings.largest)
    dice = [float(pool.quick_dice(values).mean()) for values in pool.contested]
    candidates_and_views = zip(entries, dice, selection.counts, strict=True)
    return SearchResult(
        variants=tuple(Variant(*entry, own, count) for entry, own, count in candidates_and_views),
        keep_largest=selection.keep_largest,
        best=best,
        chosen_on=estimate(pool.dice(selection), pool.dice(best), records, seed=settings.seed),
        held_out=held_out_estimate(pool, settings, on_progress=on_progress),
        records=tuple(records),
        leaks=leaks,
        settings=settings,
    )


def _check_leakage(
    candidates: Sequence[Candidate], records: Sequence[Record], settings: SearchSettings
) -> tuple[list[Candidate], tuple[Leak, ...]]:
    """The candidates that may enter, and those that were trained on images to choose on."""
    entered, leaks = [], []
    for candidate in candidates:
        leaked = candidate.leaked(records)
        if leaked:
            leaks.append(Leak(candidate, tuple(record.id for record in leaked)))
        if settings.allow_seen or not leaked:
            entered.append(candidate)
    if not entered:
        raise ConfigError(
            "every run was trained on images to choose on; give other images with --data and "
            "--split"
        )
    return entered, tuple(leaks)


def _read_examples(
    records: Sequence[Record], candidate: Candidate, classes: ClassesConfig
) -> list[Example]:
    """The images with their masks, without those that are wholly void."""
    for record in records:
        if record.mask is None:
            raise DataError(f"{record.image}: has no mask; choose on a split with masks")
    data = candidate.runs[0].config.data
    examples = [read_example(record, data=data, classes=classes) for record in records]
    return [
        example
        for example in examples
        if example.mask is not None and (example.mask != IGNORE_INDEX).any()
    ]


def estimate(
    ensemble: np.ndarray, best_member: np.ndarray, records: Sequence[Record], *, seed: int
) -> Estimate:
    """Compares the Dice `(N,)` of the ensemble and of its best member on the same images."""
    differences = ensemble - best_member
    patients = [record.patient for record in records]
    interval = patient_bootstrap(differences, patients, resamples=NUM_RESAMPLES, seed=seed)
    means = (values.mean() for values in (ensemble, best_member, differences))
    return Estimate(*map(float, (*means, *interval)))


def held_out_estimate(
    pool: CandidatePool,
    settings: SearchSettings,
    *,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Estimate:
    """The whole choice, of the ensemble and of the best member, repeated without each fold of
    patients and scored on that fold.
    """
    records = [example.record for example in pool.examples]
    groups = {record.patient: record.group for record in records}
    ensemble, best_member = np.zeros(len(records)), np.zeros(len(records))
    folds = fold_patients(groups, num_folds=min(NUM_FOLDS, len(groups)), seed=settings.seed)
    for done, patients in enumerate(folds):
        on_progress("patients held out", done, len(folds))
        held_out = np.array([record.patient in patients for record in records])
        chosen = greedy(pool, images=~held_out, rounds=settings.rounds, largest=settings.largest)
        single = best_single(pool, images=~held_out, largest=settings.largest)
        ensemble[held_out] = pool.dice(chosen)[held_out]
        best_member[held_out] = pool.dice(single)[held_out]
    return estimate(ensemble, best_member, records, seed=settings.seed)
