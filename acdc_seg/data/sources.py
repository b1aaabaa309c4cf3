"""Recognises what lies at a path and turns it into records: an ACDC tree, paired folders, or the built-in phantom."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from acdc_seg.config import DataConfig, PrepareConfig, config_tree
from acdc_seg.data.acdc import is_acdc_tree
from acdc_seg.data.paired import SPLITS, is_paired, read_paired
from acdc_seg.data.phantom import synthesize
from acdc_seg.data.prepare import prepare
from acdc_seg.data.records import Record
from acdc_seg.data.splits import check_disjoint, split_patients
from acdc_seg.errors import DataError

PHANTOM_PATIENTS = 25
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and how many there are."""


@dataclass(frozen=True)
class Source:
    """Records of one data set; `kind` is phantom, acdc or paired, `root` the paired folders they were read from."""

    kind: str
    root: Path
    records: tuple[Record, ...]

    def split(self, name: str) -> list[Record]:
        """Records of train, val or test."""
        return [record for record in self.records if record.split == name]

    def digest(self) -> str:
        """SHA-256 over names, splits and bytes of all files, the data's identity in run.json."""
        hasher = hashlib.sha256()
        for record in self.records:
            hasher.update(f"{record.split}/{record.id}/{record.patient}\n".encode())
            for path in (record.image, record.mask):
                hasher.update(path.read_bytes() if path else b"")
        return hasher.hexdigest()


def open_source(
    data: DataConfig,
    *,
    prepare_settings: PrepareConfig,
    work_dir: Path = Path("data"),
    on_progress: Progress = lambda what, done, total: None,
) -> Source:
    """Reads the data at `data.path`. Volumes are cut to slices once, into `work_dir`, and so is the phantom.

    Raises:
        DataError: Nothing there, nothing recognised, or broken files.
    """
    kind = recognize(data)
    root = Path(data.path) if data.path else _phantom(work_dir, on_progress)
    if kind != "paired":
        root = _prepared(root, data, prepare_settings, work_dir, on_progress)
    records = tuple(_with_validation(read_paired(root, data), data))
    _check_patients(root, records)
    return Source(kind, root, records)


def recognize(data: DataConfig) -> str:
    """phantom, acdc or paired; raises DataError where the path is none of them."""
    if data.path is None:
        return "phantom"
    path = Path(data.path)
    if not path.is_dir():
        raise DataError(
            f"{path}: no such folder; give --data the ACDC tree or the folder that holds {data.image_dir}/ and {data.mask_dir}/"
        )
    if data.source != "auto":
        return data.source
    if is_paired(path, data):
        return "paired"
    if is_acdc_tree(path):
        return "acdc"
    raise DataError(
        f"{path}: neither an ACDC tree (patient001/Info.cfg ...) nor paired folders ({data.image_dir}/ and {data.mask_dir}/, "
        "also below train, val, test); check the path, or set data.image_dir and data.mask_dir"
    )


def _phantom(work_dir: Path, on_progress: Progress) -> Path:
    out = work_dir / "phantom"
    if not out.is_dir():
        synthesize(out, num_patients=PHANTOM_PATIENTS, on_patient=lambda done, total: on_progress("phantom patients", done, total))
    return out


def _prepared(tree: Path, data: DataConfig, settings: PrepareConfig, work_dir: Path, on_progress: Progress) -> Path:
    """The folder of slices cut from these files with these settings, made when it is not there yet."""
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(tree.resolve().rglob("*.*"))]
    rule = [files, config_tree(settings), data.val_fraction, data.split_seed]
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


def _with_validation(records: Sequence[Record], data: DataConfig) -> list[Record]:
    """Gives every record a split: where there is no val folder, part of the training patients validates."""
    named = [record if record.split else replace(record, split="train") for record in records]
    if any(record.split == "val" for record in named) or not any(record.split == "train" for record in named):
        return named
    groups = {record.patient: record.group for record in named if record.split == "train"}
    _, val = split_patients(groups, val_fraction=data.val_fraction, seed=data.split_seed)
    return [replace(record, split="val") if record.split == "train" and record.patient in val else record for record in named]


def _check_patients(root: Path, records: Sequence[Record]) -> None:
    try:
        check_disjoint({split: {record.patient for record in records if record.split == split} for split in SPLITS})
    except DataError as error:
        raise DataError(f"{root}: {error}; if these are different people, say how to tell them apart with data.patients") from None
