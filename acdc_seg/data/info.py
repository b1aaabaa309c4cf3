"""Says in a few lines what a data folder holds."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.images import check_size, read_image, read_mask
from acdc_seg.data.readers.acdc import Patient, read_tree
from acdc_seg.data.readers.paired import read_paired
from acdc_seg.data.record import Record
from acdc_seg.data.source import ProgressCallback, recognize
from acdc_seg.data.volumes import read_volume
from acdc_seg.labels import ACDC_LABELS


def describe(
    data: DataConfig,
    classes: ClassesConfig,
    *,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> list[str]:
    """Lines about patients, groups, images, sizes and the share of each class.

    Reads every file, and so finds broken ones.

    Raises:
        DataError: Nothing recognised at `data.path`, or a broken file.
    """
    assert data.path is not None
    path = Path(data.path)
    if recognize(data) == "acdc":
        return _describe_tree(path, read_tree(path), on_progress)
    return _describe_paired(path, read_paired(path, data), data, classes, on_progress)


def _describe_tree(
    path: Path, patients: Sequence[Patient], on_progress: ProgressCallback
) -> list[str]:
    frames = [frame for patient in patients for frame in patient.frames]
    shapes, spacings, slices = [], [], 0
    counts = np.zeros(len(ACDC_LABELS), np.int64)
    for done, frame in enumerate(frames, start=1):
        volume = read_volume(frame.image, frame.label)
        shapes.append(volume.image.shape)
        spacings.append(volume.spacing)
        slices += volume.image.shape[2]
        if volume.label is not None:
            counts += np.bincount(volume.label.ravel(), minlength=len(counts))
        on_progress("volumes", done, len(frames))
    return [
        f"{path}: ACDC tree, {len(patients)} patients, {len(frames)} volumes, {slices} slices",
        *_count_lines("folders", [patient.split_folder or "(none)" for patient in patients]),
        *_count_lines("groups", [patient.group or "(unknown)" for patient in patients]),
        f"matrix {_range(shapes, 0)} x {_range(shapes, 1)}, slices {_range(shapes, 2)}",
        f"spacing {_range(spacings, 0)} x {_range(spacings, 1)} x {_range(spacings, 2)} mm",
        _class_line(counts, [label.name for label in ACDC_LABELS]),
    ]


def _describe_paired(
    path: Path,
    records: Sequence[Record],
    data: DataConfig,
    classes: ClassesConfig,
    on_progress: ProgressCallback,
) -> list[str]:
    sizes, counts = [], np.zeros(256, np.int64)
    for done, record in enumerate(records, start=1):
        image = read_image(record.image, channels=data.channels)
        sizes.append(image.shape[1:])
        if record.mask is not None:
            mask = read_mask(record.mask, classes)
            check_size(image, mask, image_path=record.image, mask_path=record.mask)
            counts += np.bincount(mask.ravel(), minlength=256)
        on_progress("images", done, len(records))
    lines = [
        f"{path}: paired folders, {len(records)} images of "
        f"{len({record.patient for record in records})} patients"
    ]
    for split in dict.fromkeys(record.split for record in records):
        members = [record for record in records if record.split == split]
        masks = sum(record.mask is not None for record in members)
        lines.append(
            f"{split or 'no split'}: {len(members)} images of "
            f"{len({each.patient for each in members})} patients, {masks} masks"
        )
    lines.append(f"size {_range(sizes, 0)} x {_range(sizes, 1)}")
    if groups := [record.group for record in records if record.group]:
        lines += _count_lines("images by group", groups)
    return [*lines, _class_line(counts[: len(classes.names)], classes.names)]


def _count_lines(title: str, words: Sequence[str]) -> list[str]:
    return [
        f"{title}: "
        + ", ".join(f"{word} {count}" for word, count in sorted(Counter(words).items()))
    ]


def _range(rows: Sequence[Sequence[float]], axis: int) -> str:
    values = [row[axis] for row in rows]
    low, high = (f"{value:.4g}" for value in (min(values), max(values)))
    return low if low == high else f"{low}-{high}"


def _class_line(counts: np.ndarray, names: Sequence[str]) -> str:
    total = max(1, int(counts.sum()))
    shares = ", ".join(
        f"{name} {count / total:.1%}" for name, count in zip(names, counts, strict=True)
    )
    return f"pixels: {shares}" if counts.any() else "no masks"
