"""Describes in a few lines what a data folder holds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.examples import read_example
from acdc_seg.data.readers import READERS, read_records
from acdc_seg.data.record import ProgressCallback, Record, no_progress
from acdc_seg.data.source import detect_format
from acdc_seg.data.volumes import read_volume
from acdc_seg.labels import ACDC_LABELS


def describe(
    data: DataConfig, classes: ClassesConfig, *, on_progress: ProgressCallback = no_progress
) -> list[str]:
    """Lines about patients, groups, images, sizes and the share of each class.

    Reads every file, and so finds broken ones.

    Args:
        data: Path and format.
        classes: Values of masks.
        on_progress: Called after each file.

    Raises:
        DataError: No known format at `data.path`, or a broken file.
    """
    name = detect_format(data)
    reader, records = READERS[name], read_records(name, Path(data.path or ""), data)
    names = [label.name for label in ACDC_LABELS] if reader.kind == "volumes" else classes.names
    shapes, spacings, details = [], [], []
    counts = np.zeros(256, np.int64)
    for done, record in enumerate(records, start=1):
        mask: np.ndarray | None
        if reader.kind == "volumes":
            volume = read_volume(record.image, record.mask)
            shapes.append(volume.image.shape)
            spacings.append(volume.spacing)
            mask = volume.mask
        else:
            _, image, mask = read_example(record, data=data, classes=classes)
            shapes.append(tuple(image.shape[1:]))
        if mask is not None:
            counts += np.bincount(np.ravel(mask), minlength=256)
        on_progress(reader.kind, done, len(records))
    if spacings:
        num_slices = sum(shape[2] for shape in shapes)
        details = [f"spacing {_ranges(spacings)} mm, {num_slices} slices"]
    num_patients = len({record.patient for record in records})
    return [
        f"{data.path}: {reader.title}, {len(records)} {reader.kind} of {num_patients} patients",
        *_split_lines(records, reader.kind),
        *_group_lines(records),
        f"size {_ranges(shapes)}",
        *details,
        _class_line(counts[: len(names)], names),
    ]


def _split_lines(records: Sequence[Record], kind: str) -> list[str]:
    lines = []
    for split in dict.fromkeys(record.split for record in records):
        members = [record for record in records if record.split == split]
        num_masks = sum(record.mask is not None for record in members)
        lines.append(
            f"{split or 'no split'}: {len(members)} {kind} of "
            f"{len({record.patient for record in members})} patients, {num_masks} masks"
        )
    return lines


def _group_lines(records: Sequence[Record]) -> list[str]:
    groups = {record.patient: record.group or "(unknown)" for record in records}
    if not any(record.group for record in records):
        return []
    counts = sorted(Counter(groups.values()).items())
    return ["patients by group: " + ", ".join(f"{group} {count}" for group, count in counts)]


def _ranges(rows: Sequence[Sequence[float]]) -> str:
    """Smallest and largest value of every axis."""
    texts = []
    for values in zip(*rows, strict=True):
        low, high = f"{min(values):.4g}", f"{max(values):.4g}"
        texts.append(low if low == high else f"{low}-{high}")
    return " x ".join(texts)


def _class_line(counts: np.ndarray, names: Sequence[str]) -> str:
    if not counts.any():
        return "no masks"
    shares = (
        f"{name} {count / counts.sum():.1%}" for name, count in zip(names, counts, strict=True)
    )
    return f"pixels: {', '.join(shares)}"
