"""Image and mask files in folders, found by looking: the common part of the readers of pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from acdc_seg.config import DataConfig, split_pattern
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import SPLIT_OF_WORD, Folder, find_folders, list_files
from acdc_seg.data.readers.naming import Naming, find_naming, find_naming_within
from acdc_seg.data.record import SPLITS, Record

Files = dict[str, Path]
"""Files by stem, in natural order."""


class Part(NamedTuple):
    """Images and masks of one split, which may be in one folder."""

    split: str
    image_folder: Path
    mask_folder: Path
    images: Files
    masks: Files


class Pairs(NamedTuple):
    """Images and masks of all splits, and how their names belong together."""

    parts: list[Part]
    naming: Naming
    problems: list[Problem]


def find_pairs(path: Path, config: DataConfig, suffixes: Sequence[str]) -> Pairs:
    """Images and masks below a folder; no parts where nothing looks like them.

    Args:
        path: Holds images and masks, or folders of them, with split folders above or below those.
        config: `image_dir`, `mask_dir` and `mask_pattern` take the place of looking where set.
        suffixes: Endings of the files.
    """
    problems: list[Problem] = []
    folders: dict[tuple[str, str], tuple[Folder, Files]] = {}
    for folder in find_folders(path, config):
        files = list_files(folder.path, suffixes, problems)
        key = (folder.kind, folder.split)
        if files and key not in folders:
            folders[key] = folder, files
        elif files and folder.kind:
            other = folders[key][0].path.relative_to(path)
            text = f"is not read, for {other}/ holds such files too"
            fix = "remove one of them, or set data.image_dir and data.mask_dir"
            problems.append(Problem(folder.path, "unused", "warning", text, fix))
    parts = []
    for split in ("", *SPLITS):
        part = _find_part(folders, split, config)
        parts += [part] if part else []
    return Pairs(parts, _find_naming(parts, config), problems)


def scan_pairs(path: Path, config: DataConfig, suffixes: Sequence[str]) -> Scan:
    """Records of all pairs by image stem, in natural order in each split; an image without mask
    (outside test) and a mask without image are problems.

    Args:
        path: The folder.
        config: Names of folders and files.
        suffixes: Endings of the files.
    """
    pairs = find_pairs(path, config, suffixes)
    problems = list(pairs.problems)
    records: list[Record] = []
    for part in pairs.parts:
        records += pair_part(part, pairs.naming, problems)
    return Scan(unique_ids(records), problems, [describe_pairs(path, pairs)])


def _find_part(
    folders: Mapping[tuple[str, str], tuple[Folder, Files]], split: str, config: DataConfig
) -> Part | None:
    images, masks = folders.get(("image", split)), folders.get(("mask", split))
    bare = folders.get(("", split)) if config.image_dir is None else None
    if images is None and (masks or split == "test"):  # train/ beside train_masks/
        images = bare
    if masks is not None:
        if images is not None:
            return Part(split, images[0].path, masks[0].path, images[1], masks[1])
        if config.image_dir is None:
            return Part(split, masks[0].path, masks[0].path, {}, masks[1])
    if images is None and bare is None:
        return None
    folder, files = images or bare  # type: ignore[misc]
    naming = explicit_naming(config) or find_naming_within(files)
    found = {stem: file for stem, file in files.items() if _is_mask(naming, stem, files)}
    if not (found or images):
        return None
    kept = {stem: file for stem, file in files.items() if stem not in found}
    return Part(split, folder.path, folder.path, kept, found)


def _is_mask(naming: Naming | None, stem: str, files: Files) -> bool:
    """Whether the stem is that of a mask of another file in the folder."""
    key = naming.mask_key(stem) if naming else ""
    image = f"{naming.image_before}{key}{naming.image_after}" if naming and key else stem
    return image != stem and image in files


def explicit_naming(config: DataConfig) -> Naming | None:
    """The naming of `data.mask_pattern`, where it is set."""
    if config.mask_pattern is None:
        return None
    before, after = split_pattern(config.mask_pattern)
    return Naming(mask_before=before, mask_after=after)


def _find_naming(parts: Sequence[Part], config: DataConfig) -> Naming:
    images = {stem for part in parts for stem in part.images}
    masks = {stem for part in parts for stem in part.masks}
    return explicit_naming(config) or find_naming(images, masks)


def pair_part(part: Part, naming: Naming, problems: list[Problem]) -> list[Record]:
    """Records of one split; what has no counterpart is added to the problems."""
    masks, records = dict(part.masks), []
    for stem, image in part.images.items():
        mask_stem = naming.mask_stem(stem)
        mask = part.masks.get(mask_stem)
        masks.pop(mask_stem, None)
        records.append(Record(stem, image, mask, split=part.split))
        if mask is None and (part.masks or part.split != "test"):
            expected = f"{part.mask_folder.name}/{mask_stem}{image.name.removeprefix(stem)}"
            text = f"has no mask, expected {expected}"
            fix = "add it, or set data.mask_dir and data.mask_pattern"
            problems.append(Problem(image, "no_mask", "error", text, fix))
    for mask in masks.values():
        text, fix = "the mask has no image", "add the image or remove the mask"
        problems.append(Problem(mask, "no_image", "error", text, fix))
    return records


def unique_ids(records: Sequence[Record]) -> list[Record]:
    """Records of one name in two splits have their split in front, as val_1."""
    counts = Counter(record.id for record in records)
    return [
        replace(record, id=f"{record.split}_{record.id}")
        if counts[record.id] > 1 and record.split
        else record
        for record in records
    ]


def describe_pairs(path: Path, pairs: Pairs) -> str:
    """The note that tells what was found."""
    parts, naming, _ = pairs
    images = _folder_names(path, [part.image_folder for part in parts])
    masks = _folder_names(path, [part.mask_folder for part in parts if part.masks])
    splits = [part.split for part in parts if part.split]
    told = f", splits {', '.join(splits)}" if splits else ""
    found = f"masks in {masks} {naming}" if masks else "no masks"
    return f"Images in {images}, {found}{told}"


def _folder_names(path: Path, folders: Sequence[Path]) -> str:
    """Folders relative to the data's, without those of splits."""
    names = {}
    for folder in folders:
        words = folder.relative_to(path).parts
        kept = [word for word in words if word.lower() not in SPLIT_OF_WORD] or words
        names["/".join(kept) + "/" if kept else "the folder itself"] = True
    return ", ".join(names)
