"""The quick part of the check, for trainings: all problems at once, and the data in numbers."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.fingerprint import make_fingerprint
from acdc_seg.data.check.look import Look, look_at
from acdc_seg.data.check.offers import unify_offers
from acdc_seg.data.check.run import QUICK_LOOKS, sample
from acdc_seg.data.check.sets import find_set_problems
from acdc_seg.data.problems import REMEDY, Problem, suggested_settings
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError

TOLD = ("class_order", "clipped", "constant", "unused_range", "void_mask")
"""Kinds of warnings that a training tells; it has words of its own for the others."""


@contextmanager
def all_problems(
    records: Sequence[Record], *, root: Path, data: DataConfig, classes: ClassesConfig
) -> Iterator[None]:
    """Adds to an error of one file what other kinds of errors a look at some more files finds.

    Args:
        records: Images that are read inside.
        root: Folder of the data.
        data: How images are read.
        classes: How masks are read.

    Raises:
        DataError: One was raised inside; it names all settings that would remedy the problems.
    """
    try:
        yield
    except DataError as error:
        found = _find_errors(records, data, classes)
        told, settings = str(error).splitlines(), error.settings
        # a look at more files knows better whether all masks or only this one are to blame
        if any(str(problem.path) in str(error) for problem in found):
            told, settings = [], ()
        else:
            found = [problem for problem in found if problem.code != error.code]
            if not found:
                raise
        settings = tuple(dict.fromkeys((*settings, *suggested_settings(found))))
        lines = [line for line in told if not line.startswith(REMEDY)] + [*map(str, found)]
        if len(lines) > 1 and settings:
            words = ["acdc-train", "--data", str(root), *settings]
            lines.append(f"Try: {shlex.join(words)}")
        raise DataError("\n".join(lines), code=error.code, settings=settings) from None


def take_fingerprint(
    records: Sequence[Record], *, root: Path, data: DataConfig, classes: ClassesConfig
) -> tuple[dict[str, Any], list[Problem]]:
    """The data in numbers, and the warnings that a training should tell, the first of each kind.

    Counts of patients and splits are of all records; sizes, grey values and classes are of a sample
    of them, which is `num_images` large.

    Args:
        records: Images that train and validate, all readable.
        root: Folder of the data.
        data: How images are read.
        classes: How masks are read.
    """
    sampled, looks = _look(records, data, classes)
    fingerprint = make_fingerprint(records, looks, classes, kind="images")
    problems = [problem for look in looks for problem in look.problems]
    problems += find_set_problems(
        sampled, looks, root=root, kind="images", data=data, classes=classes
    )
    first = {problem.code: problem for problem in reversed(problems) if problem.code in TOLD}
    return fingerprint, list(first.values())


def _find_errors(
    records: Sequence[Record], data: DataConfig, classes: ClassesConfig
) -> list[Problem]:
    """The first error of every kind in a sample."""
    _, looks = _look(records, data, classes)
    unify_offers(looks, classes)
    first: dict[str, Problem] = {}
    for look in looks:
        for problem in look.problems:
            if problem.severity == "error":
                first.setdefault(problem.code, problem)
    return list(first.values())


def _look(
    records: Sequence[Record], data: DataConfig, classes: ClassesConfig
) -> tuple[list[Record], list[Look]]:
    """A sample of the records, and a look at each."""
    sampled = sample(records, QUICK_LOOKS["images"])
    return sampled, [
        look_at(record, kind="images", data=data, classes=classes, with_thumbnails=False)
        for record in sampled
    ]
