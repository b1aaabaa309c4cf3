"""Problems of a data set: what is wrong, with which file, and what remedies it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

REMEDY = "These settings may remedy it:"
MAX_LINES = 10
"""Problems that an error lists; `acdc-data check` lists all."""


class Problem(NamedTuple):
    """One thing that is wrong with one file or folder."""

    path: Path
    code: str
    """Kind of the problem in one word, equal for equal kinds."""
    severity: Literal["error", "warning"]
    """An error stops a training, a warning does not."""
    text: str
    """What was found and what was expected, without the path."""
    fix: str = ""
    """What to do."""
    settings: tuple[str, ...] = ()
    """`section.key=value` that remedy it, where settings can."""

    @classmethod
    def from_error(cls, path: Path, error: DataError) -> Self:
        """The problem that an error tells of a file; texts are `PATH: what; remedy`."""
        text, _, fix = str(error).removeprefix(f"{path}: ").partition("; ")
        return cls(path, error.code, "error", text, fix, error.settings)

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" + (f"; {self.fix}" if self.fix else "")


class Scan(NamedTuple):
    """Everything that a reader found in a folder."""

    records: list[Record]
    problems: list[Problem]
    notes: list[str]
    """Decisions that were made by looking, one sentence each, which commands print."""


def raise_errors(problems: Sequence[Problem]) -> None:
    """Raises DataError that lists the errors among the problems, if there are any."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return
    lines = [str(problem) for problem in errors[:MAX_LINES]]
    if len(errors) > MAX_LINES:
        lines.append(f"... and {len(errors) - MAX_LINES} more; acdc-data check lists all")
    settings = suggested_settings(errors)
    if len(errors) > 1 and settings:
        lines.append(f"{REMEDY} {' '.join(settings)}")
    raise DataError("\n".join(lines), code=errors[0].code, settings=settings)


def suggested_settings(problems: Iterable[Problem]) -> tuple[str, ...]:
    """The settings that remedy problems, each once."""
    return tuple(dict.fromkeys(text for problem in problems for text in problem.settings))
