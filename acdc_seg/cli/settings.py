"""Settings of a command line: a config file or a network's recipe, flags, and SECTION.KEY=VALUE."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape

from acdc_seg.cli.app import console

if TYPE_CHECKING:
    from acdc_seg.config import Config

DEFAULT_MODEL = "unet"
PHANTOM_NOTICE = (
    "[bold yellow]No --data given: {} on the built-in synthetic phantom. Its scores say nothing "
    "about real hearts.[/]"
)


def option(help: str, panel: str, default: str | bool = True) -> Any:
    """A command's option below a heading of its help; `default` is shown in place of None."""
    return typer.Option(help=help, rich_help_panel=panel, show_default=default)


def choices(setting: str) -> str:
    """The allowed words of a setting as a help text."""
    from acdc_seg.config import setting_choices

    return f"{', '.join(setting_choices(setting))}."


def print_notes(notes: Iterable[str]) -> None:
    """Prints what was found by looking at the data, a sentence each."""
    for note in notes:
        console.print(note, markup=False)


def load_settings(
    model: str | None,
    path: Path | None,
    flags: Mapping[str, Any],
    overrides: Sequence[str],
    *,
    with_recipe: bool = True,
) -> "Config":
    """The config of a command; with neither network nor file it is that of U-Net's recipe.

    Args:
        model: Network; else that of the file, or U-Net.
        path: Config file, which is laid over the recipe of the network.
        flags: Values of options by dotted setting; None means not given.
        overrides: `section.key=value`, which win over flags.
        with_recipe: False reads the file alone.

    Raises:
        ConfigError: An unknown setting or a value out of range.
    """
    from acdc_seg.config import find_recipe, load_config, parse_override

    if model is None and path is None:
        model = str(dict(map(parse_override, overrides)).get("model.name", DEFAULT_MODEL))
    texts = [f"{key}={json.dumps(value)}" for key, value in flags.items() if value is not None]
    texts += overrides
    alone = load_config(path, model=model, overrides=texts, with_recipe=False)
    if not with_recipe:
        return alone
    config, name = load_config(path, model=model, overrides=texts), alone.model.name
    if path is None and find_recipe(name) is None:
        console.print(f"{name} has no recipe: training with the defaults.")
    if path is not None and config != alone:
        console.print(f"{escape(str(path))} over the recipe of {name}.")
    return config
