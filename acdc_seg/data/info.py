"""Describes in a few lines what a data folder holds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.examples import read_example
from acdc_seg.data.readers import READERS
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
    reader = READERS[detect_format(data)]
    records = reader.read(Path(data.path or ""), data)
    num_patients = len({record.patient for record in records})
    if reader.kind == "volumes":
        details = _describe_volumes(records, on_progress)
    else:
        details = _describe_images(records, data, classes, on_progress)
    return [
        f"{data.path}: {reader.title}, {len(records)} {reader.kind} of {num_patients} patients",
        *_split_lines(records, reader.kind),
        *_group_lines(records),
        *details,
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


def _describe_volumes(records: Sequence[Record], on_progress: ProgressCallback) -> list[str]:
    shapes, spacings = [], []
    counts = np.zeros(len(ACDC_LABELS), np.int64)
    for done, record in enumerate(records, start=1):
        volume = read_volume(record.image, record.mask)
        shapes.append(volume.image.shape)
        spacings.append(volume.spacing)
        if volume.mask is not None:
            counts += np.bincount(volume.mask.ravel(), minlength=len(counts))
        on_progress("volumes", done, len(records))
    return [
        f"matrix {_range(shapes, 0)} x {_range(shapes, 1)}, slices {_range(shapes, 2)} "
        f"({sum(shape[2] for shape in shapes)} in all)",
        f"spacing {_range(spacings, 0)} x {_range(spacings, 1)} x {_range(spacings, 2)} mm",
        _class_line(counts, [label.name for label in ACDC_LABELS]),
    ]


def _describe_images(
    records: Sequence[Record],
    data: DataConfig,
    classes: ClassesConfig,
    on_progress: ProgressCallback,
) -> list[str]:
    sizes, counts = [], np.zeros(256, np.int64)
    for done, record in enumerate(records, start=1):
        _, image, mask = read_example(record, data=data, classes=classes)
        sizes.append(image.shape[1:])
        if mask is not None:
            counts += np.bincount(mask.numpy().ravel(), minlength=256)
        on_progress("images", done, len(records))
    return [
        f"size {_range(sizes, 0)} x {_range(sizes, 1)}",
        _class_line(counts[: len(classes.names)], classes.names),
    ]


def _range(rows: Sequence[Sequence[float]], axis: int) -> str:
    values = [row[axis] for row in rows]
    low, high = (f"{value:.4g}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def _class_line(counts: np.ndarray, names: Sequence[str]) -> str:
    if not counts.any():
        return "no masks"
    shares = (
        f"{name} {count / counts.sum():.1%}" for name, count in zip(names, counts, strict=True)
    )
    return f"pixels: {', '.join(shares)}"
