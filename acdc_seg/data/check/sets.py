"""Problems that no single file shows: they are between images, or in the classes of all masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.duplicates import Match, find_duplicates
from acdc_seg.data.check.look import Look
from acdc_seg.data.check.topology import suggest_order
from acdc_seg.data.problems import Problem
from acdc_seg.data.record import ProgressCallback, Record, no_progress

USED_RANGE = 0.25
"""Part of the format's range below which the brightest pixel of all images is worth a word."""
ODD = 4
"""Factor by which a size or spacing differs from the median to be odd."""
MIN_EDGE = 32
"""Pixels of the shorter edge that training needs at least."""
MAX_NAMED = 3
PRESETS = {"0,3,2,1": "classes=mnms", "0,1,2,3": "classes=acdc"}
"""Shipped classes by the values of background, rv, myo, lv."""
SPLIT_ORDER = {"val": 1, "test": 2}
"""Splits in which an image that is there twice had better stay, in rising order."""
ONE_CLASS = "classes=[background,foreground]"


def find_set_problems(
    records: Sequence[Record],
    looks: Sequence[Look],
    *,
    root: Path,
    kind: str,
    data: DataConfig,
    classes: ClassesConfig,
) -> list[Problem]:
    """Problems of sizes, spacings, grey values and classes of a whole set.

    Args:
        records: All records.
        looks: What each of them holds.
        root: Folder of the set, named by problems of no single file.
        kind: `images` or `volumes`.
        data: Size that images are brought to.
        classes: Names and values of the classes.
    """
    problems = [*_odd_spacings(records, looks)]
    if kind == "images":
        problems += [*_sizes(records, looks, root, data), *_unused_range(looks, root)]
    return [*problems, *find_class_problems(records, looks, root=root, classes=classes)]


def find_class_problems(
    records: Sequence[Record], looks: Sequence[Look], *, root: Path, classes: ClassesConfig
) -> list[Problem]:
    """Classes that no mask has, classes in another order, and masks without foreground."""
    num_masks = sum(look.num_images for look in looks if look.contacts is not None)
    if not num_masks:
        return []
    problems = [*_absent_classes(looks, root, classes), *_class_order(looks, root, classes)]
    num_empty = sum(look.num_empty for look in looks)
    if num_empty and classes.has_background:
        empty = [record.id for record, look in zip(records, looks, strict=True) if look.num_empty]
        text = f"{num_empty} of {num_masks} masks are empty (all background), in {_name(empty)}"
        fix = "right where nothing is to be seen, as at the ends of a heart; else correct them"
        problems.append(Problem(root, "empty_mask", "warning", text, fix))
    return problems


def find_duplicate_problems(
    records: Sequence[Record],
    looks: Sequence[Look],
    *,
    on_progress: ProgressCallback = no_progress,
) -> list[Problem]:
    """Images that are there twice, one problem for each two records.

    An equal image of another patient in another split is an error: what is trained on is scored.
    """
    owner = [index for index, look in enumerate(looks) for _ in look.thumbnails]
    thumbnails = [thumbnail for look in looks for thumbnail in look.thumbnails]
    patients = [records[index].patient for index in owner]
    by_records: dict[tuple[int, int], list[Match]] = {}
    for match in find_duplicates(thumbnails, patients, on_progress=on_progress):
        pair = owner[match.first], owner[match.second]
        by_records.setdefault(pair, []).append(match)
    best: dict[int, tuple[int, int]] = {}  # by the second: frames of a patient resemble each other
    for pair in sorted(by_records):
        other = best.setdefault(pair[1], pair)
        if _agreement(by_records[pair]) > _agreement(by_records[other]):
            best[pair[1]] = pair
    return [
        _duplicate(records[first], records[second], looks[second], by_records[first, second])
        for first, second in sorted(best.values())
    ]


def _agreement(matches: Sequence[Match]) -> float:
    return sum(match.similarity for match in matches)


def find_split_problems(records: Sequence[Record], root: Path) -> list[Problem]:
    """Patients that are in two splits."""
    splits: dict[str, list[str]] = {}
    for record in records:
        of_patient = splits.setdefault(record.patient, [])
        if record.split not in of_patient:
            of_patient.append(record.split)
    fix = "keep each patient in one split, or say with data.patient_rule how to tell patients apart"
    return [
        Problem(
            root,
            "patient_in_splits",
            "error",
            f"patient '{patient}' is in {' and in '.join(split or 'no split' for split in found)}",
            fix,
        )
        for patient, found in splits.items()
        if len(found) > 1
    ]


def _duplicate(first: Record, second: Record, look: Look, matches: Sequence[Match]) -> Problem:
    """The problem of two records, or two slices of one, that show the same. It names the one that
    is better left out: the one that trains, else the second.
    """
    is_equal = all(match.is_equal for match in matches)
    if first is second:
        text = f"{len(matches)} of its slices are there twice"
        return Problem(first.image, "duplicate", "warning", text, "export the volume again")
    if SPLIT_ORDER.get(first.split, 0) < SPLIT_ORDER.get(second.split, 0):
        first, second = second, first
    what = f"{len(matches)} of {look.num_images} slices show" if look.num_images > 1 else "shows"
    how = "equal pixels" if is_equal else "other grey values or compression"
    how = "a shifted crop" if any(match.is_shifted for match in matches) else how
    text = f"{what} the same as {_where(first)}: {how}; this one is of {_whose(second)}"
    is_same_patient = first.patient == second.patient
    crosses = first.split != second.split and not is_same_patient
    fix = "leave one of the two out" + (
        "" if is_same_patient else ", or name one patient for both: a split may divide them"
    )
    severity: Literal["error", "warning"] = "error" if is_equal and crosses else "warning"
    code = "duplicate" if is_equal else "near_duplicate"
    return Problem(second.image, code, severity, text, fix)


