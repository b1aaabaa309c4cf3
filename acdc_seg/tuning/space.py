"""Search spaces: which settings a study varies, read from YAML and checked against the config
before anything runs.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import Trial
from pydantic import Field, ValidationError, model_validator

from acdc_seg.config import Config, Section, configs_dir, with_overrides
from acdc_seg.config.section import Count
from acdc_seg.config.validation import describe
from acdc_seg.config.yaml_text import read_yaml
from acdc_seg.errors import ConfigError, did_you_mean

OWN_KEYS = ("name", "runs_dir", "data.fold", "data.num_folds")
"""Settings that the study itself sets."""
GOLDEN_SECTION = 0.382


class Choice(Section):
    """One of several values of any kind."""

    choices: tuple[Any, ...]
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Choice":
        texts = [json.dumps(value) for value in self.choices]
        if len(set(texts)) < len(texts) or not texts:
            raise ValueError("choices must be at least one value, each once")
        return self

    def suggest(self, trial: Trial, key: str) -> Any:
        """Draws a value."""
        return self.value_of(trial.suggest_categorical(key, self.grid(key)))

    def value_of(self, stored: Any) -> Any:
        """The choice that Optuna stores as this."""
        for value in self.choices:
            plain = _plain(value)
            if plain == stored and type(plain) is type(stored):
                return value
        return stored

    def examples(self) -> tuple[Any, ...]:
        """All values, to try on the config."""
        return self.choices

    def grid(self, key: str) -> list[Any]:
        """All values as Optuna stores them."""
        return [_plain(value) for value in self.choices]


class Range(Section):
    """A number between two bounds, inclusive; integers where both bounds are."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    points: Count | None = None
    when: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 where log is true")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one out")
        step_fits = isinstance(self.step, int) or not self._is_whole
        if self.step is not None and not (self.step > 0 and step_fits):
            raise ValueError(f"step={self.step} must be above 0, and whole where low and high are")
        return self

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, key: str) -> Any:
        """Draws a value."""
        if self._is_whole:
            low, high, step = int(self.low), int(self.high), int(self.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def value_of(self, stored: Any) -> Any:
        """The value itself, for Optuna stores numbers as they are."""
        return stored

    def examples(self) -> tuple[Any, ...]:
        """Both ends, and one between that is not round."""
        between = self.low + (self.step or GOLDEN_SECTION * (self.high - self.low))
        return (self.low, self.high, int(between) if self._is_whole else between)

    def grid(self, key: str) -> list[Any]:
        """The values of a grid: by `points`, evenly (by ratio where log is true), or by `step`.

        Raises:
            ConfigError: Neither is given.
        """
        if self.points is not None:
            spacing = np.geomspace if self.log else np.linspace
            values = spacing(self.low, self.high, self.points).tolist()
            return list(dict.fromkeys(map(round, values))) if self._is_whole else values
        if self.step is None and not (self._is_whole and not self.log):
            raise ConfigError(
                f"{key}: a grid needs to know how fine; add points: 5 (or a step), or use another "
                "--sampler"
            )
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        return [self.low + index * step for index in range(count)]


@dataclass(frozen=True)
class Space:
    """Settings to vary, by config key; one with `when` is drawn only for these values of the
    choices above it.
    """

    entries: Mapping[str, Choice | Range]

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

    def grid(self) -> list[dict[str, Any]]:
        """All combinations as stored parameters, each once; settings whose condition is not met are
        left out.

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
        return points

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


def load_space(path: Path, base: Config) -> Space:
    """Reads a space and validates every candidate value with the base config.

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
            entries[key] = _parse(key, value)
            _check_conditions(key, entries)
            _try_values(base, key, entries)
        except ConfigError as error:
            messages = str(error).splitlines()
            mistakes += [f"{path}, line {lines[key,]}: {message}" for message in messages]
    if mistakes:
        raise ConfigError("\n".join(dict.fromkeys(mistakes)))
    return Space(entries)


def _parse(key: str, value: Any) -> Choice | Range:
    if key in OWN_KEYS:
        raise ConfigError(f"{key}: is set by the study itself and cannot be varied")
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


def _applies(entry: Choice | Range, chosen: Mapping[str, Any]) -> bool:
    when = entry.when.items()
    return all(parent in chosen and chosen[parent] in values for parent, values in when)


def _plain(value: Any) -> Any:
    """A value that Optuna can store: lists as JSON text, everything else as it is."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
