"""Free memory and disk of this machine, or less memory inside a container or a batch job."""

import os
import shutil
from pathlib import Path

import psutil

from acdc_seg.errors import DataError

MEMORY_SHARE = 0.5
"""Part of the free memory that images may take; network and batches need the rest."""


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that this process may still take without swapping.

    A control group (version 2) of a container or a batch job can limit them below what the machine
    has free; a process that exceeds its limit is killed.
    """
    free = psutil.virtual_memory().available
    top = root / "sys/fs/cgroup"
    group = top / _own_group(root / "proc/self/cgroup")
    # a limit on any group above holds too
    for folder in (group, *group.parents):
        if folder.is_relative_to(top):
            free = min(free, _group_memory(folder, otherwise=free))
    return free


def available_disk(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(existing).free


def choose_storage(num_bytes: int, num_bytes_on_disk: int, *, memory: int, disk: int) -> str:
    """memory or disk, whichever holds the images of all processes of this machine.

    Args:
        num_bytes: Bytes that one process would keep in memory.
        num_bytes_on_disk: Bytes that one process would keep on disk.
        memory: Free bytes, of which `MEMORY_SHARE` may be taken.
        disk: Free bytes.

    Raises:
        DataError: Neither does.
    """
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if num_bytes * num_processes <= memory * MEMORY_SHARE:
        return "memory"
    if num_bytes_on_disk * num_processes <= disk:
        return "disk"
    raise DataError(
        f"the images take {megabytes(num_bytes * num_processes)} in memory or "
        f"{megabytes(num_bytes_on_disk * num_processes)} on disk; "
        f"{megabytes(memory)} of memory (of which {MEMORY_SHARE:.0%} may be taken) and "
        f"{megabytes(disk)} of disk are free; free some, "
        "set a smaller data.size, or data.cache=none to read the files in every epoch"
    )


def megabytes(num_bytes: float) -> str:
    """A number of bytes in MB, as text."""
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e6:.2f} MB"


def _own_group(path: Path) -> str:
    """Path of this process's group below /sys/fs/cgroup, from the line `0::/path`."""
    try:
        return path.read_text(encoding="utf-8").rpartition("0::/")[2].strip()
    except OSError:
        return ""


def _group_memory(folder: Path, *, otherwise: int) -> int:
    """Bytes left in one group; `otherwise` where it sets no limit."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # no such group, or its limit is the word max
        return otherwise
    # pages of files that the system drops when memory is needed
    return max(0, limit - used + int(stat["inactive_file"]))
