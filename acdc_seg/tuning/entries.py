"""Entries of a search space: a choice of values, or a range of numbers."""

import json
from typing import Any

import numpy as np
from optuna.trial import Trial
from pydantic import Field, model_validator

from acdc_seg.config import Section
from acdc_seg.config.section import Count
from acdc_seg.errors import ConfigError

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
            plain = to_stored(value)
            if plain == stored and type(plain) is type(stored):
                return value
        return stored

    def contains(self, value: Any) -> bool:
        """Whether this value is among the choices."""
        return to_stored(value) in [to_stored(choice) for choice in self.choices]

    def examples(self) -> tuple[Any, ...]:
        """All values, to try on the config."""
        return self.choices

    def grid(self, key: str) -> list[Any]:
        """All values as Optuna stores them."""
        return [to_stored(value) for value in self.choices]


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

    def contains(self, value: Any) -> bool:
        """Whether this value can be drawn."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        step = self.step or (1 if self._is_whole and not self.log else None)
        num_steps = (value - self.low) / step if step else 0
        on_step = abs(num_steps - round(num_steps)) < 1e-6
        return self.low <= value <= self.high and on_step

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


def to_stored(value: Any) -> Any:
    """A value that Optuna can store: lists as JSON text, everything else as it is."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value
