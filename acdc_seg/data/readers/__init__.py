"""Data formats: a reader turns one layout of files into records.

A new format is one file here, one row of `READERS`, and its name among the words of `data.format`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from acdc_seg.config import DataConfig
from acdc_seg.data.readers.acdc import is_acdc_tree, read_acdc
from acdc_seg.data.readers.paired import is_paired, read_paired
from acdc_seg.data.record import Record


class Reader(NamedTuple):
    """One data format."""

    title: str
    """Its name in messages."""
    layout: str
    """Folders and files that it needs, for messages; may name settings, as {data.image_dir}."""
    kind: Literal["images", "volumes"]
    """Kind of its records: image files, or NIfTI volumes that are cut into slices first."""
    recognizes: Callable[[Path, DataConfig], bool]
    """Whether a folder has this format; asked in the order of `READERS`."""
    read: Callable[[Path, DataConfig], list[Record]]
    """All records of a folder; raises DataError for what is missing or damaged."""


READERS: dict[str, Reader] = {
    "paired": Reader(
        "paired folders",
        "{data.image_dir}/ and {data.mask_dir}/, also below train, val, test",
        "images",
        recognizes=is_paired,
        read=read_paired,
    ),
    "acdc": Reader(
        "ACDC tree",
        "patient001/Info.cfg ..., also below training, testing",
        "volumes",
        recognizes=is_acdc_tree,
        read=read_acdc,
    ),
}
