"""Pages as single HTML files that need no network: templates, style and scripts in one."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from acdc_seg import __version__
from acdc_seg.files import write_text

WORDS = {
    "acdc_seg": "acdc_seg",
    "best_dice": "Best Dice",
    "commit": "Commit",
    "data": "Data format",
    "data_path": "Data path",
    "data_sha256": "SHA-256 of the data",
    "num_threads": "Threads",
    "python": "Python",
    "seconds": "Seconds",
    "val_patients": "Validation patients",
}
"""Keys of run.json in words; the others are their own words."""


def write_page(path: Path, template: str, **content: Any) -> None:
    """Writes a page.

    Args:
        path: The file to write.
        template: Its name in templates/.
        content: Values of the template; `title` is always one.

    Raises:
        DataError: The file cannot be written.
    """
    page = (
        _environment()
        .get_template(template)
        .render(**{"subtitle": "", "version": __version__, **content})
    )
    write_text(path, page)


def column(text: str, *, number: bool = False) -> dict[str, Any]:
    """A heading of a table; numbers are aligned at the right."""
    return {"text": text, "number": number}


def row(cells: Iterable[Any], *, case: str = "", best: bool = False) -> dict[str, Any]:
    """A row of a table: None is shown as a dash, and a click shows `case` in the viewer."""
    return {"cells": [decimals(cell) for cell in cells], "case": case, "best": best}


def table(headings: Sequence[dict[str, Any]], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A table of the templates."""
    return {"headings": list(headings), "rows": list(rows)}


def decimals(value: Any) -> str:
    """A cell or a fact as text."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return str(value)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 patient, 2 patients."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}"


def interval_text(interval: tuple[float, float] | None, *, difference: bool = False) -> str:
    """A 95 % interval in words; empty for None."""
    if interval is None:
        return ""
    low, high = (signed(end) if difference else decimals(end) for end in interval)
    return f"95 % interval {low} to {high}"


def facts(content: Mapping[str, Any]) -> dict[str, str]:
    """Label and text of plain values; nested dicts are left to tables of their own."""
    shown = {}
    for key, value in content.items():
        if isinstance(value, Mapping) or value is None or value == "":
            continue
        label = _words(key)
        shown[label if key in WORDS else label[:1].upper() + label[1:]] = _fact(value)
    return shown


def _words(key: str) -> str:
    return WORDS.get(key) or key.replace("num_", "number of ").replace("_", " ")


def _fact(value: Any) -> str:
    """A value of a fact; the parts of a list in a list belong together, as height and width do."""
    if not isinstance(value, list | tuple):
        return decimals(value)
    parts = [
        " × ".join(f"{part:g}" for part in item) if isinstance(item, list | tuple) else str(item)
        for item in value
    ]
    return ", ".join(parts)


def flat_facts(content: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`facts` with the values of nested dicts too, named by their path."""
    shown: dict[str, str] = {}
    for key, value in content.items():
        label = f"{prefix}{_words(key)}"
        if isinstance(value, Mapping):
            shown |= flat_facts(value, f"{label}, ")
        elif value not in (None, "", [], ()):
            shown[label[:1].upper() + label[1:]] = _fact(value)
    return shown


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("acdc_seg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_text"] = _json_text
    return environment


def _json_text(value: Any) -> Any:
    """JSON that cannot end the script element around it."""
    from markupsafe import Markup

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028"))
