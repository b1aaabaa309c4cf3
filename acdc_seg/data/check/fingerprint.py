"""Fingerprint of a data set: counts, sizes, grey values and classes, as one dictionary."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.check.look import NUM_INDICES, GreyLevels, Look
from acdc_seg.data.record import Record
from acdc_seg.labels import IGNORE_INDEX

NO_SPLIT = "no split"
NO_GROUP = "(unknown)"
MAX_SIZES = 20
"""Sizes that are listed, the most frequent first."""


def make_fingerprint(
    records: Sequence[Record], looks: Sequence[Look], classes: ClassesConfig, *, kind: str
) -> dict[str, Any]:
    """Counts, sizes, spacings, grey values and classes, as plain types for JSON.

    Args:
        records: All records of the set.
        looks: What each of them holds.
        classes: Names and values of the classes.
        kind: `images` or `volumes`.
    """
    split_of = {record.patient: record.split for record in records}
    return {
        "kind": kind,
        "num_records": len(records),
        "num_images": sum(look.num_images for look in looks),
        "num_patients": len(split_of),
        "splits": _splits(records),
        "phases": _count(record.phase for record in records if record.phase),
        "groups": _groups(records),
        "sizes": _sizes(looks),
        "size_range": _ranges([look.shape for look in looks if look.shape]),
        "spacing_range": _ranges([look.spacing for look in looks if look.spacing]),
        "grey_values": _grey_values([look.levels for look in looks if look.levels]),
        **_classes(looks, classes),
    }


def _count(values: Any) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _splits(records: Sequence[Record]) -> dict[str, dict[str, int]]:
    """Records, patients and masks of every split, in the order in which they occur."""
    table = {}
    for split in dict.fromkeys(record.split for record in records):
        members = [record for record in records if record.split == split]
        table[split or NO_SPLIT] = {
            "records": len(members),
            "patients": len({record.patient for record in members}),
            "masks": sum(record.mask is not None for record in members),
        }
    return table


def _groups(records: Sequence[Record]) -> dict[str, int]:
    """Patients of every group; empty where no group is known."""
    if not any(record.group for record in records):
        return {}
    groups = {record.patient: record.group or NO_GROUP for record in records}
    return _count(groups.values())


def _sizes(looks: Sequence[Look]) -> dict[str, int]:
    sizes = Counter("x".join(map(str, look.shape)) for look in looks if look.shape)
    return dict(sizes.most_common(MAX_SIZES))


def _ranges(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Smallest and largest value of every axis."""
    axes = zip(*rows, strict=False)
    return [[round(float(edge), 6) for edge in (min(values), max(values))] for values in axes]


def _grey_values(levels: Sequence[GreyLevels]) -> dict[str, float]:
    """The lowest and highest value of all images, and the medians over images of the others."""
    if not levels:
        return {}
    table = np.array(levels)  # (N, 7)
    row = np.median(table, axis=0)
    row[0], row[4] = table[:, 0].min(), table[:, 4].max()
    values = zip(GreyLevels._fields, row, strict=True)
    return {name: float(f"{value:.6g}") for name, value in values}


def _classes(looks: Sequence[Look], classes: ClassesConfig) -> dict[str, Any]:
    """Pixels of every class and the images that it occurs in, void apart."""
    pixels, images = np.zeros(NUM_INDICES, np.int64), np.zeros(NUM_INDICES, np.int64)
    for look in looks:
        pixels += look.pixels
        images += look.images
    total = max(1, int(pixels[: len(classes.names)].sum()))
    rows = {
        name: {
            "value": value,
            "pixels": int(pixels[index]),
            "share": round(int(pixels[index]) / total, 6),
            "images": int(images[index]),
        }
        for index, (name, value) in enumerate(zip(classes.names, classes.values, strict=True))
    }
    return {
        "classes": rows,
        "void": {"pixels": int(pixels[IGNORE_INDEX]), "images": int(images[IGNORE_INDEX])},
        "num_masks": sum(look.num_images for look in looks if look.contacts is not None),
        "num_empty_masks": sum(look.num_empty for look in looks),
    }
