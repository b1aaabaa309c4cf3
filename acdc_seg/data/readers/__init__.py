"""Data formats: a reader turns one layout of files into records.

A new format is one file here, one row of `READERS`, and its name among the words of `data.format`.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from acdc_seg.config import DataConfig
from acdc_seg.data.patients import name_patients
from acdc_seg.data.problems import Problem, Scan, raise_errors
from acdc_seg.data.readers.acdc import is_acdc_tree, scan_acdc
from acdc_seg.data.readers.nifti import is_nifti, scan_nifti
from acdc_seg.data.readers.paired import is_paired, scan_paired
from acdc_seg.data.readers.side_by_side import is_side_by_side, scan_side_by_side
from acdc_seg.data.readers.table import add_details, is_table, scan_table
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
    through `scan_records`, which names the patients of records that have none.
    """


READERS: dict[str, Reader] = {
    "table": Reader(
        "table",
        "records.csv with a column image",
        "images",
        recognizes=is_table,
        scan=scan_table,
    ),
    "acdc": Reader(
        "ACDC tree",
        "patient001/Info.cfg ..., also below training, testing",
        "volumes",
        recognizes=is_acdc_tree,
        scan=scan_acdc,
    ),
    "nifti": Reader(
        "NIfTI pairs",
        "imagesTr/ and labelsTr/, images/ and masks/, or NAME.nii.gz and NAME_mask.nii.gz",
        "volumes",
        recognizes=is_nifti,
        scan=scan_nifti,
    ),
    "side_by_side": Reader(
        "side by side",
        "files with an image and its color mask side by side, also in train, val, test",
        "images",
        recognizes=is_side_by_side,
        scan=scan_side_by_side,
    ),
    "paired": Reader(
        "paired folders",
        "images/ and masks/, also above or below train, val, test, or NAME.png and NAME_mask.png",
        "images",
        recognizes=is_paired,
        scan=scan_paired,
    ),
}


def scan_records(name: str, path: Path, data: DataConfig) -> Scan:
    """Everything that a folder holds and all that is wrong with it; opens no image.

    Args:
        name: A format of `READERS`.
        path: The folder.
        data: Names of folders and files, and the rule that tells patients.
    """
    scan = READERS[name].scan(path, data)
    if name != "table":
        scan = add_details(path, scan, data)
    scan = name_patients(path, scan, data)
    problems = [*scan.problems, *_find_missing(scan.records)]
    ids = Counter(record.id for record in scan.records)
    for id in [id for id, count in ids.items() if count > 1]:
        text, fix = f"{ids[id]} images have the name {id}", "names must be unique"
        problems.append(Problem(path, "duplicate_id", "error", text, fix))
    return Scan(scan.records, problems, scan.notes)


def read_records(name: str, path: Path, data: DataConfig) -> list[Record]:
    """The records of a folder; raises DataError that lists what is wrong with it."""
    scan = scan_records(name, path, data)
    raise_errors(scan.problems)
    return scan.records


def _find_missing(records: list[Record]) -> list[Problem]:
    """Links to files that are gone."""
    files = {file for record in records for file in (record.image, record.mask) if file}
    text = "cannot read the file (No such file or directory)"
    fix = "the link leads nowhere: copy the file here, or remove the link"
    return [
        Problem(file, "unreadable", "error", text, fix)
        for file in sorted(files)
        if file.is_symlink() and not file.exists()
    ]
