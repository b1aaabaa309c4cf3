"""Config files and overrides to a checked `Config`, and back."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import ValidationError

from acdc_seg.config.classes import COLUMNS, expand_classes
from acdc_seg.config.models import MODEL_SECTIONS, UNET_PRESETS, UNetConfig
from acdc_seg.config.schema import Config
from acdc_seg.config.section import PathText, Section
from acdc_seg.config.validation import describe
from acdc_seg.config.yaml_text import Lines, configs_dir, parse_yaml, read_yaml
from acdc_seg.errors import ConfigError, did_you_mean


def find_recipe(model: str) -> Path | None:
    """The shipped YAML file of a network; None where it has none and trains with the defaults."""
    path = configs_dir() / f"{model}.yaml"
    return path if path.is_file() else None


def load_config(
    path: str | Path | None = None,
    *,
    model: str | None = None,
    overrides: Iterable[str] = (),
    with_recipe: bool = True,
) -> Config:
    """The defaults, under the recipe of the network, under a YAML file, under overrides.

    The recipe is that of `model`, else of the `model.name` in the file, else of U-Net. A file that
    holds every setting, such as config.yaml of a run, so means exactly itself. Without `path` and
    `model` there is no recipe.

    Args:
        path: YAML file of some settings or all, or the name of a shipped one.
        model: Name of a network; the options that the file gives another network are dropped.
        overrides: Texts such as `optimizer.lr=3.0e-4`.
        with_recipe: Leave out the recipe under the file.

    Raises:
        ConfigError: A setting is unknown or out of range; all mistakes at once, a line each.
    """
    changes = dict(parse_override(text) for text in overrides)
    if model is not None:
        _check_model(model)
        changes = {"model.name": model, **changes}
    tree, lines = ({}, {}) if path is None else _read_tree(_find_file(path))
    merged = _merge(tree, changes)
    if with_recipe and (path is not None or model is not None):
        merged = _over_recipe(merged)
    return _validate(merged, source=str(path or ""), lines=lines, overridden=changes)


def _find_file(path: str | Path) -> Path:
    """The file, or the shipped one of this name where there is no such file."""
    shipped = find_recipe(str(path)) if re.fullmatch(r"\w+", str(path)) else None
    return shipped if shipped and not Path(path).exists() else Path(path)


def _over_recipe(tree: dict[str, Any]) -> dict[str, Any]:
    """The settings over those of their network's recipe."""
    model = tree.get("model", {})
    name = model.get("name", UNetConfig().name) if isinstance(model, Mapping) else None
    recipe = find_recipe(name) if name in tuple(MODEL_SECTIONS) else None
    if recipe is None:
        return tree
    below, _ = _read_tree(recipe)
    for option in UNET_PRESETS.get(str(model.get("preset")), {}):
        below["model"].pop(option, None)
    return _overlay(below, tree)


def _overlay(below: Any, above: Any) -> Any:
    """Two trees of settings as one; where both have a value, that of the second."""
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _overlay(below.get(key), value) for key, value in above.items()}}


