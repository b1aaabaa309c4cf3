"""Pages of the site that are made from the program: its settings, its commands, and the notebook.

From the text of a notebook nothing is run; its stored outputs are shown.
"""

import configparser
import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from acdc_seg.config import MODEL_SECTIONS, Config, Section

ROOT = Path(__file__).resolve().parents[1]
FRONT = "---\nsearch:\n  boost: 4\n---\n"
"""Lets the search rank a page above those that mention its words."""
SETTINGS_HEAD = f"""{FRONT}# Settings

Every setting with its type, its default and its meaning, from the schema that checks them.
Give one as `section.key=value` to a command, or below its section in a YAML file
(`acdc-train --config FILE`); `acdc-train --settings` prints the file of defaults.
The recipe of a network ([Networks](../models.md)) stands over these defaults, a file over the
recipe, and the command line over both.
"""
COMMANDS_HEAD = f"""{FRONT}# Commands

What `--help` says, of every command.
`SECTION.KEY=VALUE` is one of the [settings](settings.md).
"""
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

CODE_OR_BRACKET = re.compile(r"(```.*?```|`[^`\n]*`)|\\?\[", re.DOTALL)
"""Outside of code a bracket would begin a link; that of the terminal's markup is escaped."""


def settings_page() -> str:
    """Markdown of all settings: a chapter per section, and one per network."""
    parts = [SETTINGS_HEAD, "## The run\n"]
    top = {
        name: field
        for name, field in Config.model_fields.items()
        if not isinstance(field.default, Section)
    }
    parts += _entries(Config, "", top)
    for name, field in Config.model_fields.items():
        if name == "model":
            parts += _networks()
        elif isinstance(field.default, Section):
            section = type(field.default)
            parts.append(f"## {name}\n\n{_prose(section.__doc__)}\n")
            parts += _entries(section, f"{name}.", section.model_fields)
    return "\n".join(parts)


def _networks() -> list[str]:
    """The options of every network."""
    parts = ["## model\n\nThe network, and options of its own.\n"]
    for name, section in MODEL_SECTIONS.items():
        parts.append(f"### model.name={name}\n\n{_prose(section.__doc__)}\n")
        options = {key: field for key, field in section.model_fields.items() if key != "name"}
        parts += _entries(section, "model.", options, anchor=f"{name}.")
    return parts


def _entries(
    section: type[Section], prefix: str, fields: dict[str, Any], *, anchor: str = ""
) -> list[str]:
    """A definition list of settings; each has an anchor to link to."""
    schema = section.model_json_schema()
    entries = []
    for name, field in fields.items():
        words = describe_type(schema["properties"][name], schema.get("$defs", {}))
        default = _default(field.get_default(call_default_factory=True))
        key = f"{prefix}{name}"
        entries.append(
            f"[`{key}`](#{anchor}{key}){{ #{anchor}{key} .setting }}\n"
            f":   {words}; default {default}\n\n    {_prose(field.description)}\n"
        )
    return entries


def describe_type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema in words: 'integer ≥ 1', '`a` or `b`', 'list of numbers'."""
    if "$ref" in schema:
        return describe_type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        words = [describe_type(option, definitions) for option in schema["anyOf"]]
        return " or ".join(dict.fromkeys(words))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "value")
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "null":
        return "`null`"
    if kind == "string":
        return "text"
    if kind == "object":
        return schema.get("title", "group").removesuffix("Config").lower()
    if kind == "array":
        return _describe_list(schema, definitions)
    bounds = [f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([kind, ", ".join(bounds)]).strip()


def _describe_list(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "prefixItems" in schema:
        words = [describe_type(item, definitions) for item in schema["prefixItems"]]
        return f"list of {len(words)}: {', '.join(dict.fromkeys(words))}"
    return f"list of: {describe_type(schema.get('items', {}), definitions)}"


def _default(value: Any) -> str:
    """A default as YAML takes it."""
    if isinstance(value, Section):
        return "below"
    if isinstance(value, tuple) and value and isinstance(value[0], Section):
        value = [item.model_dump(mode="json") for item in value]
    return f"`{json.dumps(value, ensure_ascii=False)}`".replace('`"', "`").replace('"`', "`")


def _prose(text: str | None) -> str:
    """One line of Markdown."""
    return " ".join((text or "").split())


def commands_page() -> str:
    """Markdown of all commands, as typer writes it."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = settings["options.entry_points"]["console_scripts"].strip().splitlines()
    parts = [COMMANDS_HEAD]
    for line in lines:
        name, _, entry = line.partition("=")
        parts.append(_command(name.strip(), import_module(entry.strip().partition(":")[0]).app))
    return "\n".join(parts)


def _command(name: str, app: Any) -> str:
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    command = get_command(app)
    context = command.context_class(command, info_name=name)
    text = get_docs_for_click(obj=command, ctx=context, name=name)
    text = re.sub(r"^(#+ )", r"#\1", text, flags=re.MULTILINE)
    text = re.sub(r"^\* `([^`]+)`: ", r"* **`\1`**: ", text, flags=re.MULTILINE)
    text = re.sub(r"\[default: \(([^()]*)\)", r"[default: \1", text)
    text = text.replace("```console\n$ ", "```text\n")
    return CODE_OR_BRACKET.sub(lambda found: found[1] or r"\[", text)


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Markdown of a notebook and its outputs, and the pictures that it shows by their names."""
    import nbformat
    from nbconvert import MarkdownExporter

    notebook = nbformat.read(path, as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    note = f"\nThis page is [{path.name}]({path.name}), which runs as it is.\n"
    head, _, rest = text.partition("\n")
    return head + "\n" + note + rest, resources["outputs"]
