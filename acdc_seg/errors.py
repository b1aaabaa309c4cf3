"""The errors and warnings that reach a user.

Each message says what was given, what is allowed and what to do.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class AcdcError(Exception):
    """Base of all errors that are the input's fault, not the program's; commands print it and exit
    with 2.
    """


class ConfigError(AcdcError):
    """A setting is unknown, has a wrong value, or contradicts another one."""


class DataError(AcdcError):
    """An image, mask, folder or table cannot be used as it is.

    Attributes:
        code: A word for the kind of problem, as in tables of problems.
        settings: `section.key=value` that would remedy it, where settings can.
    """

    def __init__(self, message: str, *, code: str = "unusable", settings: Iterable[str] = ()):
        super().__init__(message)
        self.code, self.settings = code, tuple(settings)


class CheckpointError(AcdcError):
    """A checkpoint is missing, damaged, or made for something else."""


class TrainingError(AcdcError):
    """Training cannot continue, for example because the loss is no longer a number."""


class AcdcWarning(UserWarning):
    """Something is wrong but was worked around; commands print it and continue."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Names the closest allowed word, or lists them all when none is close."""
    options = list(allowed)
    close = get_close_matches(word, options, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"choose from: {', '.join(options)}"


def path_hint(path: Path) -> str:
    """Remedy for a path that does not exist: the closest name beside it, or to check the path."""
    missing = next((part for part in (path, *path.parents) if part.parent.is_dir()), path)
    names = [other.name for other in missing.parent.iterdir()] if missing.parent.is_dir() else []
    close = [] if missing.exists() else get_close_matches(missing.name, names, n=1)
    return f"did you mean {missing.with_name(close[0])}?" if close else "check the path"
