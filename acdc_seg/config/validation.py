"""Validation errors in words: file, line, setting, the value found and the values allowed."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from acdc_seg.config.classes import COLUMNS
from acdc_seg.config.models import MODEL_SECTIONS
from acdc_seg.config.schema import Config
from acdc_seg.errors import did_you_mean

Path = tuple[str, ...]

MAX_VALUE_LENGTH = 200
"""Characters of a wrong value that a message repeats."""
RENAMED = {
    "source": "format",
    "patients": "patient_rule",
    "folds": "num_folds",
    "masks": "mask_encoding",
    "ignore_value": "void",
    "turns": "flip_rotate_prob",
    "copies": "repeats",
    "beta": "lambda_ce",
    "warmup": "warmup_fraction",
    "accumulate": "grad_accum_steps",
    "clip_norm": "max_grad_norm",
    "val_every": "val_interval",
    "images_every": "log_images_interval",
    "num_images": "num_log_images",
    "save_seconds": "checkpoint_interval_s",
    "threads": "num_threads",
    "up": "upsample",
}
"""Former names of settings, which are suggested where the spelling is too far off."""


def describe(
    error: ValidationError,
    *,
    root: type[BaseModel] = Config,
    source: str = "",
    lines: Mapping[Path, int] = MappingProxyType({}),
    overridden: Iterable[str] = (),
    prefix: Sequence[str] = (),
) -> str:
    """One line per mistake: file, line, setting, the value found and the values allowed.

    Args:
        error: Raised by pydantic.
        root: The model that was validated.
        source: File that the config was read from.
        lines: Line number of every key of that file.
        overridden: Dotted keys that do not come from that file.
        prefix: Path in the config of the part that was validated.
    """
    changed = {tuple(key.split(".")) for key in overridden}
    described = []
    for item in error.errors():
        path = tuple(str(part) for part in (*prefix, *item["loc"]))
        section = root
        if len(path) > 1 and path[0] == "model" and path[1] in MODEL_SECTIONS:
            section, path = MODEL_SECTIONS[path[1]], ("model", *path[2:])
        path = _short_path(path)
        name = ".".join(path) or "config"
        place = _place(path, source, lines, changed) if source else ""
        described.append(f"{place}{name}: {_explain(item, path, section)}")
    return "\n".join(dict.fromkeys(described))


def _short_path(path: Path) -> Path:
    """The path by which users know a part of a class, for example classes.values."""
    columns = {part: column for column, part in COLUMNS.items()}
    if path[:2] == ("classes", "labels") and len(path) > 3 and path[3] in columns:
        return ("classes", columns[path[3]], path[2], *path[4:])
    return path


def _place(path: Path, source: str, lines: Mapping[Path, int], changed: set[Path]) -> str:
    """File and line of the nearest key around a mistake; empty for a mistake in an override."""
    around = [path[:length] for length in range(len(path), 0, -1)]
    if changed.intersection(around):
        return ""
    line = next((lines[key] for key in around if key in lines), None)
    if line is not None:
        return f"{source}, line {line}: "
    return "" if changed else f"{source}: "


def _explain(item: Any, path: Path, section: type[BaseModel]) -> str:
    """The value found and the values allowed, of one entry of `ValidationError.errors()`."""
    value, message = item["input"], item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        allowed = _siblings(path, section)
        full = _full_names(path[0]) if len(path) == 1 and section is Config else []
        if full:
            return f"unknown setting; did you mean {' or '.join(full)}?"
        renamed = RENAMED.get(path[-1])
        meant = renamed if renamed in allowed else path[-1]
        return f"unknown setting; {did_you_mean(meant, allowed)}"
    if item["type"] == "union_tag_invalid":
        name = item["ctx"]["tag"]
        return f"model '{_shorten(name)}' is unknown: {did_you_mean(name, MODEL_SECTIONS)}"
    if item["type"] == "value_error":
        return message
    found = f"got {_shorten(repr(value))}"
    if item["type"] == "literal_error" and isinstance(value, str):
        words = item["ctx"]["expected"].replace(" or ", ", ").split(",")
        allowed = [word.strip("' ") for word in words]
        return f"{found}; {did_you_mean(value, allowed)}"
    if isinstance(value, bool):
        found += (
            " (YAML reads a bare yes, no, on and off as true and false: put quotes around words)"
        )
    return f"{found}; {message[0].lower()}{message[1:]}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}..."


def _full_names(key: str) -> list[str]:
    """`section.key` for every section that has such a setting, for a key without its section."""
    sections = {name: [type(field.default)] for name, field in Config.model_fields.items()}
    sections["model"] = list(MODEL_SECTIONS.values())
    return [
        f"'{name}.{key}'"
        for name, kinds in sections.items()
        if any(key in getattr(kind, "model_fields", {}) for kind in kinds)
    ]


def _siblings(path: Path, section: type[BaseModel]) -> list[str]:
    """Keys that are allowed in place of the last one of `path`, which starts in `section`."""
    for part in path[:-1]:
        field = section.model_fields.get(part)
        if field is None or not isinstance(field.default, BaseModel):
            break
        section = type(field.default)
    return [*section.model_fields, *getattr(section, "shorthands", ())]
