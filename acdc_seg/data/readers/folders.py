"""Finds folders of images and of masks, and of splits, by the words in their names."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem
from acdc_seg.data.record import natural_key

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
NIFTI_SUFFIXES = (".nii.gz", ".nii")

IMAGE_WORDS = ("image", "images", "img", "imgs")
MASK_WORDS = (
    *("mask", "masks", "label", "labels", "gt", "gts", "annotation", "annotations"),
    *("seg", "segs", "segmentation", "segmentations", "groundtruth", "target", "targets"),
)
"""Names of folders of images and of masks, in the order in which they are taken."""
SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
NNUNET_NAMES = {
    "imagestr": "images_train",
    "labelstr": "labels_train",
    "imagests": "images_test",
    "labelsts": "labels_test",
}
MAX_KINDS = 3
"""Kinds of files, and folders of each, that a description names."""
DEPTH = 2
"""Levels of folders that are looked into: images/train and train/images."""


class Folder(NamedTuple):
    """A folder and what its name, and those above it, say; empty where they say nothing."""

    path: Path
    kind: str
    """image or mask."""
    split: str


def find_folders(path: Path, config: DataConfig) -> list[Folder]:
    """The folder itself and those below it whose names say what they hold, in fixed order.

    Args:
        path: Where to look.
        config: Folders that are named by `image_dir` and `mask_dir` take the place of words.
    """
    named = {"image": config.image_dir, "mask": config.mask_dir}
    words = {
        "image": () if config.image_dir else IMAGE_WORDS,
        "mask": () if config.mask_dir else MASK_WORDS,
    }
    found = list(_walk(Folder(path, "", ""), words, DEPTH))
    for kind, name in named.items():
        if name:
            bases = [folder for folder in found if not folder.kind]
            tops = [Folder(base.path / name, kind, base.split) for base in bases]
            for top in tops:
                if top.path.is_dir():
                    found += _walk(top, {}, 1)
    return sorted(found, key=_priority)


def list_files(
    folder: Path, suffixes: Sequence[str], problems: list[Problem] | None = None
) -> dict[str, Path]:
    """Files of a folder by stem, in natural order.

    Args:
        folder: The folder.
        suffixes: Endings of the files in lower case; other files are left alone.
        problems: Receives what is wrong with the folder.
    """
    problems = [] if problems is None else problems
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        text = f"cannot list the folder ({error.strerror})"
        problems.append(Problem(folder, "unreadable", "error", text, "check its permissions"))
        return {}
    by_stem: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (natural_key(path.name), path.name)):
        stem = split_name(path.name, suffixes)
        if stem in by_stem:
            text = f"differs from {by_stem[stem].name} in its ending only"
            fix = "keep one file of each name"
            problems.append(Problem(path, "duplicate_id", "error", text, fix))
        elif stem:
            by_stem[stem] = path
    return by_stem


def split_name(name: str, suffixes: Sequence[str]) -> str:
    """A file's name without its ending; empty where the ending is none of these."""
    lower = name.lower()
    suffix = next((suffix for suffix in suffixes if lower.endswith(suffix)), None)
    return name[: len(name) - len(suffix)] if suffix else ""


def describe_content(path: Path) -> str:
    """The most frequent kinds of files in a folder and below it, with their numbers and folders."""
    counts: Counter[str] = Counter()
    folders: dict[str, list[str]] = {}
    for top, names, files in os.walk(path):
        below = Path(top).relative_to(path)
        if len(below.parts) > DEPTH:
            names.clear()
        for file in files:
            ending = ".nii.gz" if file.lower().endswith(".nii.gz") else Path(file).suffix
            counts[ending] += 1
            known = folders.setdefault(ending, [])
            if below.parts and f"{below}/" not in known:
                known.append(f"{below}/")
    texts = []
    for ending, count in counts.most_common(MAX_KINDS):
        names = sorted(folders[ending])
        more = [f"{len(names) - MAX_KINDS} more folders"] if len(names) > MAX_KINDS else []
        where = ", ".join([*names[:MAX_KINDS], *more])
        texts.append(f"{count} {ending} files" + (f" in {where}" if where else ""))
    return "; ".join(texts) or "no files"


def _walk(folder: Folder, words: Mapping[str, Sequence[str]], depth: int) -> Iterator[Folder]:
    """The folder and those below it whose names have a meaning."""
    yield folder
    if depth == 0:
        return
    try:
        paths = sorted(path for path in folder.path.iterdir() if path.is_dir())
    except OSError:  # list_files tells it
        return
    for path in paths:
        kind, split = _read_name(path.name, words)
        is_known = kind is not None and kind in ("", folder.kind or kind)
        if is_known and split in ("", folder.split or split):
            below = Folder(path, kind or folder.kind, split or folder.split)
            yield from _walk(below, words, depth - 1)


def _read_name(name: str, words: Mapping[str, Sequence[str]]) -> tuple[str | None, str]:
    """Kind and split that a folder's name tells; None where a word of it is unknown."""
    lower = NNUNET_NAMES.get(name.lower(), name.lower()).replace("ground_truth", "groundtruth")
    kind, split = "", ""
    for word in re.split(r"[_\-. ]+", lower):
        if word in SPLIT_OF_WORD:
            split = SPLIT_OF_WORD[word]
            continue
        kinds = [kind for kind, known in words.items() if word in known]
        if not kinds:
            return None, ""
        kind = kinds[0]
    return kind, split


def _priority(folder: Folder) -> tuple[int, str]:
    """The order of words, for folders of one meaning."""
    words = re.split(r"[_\-. ]+", folder.path.name.lower())
    order = [*IMAGE_WORDS, *MASK_WORDS]
    known = [order.index(word) for word in words if word in order]
    return min(known, default=len(order)), str(folder.path)
