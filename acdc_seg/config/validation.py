"""What is wrong with a config, in words: file, line, setting, what was given and what is
allowed.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from acdc_seg.errors import did_you_mean

LONGEST_GIVEN = 200
"""Characters of a wrong value that a message repeats."""


def describe(
    error: ValidationError,
    *,
    root: type[BaseModel],
    models: Mapping[str, type[BaseModel]],
    source: str = "",
    lines: Mapping[tuple[str, ...], int] = MappingProxyType({}),
    overridden: Iterable[str] = (),
    prefix: Sequence[str] = (),
) -> str:
    """One line per mistake: where, what was given, what is allowed.

    Args:
        root: The model of the whole config.
        models: The sections that `model` may be, by name.
        source: File that the config was read from.
        lines: Line number of every key of that file.
        overridden: Dotted keys that were not read from it, so that their mistakes are not the
            file's.
        prefix: Where in the config the checked part belongs.
    """
    elsewhere = [tuple(key.split(".")) for key in overridden]
    described = []
    for item in error.errors():
        where = tuple(str(part) for part in (*prefix, *item["loc"]))
        if len(where) > 1 and where[0] == "model" and where[1] in models:
            model, where = where[1], (where[0], *where[2:])
        else:
            model = None
        line = next(
            (lines[where[:n]] for n in range(len(where), 0, -1) if where[:n] in lines), None
        )
        place = f"{source}, line {line}: " if source and line else (f"{source}: " if source else "")
        if any(
            where[: len(key)] == key or (line is None and key[: len(where)] == where)
            for key in elsewhere
        ):
            place = ""
        described.append(
            f"{place}{'.'.join(where) or 'config'}: {_explain(item, where, root, models, model)}"
        )
    return "\n".join(dict.fromkeys(described))


def _explain(
    item: Any,
    where: tuple[str, ...],
    root: type[BaseModel],
    models: Mapping[str, type[BaseModel]],
    model: str | None,
) -> str:
    if item["type"] == "extra_forbidden":
        return (
            "unknown setting; "
            f"{did_you_mean(where[-1], _siblings(where, models[model] if model else root))}"
        )
    if item["type"] == "union_tag_invalid":
        given = item["ctx"]["tag"]
        return f"model '{_shorten(given)}' is unknown: {did_you_mean(given, models)}"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return message
    given = f"got {_shorten(repr(item['input']))}"
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        allowed = [
            word.strip("' ") for word in item["ctx"]["expected"].replace(" or ", ", ").split(",")
        ]
        return f"{given}; {did_you_mean(item['input'], allowed)}"
    if isinstance(item["input"], bool):
        given += (
            " (YAML reads a bare yes, no, on and off as true and false: put quotes around words)"
        )
    return f"{given}; {message[0].lower()}{message[1:]}"


def _shorten(text: str) -> str:
    return text if len(text) <= LONGEST_GIVEN else f"{text[:LONGEST_GIVEN]}..."


def _siblings(where: Sequence[str], section: type[BaseModel]) -> list[str]:
    """Keys that are allowed where an unknown one stood; `section` is the one that its path starts
    in, or the whole config.
    """
    for part in where[:-1]:
        field = section.model_fields.get(part)
        if field is None or not isinstance(field.default, BaseModel):
            break
        section = type(field.default)
    return [*section.model_fields, *getattr(section, "shorthands", ())]
