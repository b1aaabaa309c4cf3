"""measurements.csv and measurements.json: a row per exam."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_seg.files import write_json, write_table
from acdc_seg.metrics.clinical import CONVENTIONS, UNITS

WALL_COLUMNS = [f"WT_{kind}_{number}" for kind in ("MEAN", "MAX") for number in range(1, 17)]
RESEARCH_ONLY = "For research only; not a medical device."


def write_measurements(cases: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Writes both files; a number that could not be measured is an empty cell.

    Args:
        cases: Results of exams, those of failed ones too.
        out: Folder.

    Raises:
        DataError: A file cannot be written.
    """
    units = [f"{name} ({unit})" for name, unit in UNITS.items()]
    head = ["case", "status", "ED_frame", "ES_frame", *units]
    walls = [f"{name} (mm)" for name in WALL_COLUMNS]
    tail = ["group_research_only", "failed_rules", "findings", "error"]
    rows = [_row(case) for case in cases]
    write_table(out / "measurements.csv", [[*head, *walls, *tail], *rows])
    about = {"conventions": CONVENTIONS, "note": RESEARCH_ONLY, "units": dict(UNITS)}
    kept = [{key: case[key] for key in case if key != "skipped"} for case in cases]
    write_json(out / "measurements.json", {**about, "cases": kept})


def _row(case: Mapping[str, Any]) -> list[Any]:
    if case["status"] != "done":
        blank = [""] * (2 + len(UNITS) + len(WALL_COLUMNS) + 3)
        return [case["id"], case["status"], *blank, case["error"]]
    measured, wall = case["measurements"], case["wall"] or {}
    frames = ["" if measured[phase] is None else measured[phase] + 1 for phase in ("ed", "es")]
    return [
        case["id"],
        case["status"],
        *frames,
        *(_number(measured["values"].get(name)) for name in UNITS),
        *(_number(wall.get(name)) for name in WALL_COLUMNS),
        (case["diagnosis"] or {}).get("group", ""),
        " | ".join(case["failed_rules"]),
        " | ".join(case["findings"]),
        "",
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
