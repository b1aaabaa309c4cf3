"""Describes in a few lines what a data folder holds."""

from collections.abc import Mapping, Sequence
from typing import Any

from acdc_seg.data.check.run import Check


def describe(check: Check) -> list[str]:
    """Lines about patients, groups, images, sizes, grey values and the share of each class."""
    facts, kind = check.fingerprint, check.reader.kind
    lines = [
        f"{check.root}: {check.reader.title}, "
        f"{_count(facts['num_records'], kind)} of {_count(facts['num_patients'], 'patients')}"
    ]
    for split, counts in facts["splits"].items():
        images, patients = _count(counts["records"], kind), _count(counts["patients"], "patients")
        lines.append(f"{split}: {images} of {patients}, {_count(counts['masks'], 'masks')}")
    if facts["groups"]:
        counts = ", ".join(f"{group} {count}" for group, count in facts["groups"].items())
        lines.append(f"patients by group: {counts}")
    if facts["size_range"]:
        lines.append(f"size {_ranges(facts['size_range'])}")
    if facts["spacing_range"]:
        spacing = f"spacing {_ranges(facts['spacing_range'])} mm"
        slices = f", {_count(facts['num_images'], 'slices')}" if kind == "volumes" else ""
        lines.append(spacing + slices)
    return [*lines, *_grey_lines(facts["grey_values"], kind), *_class_lines(facts)]


def _count(number: int, plural: str) -> str:
    """A number with its noun, given in the plural: 1 patient, 2 patients."""
    return f"{number} {plural.removesuffix('s') if number == 1 else plural}"


def _ranges(axes: Sequence[Sequence[float]]) -> str:
    """Smallest and largest value of every axis."""
    texts = []
    for low, high in axes:
        first, last = f"{low:.4g}", f"{high:.4g}"
        texts.append(first if first == last else f"{first}-{last}")
    return " x ".join(texts)


def _grey_lines(values: Mapping[str, float], kind: str) -> list[str]:
    """The range that grey values use; of image files in percent of their format's range."""
    if not values:
        return []
    if kind == "volumes":
        return [
            f"grey values {values['low']:g} to {values['high']:g}, in the median volume mostly "
            f"{values['p1']:g} to {values['p99']:g}"
        ]
    return [
        f"grey values {values['low']:.0%} to {values['high']:.0%} of the format's range, in the "
        f"median image mostly {values['p1']:.0%} to {values['p99']:.0%}"
    ]


def _class_lines(facts: Mapping[str, Any]) -> list[str]:
    """Share of each class of the pixels, and the masks in which it occurs."""
    rows, num_masks = facts["classes"], facts["num_masks"]
    if not num_masks:
        return ["no masks"]
    shares = ", ".join(f"{name} {row['share']:.1%}" for name, row in rows.items())
    where = ", ".join(f"{name} in {row['images']}" for name, row in rows.items())
    lines = [f"pixels: {shares}", f"of {_count(num_masks, 'masks')}: {where}"]
    void = facts["void"]
    if void["pixels"]:
        lines.append(f"void: {void['pixels']:,} pixels in {_count(void['images'], 'masks')}")
    return lines
