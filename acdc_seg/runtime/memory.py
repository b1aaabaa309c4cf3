"""Free memory of this process: the machine's, or less inside a container or a batch job."""

from pathlib import Path

import psutil


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