def with_overrides(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with `{"section.key": value}` applied and everything checked again.

    Raises:
        ConfigError: A key is unknown or a value out of range.
    """
    return _validate(_merge(to_dict(config), changes))


def to_dict(config: Section) -> dict[str, Any]:
    """The config as plain dicts, lists, strings and numbers, for YAML, JSON or a checkpoint."""
    return config.model_dump(mode="json")


def from_dict(tree: Mapping[str, Any], source: str = "") -> Config:
    """The inverse of `to_dict`; raises ConfigError naming `source`."""
    return _validate(tree, source=source)


def differences(first: Config, second: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two configs differ, each with both values."""
    old, new = _flat(to_dict(first)), _flat(to_dict(second))
    keys = {**new, **old}
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def dump_yaml(config: Config) -> str:
    """The whole config as YAML text that `load_config` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `section.key=value`; the value is read as YAML, but that of a text as it is written.

    Raises:
        ConfigError: The text has no `=`, or a value that is not YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"invalid override '{text}': expected section.key=value, for example optimizer.lr=0.001"
        )
    is_text = key.strip() in _text_settings()
    try:
        parsed = parse_yaml(value, source=f"'{text[:100]}'")[0]
    except ConfigError:
        if is_text:
            return key.strip(), value
        raise
    return key.strip(), value if is_text and not isinstance(parsed, str | None) else parsed


@cache
def _text_settings() -> frozenset[str]:
    """Dotted keys of the settings that are any text, such as `data.mask_pattern`."""
    sections = {name: [type(field.default)] for name, field in Config.model_fields.items()}
    sections["model"] = list(MODEL_SECTIONS.values())
    keys = {key for key, field in Config.model_fields.items() if _is_text(field.annotation)}
    for name, kinds in sections.items():
        for kind in kinds:
            fields = getattr(kind, "model_fields", {}).items()
            keys |= {f"{name}.{key}" for key, field in fields if _is_text(field.annotation)}
    return frozenset(keys)


def _is_text(annotation: Any) -> bool:
    """Whether an annotation is `str`, `PathText`, or one of them or None."""
    return annotation is str or str in get_args(annotation) or PathText in get_args(annotation)


def build_model_section(name: str, options: Mapping[str, Any]) -> Any:
    """The checked section of one network, for example `UNetConfig` for `unet`.

    Raises:
        ConfigError: Unknown network or option.
    """
    _check_model(name)
    return _validate({"model": {**options, "name": name}}).model


def default_yaml() -> str:
    """The text of configs/default.yaml: every setting with its default and its meaning."""
    title = "# Every setting with its default. A file of your own needs only the lines that differ."
    lines = [title, ""]
    for key, field in Config.model_fields.items():
        if not isinstance(field.default, Section):
            lines += _commented(key, field, field.default, indent="")
            continue
        lines += ["", *_comment(type(field.default).__doc__ or ""), f"{key}:"]
        for name, setting in type(field.default).model_fields.items():
            lines += _commented(name, setting, getattr(field.default, name), indent="  ")
    return "\n".join(lines) + "\n"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a tree of settings; those of the classes are their short forms."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif f"{prefix}{key}" == "classes.labels":
            for column, part in COLUMNS.items():
                flat[prefix + column] = [label[part] for label in value]
        else:
            flat[prefix + key] = value
    return flat


def _comment(text: str) -> list[str]:
    return [f"# {line.strip()}" for line in text.splitlines() if line.strip()]


def _commented(name: str, field: Any, value: Any, indent: str) -> list[str]:
    lines = _comment(field.description or "")
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if len(choices) > 1:
        lines.append(f"# One of: {', '.join(map(str, choices))}.")
    if isinstance(value, tuple) and all(isinstance(item, Section) for item in value):
        items = [json.dumps(to_dict(item)) for item in value]
        lines += [f"{name}:", *(f"  - {item}" for item in items)]
    else:
        lines.append(f"{name}: {json.dumps(value, default=list)}")
    return [indent + line for line in lines]


def _read_tree(path: Path) -> tuple[dict[str, Any], Lines]:
    tree, lines = read_yaml(path, what="config file")
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: a config file holds 'section:' blocks, this one is a {type(tree).__name__}"
        )
    for key, field in Config.model_fields.items():
        if tree.get(key, {}) is None and isinstance(field.default, Section):
            tree[key] = {}
    return tree, lines


def _check_model(name: str) -> None:
    if name not in MODEL_SECTIONS:
        raise ConfigError(f"model '{name}' is unknown: {did_you_mean(name, MODEL_SECTIONS)}")


def _merge(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets dotted keys in a copy of the tree.

    Another `model.name` removes the options of the previous model, a preset those that it sets.
    `classes=NAME` replaces all settings of classes, before others change some of them.
    """
    merged = json.loads(json.dumps(tree, default=str))
    first = [key for key in ("model.name", "model.preset", "classes") if key in changes]
    for dotted in dict.fromkeys([*first, *changes]):
        value = changes[dotted]
        *parents, last = dotted.split(".")
        node = merged
        for parent in parents:
            if parent == "classes" and node is merged:
                node[parent] = _expand_classes(node.get(parent, {}))
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted}: '{parent}' is a value, not a section")
        if dotted == "model.name" and node.get("name", UNetConfig().name) != value:
            node.clear()
        if dotted == "model.preset":
            for option in UNET_PRESETS.get(str(value), {}):
                node.pop(option, None)
        node[last] = value
    return merged


def _expand_classes(value: Any) -> Any:
    try:
        return expand_classes(value)
    except ValueError as error:
        raise ConfigError(f"classes: {error}") from None


def _validate(
    tree: Mapping[str, Any],
    *,
    source: str = "",
    lines: Mapping[tuple[str, ...], int] = MappingProxyType({}),
    overridden: Iterable[str] = (),
) -> Config:
    model = tree.get("model") if isinstance(tree, Mapping) else None
    if isinstance(model, Mapping) and "name" not in model:
        tree = {**tree, "model": {"name": UNetConfig().name, **model}}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        message = describe(error, source=source, lines=lines, overridden=overridden)
        raise ConfigError(message) from None
