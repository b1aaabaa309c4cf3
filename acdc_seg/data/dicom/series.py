"""Series in folders, found by the headers of their files.

Scanners store a short-axis stack as one series, or as one series per slice; the latter are joined.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from acdc_seg.data.dicom.header import DicomFile, read_header
from acdc_seg.data.dicom.planes import SAME_POSITION, Plane, find_difference, group_slices
from acdc_seg.data.dicom.values import import_pydicom
from acdc_seg.errors import DataError, path_hint


@dataclass(frozen=True)
class Series:
    """The images of one acquisition, or of the slices of a stack.

    Attributes:
        name: Patient and series number, unique among the series found together; a safe file name.
        files: Headers of its files.
        skipped: Why it cannot be a cine or volume of the heart, None where it can.
        findings: What was done to find it, in words.
    """

    name: str
    files: tuple[DicomFile, ...]
    skipped: str | None = None
    findings: tuple[str, ...] = ()

    @property
    def planes(self) -> list[Plane]:
        """All images, in no order."""
        return [plane for file in self.files for plane in file.planes]

    @property
    def paths(self) -> list[Path]:
        """All files, sorted."""
        return sorted(file.path for file in self.files)

    @property
    def description(self) -> str:
        """SeriesDescription of the first file."""
        return self.files[0].description

    @property
    def num_slices(self) -> int:
        """Number of positions; 0 where it is skipped."""
        return len(group_slices(self.planes)) if self.planes else 0


def find_series(path: Path) -> list[Series]:
    """Finds the series in a file or a folder, searched recursively; headers only are read.

    Other files than DICOM are ignored. Series that are no grey-value MR images with a place in
    space (other modalities, localizers, derived and phase images) are listed with the reason in
    `skipped`. Series of a study that hold one slice each, and differ by its position alone, become
    one.

    Raises:
        DataError: The path is missing, or holds no DICOM file of a series.
        ConfigError: pydicom is not installed.
    """
    import_pydicom()
    if not path.exists():
        raise DataError(f"{path}: does not exist; {path_hint(path)}", code="unreadable")
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    headers = [header for header in map(read_header, paths) if header is not None]
    if not headers:
        raise DataError(
            f"{path}: no DICOM images found; give the folder of a series, or one of several series",
            code="unreadable",
        )
    by_uid = defaultdict(list)
    for header in headers:
        by_uid[header.study_uid, header.series_uid].append(header)
    series = _join_slices([_make_series(files) for files in by_uid.values()])
    return _with_names(sorted(series, key=_sort_key))


def _make_series(files: list[DicomFile]) -> Series:
    usable = [file for file in files if file.skipped is None]
    reasons = Counter(file.skipped for file in files if file.skipped is not None)
    if not usable:
        return Series("", tuple(files), skipped=reasons.most_common(1)[0][0])
    findings = [f"{count} files left out: {reason}" for reason, count in reasons.items()]
    return Series("", tuple(usable), findings=tuple(findings))


def _sort_key(series: Series) -> tuple[Any, ...]:
    file = series.files[0]
    return file.patient_id, file.study_uid, file.series_number, file.series_uid


def _with_names(series: Sequence[Series]) -> list[Series]:
    """Gives every series a name of its own."""
    named, taken = [], set()
    for each in series:
        file = each.files[0]
        raw = f"{file.patient_id or file.path.parent.name}_{file.series_number}"
        base = re.sub(r"[^A-Za-z0-9.-]+", "_", raw).strip("._-")
        name, count = base, 1
        while name in taken:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        named.append(replace(each, name=name))
    return named


def _join_slices(series: list[Series]) -> list[Series]:
    """Joins series of one slice each that are a stack together; the others stay."""
    single = [each for each in series if each.skipped is None and _is_single_slice(each)]
    stacks: list[list[Series]] = []
    for each in sorted(single, key=_sort_key):
        stack = next((stack for stack in stacks if _is_same_stack(stack[0], each)), None)
        if stack is None:
            stacks.append([each])
        else:
            stack.append(each)
    joined = {id(each) for stack in stacks if _spans_slices(stack) for each in stack}
    rest = [each for each in series if id(each) not in joined]
    return rest + [_join(stack) for stack in stacks if _spans_slices(stack)]


def _is_single_slice(series: Series) -> bool:
    first = series.planes[0]
    alike = all(find_difference(first, plane) is None for plane in series.planes)
    return alike and series.num_slices == 1


def _is_same_stack(first: Series, other: Series) -> bool:
    """Whether two single slices differ by their position alone (and by a number in the name)."""
    a, b = first.files[0], other.files[0]
    return (
        (a.study_uid, a.reference_uid) == (b.study_uid, b.reference_uid)
        and _stem(a.description) == _stem(b.description)
        and (len(first.planes) > 1) == (len(other.planes) > 1)
        and find_difference(first.planes[0], other.planes[0]) is None
    )


def _stem(description: str) -> str:
    """A description without the number at its end: the slice, as in SAX_b1, SAX_b2, ..."""
    return re.sub(r"[\s_.-]*\d+$", "", description.lower())


def _spans_slices(stack: list[Series]) -> bool:
    return len(group_slices([each.planes[0] for each in stack])) > 1


def _join(stack: list[Series]) -> Series:
    """One series of many; of two at one position the later one, the repeated acquisition."""
    normal = stack[0].planes[0].normal
    kept: list[Series] = []
    findings = [finding for each in stack for finding in each.findings]
    for each in reversed(stack):
        offsets = [float(np.dot(other.planes[0].position, normal)) for other in kept]
        offset = float(np.dot(each.planes[0].position, normal))
        if any(abs(offset - other) <= SAME_POSITION for other in offsets):
            findings.append(
                f"series {each.files[0].series_number} was left out, a later one has its position"
            )
        else:
            kept.append(each)
    kept.reverse()
    numbers = ", ".join(str(each.files[0].series_number) for each in kept)
    findings.insert(0, f"{len(kept)} series of one slice each were joined (series {numbers})")
    files = [file for each in kept for file in each.files]
    return Series("", tuple(files), findings=tuple(findings))
