"""Files and folders that appear complete or not at all, CSV tables, and checksums."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO, Any

from acdc_seg.errors import DataError


@contextmanager
def replacing(path: Path, *, previous: Path | None = None) -> Iterator[IO[bytes]]:
    """Opens a file beside `path`, flushes it to disk at the end, and moves it to `path`.

    Args:
        previous: Path that the old file moves to; by default it is replaced.

    Raises:
        DataError: The file cannot be written; what was at `path` stays.
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
    except OSError as error:
        raise DataError(
            f"{path}: cannot write this file ({error.strerror}); check the folder, its "
            "permissions and free space"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Makes a folder that appears when it is complete: yields a hidden one beside it to fill, of
    which nothing is left after an error or an interrupt.

    Raises:
        DataError: `path` is not an empty folder, or cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(
            f"{path}: exists already and is not an empty folder; remove it or choose another one"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
            unfinished = Path(scratch) / path.name
            unfinished.mkdir()
            yield unfinished
            unfinished.rename(path)
    except OSError as error:
        raise DataError(
            f"{path}: cannot write this folder ({error.strerror or error}); check the path, its "
            "permissions and free space"
        ) from error


def lock(descriptor: int, *, wait: bool) -> None:
    """Locks an open file or folder for this process alone, until it is closed.

    Args:
        descriptor: Of the open file or folder.
        wait: Wait for another process that holds the lock, instead of an error.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is false.
        OSError: Its file system or this system has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        raise OSError("this system has no file locks") from None
    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def work_dir() -> Path:
    """Folder of the built-in phantom, of slices cut from volumes, and of a cache on disk: data/ in
    the current directory, or the environment variable ACDC_WORK_DIR.
    """
    return Path(os.environ.get("ACDC_WORK_DIR") or "data")


def numbered(name: str) -> Iterator[str]:
    """Yields `name`, `name-2`, `name-3` and so on, to take the first that is free."""
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text with line ends as given; raises DataError like `replacing`."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Writes JSON piece by piece, so that its text is never whole in memory.

    Raises:
        DataError: Like `replacing`.
        ValueError: The content has NaN or infinity.
    """
    encoder = json.JSONEncoder(indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        for piece in encoder.iterencode(content):
            file.write(piece.encode())
        file.write(b"\n")


def write_table(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Writes a CSV table, header first; raises DataError like `replacing`."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits; raises DataError if it is unreadable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the file ({error.strerror}); check the path and its permissions"
        ) from None


def cached_sha256(path: Path) -> str:
    """`sha256_file`, computed once while size and time of the file stay."""
    try:
        state = path.stat()
    except OSError:
        return sha256_file(path)  # whose error names the file
    return _sha256_of_state(path, state.st_size, state.st_mtime_ns)


@cache
def _sha256_of_state(path: Path, size: int, modified_ns: int) -> str:
    return sha256_file(path)


def sha256_bytes(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
