"""All exams of a call: finished ones are skipped, a bad one does not stop the others."""

import json
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acdc_seg.data.exams import Exam
from acdc_seg.errors import AcdcError, ConfigError
from acdc_seg.files import write_json
from acdc_seg.inference.volumes import VolumePredictor
from acdc_seg.prediction.case import CASES, FrameCallback, Outputs, case_digest, predict_case
from acdc_seg.prediction.page import write_report
from acdc_seg.prediction.tables import write_measurements

CaseCallback = Callable[[dict[str, Any], int, int], None]
"""Called with the result of an exam, the number done and the number of all."""


def predict_exams(
    exams: Sequence[Exam],
    predictor: VolumePredictor,
    out: Path,
    *,
    outputs: Outputs = Outputs(),  # noqa: B008 - frozen
    summary: bool = True,
    on_case: CaseCallback = lambda case, done, total: None,
    on_frame: Callable[[Exam], FrameCallback] = lambda exam: lambda done, total: None,
) -> list[dict[str, Any]]:
    """Segments exams one after the other, and writes measurements.csv, measurements.json and
    report.html of all.

    Exams whose results are there, of the same files, model and settings, are not done again. One
    that cannot be read has `status` "failed" and an `error`.

    Args:
        exams: Those of `find_exams`.
        predictor: The model.
        out: Folder, made where it is missing.
        outputs: What else is written.
        summary: Write the table and the report, which are of all exams; a shard leaves them out.
        on_case: Called after each exam.
        on_frame: Gives the callback for the frames of an exam.

    Raises:
        DataError: A file cannot be written.
    """
    cases: list[dict[str, Any]] = []
    for exam in exams:
        case = finish_case(exam, predictor, out, outputs=outputs, on_frame=on_frame(exam))
        cases.append(case)
        on_case(case, len(cases), len(exams))
    if summary:
        write_summary(cases, out)
    return cases


def finish_case(
    exam: Exam,
    predictor: VolumePredictor,
    out: Path,
    *,
    outputs: Outputs,
    on_frame: FrameCallback = lambda done, total: None,
) -> dict[str, Any]:
    """The result of one exam: that on disk where it is still valid, else a new one, or a failure.

    A file that cannot be written is a failure too, so that one exam does not stop the others.
    """
    try:
        known = read_case(out / CASES / f"{exam.id}.json")
        if known and _is_current(known, exam, predictor, out, outputs):
            return {**known, "skipped": True}
        return predict_case(exam, predictor, out, outputs=outputs, on_frame=on_frame)
    except AcdcError as error:
        return write_failure(exam, str(error), out)
    except MemoryError:
        return write_failure(exam, "not enough memory for this exam", out)
    except Exception as error:
        # a fault of ours, which the user can report; other exams are not to suffer from it
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return write_failure(exam, reason, out)


def write_summary(cases: Sequence[dict[str, Any]], out: Path) -> None:
    """measurements.csv, measurements.json and report.html of all results."""
    write_measurements(cases, out)
    write_report(cases, out)


def write_failure(exam: Exam, reason: str, out: Path) -> dict[str, Any]:
    """The result of an exam that could not be done, written to disk.

    Raises:
        DataError: The file cannot be written.
    """
    case = {
        "id": exam.id,
        "status": "failed",
        "inputs": [str(path) for path in exam.paths[:3]],
        "error": reason,
    }
    write_json(out / CASES / f"{exam.id}.json", case)
    return case


def read_case(path: Path) -> dict[str, Any] | None:
    """A result; None where there is none, or only a part of one."""
    try:
        case = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return case if isinstance(case, dict) and {"id", "status"} <= case.keys() else None


def take_shard(exams: Sequence[Exam], shard: str) -> list[Exam]:
    """The part I of N of the exams, every N-th one, for job arrays.

    Raises:
        ConfigError: Not I/N with 1 <= I <= N.
    """
    number, slash, count = shard.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise ConfigError(f"--shard {shard}: expected I/N with I in 1..N, for example 3/20")
    return list(exams[int(number) - 1 :: int(count)])


def _is_current(
    case: dict[str, Any], exam: Exam, predictor: VolumePredictor, out: Path, outputs: Outputs
) -> bool:
    """Whether a result is of these files, model and settings, and all of its files are there."""
    return (
        case["status"] == "done"
        and all((out / name).is_file() for name in case["files"])
        and (out / CASES / case["picture"]).is_file()
        and case["digest"] == case_digest(exam, predictor, outputs)
    )
