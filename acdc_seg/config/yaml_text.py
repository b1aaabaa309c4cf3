"""YAML text to plain values and the line of every key; nothing in it is executed."""

from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from acdc_seg.errors import ConfigError, path_hint

MAX_CHARACTERS = 200_000
"""Length of the longest text that is parsed."""
STRING, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
PARSE_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError)
"""Raised by PyYAML for invalid text, and for a value that does not match its tag."""

Lines = dict[tuple[str, ...], int]


def configs_dir() -> Path:
    """Folder of the shipped YAML files, in a checkout as in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read_yaml(path: Path, *, what: str) -> tuple[Any, Lines]:
    """Values of a UTF-8 file and the line, from 1, of every key.

    Args:
        path: The file.
        what: What the file should be, for error messages.

    Raises:
        ConfigError: The file cannot be read, or is refused by `parse_yaml`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot read this {what} ({error.strerror}); {path_hint(path)}"
        ) from None
    except ValueError as error:
        raise _not_yaml(str(path), error) from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> tuple[Any, Lines]:
    """Values of a text and the line, from 1, of every key; `source` begins each error.

    Raises:
        ConfigError: Invalid YAML, a duplicate key or one that is not a string, or text that is too
            long or nested too deep.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(
            f"{source}: longer than {MAX_CHARACTERS:,} characters; settings are not that long, "
            "check what the file is"
        )
    lines: Lines = {}
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return None, lines
        _collect_lines(root, (), lines, source)
        return SafeConstructor().construct_document(root), lines
    except RecursionError:
        raise ConfigError(f"{source}: nested too deep; write it flat") from None
    except PARSE_ERRORS as error:
        raise _not_yaml(source, error) from None


def _not_yaml(source: str, error: Exception) -> ConfigError:
    remedy = "; put quotes around text that begins with a brace, as in '{stem}_mask'"
    return ConfigError(
        f"{source}: this is not YAML: {' '.join(str(error).split())}"
        f"{remedy if 'block' in str(error) else ''}"
    )


def _collect_lines(node: yaml.Node, path: tuple[str, ...], lines: Lines, source: str) -> None:
    """Adds the line of every key below `node`; raises ConfigError for a key that cannot be one."""
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _collect_lines(item, (*path, str(index)), lines, source)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.tag not in (STRING, MERGE):
            name = f"'{key.value}'" if isinstance(key, yaml.ScalarNode) else "a list or block"
            raise ConfigError(
                f"{source}, line {line}: {name} is not a valid setting name in YAML; put quotes "
                "around words"
            )
        key_path = (*path, key.value)
        if key_path in lines:
            raise ConfigError(
                f"{source}, line {line}: '{key.value}' is in line {lines[key_path]} already; keep "
                "one of the two"
            )
        lines[key_path] = line
        _collect_lines(value, key_path, lines, source)
