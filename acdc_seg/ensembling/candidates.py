"""Candidates of an ensemble.

A candidate is one run, or all fold runs of one recipe, where each image is predicted by the runs
that were not trained on it.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np

from acdc_seg.config import Config, to_dict
from acdc_seg.data.record import ProgressCallback, Record
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import cached_sha256
from acdc_seg.inference.load import find_checkpoint, load_predictor
from acdc_seg.inference.predictors import check_classes
from acdc_seg.inference.stored import (
    StoredProbabilities,
    digest_images,
    find_probabilities,
    store_probabilities,
)
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import Run
from acdc_seg.runs.trained_on import TrainedOn, find_seen


@dataclass(frozen=True, eq=False)
class MemberRun:
    """One trained run, what trained it, and the images that it was validated on."""

    folder: Path
    config: Config
    trained_on: tuple[TrainedOn, ...]
    val: tuple[Record, ...]
    has_test_masks: bool

    @cached_property
    def validated(self) -> dict[str, Record]:
        """Validation records by the SHA-256 of their image files."""
        return {cached_sha256(record.image): record for record in self.val}

    def seen(self, records: Sequence[Record]) -> list[Record]:
        """Records that training used, pretraining included: their image or one of their patient."""
        return find_seen(records, self.trained_on)


@dataclass(frozen=True)
class Candidate:
    """Runs of one recipe: a single one, or those of its folds."""

    name: str
    runs: tuple[MemberRun, ...]

    def validated(self) -> dict[str, Record]:
        """Validation records of all runs by the SHA-256 of their image files."""
        return {digest: record for run in self.runs for digest, record in run.validated.items()}

    def leaked(self, records: Sequence[Record]) -> list[Record]:
        """Records that every run was trained on, so that none can predict them out of fold."""
        seen = [set(run.seen(records)) for run in self.runs]
        return [record for record in records if all(record in each for each in seen)]

    def out_of_fold_runs(self, records: Sequence[Record]) -> list[list[MemberRun]]:
        """Of each image the runs that were not trained on it; all where all were."""
        seen = {run: set(run.seen(records)) for run in self.runs}
        return [
            [run for run in self.runs if record not in seen[run]] or list(self.runs)
            for record in records
        ]


def open_candidates(
    paths: Sequence[Path], *, on_progress: ProgressCallback = lambda what, done, total: None
) -> list[Candidate]:
    """Opens run folders and groups those that differ in `data.fold` only.

    Raises:
        CheckpointError: A folder without a finished epoch.
        ConfigError: Runs of other classes than the first.
        DataError: A run's data is gone, or divides its patients otherwise than when it was trained.
    """
    groups: dict[str, list[MemberRun]] = {}
    for done, path in enumerate(paths):
        on_progress("runs opened", done, len(paths))
        run = _open_run(path, on_progress)
        first = next(iter(groups.values()), [run])[0]
        try:
            check_classes(run.config.classes, first.config.classes)
        except ConfigError as error:
            raise ConfigError(f"{path}, {first.folder}: {error}") from None
        groups.setdefault(_group_key(run, groups), []).append(run)
    return [Candidate(_common_name(runs), tuple(runs)) for runs in groups.values()]


def common_validation(candidates: Sequence[Candidate]) -> list[Record]:
    """The validation images that most candidates share; of several such sets that of the first
    candidate, in its order.

    A candidate that validated on none of them is not counted.

    Raises:
        DataError: No candidate validated on anything.
    """
    most, images = 0, dict[str, Record]()
    for leader in candidates:
        shared, num_sharing = leader.validated(), 0
        for other in candidates:
            common = shared.keys() & other.validated().keys()
            if common:
                shared = {digest: record for digest, record in shared.items() if digest in common}
                num_sharing += 1
        if num_sharing > most:
            most, images = num_sharing, shared
    if not images:
        raise DataError(
            "none of these runs validated on any image; say what to choose on with --data and "
            "--split"
        )
    return list(images.values())


def predict_candidate(
    candidate: Candidate,
    records: Sequence[Record],
    *,
    tta: str,
    device: str = "auto",
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> list[np.ndarray]:
    """Probabilities float16 `(K, H, W)` of the records, each the mean over its out-of-fold runs;
    computed once, then read from the run folders.

    Args:
        candidate: The runs.
        records: Images to predict.
        tta: none, flips or dihedral.
        device: auto, cpu, cuda or mps.
        batch_size: Most images that are predicted at a time.
        on_progress: Called with a description, images done and their number.
    """
    arrays: list[list[np.ndarray]] = [[] for _ in records]
    out_of_fold = candidate.out_of_fold_runs(records)
    digests = [cached_sha256(record.image) for record in records]
    for run in candidate.runs:
        own: dict[int, Record] = {}
        foreign: dict[int, Record] = {}
        for index, runs in enumerate(out_of_fold):
            if run in runs and digests[index] in run.validated:
                own[index] = run.validated[digests[index]]
            elif run in runs:
                foreign[index] = records[index]
        # its own validation images are often stored by the training; others get their own folder
        folder, others = run.folder / "probabilities", list(foreign.values())
        own_part = (own, run.val, folder)
        foreign_part = (foreign, others, folder / digest_images(others)[:12])
        for part, images, place in (own_part, foreign_part):
            if part:
                stored = _find_or_store(run, place, images, tta, device, batch_size, on_progress)
                for index, record in part.items():
                    arrays[index].append(stored[record.id])
    return [parts[0] if len(parts) == 1 else _mean(parts) for parts in arrays]


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.mean(arrays, axis=0, dtype=np.float32).astype(arrays[0].dtype)


def _find_or_store(
    run: MemberRun,
    folder: Path,
    records: Sequence[Record],
    tta: str,
    device: str,
    batch_size: int,
    on_progress: ProgressCallback,
) -> StoredProbabilities:
    best = Run(run.folder).best
    stored = find_probabilities(folder, records, checkpoint=best, tta=tta)
    if stored is not None:
        return stored
    return store_probabilities(
        folder,
        load_predictor(best, device=device),
        records,
        checkpoint=best,
        tta=tta,
        batch_size=batch_size,
        on_image=lambda done: on_progress(f"{run.folder.name}, {tta}", done, len(records)),
    )


def _open_run(path: Path, on_progress: ProgressCallback) -> MemberRun:
    if path.is_file():
        raise ConfigError(
            f"{path}: a file; give the run's folder, whose data and folds determine which images "
            "it may be chosen on"
        )
    checkpoint = load_checkpoint(find_checkpoint(path))
    config = checkpoint.config
    source = open_source(
        config.data,
        prepare_settings=config.prepare,
        classes=config.classes,
        on_progress=on_progress,
    )
    val = source.split("val")
    recorded = Run(path).read_json().get("val_patients")
    if recorded is not None and set(recorded) != {record.patient for record in val}:
        raise DataError(
            f"{path}: {source.root} does not validate on the patients that the run was validated "
            "on; restore the data, or train the run again"
        )
    test = source.split("test")
    has_test_masks = bool(test) and all(record.mask for record in test)
    return MemberRun(path, config, checkpoint.trained_on, tuple(val), has_test_masks)


def _group_key(run: MemberRun, groups: dict[str, list[MemberRun]]) -> str:
    """A key that the fold runs of one recipe share; a second run of a fold gets another one."""
    tree = to_dict(run.config)
    fold = tree["data"].pop("fold")
    if not isinstance(fold, int):
        return f"single {len(groups)}"
    del tree["name"], tree["runs_dir"]
    recipe = json.dumps(tree, sort_keys=True)
    keys = (f"{recipe} {number}" for number in count())
    return next(
        key for key in keys if all(other.config.data.fold != fold for other in groups.get(key, []))
    )


def _common_name(runs: Sequence[MemberRun]) -> str:
    name = runs[0].folder.resolve().name
    return name if len(runs) == 1 else re.sub(r"[-_. ]*\d+$", "", name) or name
