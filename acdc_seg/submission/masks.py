"""Folders of mask files, named after their images."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.masks import encode_mask, read_mask
from acdc_seg.data.readers.unpaired import find_masks
from acdc_seg.errors import DataError
from acdc_seg.submission.table import sort_stems


def read_masks(
    folder: Path, classes: ClassesConfig, data: DataConfig | None = None
) -> dict[str, np.ndarray]:
    """Class indices `(H, W)` by image stem, in natural order.

    Args:
        folder: Folder of the masks, or one that holds `test/mask/` or `mask/`.
        classes: Values or colors of the masks.
        data: Names of the mask folder and files.

    Raises:
        DataError: There are none, or one holds values that are not classes.
    """
    paths = find_masks(folder, data or DataConfig())
    return {stem: read_mask(paths[stem], classes) for stem in sort_stems(paths)}


def write_masks(
    folder: Path,
    masks: Iterable[tuple[str, np.ndarray]],
    classes: ClassesConfig | None = None,
    data: DataConfig | None = None,
) -> int:
    """Writes labels `(H, W)` by image stem as PNG files that `read_masks` reads back; returns their
    number.

    Raises:
        DataError: A stem that is not a file name, or a file that cannot be written.
    """
    classes, data = classes or ClassesConfig(), data or DataConfig()
    num_masks = 0
    for stem, labels in masks:
        if "/" in stem or "\0" in stem:
            raise DataError(
                f"{folder}: '{stem}' is not a file name; masks are written into this folder only"
            )
        path = folder / f"{data.output_pattern.replace('{stem}', stem)}.png"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_mask(labels, classes))
            num_masks += 1
        except OSError as error:
            raise DataError(
                f"{path}: cannot write this mask ({error.strerror}); check the folder and its "
                "free space"
            ) from None
    return num_masks
