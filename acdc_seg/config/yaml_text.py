"""YAML text to plain values and line numbers.

Nothing in it is executed, expands to more than it shows, or is silently overwritten.
"""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from acdc_seg.errors import ConfigError

LONGEST_TEXT = 200_000
"""Characters of a file."""
MOST_VALUES = 10_000
"""Keys and values of a file, counted once for every alias that stands for them."""
DEEPEST = 20
"""Levels of nesting."""
LONGEST_NUMBER = 100
"""Characters of an integer."""
STRING, INTEGER, MERGE = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "merge"))
ILL_VALUE = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for text that is no YAML, or for a value that is not what its tag says."""

Lines = dict[tuple[str, ...], int]


def read_yaml(path: Path, *, what: str) -> tuple[Any, Lines]:
    """Values of a UTF-8 file and the line, from 1, of every key; `what` says in errors what the
    file should be.

    Raises:
        ConfigError: The file cannot be read, or is refused by `parse_yaml`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_TEXT + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read this {what} ({error.strerror}); check the path"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: this is not YAML: {' '.join(str(error).split())}") from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> tuple[Any, Lines]:
    """Values of a text and the line, from 1, of every key; `source` begins each error.

    Raises:
        ConfigError: No YAML, a key that stands twice or is no text, too long, too deep, or too
            large once its aliases are written out.
    """
    if len(text) > LONGEST_TEXT:
        raise ConfigError(
            f"{source}: longer than {LONGEST_TEXT:,} characters; settings are not that long, "
            "check what the file is"
        )
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        measured: dict[yaml.Node, tuple[int, int] | None] = {}
        if root is None:
            return None, {}
        _check_extent(*_measure(root, measured), source=source)
        for node in measured:
            _check_node(node, source)
        return SafeConstructor().construct_document(root), _key_lines(root)
    except RecursionError:
        raise ConfigError(
            f"{source}: nested more than {DEEPEST} levels deep; write it flat"
        ) from None
    except ILL_VALUE as error:
        raise ConfigError(f"{source}: this is not YAML: {' '.join(str(error).split())}") from None


def _measure(node: yaml.Node, measured: dict[yaml.Node, tuple[int, int] | None]) -> tuple[int, int]:
    """Values and levels of a node with its aliases written out; every node is visited once.

    Raises:
        RecursionError: A node holds itself.
    """
    if node not in measured:
        measured[node] = None
        parts = [_measure(part, measured) for part in _children(node)]
        measured[node] = (
            1 + sum(size for size, _ in parts),
            1 + max((levels for _, levels in parts), default=0),
        )
    extent = measured[node]
    if extent is None:
        raise RecursionError
    return extent


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _check_extent(num_values: int, num_levels: int, *, source: str) -> None:
    if num_values > MOST_VALUES:
        raise ConfigError(
            f"{source}: {num_values:,} values once its aliases (*name) are written out, at most "
            f"{MOST_VALUES:,} are read"
        )
    if num_levels > DEEPEST:
        raise RecursionError


def _check_node(node: yaml.Node, source: str) -> None:
    """Raises ConfigError for a key that is no text or stands twice, and for an integer of absurd
    length.
    """
    if node.tag == INTEGER and len(node.value) > LONGEST_NUMBER:
        raise ConfigError(
            f"{source}, line {node.start_mark.line + 1}: a whole number of {len(node.value):,} "
            "characters; correct it"
        )
    lines: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if key.tag == MERGE:
            continue
        if key.tag != STRING or not isinstance(key, yaml.ScalarNode):
            given = f"'{key.value}'" if isinstance(key, yaml.ScalarNode) else "a list or block"
            raise ConfigError(
                f"{source}, line {line}: {given} is no name of a setting for YAML; put quotes "
                "around words"
            )
        if key.value in lines:
            raise ConfigError(
                f"{source}, line {line}: '{key.value}' stands in line {lines[key.value]} already; "
                "keep one of the two"
            )
        lines[key.value] = line


def _key_lines(node: yaml.Node, prefix: tuple[str, ...] = ()) -> Lines:
    found: Lines = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = (*prefix, key.value)
            found[path] = key.start_mark.line + 1
            found |= _key_lines(value, path)
    return found
