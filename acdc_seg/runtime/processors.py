"""The processors of this machine that this process may use."""

import os


def usable_processors() -> tuple[int, ...]:
    """Their numbers, from 0; all of the machine where the system assigns none (macOS, Windows)."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))
