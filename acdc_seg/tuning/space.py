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
GOLDEN = 0.382


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
        """Draws a value; lists pass through Optuna as their JSON text, for it stores plain values
        only.
        """
        return self.value_of(
            trial.suggest_categorical(key, [_plain(value) for value in self.choices])
        )

    def value_of(self, stored: Any) -> Any:
        return next(
            (
                value
                for value in self.choices
                if _plain(value) == stored and type(_plain(value)) is type(stored)
            ),
            stored,
        )

    def examples(self) -> tuple[Any, ...]:
        return self.choices

    def grid(self, key: str) -> list[Any]:
        return [_plain(value) for value in self.choices]


class Range(Section):
    """A number between two bounds, both included; integers where both bounds are."""

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
        if self.step is not None and (
            self.step <= 0 or (self._is_whole and not isinstance(self.step, int))
        ):
            raise ValueError(f"step={self.step} must be above 0, and whole where low and high are")
        return self

    @property
    def _is_whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: Trial, key: str) -> Any:
        if self._is_whole:
            return trial.suggest_int(
                key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log
            )
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def value_of(self, stored: Any) -> Any:
        return stored

    def examples(self) -> tuple[Any, ...]:
        """Both ends, and one between that is not round."""
        between = self.low + (self.step or GOLDEN * (self.high - self.low))
        return (self.low, self.high, int(between) if self._is_whole else between)

    def grid(self, key: str) -> list[Any]:
        """The values of a grid: by `points`, evenly (by ratio where log is true), or by `step`.

        Raises:
            ConfigError: Neither is given.
        """
        if self.points is not None:
            spaced = (np.geomspace if self.log else np.linspace)(
                self.low, self.high, self.points
            ).tolist()
            return (
                list(dict.fromkeys(round(value) for value in spaced)) if self._is_whole else spaced
            )
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
    """Settings to vary, by config key; one with `when` is drawn only if the named choices above it
    came out so.
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
        combinations: list[dict[str, Any]] = [{}]
        for key, entry in self.entries.items():
            combinations = [
                {**given, key: value} if applies else given
                for given in combinations
                for applies in [_applies(entry, self.values_of(given))]
                for value in (entry.grid(key) if applies else [None])
            ]
        return combinations

    def tree(self) -> dict[str, Any]:
        """The space as plain values, to store and to compare."""
        return json.loads(
            json.dumps({key: entry.model_dump() for key, entry in self.entries.items()})
        )


def find_space(name: str) -> Path:
    """The file of a space: a path, or the name of a shipped one.

    Raises:
        ConfigError: Neither.
    """
    shipped = {path.stem: path for path in sorted((configs_dir() / "tune").glob("*.yaml"))}
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return Path(name)
    raise ConfigError(
        f"--space {name}: no such file, and no space of that name; {did_you_mean(name, shipped)}"
    )


def load_space(path: Path, base: Config) -> Space:
    """Reads a space and tries every candidate value on the base config.

    Raises:
        ConfigError: Not YAML, unknown keys, values that the config refuses, conditions on what is
            not chosen; all mistakes at once.
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
        place = f"{path}, line {lines[key,]}: "
        try:
            entries[key] = _parse(key, value)
            _check_conditions(key, entries)
            _try_values(base, key, entries)
        except ConfigError as error:
            mistakes += [f"{place}{line}" for line in str(error).splitlines()]
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
        parent: wanted if isinstance(wanted, list) else [wanted]
        for parent, wanted in (value.get("when") or {}).items()
    }
    try:
        return kind.model_validate({**value, "when": conditions})
    except ValidationError as error:
        raise ConfigError(describe(error, root=kind, prefix=(key,))) from None


def _check_conditions(key: str, entries: Mapping[str, Choice | Range]) -> None:
    above = [name for name in entries if name != key]
    for parent, wanted in entries[key].when.items():
        entry = entries.get(parent)
        if parent not in above or not isinstance(entry, Choice):
            raise ConfigError(
                f"{key}.when: '{parent}' is no choice above this line; "
                f"{did_you_mean(str(parent), above or ['(none)'])}"
            )
        for value in wanted:
            if value not in entry.choices:
                raise ConfigError(
                    f"{key}.when.{parent}: {value!r} is not among its choices; "
                    f"{did_you_mean(str(value), map(str, entry.choices))}"
                )


def _try_values(base: Config, key: str, entries: Mapping[str, Choice | Range]) -> None:
    for value in entries[key].examples():
        for given in _settings_where(key, entries):
            with_overrides(base, {**given, key: value})


def _settings_where(key: str, entries: Mapping[str, Choice | Range]) -> Iterator[dict[str, Any]]:
    """Every way in which the conditions of a setting, and theirs in turn, can be met."""
    when = entries[key].when
    for values in itertools.product(*when.values()):
        above = [_settings_where(parent, entries) for parent in when]
        for given in itertools.product(*above):
            merged = {name: value for part in given for name, value in part.items()}
            yield {**merged, **dict(zip(when, values, strict=True))}


def _applies(entry: Choice | Range, chosen: Mapping[str, Any]) -> bool:
    return all(
        parent in chosen and chosen[parent] in wanted for parent, wanted in entry.when.items()
    )


def _plain(value: Any) -> Any:
    """What Optuna can store: numbers, texts, true, false and null as they are, lists as JSON."""
    return (
        value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value)
    )
