"""Reads paired folders: images and masks as PNG, JPEG, TIFF or BMP files."""

from dataclasses import replace
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.images import num_pages
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import IMAGE_SUFFIXES, find_folders, list_files
from acdc_seg.data.readers.naming import find_mask_affix, find_naming_within
from acdc_seg.data.readers.pairs import explicit_naming, find_pairs, scan_pairs
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

PAGED_SUFFIXES = (".tif", ".tiff")


def image_suffixes(config: DataConfig) -> tuple[str, ...]:
    """Endings of images: `data.extensions`, or all that are known."""
    return config.extensions or IMAGE_SUFFIXES


def is_paired(path: Path, config: DataConfig) -> bool:
    """Whether the folder holds a folder of images, or images and masks by their names."""
    if any(folder.kind == "image" for folder in find_folders(path, config)):
        return True
    return bool(find_pairs(path, config, image_suffixes(config)).parts)


def scan_paired(path: Path, config: DataConfig) -> Scan:
    """Records of all splits, in natural order of file names; a record for every page of a stack."""
    suffixes = image_suffixes(config)
    records, problems, notes = scan_pairs(path, config, suffixes)
    if not records and not problems:
        folder = f"{config.image_dir}/" if config.image_dir else "images/"
        text = f"no images in {folder} with endings {', '.join(suffixes)}"
        fix = "check the folder and data.extensions"
        return Scan([], [Problem(path, "no_image", "error", text, fix)], [])
    pages = [page for record in records for page in split_pages(record, problems)]
    return Scan(pages, problems, notes)


def split_pages(record: Record, problems: list[Problem]) -> list[Record]:
    """A record for every page of a multi-page TIFF, or the record itself; a mask of another number
    of pages is added to the problems.
    """
    files = [file for file in (record.image, record.mask) if file]
    if not any(file.suffix.lower() in PAGED_SUFFIXES for file in files):
        return [record]
    try:
        counts = [num_pages(file) for file in files]
    except DataError:  # told where the file is read
        return [record]
    if len(set(counts)) > 1:
        text = f"the mask has {counts[1]} pages, {record.image.name} has {counts[0]}"
        problems.append(Problem(files[1], "pages", "error", text, "export as many masks as images"))
    if counts[0] == 1:
        return [record]
    return [replace(record, id=f"{record.id}_p{page:02d}", page=page) for page in range(counts[0])]


def find_images(path: Path, config: DataConfig) -> dict[str, Path]:
    """Images to predict, by stem in natural order: those of the test split, else of the folder of
    images, else of `path` itself, without masks beside them.

    Raises:
        DataError: There are none.
    """
    parts = {part.split: part for part in find_pairs(path, config, image_suffixes(config)).parts}
    images = next((parts[split].images for split in ("test", "") if split in parts), {})
    images = images or list_files(path, image_suffixes(config))
    if not images:
        folder = config.image_dir or "images"
        raise DataError(
            f"{path}: no images ({', '.join(image_suffixes(config))}) in test/{folder}/, "
            f"{folder}/ or the folder itself; check --data",
            code="no_image",
        )
    return images


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
