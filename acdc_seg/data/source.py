"""Recognises what lies at a path and turns it into records: an ACDC tree, paired folders, or the
built-in phantom.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from acdc_seg.config import DataConfig, PrepareConfig, to_dict
from acdc_seg.data.phantom.patients import synthesize
from acdc_seg.data.readers.acdc import is_acdc_tree
from acdc_seg.data.readers.paired import SPLITS, is_paired, natural_key, read_paired
from acdc_seg.data.record import Record
from acdc_seg.data.slicing import prepare
from acdc_seg.data.splits import check_disjoint, fold_patients, split_patients
from acdc_seg.errors import DataError

PHANTOM_PATIENTS = 25
ProgressCallback = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""
Progress = ProgressCallback


@dataclass(frozen=True)
class Source:
    """Records of one data set; `kind` is phantom, acdc or paired, `root` the paired folders they
    were read from.
    """

    kind: str
    root: Path
    records: tuple[Record, ...]

    def split(self, name: str) -> list[Record]:
        """Records of train, val or test."""
        return [record for record in self.records if record.split == name]

    def digest(self) -> str:
        """SHA-256 over places and bytes of all files, the data's identity in run.json; the same for
        every fold.
        """
        hasher = hashlib.sha256()
        for path in sorted(
            path for record in self.records for path in (record.image, record.mask) if path
        ):
            hasher.update(
                f"{path.relative_to(self.root).as_posix()} {path.stat().st_size}\n".encode()
            )
            hasher.update(path.read_bytes())
        return hasher.hexdigest()


def open_source(
    data: DataConfig,
    *,
    prepare_settings: PrepareConfig,
    work_dir: Path = Path("data"),
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Source:
    """Reads the data at `data.path`.

    Volumes are cut to slices once, into `work_dir`, and so is the phantom.

    Raises:
        DataError: Nothing there, nothing recognised, or broken files.
        ConfigError: More folds than patients.
    """
    kind = recognize(data)
    if kind == "paired" and data.path:
        root = Path(data.path)
    else:
        with _alone_in(work_dir):
            tree = Path(data.path) if data.path else _phantom(work_dir, on_progress)
            root = _prepared(tree, data, prepare_settings, work_dir, on_progress)
    records = tuple(_divided(read_paired(root, data), data))
    _check_patients(root, records)
    return Source(kind, root, records)


def recognize(data: DataConfig) -> str:
    """phantom, acdc or paired; raises DataError where the path is none of them."""
    if data.path is None:
        return "phantom"
    path = Path(data.path)
    if not path.is_dir():
        raise DataError(
            f"{path}: no such folder; give --data the ACDC tree or the folder that holds "
            f"{data.image_dir}/ and {data.mask_dir}/"
        )
    if data.format != "auto":
        return data.format
    if is_paired(path, data):
        return "paired"
    if is_acdc_tree(path):
        return "acdc"
    raise DataError(
        f"{path}: neither an ACDC tree (patient001/Info.cfg ...) nor paired folders "
        f"({data.image_dir}/ and {data.mask_dir}/, "
        "also below train, val, test); check the path, or set data.image_dir and data.mask_dir"
    )


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lets one process at a time into a folder, so that those of a training do not all write the
    same slices there.

    Where the folder cannot be made or the file system has no locks, nobody waits.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _phantom(work_dir: Path, on_progress: ProgressCallback) -> Path:
    out = work_dir / "phantom"
    if not out.is_dir():
        synthesize(
            out,
            num_patients=PHANTOM_PATIENTS,
            on_patient=lambda done, total: on_progress("phantom patients", done, total),
        )
    return out


def _prepared(
    tree: Path,
    data: DataConfig,
    settings: PrepareConfig,
    work_dir: Path,
    on_progress: ProgressCallback,
) -> Path:
    """The folder of slices cut from these files with these settings, made when it is not there
    yet.
    """
    files = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(tree.resolve().rglob("*.*"))
    ]
    rule = [files, to_dict(settings), data.val_fraction, data.split_seed]
    digest = hashlib.sha256(json.dumps(rule).encode()).hexdigest()[:8]
    out = work_dir / "prepared" / f"{tree.resolve().name}-{digest}"
    if not out.is_dir():
        prepare(
            tree,
            out,
            settings=settings,
            val_fraction=data.val_fraction,
            split_seed=data.split_seed,
            on_volume=lambda done, total: on_progress("volumes cut to slices", done, total),
        )
    return out


def _divided(records: Sequence[Record], data: DataConfig) -> list[Record]:
    """Gives every record a split: by fold where one is set, else by folder; without a val folder
    part of the patients validates.
    """
    named = [record if record.split else replace(record, split="train") for record in records]
    splits = {record.split for record in named}
    if data.fold is not None or not data.validation:
        return _folded(named, data)
    if "val" in splits or "train" not in splits:
        return named
    _, val = split_patients(_groups(named), val_fraction=data.val_fraction, seed=data.split_seed)
    return [
        replace(record, split="val")
        if record.patient in val and record.split == "train"
        else record
        for record in named
    ]


def _folded(records: Sequence[Record], data: DataConfig) -> list[Record]:
    """Train and val as one, in natural order of names, with the patients of the fold in val; the
    test records stay.
    """
    pooled = sorted(
        (record for record in records if record.split != "test"),
        key=lambda record: natural_key(record.id),
    )
    val: list[str] = []
    if pooled and data.num_folds is not None and data.fold is not None:
        val = fold_patients(_groups(pooled), num_folds=data.num_folds, seed=data.split_seed)[
            data.fold
        ]
    divided = [
        replace(record, split="val" if record.patient in val else "train") for record in pooled
    ]
    return [*divided, *(record for record in records if record.split == "test")]


def _groups(records: Sequence[Record]) -> dict[str, str]:
    """Group of every patient outside test."""
    return {record.patient: record.group for record in records if record.split != "test"}


def _check_patients(root: Path, records: Sequence[Record]) -> None:
    try:
        check_disjoint(
            {
                split: {record.patient for record in records if record.split == split}
                for split in SPLITS
            }
        )
    except DataError as error:
        raise DataError(
            f"{root}: {error}; if these are different people, say how to tell them apart with "
            "data.patient_rule"
        ) from None
