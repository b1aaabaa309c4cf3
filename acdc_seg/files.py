"""Writing files so that a reader never sees half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from acdc_seg.errors import DataError


@contextmanager
def replacing(path: Path, *, previous: Path | None = None) -> Iterator[IO[bytes]]:
    """Opens a file beside `path` for writing; at the end it is flushed to disk and takes the place of `path`.

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
        raise DataError(f"{path}: cannot write this file ({error.strerror}); check the folder, its permissions and free space") from None
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


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with line ends as given; raises DataError like `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())
