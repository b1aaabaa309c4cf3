"""Data formats: a reader turns one layout of files into records.

A new format is one file here, one row of `READERS`, and its name among the words of `data.format`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Scan, raise_errors
from acdc_seg.data.readers.acdc import is_acdc_tree, scan_acdc
from acdc_seg.data.readers.paired import is_paired, scan_paired
from acdc_seg.data.record import Record


class Reader(NamedTuple):
    """One data format."""

    title: str
    """Its name in messages."""
    layout: str
    """Folders and files that it needs, for messages."""
    kind: Literal["images", "volumes"]
    """Kind of its records: image files, or NIfTI volumes that are cut into slices first."""
    recognizes: Callable[[Path, DataConfig], bool]
    """Whether a folder has this format; asked in the order of `READERS`."""
    scan: Callable[[Path, DataConfig], Scan]
    """All records and problems of a folder; a bad file is a problem and raises nothing. Called
    through `scan_records`.
    """


READERS: dict[str, Reader] = {
    "paired": Reader(
        "paired folders",
        "image/ and mask/, also below train, val, test",
        "images",
        recognizes=is_paired,
        scan=scan_paired,
    ),
    "acdc": Reader(
        "ACDC tree",
        "patient001/Info.cfg ..., also below training, testing",
        "volumes",
        recognizes=is_acdc_tree,
        scan=scan_acdc,
    ),
}


def scan_records(name: str, path: Path, data: DataConfig) -> Scan:
    """Everything that a folder holds and all that is wrong with it; opens no image.

    Args:
        name: A format of `READERS`.
        path: The folder.
        data: Names of folders and files, and the rule that tells patients.
    """
    return READERS[name].scan(path, data)


def read_records(name: str, path: Path, data: DataConfig) -> list[Record]:
    """The records of a folder; raises DataError that lists what is wrong with it."""
    scan = scan_records(name, path, data)
    raise_errors(scan.problems)
    return scan.records
