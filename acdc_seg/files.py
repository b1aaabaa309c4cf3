"""Writing files so that a reader never sees half of one."""

import csv
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from acdc_seg.errors import DataError

FORMULA_STARTS = tuple("=+-@＝＋－＠\t\r\n")
"""First characters of texts that spreadsheets take for formulas (OWASP, CSV injection)."""
NUMBER = re.compile(r"[+-]?[0-9]+([.][0-9]+)?(e[+-][0-9]+)?")


@contextmanager
def replacing(path: Path, *, previous: Path | None = None) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` for writing; at the end it is flushed to disk and takes the place
    of `path`.

    Args:
        previous: Where what was at `path` goes then; by default it is gone.

    Raises:
        DataError: The file cannot be written; what was at `path` stands.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.is_file():
            os.replace(path, previous)
        os.replace(partial, path)
        _flush_folder(path.parent)
    except OSError as error:
        raise DataError(
            f"{path}: cannot write this file ({error.strerror}); check the folder, its "
            "permissions and free space"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """Makes the new names in a folder outlast a power failure, on systems that can open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def numbered(name: str) -> Iterator[str]:
    """`name`, `name-2`, `name-3` and so on, to take the first that is free."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with line ends as given; raises DataError like `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV table, header first; texts that a spreadsheet would run as a formula get a
    leading apostrophe, numbers stay.

    Raises:
        DataError: The file cannot be written.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(
        [map(_neutral, row) for row in rows]
    )  # cells with \r are shell_path for this end only
    write_text(path, text.getvalue().replace("\r\n", "\n"))


def _neutral(cell: Any) -> Any:
    is_formula = (
        isinstance(cell, str) and cell.startswith(FORMULA_STARTS) and not NUMBER.fullmatch(cell)
    )
    return f"'{cell}" if is_formula else cell
