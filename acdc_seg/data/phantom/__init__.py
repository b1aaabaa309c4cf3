"""Synthetic data: cardiac patients with their bodies and scanner, street scenes, and pets."""

from pathlib import Path

from acdc_seg.files import work_dir

BUILTIN_FOLDER = "builtin-phantom"
"""Folder in the working folder with the patients that a training without data takes."""


def is_builtin(path: Path) -> bool:
    """Whether a path is the folder of the built-in phantom, or inside it."""
    builtin = (work_dir() / BUILTIN_FOLDER).resolve()
    return path.resolve().is_relative_to(builtin)
