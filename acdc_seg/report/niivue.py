"""Volumes for NiiVue, a viewer of volumes from npm: NIfTI files as text, and its script."""

import base64
import gzip
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np

from acdc_seg.data.images import read_image
from acdc_seg.data.record import Record, natural_key
from acdc_seg.errors import ConfigError
from acdc_seg.report.evidence import Evidence, decode
from acdc_seg.report.scores import Scores
from acdc_seg.report.viewer import class_colors

VERSION = "0.69.0"
"""Of NiiVue, that the page was tested with."""
BUNDLE = "niivue.umd.js"
MAX_CHARACTERS = 4_000_000
"""Of all volumes of a page."""


def read_bundle(path: Path | None) -> str:
    """The script of NiiVue, compressed, as text.

    Args:
        path: Its file; None means `BUNDLE` in the current folder.

    Raises:
        ConfigError: No such file, or another one.
    """
    path = path or Path(BUNDLE)
    fetch = (
        f"fetch it once with `npm pack @niivue/niivue@{VERSION}`, take package/dist/{BUNDLE} "
        f"out of niivue-niivue-{VERSION}.tgz, and put it into the current folder, or name it with "
        "--niivue FILE or the environment variable ACDC_NIIVUE"
    )
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; {fetch}")
    content = path.read_bytes()
    if b"niivue={}" not in content[:1000]:
        raise ConfigError(f"{path}: not the script {BUNDLE} of NiiVue; {fetch}")
    return _text(content)


def volume_content(
    scores: Scores, evidence: Evidence, *, channels: int, max_characters: int = MAX_CHARACTERS
) -> dict[str, Any]:
    """The content of `niivue-data`: every volume whose slices are known and show one window.

    Where not all volumes fit, those with the worst mean come first.

    Args:
        scores: Of the run.
        evidence: Its pictures.
        channels: Of its images; colors become gray.
        max_characters: Of all volumes together.

    Raises:
        ConfigError: The images are no slices of volumes.
        DataError: An image cannot be read again.
    """
    stacks = _stacks(list(evidence.records.values()), evidence)
    if not stacks:
        raise ConfigError(
            f"{scores.name}: --viewer niivue shows volumes, and no two of its images are known as "
            "slices of one, with patient, slice, spacing and slice_spacing; leave it out"
        )
    sign = 1 if scores.higher_is_better else -1
    stacks.sort(key=lambda stack: sign * _mean(scores, stack))
    shown: list[dict[str, Any]] = []
    used = 0
    for stack in stacks:
        volume = _volume(stack, evidence, channels)
        used += volume_size(volume)
        if used > max_characters:
            break
        shown.append({**volume, "mean": round(_mean(scores, stack), 4)})
    left_out = len(stacks) - len(shown)
    return {
        "classes": class_colors(scores),
        "metric": scores.label,
        "volumes": sorted(shown, key=lambda volume: natural_key(volume["name"])),
        "worst": shown[0]["name"] if shown else "",
        "left_out": f"{left_out} of {len(stacks)} volumes, those with the best scores, are left "
        "out to keep this page small."
        if left_out
        else "",
    }


def volume_size(volume: Mapping[str, Any]) -> int:
    """Characters of a volume's files."""
    return sum(len(volume[part]) for part in ("image", "mask", "labels"))


def _stacks(records: Sequence[Record], evidence: Evidence) -> list[list[Record]]:
    """Records of each patient and phase in the order of their slices, where they have a grid."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.patient and None not in (record.slice, record.spacing, record.slice_spacing):
            found.setdefault((record.patient, record.phase), []).append(record)
    stacks = [sorted(each, key=lambda record: record.slice or 0) for each in found.values()]
    return [stack for stack in stacks if len(stack) > 1 and _has_grid(stack, evidence)]


def _has_grid(stack: Sequence[Record], evidence: Evidence) -> bool:
    """Whether no slice comes twice, and all have one size and spacing."""
    cases = [evidence[record.id] for record in stack]
    grids = {
        (case.height, case.width, record.spacing, record.slice_spacing)
        for case, record in zip(cases, stack, strict=True)
    }
    return len(grids) == 1 and len({record.slice for record in stack}) == len(stack)


def _mean(scores: Scores, stack: Sequence[Record]) -> float:
    """Mean over the slices of a volume."""
    means = [scores.mean(record.id) for record in stack]
    finite = [mean for mean in means if math.isfinite(mean)]
    return sum(finite) / len(finite) if finite else 0.0


def _volume(stack: Sequence[Record], evidence: Evidence, channels: int) -> dict[str, Any]:
    """Name, ids and NIfTI files of a volume; slices that are missing are black."""
    first = stack[0]
    case = evidence[first.id]
    numbers = [(record.slice or 0) - (first.slice or 0) for record in stack]
    images = np.zeros((case.width, case.height, numbers[-1] + 1), np.float32)
    masks, labels = np.zeros_like(images, np.uint8), np.zeros_like(images, np.uint8)
    scale = 1.0
    for number, record in zip(numbers, stack, strict=True):
        image = read_image(
            record.image, channels=channels, page=record.page, half=record.half
        ).mean(0)
        scale = image.shape[0] / case.height
        images[..., number] = _resize(image, case.height, case.width).T
        parts = decode(evidence[record.id])
        masks[..., number], labels[..., number] = parts["mask"].T, parts["labels"].T
    low, high = np.percentile(images, [0.5, 99.5])
    gray = np.rint(((images - low) * (255 / max(high - low, 1e-6))).clip(0, 255))
    height, width = first.spacing or (1.0, 1.0)
    spacing = (width * scale, height * scale, first.slice_spacing or 1.0)
    return {
        "name": " ".join(filter(None, (first.patient, first.phase))),
        "cases": [record.id for record in stack],
        "slices": numbers,
        "image": _nifti(gray.astype(np.uint8), spacing),
        "mask": _nifti(masks, spacing),
        "labels": _nifti(labels, spacing),
    }


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape == (height, width):
        return image
    return cv2.resize(image, (width, height), None, 0, 0, cv2.INTER_AREA)


def _nifti(array: np.ndarray, spacing: tuple[float, float, float]) -> str:
    """A file of `(column, row, slice)`; rows run down as in the images."""
    steps = np.array([spacing[0], -spacing[1], spacing[2]])
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(array.shape) - 1) / 2
    return _text(nib.Nifti1Image(array, affine).to_bytes())


def _text(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii")
