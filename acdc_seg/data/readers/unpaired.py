"""Finds images without masks, to predict, and masks without images."""

from dataclasses import replace
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem, raise_errors
from acdc_seg.data.readers.folders import find_folders, list_files
from acdc_seg.data.readers.naming import find_mask_affix, find_naming_within
from acdc_seg.data.readers.paired import image_suffixes, split_pages
from acdc_seg.data.readers.pairs import explicit_naming, find_pairs
from acdc_seg.data.readers.side_by_side import is_side_by_side, scan_side_by_side
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError


def find_images(path: Path, config: DataConfig) -> list[Record]:
    """Images to predict, in natural order: those of the test split, else of the folder of images,
    else of `path` itself; without masks beside them, and a record for every page of a stack.

    Raises:
        DataError: There are none, or a folder cannot be read.
    """
    problems: list[Problem] = []
    if config.format in ("auto", "side_by_side") and is_side_by_side(path, config):
        records = scan_side_by_side(path, config).records
        chosen = [record for record in records if record.split == "test"] or records
        return [replace(record, mask=None) for record in chosen]
    parts = {part.split: part for part in find_pairs(path, config, image_suffixes(config)).parts}
    images = next((parts[split].images for split in ("test", "") if split in parts), {})
    if not images and path.is_dir():
        images = list_files(path, image_suffixes(config), problems)
    raise_errors(problems)
    if not images:
        folder = config.image_dir or "images"
        raise DataError(
            f"{path}: no images ({', '.join(image_suffixes(config))}) in test/{folder}/, "
            f"{folder}/ or the folder itself; check --data",
            code="no_image",
        )
    records = [Record(stem, image, None) for stem, image in images.items()]
    return [page for record in records for page in split_pages(record, problems)]


def find_masks(path: Path, config: DataConfig) -> dict[str, Path]:
    """Masks by the stem of their image, in natural order: those of the test split, else of the
    folder of masks, else of `path` itself.

    The image's stem is that of the mask without `data.mask_pattern`, or without a word such as
    _mask that most masks have.

    Raises:
        DataError: There are none.
    """
    folders = [folder for folder in find_folders(path, config) if folder.split in ("", "test")]
    folders.sort(key=lambda folder: (folder.kind != "mask", folder.split != "test"))
    listed = [list_files(folder.path, image_suffixes(config)) for folder in folders]
    files = next(filter(None, listed), {})
    naming = explicit_naming(config) or find_naming_within(files) or find_mask_affix(files)
    masks = {naming.mask_key(stem): file for stem, file in files.items()}
    masks.pop("", None)
    if not masks:
        named = f" named {config.mask_pattern}.png" if config.mask_pattern else ""
        raise DataError(
            f"{path}: no masks{named}; check the folder and data.mask_pattern", code="no_mask"
        )
    return masks
