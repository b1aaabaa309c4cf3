"""Settings of a study, as every process that works on it needs them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from acdc_seg.config import Config, to_dict, with_overrides
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.runtime.device import resolve_device, resolve_precision
from acdc_seg.tuning.entries import Range
from acdc_seg.tuning.samplers import PRUNERS, SAMPLERS
from acdc_seg.tuning.space import Space

Pareto = Literal["time", "parameters"]


@dataclass(frozen=True)
class StudySpec:
    """One study; equal in all processes that work on it, but for `num_workers` and `num_trials`.

    Raises:
        ConfigError: Options that are unknown or exclude each other.
    """

    name: str
    config: Config
    space: Space
    num_trials: int
    num_workers: int = 1
    sampler: str = "tpe"
    pruner: str = "hyperband"
    num_folds: int | None = None
    pareto: Pareto | None = None
    seed: int = 0
    storage: str | None = None
    studies_dir: Path = Path("studies")

    def __post_init__(self) -> None:
        _check_word("sampler", self.sampler, SAMPLERS)
        _check_word("pruner", self.pruner, PRUNERS)
        if self.pareto is not None:
            _check_word("pareto", self.pareto, get_args(Pareto))
            if self.pruner != "none" or self.sampler == "cmaes":
                raise ConfigError(
                    "--pareto has two goals: it needs --pruner none, and --sampler tpe, random or "
                    "grid"
                )
        if self.num_folds is not None and self.num_folds < 2:
            raise ConfigError(
                f"--folds {self.num_folds}: cross-validation needs two folds at least"
            )
        self._check_space()
        if (self.storage or "").startswith("sqlite") and self.num_workers > 1:
            raise ConfigError(
                f"--storage {self.storage} with --workers {self.num_workers}: SQLite locks its "
                "whole file for every write, so parallel workers fail with 'database is locked'; "
                "leave --storage out (a journal file), give a postgresql:// address, or use "
                "--workers 1"
            )

    def _check_space(self) -> None:
        is_plain = [
            isinstance(entry, Range) and not entry.when for entry in self.space.entries.values()
        ]
        if self.sampler == "cmaes" and not all(is_plain):
            raise ConfigError(
                "--sampler cmaes searches plain ranges only; leave choices and conditions out of "
                "the space, or use tpe"
            )
        size = len(self.points()) if self.sampler == "grid" else self.num_trials
        if self.num_trials > size:
            raise ConfigError(
                f"--trials {self.num_trials}: the grid has {size} points; give {size} at most"
            )

    @property
    def recipe(self) -> dict[str, Any] | None:
        """Stored parameters of the config that trials start from; None where the space does not
        contain it.
        """
        return self.space.params_of(self.config)

    def points(self) -> list[dict[str, Any]]:
        """Parameters that are queued when the study is created: the recipe, and a grid's points."""
        recipe = self.recipe
        if self.sampler == "grid":
            return self.space.grid(recipe)
        return [] if recipe is None else [recipe]

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return self.studies_dir / self.name

    @property
    def device(self) -> str:
        """The device of all trials."""
        return self.config.train.device

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """The direction of each goal: Dice, then the second goal if there is one."""
        return ["maximize", "minimize"] if self.pareto else ["maximize"]

    def run_folder(self, number: int) -> Path:
        """Where the trial of this number trains; with folds it holds a run for each."""
        return self.folder / "runs" / f"trial-{number:04d}"

    def trial_config(self, params: dict[str, Any]) -> Config:
        """The config of a trial from its stored parameters."""
        return with_overrides(self.config, self.space.values_of(params))

    def with_resolved_device(self) -> "StudySpec":
        """Replaces device and precision `auto` by what they mean on this machine."""
        device = resolve_device(self.config.train.device)
        precision = resolve_precision(self.config.train.precision, device)
        changes = {"train.device": device.type, "train.precision": precision}
        return replace(self, config=with_overrides(self.config, changes))

    def shared_settings(self) -> dict[str, Any]:
        """Settings that all processes of a study must have in common, as plain values; the path of
        the data may differ between machines.
        """
        own = {"data.path": None, "runs_dir": "runs", "name": None}
        return {
            "config": to_dict(with_overrides(self.config, own)),
            "space": self.space.to_dict(),
            "sampler": self.sampler,
            "pruner": self.pruner,
            "folds": self.num_folds,
            "pareto": self.pareto,
            "seed": self.seed,
        }


def _check_word(option: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"--{option} '{value}' is unknown; {did_you_mean(value, allowed)}")
