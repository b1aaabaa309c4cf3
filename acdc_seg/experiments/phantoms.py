"""Synthetic data of experiments that none is given for."""

from pathlib import Path

from acdc_seg.data.phantom.pets import write_pets
from acdc_seg.data.phantom.streets import write_streets
from acdc_seg.data.record import ProgressCallback, no_progress
from acdc_seg.files import work_dir

WRITERS = {"streets": write_streets, "pets": write_pets}
QUICK = {"num_images": 24, "size": 64}


def phantom_data(
    kind: str, *, quick: bool, on_progress: ProgressCallback = no_progress
) -> Path | None:
    """The folder of synthetic data, made once in the working folder; None is the built-in heart.

    Args:
        kind: heart, streets or pets.
        quick: Few small images.
        on_progress: Called while it is made.

    Raises:
        DataError: It cannot be written.
    """
    if kind == "heart":
        return None
    folder = work_dir() / f"{kind}-phantom{'-quick' if quick else ''}"
    if not folder.is_dir():
        WRITERS[kind](folder, on_progress=on_progress, **(QUICK if quick else {}))
    return folder.resolve()
