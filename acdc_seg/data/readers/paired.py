"""Reads paired folders: images and masks as PNG, JPEG, TIFF or BMP files."""

from dataclasses import replace
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.images import num_pages
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import IMAGE_SUFFIXES, find_folders
from acdc_seg.data.readers.pairs import find_pairs, scan_pairs
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
