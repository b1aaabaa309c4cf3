"""Units: what an ensemble is chosen from.

One run, or all fold runs of one recipe, each image predicted by those that never saw it.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import count
from pathlib import Path

import numpy as np

from acdc_seg.config import Config, to_dict
from acdc_seg.data.record import Record
from acdc_seg.data.source import Progress, open_source
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import sha256_file
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


@dataclass(frozen=True, eq=False)
class MemberRun:
    """One trained run with the images that it was trained and validated on."""

    folder: Path
    config: Config
    root: Path
    train: tuple[Record, ...]
    val: tuple[Record, ...]

    @cached_property
    def validated(self) -> dict[str, Record]:
        """Validation records by the SHA-256 of their image files."""
        return {_digest(record.image): record for record in self.val}

    @cached_property
    def _trained(self) -> tuple[frozenset[str], frozenset[str]]:
        return frozenset(_digest(record.image) for record in self.train), frozenset(
            record.patient for record in self.train
        )

    def saw(self, record: Record) -> bool:
        """Whether training used this image, under whatever name, or another image of its
        patient.
        """
        images, patients = self._trained
        return _digest(record.image) in images or (
            record.image.resolve().is_relative_to(self.root) and record.patient in patients
        )


@dataclass(frozen=True)
class Unit:
    """Runs that stand for one recipe: a single one, or those of its folds."""

    name: str
    runs: tuple[MemberRun, ...]

    def validated(self) -> dict[str, Record]:
        """Validation records of all runs by the SHA-256 of their image files."""
        return {digest: record for run in self.runs for digest, record in run.validated.items()}

    def seen(self, records: Iterable[Record]) -> list[Record]:
        """Those records that every run of the unit saw in training, so that none can predict them
        honestly.
        """
        return [record for record in records if all(run.saw(record) for run in self.runs)]

    def witnesses(self, record: Record) -> list[MemberRun]:
        """The runs that predict an image: those that did not see it; all where all did."""
        return [run for run in self.runs if not run.saw(record)] or list(self.runs)


def open_units(
    paths: Sequence[Path], *, on_progress: Progress = lambda what, done, total: None
) -> list[Unit]:
    """Opens run folders and groups those that differ in `data.fold` only.

    Raises:
        CheckpointError: A folder that holds no finished epoch.
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
        groups.setdefault(_group(run, groups), []).append(run)
    return [Unit(_unit_name(runs), tuple(runs)) for runs in groups.values()]


def common_validation(units: Sequence[Unit]) -> list[Record]:
    """The validation images that most units share; of several such sets that of the first unit, in
    its order.

    A unit that validated on none of them has no say in it.

    Raises:
        DataError: No unit validated on anything.
    """
    num_units, shared = max(
        (_shared_with(unit, units) for unit in units), key=lambda found: found[0]
    )
    if not num_units:
        raise DataError(
            "none of these runs validated on any image; say what to choose on with --data and "
            "--split"
        )
    return list(shared.values())


def _shared_with(leader: Unit, units: Sequence[Unit]) -> tuple[int, dict[str, Record]]:
    """How many units share validation images with the leader, and the images that all of those
    share, by SHA-256.
    """
    shared, num_units = leader.validated(), 0
    for unit in units:
        if common := shared.keys() & unit.validated().keys():
            shared, num_units = (
                {digest: record for digest, record in shared.items() if digest in common},
                num_units + 1,
            )
    return num_units, shared


def predict_unit(
    unit: Unit,
    records: Sequence[Record],
    *,
    tta: str,
    device: str = "auto",
    batch_size: int = 16,
    on_progress: Progress,
) -> list[np.ndarray]:
    """Probabilities float16 `(K, H, W)` of the records, each the mean over the unit's witnesses;
    computed once, kept in the run folders.

    Args:
        tta: none, flips or dihedral.
        on_progress: Called with what is predicted, images done and their number.
    """
    found: list[list[np.ndarray]] = [[] for _ in records]
    witnesses = [unit.witnesses(record) for record in records]
    for run in unit.runs:
        asked = [number for number, able in enumerate(witnesses) if run in able]
        for own in (True, False):
            part = [
                number
                for number in asked
                if (_digest(records[number].image) in run.validated) == own
            ]
            if part:
                foreign = [records[number] for number in part]
                stored = _probabilities(
                    run, None if own else foreign, tta, device, batch_size, on_progress
                )
                for number in part:
                    record = (
                        run.validated[_digest(records[number].image)] if own else records[number]
                    )
                    found[number].append(stored[record.id])
    return [arrays[0] if len(arrays) == 1 else _mean(arrays) for arrays in found]


def _mean(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(np.mean(arrays, axis=0, dtype=np.float32), np.float16)


def _probabilities(
    run: MemberRun,
    foreign: Sequence[Record] | None,
    tta: str,
    device: str,
    batch_size: int,
    on_progress: Progress,
) -> StoredProbabilities:
    """Those of the run's own validation images, or of foreign ones, which are kept apart."""
    records, folder = run.val if foreign is None else foreign, run.folder / "probabilities"
    if foreign is not None:
        folder /= digest_images(foreign)[:12]
    best = Run(run.folder).best
    kept = find_probabilities(folder, records, checkpoint=best, tta=tta)
    if kept is not None:
        return kept

    def report(done: int) -> None:
        on_progress(f"{run.folder.name}, {tta}", done, len(records))

    predictor = load_predictor(best, device=device)
    return store_probabilities(
        folder, predictor, records, checkpoint=best, tta=tta, batch_size=batch_size, on_image=report
    )


def _open_run(path: Path, on_progress: Progress) -> MemberRun:
    if path.is_file():
        raise ConfigError(
            f"{path}: a file; give the run's folder, whose data and folds tell which images it "
            "may be chosen on"
        )
    config = load_checkpoint(find_checkpoint(path)).config
    source = open_source(config.data, prepare_settings=config.prepare, on_progress=on_progress)
    val = source.split("val")
    recorded = Run(path).read_json().get("val_patients")
    if recorded is not None and set(recorded) != {record.patient for record in val}:
        raise DataError(
            f"{path}: {source.root} does not validate on the patients that the run was validated "
            "on; "
            "restore the data, or train the run again"
        )
    return MemberRun(path, config, source.root.resolve(), tuple(source.split("train")), tuple(val))


def _group(run: MemberRun, groups: dict[str, list[MemberRun]]) -> str:
    """A key that the fold runs of one recipe share; a second run of a fold that is there already
    opens a group of its own.
    """
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


def _unit_name(runs: Sequence[MemberRun]) -> str:
    name = runs[0].folder.resolve().name
    return name if len(runs) == 1 else re.sub(r"[-_. ]*\d+$", "", name) or name


def _digest(path: Path) -> str:
    stat = path.stat()
    return _digest_of_state(path, stat.st_size, stat.st_mtime_ns)


@cache
def _digest_of_state(path: Path, size: int, modified: int) -> str:
    return sha256_file(path)
