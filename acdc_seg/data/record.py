"""A record: one image with its mask and whose it is.

Sources yield records; everything after is the same.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One image on disk.

    `id` is the image's file stem, `split` one of train, val, test (or empty), `spacing` (row,
    column) in mm. `phase` and `group` are empty where unknown.
    """

    id: str
    image: Path
    mask: Path | None
    patient: str
    split: str = ""
    phase: str = ""
    group: str = ""
    spacing: tuple[float, float] | None = None
