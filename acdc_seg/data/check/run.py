"""Checks a data set: scans its folder, looks at every file in several processes, compares all."""

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.check.fingerprint import make_fingerprint
from acdc_seg.data.check.look import Look, look_at
from acdc_seg.data.check.offers import unify_offers
from acdc_seg.data.check.sets import (
    find_duplicate_problems,
    find_set_problems,
    find_split_problems,
)
from acdc_seg.data.problems import Problem
from acdc_seg.data.readers import READERS, Reader, scan_records
from acdc_seg.data.record import ProgressCallback, Record, no_progress
from acdc_seg.data.source import Source, detect_format
from acdc_seg.errors import DataError
from acdc_seg.runtime.processors import usable_processors

QUICK_LOOKS = {"images": 64, "volumes": 8}
"""Records that a quick check looks at, spread over all."""
ALONE = {"images": 400, "volumes": 12}
"""Records up to which one process is done before others have started."""
MAX_JOBS = 8


@dataclass(frozen=True)
class Check:
    """All that was found at `root` with these settings: a look for each record, problems with
    errors first, and the reader's notes.
    """

    root: Path
    reader: Reader
    data: DataConfig
    classes: ClassesConfig
    records: list[Record]
    looks: list[Look]
    problems: list[Problem]
    notes: list[str]
    fingerprint: dict[str, Any]

    def severity(self) -> str:
        """The worst of all problems: `error`, `warning`, or empty."""
        return self.problems[0].severity if self.problems else ""


def check_data(
    data: DataConfig,
    classes: ClassesConfig,
    *,
    quick: bool = False,
    duplicates: bool = True,
    num_jobs: int | None = None,
    on_progress: ProgressCallback = no_progress,
) -> Check:
    """Finds all problems of the data at `data.path`.

    Args:
        data: Path and format, and how images are read.
        classes: How masks are read.
        quick: Look at a sample, and do not search for duplicates.
        duplicates: Search for duplicates.
        num_jobs: Processes; None is one for each processor.
        on_progress: Called after each file.

    Raises:
        DataError: There is no folder at the path, or no reader recognizes it.
    """
    root, name = Path(data.path or ""), detect_format(data)
    reader, scan = READERS[name], scan_records(name, Path(data.path or ""), data)
    records = sample(scan.records, QUICK_LOOKS[reader.kind]) if quick else scan.records
    look = partial(
        look_at,
        kind=reader.kind,
        data=data,
        classes=classes,
        with_thumbnails=duplicates and not quick,
    )
    looks = []
    for done, found in enumerate(_map(look, records, ALONE[reader.kind], num_jobs), start=1):
        looks.append(found)
        on_progress(reader.kind, done, len(records))
    unify_offers(looks, classes)
    problems = [*scan.problems, *find_split_problems(scan.records, root)]
    problems += [problem for found in looks for problem in found.problems]
    problems += find_set_problems(
        records, looks, root=root, kind=reader.kind, data=data, classes=classes
    )
    problems += find_duplicate_problems(records, looks, on_progress=on_progress)
    problems.sort(key=lambda problem: problem.severity != "error")  # stable
    fingerprint = make_fingerprint(records, looks, classes, kind=reader.kind)
    with suppress(DataError):  # an unreadable file is a problem already
        fingerprint["sha256"] = Source(name, root, tuple(records)).digest()
    return Check(
        root, reader, data, classes, records, looks, problems, list(scan.notes), fingerprint
    )


def problems_by_record(check: Check) -> list[list[Problem]]:
    """The problems of the files of each record."""
    by_path: dict[Path | None, list[Problem]] = {}
    for problem in check.problems:
        by_path.setdefault(problem.path, []).append(problem)
    return [
        [
            problem
            for path in dict.fromkeys((record.image, record.mask))
            for problem in by_path.get(path, ())
        ]
        for record in check.records
    ]


def sample(records: Sequence[Record], num: int) -> list[Record]:
    """So many records, spread evenly."""
    step = max(1.0, len(records) / num)
    return [records[int(index * step)] for index in range(min(num, len(records)))]


def _map(look: Any, records: Sequence[Record], alone: int, num_jobs: int | None) -> Iterator[Look]:
    """A look at every record, in order."""
    num_jobs = num_jobs or min(MAX_JOBS, len(usable_processors()))
    if num_jobs == 1 or len(records) <= alone:
        yield from map(look, records)
        return
    has_forkserver = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
    context = multiprocessing.get_context("forkserver" if has_forkserver else "spawn")
    context.set_forkserver_preload([look_at.__module__])
    chunk = max(1, min(64, len(records) // (4 * num_jobs)))
    with ProcessPoolExecutor(num_jobs, mp_context=context) as pool:
        yield from pool.map(look, records, chunksize=chunk)
