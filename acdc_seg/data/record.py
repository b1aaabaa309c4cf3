"""Records: one image or volume each, with its mask and its patient.

Readers of all formats give records; everything after them is the same.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from string import digits
from typing import Literal

SPLITS = ("train", "val", "test")

ProgressCallback = Callable[[str, int, int], None]
"""Called with what is being done, the number done and the number of all."""


@dataclass(frozen=True)
class Record:
    """One image or volume on disk.

    `id` is unique in its data set, for an image the file's stem. `split` is one of `SPLITS` or
    empty, `spacing` (row, column) in mm; `patient`, `phase` and `group` are empty where unknown.
    `page` is the number of the page of a multi-page image file, or of the frame of a 4-D volume,
    from 0; None reads the only one. `half` is the half of the file that is the image, where the
    other is the mask. A slice of a volume has its number `slice` in it, from 0, and
    `slice_spacing`, the distance in mm from slice to slice; all slices of one patient and phase
    show the same window.
    """

    id: str
    image: Path
    mask: Path | None
    patient: str = ""
    split: str = ""
    phase: str = ""
    group: str = ""
    spacing: tuple[float, float] | None = None
    page: int | None = None
    half: Literal["", "left", "right"] = ""
    slice: int | None = None
    slice_spacing: float | None = None


def natural_key(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts `cmr2` before `cmr10`."""
    return tuple(
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", text)
        if part
    )


def common_affix(names: Collection[str]) -> tuple[str, str]:
    """What all names begin and end with, without a number that either is cut out of."""
    before = _common_prefix(names).rstrip(digits)
    after = _common_prefix([name[::-1] for name in names])[::-1].lstrip(digits)
    return before, after


def no_progress(what: str, done: int, total: int) -> None:
    """The progress callback that does nothing."""


def _common_prefix(names: Collection[str]) -> str:
    first, last = min(names, default=""), max(names, default="")
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return first[:length]
