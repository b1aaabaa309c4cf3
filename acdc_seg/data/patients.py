"""Patients of images by their names; names that look like several images of one patient are never
divided into splits without asking.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from acdc_seg.config import DataConfig
from acdc_seg.data.problems import Problem, Scan
from acdc_seg.data.record import Record, common_affix
from acdc_seg.errors import DataError

PAIRS, PATIENT_NUMBER, EACH = "pairs", "patientNNN", "each"
"""Rules that are found in names; the first and the last are words of `data.patient_rule` too."""
LAST_PART = r"(?:\d+|ED|ES)"
"""What tells several images of one patient apart: a number, or a phase of the heart beat."""


def patient_of(name: str, rule: str) -> str:
    """The patient that an image name belongs to, by the setting `data.patient_rule`.

    Raises:
        DataError: The rule is a regular expression that does not match.
    """
    if rule == "auto":
        rule = _find_rule(name)
    if rule == EACH:
        return name
    if rule == PAIRS:
        number = re.search(r"(\d+)$", name)
        return f"pair{(int(number[1]) + 1) // 2:03d}" if number else name
    match = re.search(r"(?i)(patient\d+)" if rule == PATIENT_NUMBER else rule, name)
    if match is None or match[1] is None:
        raise DataError(
            f"{name}: data.patient_rule='{rule}' finds no patient in this name; it must be a "
            "regular expression with one group",
            code="patient_rule",
        )
    return match[1].lower() if rule == PATIENT_NUMBER else match[1]


def name_patients(path: Path, scan: Scan, data: DataConfig) -> Scan:
    """A scan whose records all have a patient: those without get one from their file's name.

    A note tells how. With the rule `auto`, names that share a stem up to their last number look
    like several images of one patient: an error where splits are drawn, a warning where one stem is
    in two splits.

    Args:
        path: Folder of the data.
        scan: What a reader found.
        data: The rule, and whether splits are drawn.
    """
    records, problems = list(scan.records), list(scan.problems)
    examples: dict[str, str] = {}
    for index, record in enumerate(scan.records):
        if record.patient:
            continue
        name, rule = _name_of(record), data.patient_rule
        if rule == "auto":
            rule = _find_rule(name)
        # the id is unique where two splits have files of one name
        patient = _file_id(record)
        if rule != EACH:
            try:
                patient = patient_of(name, rule)
            except DataError as error:
                problem = Problem.from_error(Path(name), error)
                problems.append(problem._replace(path=record.image))
        records[index] = replace(record, patient=patient)
        examples.setdefault(rule, patient if rule == EACH else f"{patient} of {name}")
    if data.patient_rule == "auto":
        unknown = [record for record in scan.records if not record.patient]
        problems += _ask(path, unknown, data, is_drawn=_draws_splits(scan.records, data))
    return Scan(records, problems, [*scan.notes, *_describe(examples)])


def _find_rule(name: str) -> str:
    """The rule that a name alone suggests."""
    if re.fullmatch(r"cmr\d+", name):
        return PAIRS
    return PATIENT_NUMBER if re.search(r"(?i)patient\d+", name) else EACH


def _name_of(record: Record) -> str:
    """Name of the image file without its ending."""
    return Path(record.image.name.removesuffix(".gz")).stem


def _file_id(record: Record) -> str:
    """The record's id; for a page that of its whole file, which is of one patient."""
    return record.id if record.page is None else record.id.rpartition("_p")[0]


def _describe(examples: Mapping[str, str]) -> list[str]:
    """The note about the rules that were applied, each with an example."""
    if not examples:
        return []
    titles = {EACH: "each image its own", PAIRS: "pairs of numbers"}
    rules = [f"{titles.get(rule, rule)} (e.g. {text})" for rule, text in examples.items()]
    return [f"Patients: {', '.join(rules)}; data.patient_rule=... to change"]


def _draws_splits(records: Iterable[Record], data: DataConfig) -> bool:
    """Whether patients are divided by `splits.assign_splits`."""
    if data.fold is not None:
        return True
    return data.validation and all(record.split != "val" for record in records)


def _ask(
    path: Path, records: Sequence[Record], data: DataConfig, *, is_drawn: bool
) -> list[Problem]:
    """Whether images of one stem are of one patient, where splits would take them apart."""
    names = {
        _name_of(record)
        for record in records
        if _find_rule(_name_of(record)) == EACH and not (is_drawn and record.split == "test")
    }
    stem_of = _find_stems(names)
    sizes = Counter(stem_of.values())
    shared = {stem for stem, size in sizes.items() if size > 1}
    splits: dict[str, set[str]] = {stem: set() for stem in shared}
    for record in records:
        if stem_of.get(_name_of(record)) in shared:
            splits[stem_of[_name_of(record)]].add(record.split)
    if not is_drawn:
        shared = {stem for stem in shared if len(splits[stem]) > 1}
    if len(sizes) < 2 or not shared:
        return []
    first = min(shared)
    members = sorted(name for name, stem in stem_of.items() if stem == first)
    rule = f"data.patient_rule={_suggest_pattern(stem_of)}"
    where = "" if is_drawn else f" in {' and '.join(sorted(splits[first]))}"
    return [
        Problem(
            path,
            "patient_rule",
            "error" if is_drawn else "warning",
            f"images whose names share a stem, as {', '.join(members[:3])}{where}, may be of one "
            f"patient ({len(sizes)} stems, {len(names)} images)",
            f"set '{rule}' if they are, data.patient_rule=each if every image is of another one",
            (rule, "data.patient_rule=each"),
        )
    ]


def _find_stems(names: Iterable[str]) -> dict[str, str]:
    """Names without what is common to the end of all, and without the number or phase before."""
    names = list(names)
    tail = len(common_affix(names)[1])
    stems = {}
    for name in names:
        match = re.fullmatch(rf"(.*?){LAST_PART}", name[: len(name) - tail])
        stems[name] = match[1] if match else name
    return stems


def _suggest_pattern(stem_of: Mapping[str, str]) -> str:
    """A regular expression whose group tells these stems apart, the shortest that does."""
    stems = sorted(set(stem_of.values()))
    start, middle = common_affix(stems)
    separator = re.search(r"[\W_]", middle)
    middle = middle[separator.start() :] if separator else middle
    end = re.escape(common_affix(stem_of)[1])
    patterns = []
    if middle and start:
        patterns.append(rf"({re.escape(start)}\d+){re.escape(middle[0])}")
    for number in (r"\d+", LAST_PART):
        patterns.append(rf"^(.+){re.escape(middle)}{number}{end}$")
    patterns.append(rf"^(.*?){LAST_PART}?{end}$")
    for pattern in patterns:
        groups = {name: re.search(pattern, name) for name in stem_of}
        pairs = {(match[1], stem_of[name]) for name, match in groups.items() if match}
        if all(groups.values()) and len(pairs) == len(stems) == len({key for key, _ in pairs}):
            return pattern
    return patterns[-1]
