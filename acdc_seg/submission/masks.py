"""Folders of mask files `<image stem>_mask.png`."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.images import read_mask
from acdc_seg.errors import DataError
from acdc_seg.submission.table import sort_stems

SUFFIX = "_mask"


def read_masks(folder: Path, classes: ClassesConfig) -> dict[str, np.ndarray]:
    """Class indices `(H, W)` by image stem, in natural order.

    Raises:
        DataError: There are none, or one holds values that are not classes.
    """
    paths = {path.stem.removesuffix(SUFFIX): path for path in folder.glob(f"?*{SUFFIX}.png")}
    if not paths:
        raise DataError(f"{folder}: no masks named {{stem}}{SUFFIX}.png; check the folder")
    return {stem: read_mask(paths[stem], classes) for stem in sort_stems(paths)}


def write_masks(folder: Path, masks: Iterable[tuple[str, np.ndarray]]) -> None:
    """Writes labels `(H, W)` by image stem as 8-bit PNG files; a pixel is its class index.

    Raises:
        DataError: A stem that is not a file name, or a file that cannot be written.
    """
    for stem, labels in masks:
        if "/" in stem or "\0" in stem:
            raise DataError(
                f"{folder}: '{stem}' is not a file name; masks are written into this folder only"
            )
        path = folder / f"{stem}{SUFFIX}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", labels.astype(np.uint8))[1].tobytes())
        except OSError as error:
            raise DataError(
                f"{path}: cannot write this mask ({error.strerror}); check the folder and its "
                "free space"
            ) from None
