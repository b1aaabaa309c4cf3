"""Reads records.csv: a table of images, or of details about the images of another format."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.readers.folders import SPLIT_OF_WORD
from acdc_seg.data.record import SPLITS, Record, natural_key
from acdc_seg.errors import did_you_mean

NAME = "records.csv"
DETAILS = ("patient", "phase", "group", "split")
SPACINGS = ("spacing_row", "spacing_col", "spacing_slice")
COLUMNS = ("id", "image", "mask", *DETAILS, *SPACINGS, "spacing", "slice")
"""Columns that are read; `spacing` is that of rows and columns where both are equal."""
UNUSED = ("crop_row", "crop_col")
"""Columns of prepared slices that nobody reads, and nobody has to hear of."""


class Table(NamedTuple):
    """The rows of a records.csv by line number."""

    path: Path
    columns: Sequence[str]
    rows: dict[int, dict[str, str]]
    problems: list[Problem]

    def problem(self, line: int, code: str, text: str, fix: str) -> None:
        """Adds an error of one line."""
        self.problems.append(Problem(self.path, code, "error", f"line {line}: {text}", fix))


def is_table(path: Path, config: DataConfig) -> bool:
    """Whether the folder has a records.csv that names images."""
    return "image" in read_table(path / NAME).columns


def scan_table(path: Path, config: DataConfig) -> Scan:
    """Records of all rows; paths are relative to the folder.

    Missing files, two rows of one id and unknown splits are problems with their line.
    """
    table = read_table(path / NAME)
    if "image" not in table.columns and not table.problems:
        text, fix = "has no column 'image'", "add it, with paths of images relative to this folder"
        table.problems.append(Problem(table.path, "table", "error", text, fix))
    records: list[Record] = []
    lines: dict[str, int] = {}
    for line, row in table.rows.items():
        record = _read_record(table, line, row) if row.get("image") else None
        if record is None:
            table.problem(line, "no_image", "names no image", "fill in the column image")
        elif record.id in lines:
            text = f"id '{record.id}' is that of line {lines[record.id]} too"
            table.problem(line, "duplicate_id", text, "give the rows a column id of their own")
        else:
            records.append(_apply(table, line, row, record, config))
            lines[record.id] = line
    labelled = {record.split for record in records if record.mask} | {"train", "val"}
    for record in records:
        if record.mask is None and record.split in labelled:
            text = f"{record.image.name} has no mask, others of its split have"
            fix = "fill in the column mask, or give it the split test"
            table.problem(lines[record.id], "no_mask", text, fix)
    if not records and not table.problems:
        table.problems.append(
            Problem(table.path, "no_image", "error", "has no rows", "add a row for every image")
        )
    order = ("", *SPLITS)
    records.sort(key=lambda record: (order.index(record.split), natural_key(record.id)))
    return Scan(records, table.problems, _describe(table, records, config))


def add_details(path: Path, scan: Scan, config: DataConfig) -> Scan:
    """A scan of another format with the details of a records.csv by id, where there is one."""
    table = read_table(path / NAME)
    if table.path.is_file() and "id" not in table.columns and not table.problems:
        text, fix = "not a readable table with a column 'id'", "add the column or remove the file"
        table.problems.append(Problem(table.path, "table", "error", text, fix))
    lines = {row.get("id", ""): line for line, row in table.rows.items()}
    records = [
        _apply(table, lines[record.id], table.rows[lines[record.id]], record, config)
        if record.id in lines
        else record
        for record in scan.records
    ]
    notes = _describe(table, records, config) if table.rows else []
    return Scan(records, [*scan.problems, *table.problems], [*scan.notes, *notes])


def read_table(path: Path) -> Table:
    """The rows of a table; no rows where there is no file."""
    if not path.is_file():
        return Table(path, (), {}, [])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = {}
            for row in reader:
                rows[reader.line_num] = {key: value or "" for key, value in row.items() if key}
            return Table(path, tuple(reader.fieldnames or ()), rows, [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not CSV in UTF-8"
        text, fix = f"not a readable table ({reason})", "export it again or remove the file"
        return Table(path, (), {}, [Problem(path, "table", "error", text, fix)])


def _read_record(table: Table, line: int, row: Mapping[str, str]) -> Record:
    """The record with its files; a file that does not exist is a problem."""
    folder = table.path.parent
    image, mask = folder / row["image"], folder / row["mask"] if row.get("mask") else None
    for column, file in (("image", image), ("mask", mask)):
        if file and not file.is_file():
            text = f"the {column} {row[column]} does not exist"
            table.problem(line, f"no_{column}", text, "correct the path, relative to the table")
    return Record(row.get("id") or image.stem, image, mask)


def _apply(
    table: Table, line: int, row: Mapping[str, str], record: Record, config: DataConfig
) -> Record:
    """The record with the details of its row; a cell that is wrong is a problem."""
    keys = ("phase", "group") if config.patient_rule != "auto" else ("patient", "phase", "group")
    details: dict[str, Any] = {key: row[key] for key in keys if row.get(key)}
    split = row.get("split", "")
    if split.lower() in SPLIT_OF_WORD:
        details["split"] = SPLIT_OF_WORD[split.lower()]
    elif split:
        text = f"split '{split}' is unknown"
        table.problem(line, "split", text, did_you_mean(split, SPLITS))
    spacing = [row.get(column) or row.get("spacing", "") for column in SPACINGS[:2]]
    if any(spacing):
        row_size, column_size = (_positive(text) for text in spacing)
        if row_size and column_size:
            details["spacing"] = row_size, column_size
        else:
            text = "spacing_row and spacing_col must both be positive numbers in mm, or both empty"
            table.problem(line, "spacing", text, "correct them")
    checks: dict[str, tuple[str, Callable[[str], Any], str]] = {
        "slice_spacing": ("spacing_slice", _positive, "a positive number in mm"),
        "slice": ("slice", _natural, "a number from 0"),
    }
    for key, (column, read, rule) in checks.items():
        cell = row.get(column)
        if cell:
            details[key] = read(cell)
            if details[key] is None:
                text = f"{column} is '{cell}', it must be {rule}, or be empty"
                table.problem(line, column, text, "correct it")
    return replace(record, **details)


def _positive(text: str) -> float | None:
    try:
        size = float(text)
    except ValueError:
        return None
    return size if 0 < size < math.inf else None


def _natural(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _describe(table: Table, records: Sequence[Record], config: DataConfig) -> list[str]:
    """Notes about the columns that are taken, and those that are not."""
    used = [column for column in (*DETAILS, "spacing") if _is_used(column, table, config)]
    notes = [f"{NAME} gives {', '.join(used)}"] if used else []
    named = next((record for record in records if record.patient), None)
    if named:
        notes.append(f"Patients: {NAME} (e.g. {named.patient} of {named.id})")
    if config.patient_rule != "auto" and any(row.get("patient") for row in table.rows.values()):
        notes.append(f"data.patient_rule takes the place of the column patient of {NAME}")
    unknown = [name for name in table.columns if name and name not in (*COLUMNS, *UNUSED)]
    if unknown:
        notes.append(f"{NAME}: the columns {', '.join(unknown)} are not read")
    return notes


def _is_used(column: str, table: Table, config: DataConfig) -> bool:
    if column == "patient" and config.patient_rule != "auto":
        return False
    return any(
        text for row in table.rows.values() for key, text in row.items() if key.startswith(column)
    )
