"""report.html of all exams: a table of numbers, and of each exam what was done."""

import base64
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from acdc_seg.labels import LV, MYO, RV
from acdc_seg.metrics.clinical import CONVENTIONS, UNITS
from acdc_seg.prediction.case import CASES
from acdc_seg.report.figures import Figures
from acdc_seg.report.page import column, counted, row, table, write_page
from acdc_seg.report.style import hex_color

SHOWN = ("LVEDV", "LVESV", "LVEF", "LVM", "RVEDV", "RVESV", "RVEF")
"""Columns of the table; all others are in measurements.csv."""
MAX_DETAILED = 200
"""Exams with pictures; more would make a page that no browser likes."""
MAX_ROWS = 2_000
"""Exams in the table: a browser takes 6 s to open as many, 15 s for 5,000, minutes for 50,000."""

OPTIONAL = {
    "matplotlib": "charts of volumes and wall thickness (matplotlib)",
    "sklearn": "the disease group (scikit-learn)",
}
"""What a small installation, without these packages, leaves out."""


def write_report(cases: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Writes the page; raises DataError where it cannot be written."""
    done = [case for case in cases if case["status"] == "done"]
    failed = [case for case in cases if case["status"] != "done"]
    doubtful = [case for case in done if case["failed_rules"]]
    doubtful_first = sorted(done, key=lambda case: not case["failed_rules"])
    detailed = doubtful_first[:MAX_DETAILED]
    listed = done if len(done) <= MAX_ROWS else doubtful_first[:MAX_ROWS]
    write_page(
        out / "report.html",
        "prediction.html",
        title="Segmented hearts",
        subtitle=_subtitle(len(done), len(failed), len(doubtful)),
        numbers=_numbers(listed),
        unlisted=len(done) - len(listed),
        failed=[{"id": case["id"], "error": case["error"]} for case in failed[:MAX_ROWS]],
        unlisted_failed=max(0, len(failed) - MAX_ROWS),
        cases=[_case(case, out) for case in detailed],
        left_out=len(done) - len(detailed),
        conventions=CONVENTIONS,
        legend={label.name: hex_color(label.color) for label in (RV, MYO, LV)},
        model=done[0]["model"] if done else None,
        missing=[OPTIONAL[name] for name in missing_packages()],
    )


def missing_packages() -> list[str]:
    """Those of `OPTIONAL` that are not installed."""
    return [name for name in OPTIONAL if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False


def _subtitle(num_done: int, num_failed: int, num_doubtful: int) -> str:
    parts = [counted(num_done, "exam")]
    if num_failed:
        parts.append(f"{num_failed} failed")
    parts.append(f"{num_doubtful} with a failed rule of the quality gate")
    return ", ".join(parts)


def _numbers(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    headings = [column("Exam"), *(column(f"{name} {UNITS[name]}", number=True) for name in SHOWN)]
    headings += [column("Group*"), column("Quality")]
    rows = []
    for case in cases:
        values = case["measurements"]["values"]
        cells: list[Any] = [case["id"]]
        cells += [_rounded(values.get(name)) for name in SHOWN]
        cells.append((case["diagnosis"] or {}).get("group"))
        cells.append(_quality(case["failed_rules"]))
        rows.append(row(cells))
    return table(headings, rows)


def _quality(failed_rules: Sequence[str]) -> str:
    return counted(len(failed_rules), "failed rule") if failed_rules else "passed"


def _rounded(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


def _case(case: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """What the page shows of an exam."""
    measured = case["measurements"]
    return {
        "id": case["id"],
        "picture": _data_url(out / CASES / case["picture"]),
        "rows": [phase for phase in ("ED", "ES") if measured[phase.lower()] is not None],
        "figures": _figures(case),
        "failed_rules": case["failed_rules"],
        "findings": case["findings"],
        "facts": _facts(case),
        "diagnosis": case["diagnosis"],
    }


def _facts(case: Mapping[str, Any]) -> dict[str, str]:
    measured = case["measurements"]
    size = " x ".join(map(str, case["size"]))
    spacing = " x ".join(f"{edge:.4g}" for edge in case["spacing"])
    facts = {
        "Voxels": f"{size} of {spacing} mm, {counted(case['num_frames'], 'frame')}",
        "Files": ", ".join(case["files"]),
    }
    found = [
        f"{phase} is frame {measured[phase.lower()] + 1}"
        + (" (given)" if phase in case["phases_given"] else " (found)")
        for phase in ("ED", "ES")
        if measured[phase.lower()] is not None
    ]
    if found:
        facts["Phases"] = ", ".join(found)
    known = {"height_cm": "cm", "weight_kg": "kg", "heart_rate": "beats per minute"}
    patient = [f"{measured[key]:g} {unit}" for key, unit in known.items() if measured[key]]
    if patient:
        facts["Patient"] = ", ".join(patient)
    return facts


def _figures(case: Mapping[str, Any]) -> dict[str, str]:
    if "matplotlib" in missing_packages():
        return {}
    from acdc_seg.report.clinical import draw_bullseye, draw_volumes

    figures, drawn = Figures(), {}
    measured = case["measurements"]
    if case["num_frames"] > 2:
        drawn["Volumes over the heart beat"] = figures.draw(
            case["id"],
            partial(
                draw_volumes,
                measured["curves"],
                ed=measured["ed"],
                es=measured["es"],
                frame_seconds=case["frame_seconds"],
            ),
        )
    wall = case["wall"]
    if wall and any(value is not None for value in wall.values()):
        means = [wall[f"WT_MEAN_{number}"] for number in range(1, 17)]
        drawn["Wall thickness at ED by the AHA's segments"] = figures.draw(
            case["id"], partial(draw_bullseye, means)
        )
    return {caption: svg for caption, svg in drawn.items() if svg}


def _data_url(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
