"""Search spaces: which settings a study varies, read from YAML and checked against the config
before anything runs.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import Trial
from pydantic import ValidationError

from acdc_seg.config import Config, configs_dir, to_dict, with_overrides
from acdc_seg.config.classes import COLUMNS
from acdc_seg.config.validation import describe
from acdc_seg.config.yaml_text import read_yaml
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.tuning.entries import Choice, Range, to_stored

OWN_KEYS = ("name", "runs_dir", "data.fold", "data.num_folds")
"""Settings that the study itself sets."""


@dataclass(frozen=True)
class Space:
    """Settings to vary, by config key; one with `when` is drawn only for these values of the
    choices above it. `fixed` are settings of its file that the command sets instead.
    """

    entries: Mapping[str, Choice | Range]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draws a value for every setting that applies, ready for `with_overrides`."""
        chosen: dict[str, Any] = {}
        for key, entry in self.entries.items():
            if _applies(entry, chosen):
                chosen[key] = entry.suggest(trial, key)
        return chosen

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Config values of a trial's stored parameters."""
        return {key: self.entries[key].value_of(stored) for key, stored in params.items()}

    def outside(self, config: Config) -> dict[str, Any]:
        """The settings of a config that the space cannot draw."""
        own = self._values_in(config).items()
        return {key: value for key, value in own if not self.entries[key].contains(value)}

    def params_of(self, config: Config) -> dict[str, Any] | None:
        """Stored parameters that draw a config's own settings; None where one is outside."""
        if self.outside(config):
            return None
        return {key: to_stored(value) for key, value in self._values_in(config).items()}

    def _values_in(self, config: Config) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for key, entry in self.entries.items():
            if _applies(entry, chosen):
                chosen[key] = _setting(config, key)
        return chosen

    def grid(self, first: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """All combinations as stored parameters, each once; settings whose condition is not met are
        left out. `first` is a point to begin with, whether it is on the grid or not.

        Raises:
            ConfigError: A range has neither `points` nor `step`.
        """
        points: list[dict[str, Any]] = [{}]
        for key, entry in self.entries.items():
            shorter, points = points, []
            for point in shorter:
                applies = _applies(entry, self.values_of(point))
                values = entry.grid(key) if applies else ()
                points += [{**point, key: value} for value in values] or [point]
        if first is None:
            return points
        return [dict(first), *(point for point in points if not _is_close(point, first))]

    def to_dict(self) -> dict[str, Any]:
        """The space as plain values, to store and to compare."""
        return {key: entry.model_dump(mode="json") for key, entry in self.entries.items()}


def find_space(name: str) -> Path:
    """The file of a space: a path, or the name of a shipped one.

    Raises:
        ConfigError: There is no such file and no shipped space of that name.
    """
    shipped = {path.stem: path for path in sorted((configs_dir() / "tune").glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    begun = next((stem for stem in shipped if stem.startswith(name)), name)  # opt: optimizer
    raise ConfigError(
        f"--space {name}: no such file, and no space of that name; {did_you_mean(begun, shipped)}"
    )


def load_space(path: Path, base: Config, *, fixed: Iterable[str] = ()) -> Space:
    """Reads a space and validates every candidate value with the base config.

    Args:
        path: YAML file.
        base: Config that trials start from; ranges with `times` are relative to it.
        fixed: Settings that are not varied, though the file names them.

    Raises:
        ConfigError: Invalid YAML, unknown keys, values that the config refuses, conditions on
            settings that are not choices; all mistakes at once.
    """
    tree, lines = read_yaml(path, what="space")
    if not isinstance(tree, dict) or not tree:
        raise ConfigError(
            f"{path}: a space is lines such as 'optimizer.lr: {{low: 1.0e-4, high: 1.0e-2, log: "
            "true}'"
        )
    entries: dict[str, Choice | Range] = {}
    mistakes: list[str] = []
    for key, value in tree.items():
        try:
            entries[key] = _parse(key, value, base)
            _check_conditions(key, entries)
            _try_values(base, key, entries)
        except ConfigError as error:
            messages = str(error).splitlines()
            mistakes += [f"{path}, line {lines[key,]}: {message}" for message in messages]
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    varied = _without(fixed, entries, base)
    if not varied:
        raise ConfigError(
            f"{path}: every setting of this space is also set by the command, which leaves nothing "
            f"to vary; leave out one of {', '.join(entries)}"
        )
    return Space(varied, {key: _setting(base, key) for key in fixed if key in entries})


def _without(
    fixed: Iterable[str], entries: Mapping[str, Choice | Range], base: Config
) -> dict[str, Choice | Range]:
    """The entries that are left when some settings have the base config's values."""
    fixed, varied = set(fixed), {}
    for key, entry in entries.items():
        is_met = [
            _setting(base, parent) in values if parent in fixed else parent in varied
            for parent, values in entry.when.items()
        ]
        if key not in fixed and all(is_met):
            when = {parent: values for parent, values in entry.when.items() if parent in varied}
            varied[key] = entry.model_copy(update={"when": when})
    return varied


def _setting(config: Config, key: str) -> Any:
    """The value of a dotted setting.

    Raises:
        ConfigError: There is no such setting.
    """
    section, _, column = key.partition(".")
    if section == "classes" and column in COLUMNS:
        return list(getattr(config.classes, column))
    node: Any = to_dict(config)
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            with_overrides(config, {key: 1.0})  # names the setting that was meant
            raise ConfigError(f"{key}: unknown setting")
        node = node[part]
    return node


def _parse(key: str, value: Any, base: Config) -> Choice | Range:
    if key in OWN_KEYS:
        raise ConfigError(f"{key}: is set by the study itself and cannot be varied")
    if isinstance(value, dict) and "times" in value:
        value = _resolve_times(key, value, _setting(base, key))
    if isinstance(value, list):
        value = {"choices": value}
    if not isinstance(value, dict):
        raise ConfigError(f"{key}: got {value!r}; write a list of values, or low and high")
    kind = Choice if "choices" in value else Range
    conditions = {
        parent: values if isinstance(values, list) else [values]
        for parent, values in (value.get("when") or {}).items()
    }
    try:
        return kind.model_validate({**value, "when": conditions})
    except ValidationError as error:
        raise ConfigError(describe(error, root=kind, prefix=(key,))) from None


def _resolve_times(key: str, value: Mapping[str, Any], own: Any) -> dict[str, Any]:
    """`times` as low and high, by the setting's own value in the base config."""
    times = value["times"]
    are_numbers = isinstance(times, list) and all(isinstance(part, int | float) for part in times)
    if not are_numbers or len(times) != 2 or value.keys() & {"low", "high"}:
        raise ConfigError(
            f"{key}.times: got {times!r}; write two factors in place of low and high, for example "
            "[0.2, 5]"
        )
    if isinstance(own, bool) or not isinstance(own, int | float) or own <= 0:
        raise ConfigError(
            f"{key}.times: the config has {own!r}, and only a number above 0 has multiples; write "
            "low and high"
        )
    low, high = (float(f"{own * factor:.9g}") for factor in times)
    if isinstance(own, int):
        low, high = max(1, round(low)), round(high)
    rest = {name: part for name, part in value.items() if name != "times"}
    return {"low": low, "high": high, **rest}


def _check_conditions(key: str, entries: Mapping[str, Choice | Range]) -> None:
    above = [name for name in entries if name != key]
    for parent, values in entries[key].when.items():
        entry = entries.get(parent)
        if parent not in above or not isinstance(entry, Choice):
            raise ConfigError(
                f"{key}.when: '{parent}' is not a choice above this line; "
                f"{did_you_mean(str(parent), above or ['(none)'])}"
            )
        for value in values:
            if value not in entry.choices:
                raise ConfigError(
                    f"{key}.when.{parent}: {value!r} is not among its choices; "
                    f"{did_you_mean(str(value), map(str, entry.choices))}"
                )


def _try_values(base: Config, key: str, entries: Mapping[str, Choice | Range]) -> None:
    for value in entries[key].examples():
        for parents in _settings_where(key, entries):
            with_overrides(base, {**parents, key: value})


def _settings_where(key: str, entries: Mapping[str, Choice | Range]) -> Iterator[dict[str, Any]]:
    """Every way in which the conditions of a setting, and theirs in turn, can be met."""
    when = entries[key].when
    for values in itertools.product(*when.values()):
        above = [_settings_where(parent, entries) for parent in when]
        for parts in itertools.product(*above):
            merged = {name: value for part in parts for name, value in part.items()}
            yield {**merged, **dict(zip(when, values, strict=True))}


def _is_close(point: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two points of a grid are the same but for rounding."""
    return point.keys() == other.keys() and all(
        math.isclose(value, other[key])
        if isinstance(value, float) and isinstance(other[key], int | float)
        else value == other[key]
        for key, value in point.items()
    )


def _applies(entry: Choice | Range, chosen: Mapping[str, Any]) -> bool:
    when = entry.when.items()
    return all(parent in chosen and chosen[parent] in values for parent, values in when)
