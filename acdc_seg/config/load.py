"""Config files and overrides to a checked `Config`, and back."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from acdc_seg.config.models import MODEL_SECTIONS, UNET_PRESETS, ModelConfig, UNetConfig
from acdc_seg.config.schema import Config
from acdc_seg.config.section import Section
from acdc_seg.config.validation import describe
from acdc_seg.config.yaml_text import Lines, parse_yaml, read_yaml
from acdc_seg.errors import ConfigError, did_you_mean


def configs_dir() -> Path:
    """The folder of the shipped YAML files, in a checkout as in an installed wheel."""
    package = Path(__file__).resolve().parents[1]
    return next(
        folder
        for folder in (package / "configs", package.parent / "configs")
        if (folder / "default.yaml").is_file()
    )


def load_config(
    path: str | Path | None = None, *, model: str | None = None, overrides: Iterable[str] = ()
) -> Config:
    """Reads a YAML file, or the shipped recipe of `model`, over the defaults, and applies
    overrides.

    Args:
        path: YAML file of settings; only those that differ from the defaults need to stand in it.
        model: Name of a network. Without `path` its shipped recipe is the starting point.
        overrides: Texts such as `optimizer.lr=3.0e-4`.

    Raises:
        ConfigError: Anything unknown or out of range; all mistakes at once, a line each.
    """
    if model is not None and model not in MODEL_SECTIONS:
        raise ConfigError(f"model '{model}' is unknown: {did_you_mean(model, MODEL_SECTIONS)}")
    if path is None and model is not None:
        path = configs_dir() / f"{model}.yaml"
    tree, lines = _read_tree(Path(path)) if path is not None else ({}, {})
    changes = dict(parse_override(text) for text in overrides)
    if model is not None:
        changes = {"model.name": model, **changes}
    return _validate(
        _merge(tree, changes),
        source=str(path) if path is not None else "",
        lines=lines,
        overridden=changes,
    )


def with_overrides(config: Config, changes: Mapping[str, Any]) -> Config:
    """A copy with `{"section.key": value}` applied and everything checked again.

    Raises:
        ConfigError: A key is unknown or a value out of range.
    """
    return _validate(_merge(to_dict(config), changes))


def to_dict(config: Section) -> dict[str, Any]:
    """The config as plain dicts, lists, strings and numbers, ready for YAML, JSON or a
    checkpoint.
    """
    return config.model_dump(mode="json")


def differences(there: Config, here: Config) -> dict[str, tuple[Any, Any]]:
    """Dotted keys in which two configs differ, each with its value there and here."""
    ours, theirs = _flat(to_dict(here)), _flat(to_dict(there))
    return {
        key: (theirs.get(key), ours.get(key))
        for key in {**ours, **theirs}
        if ours.get(key) != theirs.get(key)
    }


def from_dict(tree: Mapping[str, Any], source: str = "") -> Config:
    """The inverse of `to_dict`; raises ConfigError naming `source`."""
    return _validate(tree, source=source)


def dump_yaml(config: Config) -> str:
    """The whole config as YAML text that `load_config` reads back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def parse_override(text: str) -> tuple[str, Any]:
    """Splits `section.key=value`; the value is read as YAML.

    Raises:
        ConfigError: No `=`, or a value that `parse_yaml` refuses.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(
            f"'{text}' is no override: write section.key=value, for example optimizer.lr=0.001"
        )
    return key.strip(), parse_yaml(value, source=f"'{text[:100]}'")[0]


def build_model_section(name: str, options: Mapping[str, Any]) -> Any:
    """The checked section of one network, for example `UNetConfig` for `unet`.

    Raises:
        ConfigError: Unknown network or option.
    """
    if name not in MODEL_SECTIONS:
        raise ConfigError(f"model '{name}' is unknown: {did_you_mean(name, MODEL_SECTIONS)}")
    try:
        return _model_adapter().validate_python({**options, "name": name})
    except ValidationError as error:
        raise ConfigError(
            describe(error, root=Config, models=MODEL_SECTIONS, prefix=("model",))
        ) from None


def default_yaml() -> str:
    """The text of configs/default.yaml: every setting with its default and its docstring as a
    comment.
    """
    lines = [
        "# Every setting with its default. A file of your own needs only the lines that differ.",
        "",
    ]
    for key, field in Config.model_fields.items():
        if isinstance(field.default, Section):
            section = type(field.default)
            about = [f"# {line}" for line in cleandoc(section.__doc__ or "").splitlines() if line]
            lines += ["", *about, f"{key}:"]
            for name, setting in section.model_fields.items():
                lines += _commented(name, setting, getattr(field.default, name), indent="  ")
        else:
            lines += _commented(key, field, field.default, indent="")
    return "\n".join(lines) + "\n"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a tree of settings."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
        )
    return flat


def _commented(name: str, field: Any, value: Any, indent: str) -> list[str]:
    about = (field.description or "").splitlines()
    comment = [f"{indent}# {line.strip()}" for line in about if line.strip()]
    return [*comment, f"{indent}{name}: {json.dumps(value, default=list)}"]


@cache
def _model_adapter() -> TypeAdapter[Any]:
    return TypeAdapter(ModelConfig)


def _read_tree(path: Path) -> tuple[dict[str, Any], Lines]:
    tree, lines = read_yaml(path, what="config file")
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: a config file holds 'section:' blocks, this one is a {type(tree).__name__}"
        )
    sections = {
        key for key, field in Config.model_fields.items() if isinstance(field.default, Section)
    }
    return {
        key: {} if value is None and key in sections else value for key, value in tree.items()
    }, lines


def _merge(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets dotted keys in a copy of the tree.

    Another `model.name` drops the options of the model before it, a preset those it sets.
    """
    merged = json.loads(json.dumps(tree, default=str))
    first = [key for key in ("model.name", "model.preset") if key in changes]
    for dotted in dict.fromkeys([*first, *changes]):
        value = changes[dotted]
        *parents, last = dotted.split(".")
        node = merged
        for parent in parents:
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


def _validate(
    tree: Mapping[str, Any],
    *,
    source: str = "",
    lines: Mapping[tuple[str, ...], int] | None = None,
    overridden: Iterable[str] = (),
) -> Config:
    model = tree.get("model") if isinstance(tree, Mapping) else None
    if isinstance(model, Mapping) and "name" not in model:
        tree = {**tree, "model": {"name": UNetConfig().name, **model}}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            describe(
                error,
                root=Config,
                models=MODEL_SECTIONS,
                source=source,
                lines=lines or {},
                overridden=overridden,
            )
        ) from None