def _where(record: Record) -> str:
    return f"{record.image.name} of {_whose(record)}"


def _whose(record: Record) -> str:
    return f"patient {record.patient}" + (f" ({record.split})" if record.split else "")


def _odd_spacings(records: Sequence[Record], looks: Sequence[Look]) -> Iterator[Problem]:
    """Images whose pixels are much larger or smaller than those of most others."""
    rows = [look.spacing[:2] for look in looks if look.spacing]
    if not rows:
        return
    median = np.median(rows, axis=0)
    for record, look in zip(records, looks, strict=True):
        if not look.spacing:
            continue
        ratio = np.array(look.spacing[:2]) / median
        if ratio.max() > ODD or ratio.min() < 1 / ODD:
            spacing = " x ".join(f"{edge:.4g}" for edge in look.spacing[:2])
            usual = " x ".join(f"{edge:.4g}" for edge in median)
            text = f"pixels of {spacing} mm, where most are {usual} mm"
            fix = "check the unit and the header"
            yield Problem(record.image, "odd_spacing", "warning", text, fix)


def _sizes(
    records: Sequence[Record], looks: Sequence[Look], root: Path, data: DataConfig
) -> Iterator[Problem]:
    """Images of one size that is too small, and images of odd sizes."""
    shapes = {look.shape for look in looks if look.shape}
    if len(shapes) == 1 and min(min(shapes)) < MIN_EDGE and data.size is None:
        (shape,) = shapes
        text = f"images of {_edges(shape)} pixels are too small, {MIN_EDGE} is the least"
        edges = ",".join(str(max(edge, MIN_EDGE)) for edge in shape)
        settings = (f"data.size=[{edges}]",)
        yield Problem(root, "too_small", "error", text, f"set {settings[0]}", settings)
    if not shapes:
        return
    median = np.median([look.shape for look in looks if look.shape], axis=0)
    for record, look in zip(records, looks, strict=True):
        if look.shape and (max(look.shape / median) > ODD or min(look.shape / median) < 1 / ODD):
            usual = _edges(tuple(int(edge) for edge in median))
            text = f"{_edges(look.shape)} pixels, where most have {usual}"
            yield Problem(record.image, "odd_size", "warning", text, "check that it belongs here")


def _edges(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _unused_range(looks: Sequence[Look], root: Path) -> Iterator[Problem]:
    """Images that are dark altogether, such as 12 bits in files of 16."""
    highest = max((look.levels.high for look in looks if look.levels), default=1.0)
    if 0 < highest < USED_RANGE:
        text = f"the brightest pixel of all images is at {highest:.1%} of the format's range"
        fix = "rescale the images, for example by 16 where 12 bits are in files of 16"
        yield Problem(root, "unused_range", "warning", text, fix)


def _absent_classes(looks: Sequence[Look], root: Path, classes: ClassesConfig) -> Iterator[Problem]:
    images = np.sum([look.images for look in looks], axis=0)[: len(classes.names)]
    absent = [name for name, count in zip(classes.names, images, strict=True) if not count]
    if not absent:
        return
    is_binary = len(classes.names) > 2 and not images[2:].any() and classes.values[:2] == (0, 1)
    text = f"no mask contains {_name(absent, quote=True)}"
    fix = "leave out classes that the data does not have" + (
        f": {ONE_CLASS} if there is one structure" if is_binary else ", or check classes.values"
    )
    settings = (ONE_CLASS,) if is_binary else ()
    yield Problem(root, "absent_class", "warning", text, fix, settings)


def _class_order(looks: Sequence[Look], root: Path, classes: ClassesConfig) -> Iterator[Problem]:
    contacts = np.sum([look.contacts for look in looks if look.contacts is not None], axis=0)
    order = suggest_order(contacts, classes.names)
    if order is None:
        return
    names = [name.lower() for name in classes.names]
    inner, outer = (classes.names[order[names.index(name)]] for name in ("lv", "myo"))
    values = ",".join(str(classes.values[index]) for index in order)
    settings = (PRESETS.get(values, f"classes.values=[{values}]"),)
    text = (
        f"the pixels of class '{inner}' are surrounded by '{outer}', as the left ventricle's "
        "cavity is by myocardium: the masks seem to order the classes otherwise"
    )
    fix = f"set {settings[0]} if that is so"
    yield Problem(root, "class_order", "warning", text, fix, settings)


def _name(names: Sequence[str], *, quote: bool = False) -> str:
    """The first few names and the number of the others."""
    shown = [f"'{name}'" if quote else name for name in names[:MAX_NAMED]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
