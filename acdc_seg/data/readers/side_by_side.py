"""Reads image files that hold an image and its color mask side by side."""

from pathlib import Path
from typing import Literal

import numpy as np

from acdc_seg.config import DataConfig
from acdc_seg.data.images import decode, image_shape, read_bytes
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import find_folders, list_files
from acdc_seg.data.readers.paired import image_suffixes
from acdc_seg.data.readers.pairs import Files, find_pairs, unique_ids
from acdc_seg.data.record import SPLITS, Record
from acdc_seg.errors import DataError

NUM_SAMPLES = 6
"""Files that are looked at to recognize the format."""
ASPECTS = (1.8, 2.2)
"""Width of a file of this format in heights, where nothing else says that it is one."""
NUM_COLORS = 16
"""Most frequent colors of half a file, of which a mask consists."""
MIN_SHARE = 0.3
"""Least part of a mask that these cover; JPEG changes the colors at edges."""
MIN_RATIO = 3
"""Least ratio of that part to the same of the image beside it."""


def is_side_by_side(path: Path, config: DataConfig) -> bool:
    """Whether images have no masks, are about twice as wide as high, and one half of each has few
    colors, far fewer than the other.
    """
    suffixes = image_suffixes(config)
    if any(part.masks for part in find_pairs(path, config, suffixes).parts):
        return False
    samples = _samples(_find_files(path, config, []))
    try:
        shapes = [image_shape(file) for file in samples]
        if not samples or any(
            width % 2 or not ASPECTS[0] <= width / height <= ASPECTS[1] for height, width in shapes
        ):
            return False
        return len({_image_half(file) for file in samples} - {""}) == 1
    except DataError:
        return False


def scan_side_by_side(path: Path, config: DataConfig) -> Scan:
    """Records of all splits, image and mask of which are halves of one file."""
    problems: list[Problem] = []
    splits = _find_files(path, config, problems)
    if not splits:
        text = f"no images with endings {', '.join(image_suffixes(config))}"
        fix = "check the folder and data.extensions"
        return Scan([], [*problems, Problem(path, "no_image", "error", text, fix)], [])
    half: Literal["left", "right"] = "left"
    for file in _samples(splits):
        try:
            half = _image_half(file) or half
        except DataError:  # told where the file is read
            continue
    records = [
        Record(stem, file, file, split=split, half=half)
        for split, files in splits.items()
        for stem, file in files.items()
    ]
    told = ", ".join(split for split in splits if split)
    note = f"Image and mask side by side in one file, the image on the {half}" + (
        f", splits {told}" if told else ""
    )
    return Scan(unique_ids(records), problems, [note])


def _find_files(path: Path, config: DataConfig, problems: list[Problem]) -> dict[str, Files]:
    """Images of each split, in a folder of images or in that of the split."""
    found: dict[str, Files] = {}
    folders = sorted(find_folders(path, config), key=lambda folder: folder.kind != "image")
    for folder in folders:
        files = list_files(folder.path, image_suffixes(config), problems)
        if files and folder.kind != "mask":
            found.setdefault(folder.split, files)
    return {split: found[split] for split in ("", *SPLITS) if split in found}


def _samples(splits: dict[str, Files]) -> list[Path]:
    """Some files from all over the data."""
    files = [file for files in splits.values() for file in files.values()]
    return files[:: max(1, len(files) // NUM_SAMPLES)][:NUM_SAMPLES]


def _image_half(file: Path) -> Literal["left", "right", ""]:
    """The half that is an image, where the other consists of few colors; empty where none does."""
    pixels = decode(file, read_bytes(file))
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        return ""
    middle = pixels.shape[1] // 2
    left, right = _frequent_share(pixels[:, :middle]), _frequent_share(pixels[:, middle:])
    if max(left, right) < max(MIN_SHARE, MIN_RATIO * min(left, right)):
        return ""
    return "left" if left < right else "right"


def _frequent_share(pixels: np.ndarray) -> float:
    """Part of the pixels `(H, W, C)` that have one of the most frequent colors."""
    codes = pixels[..., :3].reshape(-1, 3).astype(np.int64) @ (65536, 256, 1)
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    return float(counts[:NUM_COLORS].sum() / counts.sum())
