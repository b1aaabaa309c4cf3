"""The quick part of the check, for a training that cannot read its data: all problems at once."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.look import look_at
from acdc_seg.data.check.offers import unify_offers
from acdc_seg.data.check.run import QUICK_LOOKS, sample
from acdc_seg.data.problems import Problem, suggested_settings
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError


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
        others = [each for each in _find_errors(records, data, classes) if each.code != error.code]
        if not others:
            raise
        settings = tuple(dict.fromkeys((*error.settings, *suggested_settings(others))))
        lines = [str(error), *map(str, others)]
        if settings:
            words = ["acdc-train", "--data", str(root), *settings]
            lines.append(f"Try: {shlex.join(words)}")
        raise DataError("\n".join(lines), code=error.code, settings=settings) from None


def _find_errors(
    records: Sequence[Record], data: DataConfig, classes: ClassesConfig
) -> list[Problem]:
    """The first error of every kind in a sample."""
    looks = [
        look_at(record, kind="images", data=data, classes=classes, with_thumbnails=False)
        for record in sample(records, QUICK_LOOKS["images"])
    ]
    unify_offers(looks, classes)
    first: dict[str, Problem] = {}
    for look in looks:
        for problem in look.problems:
            if problem.severity == "error":
                first.setdefault(problem.code, problem)
    return list(first.values())
