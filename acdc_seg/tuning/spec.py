"""What a study is: its base config, space, sampler, pruner and objective, as every process that
joins it needs to know.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.config import Config, to_dict, with_overrides
from acdc_seg.errors import ConfigError, did_you_mean
from acdc_seg.tuning.queue import holds_slot
from acdc_seg.tuning.space import Choice, Space
from acdc_seg.tuning.storage import open_storage

Pareto = Literal["time", "parameters"]
SAMPLERS = ("tpe", "random", "cmaes", "grid")
PRUNERS = ("hyperband", "median", "none")
NUM_STEPS = 20
"""The pruner's resource: a trial reports when another twentieth of its own epochs (over all folds)
is done.
"""


@dataclass(frozen=True)
class Plan:
    """One study. Equal in all processes that work on it, but for `workers` and `trials`."""

    name: str
    config: Config
    space: Space
    trials: int
    workers: int = 1
    sampler: str = "tpe"
    pruner: str = "hyperband"
    folds: int | None = None
    pareto: Pareto | None = None
    seed: int = 0
    storage: str | None = None
    studies_dir: Path = Path("studies")

    def __post_init__(self) -> None:
        for option, value, allowed in (
            ("sampler", self.sampler, SAMPLERS),
            ("pruner", self.pruner, PRUNERS),
        ):
            if value not in allowed:
                raise ConfigError(
                    f"--{option} '{value}' is unknown; {did_you_mean(value, allowed)}"
                )
        if self.pareto is not None and self.pareto not in get_args(Pareto):
            raise ConfigError(
                f"--pareto '{self.pareto}' is unknown; "
                f"{did_you_mean(self.pareto, get_args(Pareto))}"
            )
        if self.pareto is not None and (self.pruner != "none" or self.sampler == "cmaes"):
            raise ConfigError(
                "--pareto has two goals: it needs --pruner none, and --sampler tpe, random or grid"
            )
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"--folds {self.folds}: cross-validation needs two folds at least")
        if self.sampler == "cmaes" and any(
            isinstance(entry, Choice) or entry.when for entry in self.space.entries.values()
        ):
            raise ConfigError(
                "--sampler cmaes searches plain ranges only; leave choices and conditions out of "
                "the space, or use tpe"
            )
        if self.sampler == "grid" and self.trials > (size := len(self.space.grid())):
            raise ConfigError(
                f"--trials {self.trials}: the grid has {size} points; give {size} at most"
            )
        if self.storage is not None and self.storage.startswith("sqlite") and self.workers > 1:
            raise ConfigError(
                f"--storage {self.storage} with --workers {self.workers}: SQLite locks its whole "
                "file for every write, so parallel workers "
                "fail with 'database is locked'; leave --storage out (a journal file), give a "
                "postgresql:// address, or use --workers 1"
            )

    @property
    def folder(self) -> Path:
        return self.studies_dir / self.name

    @property
    def directions(self) -> list[Literal["maximize", "minimize"]]:
        return ["maximize", "minimize"] if self.pareto else ["maximize"]

    def tree(self) -> dict[str, Any]:
        """What all processes of a study must agree on, as plain values; where the data lies may
        differ between machines.
        """
        config = to_dict(
            with_overrides(self.config, {"data.path": None, "runs_dir": "runs", "name": None})
        )
        chosen = {
            "sampler": self.sampler,
            "pruner": self.pruner,
            "folds": self.folds,
            "pareto": self.pareto,
            "seed": self.seed,
        }
        return {"config": config, "space": self.space.tree(), **chosen}


def make_pruner(name: str) -> BasePruner:
    """The pruner over steps 1..`NUM_STEPS`; see docs/tuning.md for what a step is."""
    if name == "hyperband":
        return HyperbandPruner(min_resource=2, max_resource=NUM_STEPS, reduction_factor=3)
    return (
        MedianPruner(n_startup_trials=5, n_warmup_steps=NUM_STEPS // 5)
        if name == "median"
        else NopPruner()
    )


class SeededSampler(BaseSampler):
    """Draws each trial with a generator of its own, seeded by study seed and trial number.

    What is drawn then depends on the seed, the number and the trials before it alone: a study that
    was stopped goes on as if it had not been, and several processes with one seed never draw the
    same.
    """

    def __init__(self, name: str, *, seed: int) -> None:
        self.name, self.seed = name, seed
        self.inner: BaseSampler = RandomSampler(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        seed = zlib.crc32(f"{self.seed} {trial.number}".encode())
        kinds = {
            "tpe": lambda: TPESampler(seed=seed),
            "random": lambda: RandomSampler(seed),
            "cmaes": lambda: CmaEsSampler(seed=seed),
        }
        self.inner = kinds[self.name]()
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self.inner.after_trial(study, trial, state, values)


class GridSampler(BaseSampler):
    """Every combination once, in the order of the space; conditions are kept, and no two processes
    take the same point.

    A trial writes down the first point that nobody holds, then looks again: if a trial of a lower
    number holds the same, it moves on.
    """

    def __init__(self, points: Sequence[Mapping[str, Any]]) -> None:
        self.points = points
        self.point: Mapping[str, Any] = {}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if trial.user_attrs.get("retry_of") is not None:
            return
        while True:
            held = self._held(study, trial, before=None)
            index = next(
                (index for index in range(len(self.points)) if index not in held),
                len(self.points) - 1,
            )
            study._storage.set_trial_user_attr(trial._trial_id, "point", index)
            if index not in self._held(study, trial, before=trial.number) or len(held) >= len(
                self.points
            ):
                self.point = self.points[index]
                return

    def _held(self, study: Study, trial: FrozenTrial, *, before: int | None) -> set[int]:
        others = [
            other
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and holds_slot(other)
        ]
        return {
            other.user_attrs.get("point", -1)
            for other in others
            if before is None or other.number < before
        }

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.point[param_name]


def make_sampler(plan: Plan) -> BaseSampler:
    """The sampler of a study."""
    return (
        GridSampler(plan.space.grid())
        if plan.sampler == "grid"
        else SeededSampler(plan.sampler, seed=plan.seed)
    )


def open_study(plan: Plan) -> Study:
    """Makes the study, or joins the one of that name.

    Raises:
        ConfigError: The storage cannot be opened, or holds a study of that name with other
            settings, or the folder is another one's.
    """
    storage = open_storage(plan.storage, plan.folder)
    study = optuna.create_study(
        storage=storage,
        study_name=plan.name,
        directions=plan.directions,
        sampler=make_sampler(plan),
        pruner=make_pruner(plan.pruner),
        load_if_exists=True,
    )
    if any((plan.folder / "runs").glob("trial-*")) and not study.get_trials(deepcopy=False):
        raise ConfigError(
            f"{plan.folder}: holds runs of a study that is no longer stored; remove the folder, "
            "or choose another --name"
        )
    wanted = plan.tree()
    stored = study.user_attrs.get("plan")
    if stored is None:
        study.set_user_attr("plan", wanted)
    elif different := [key for key in wanted if wanted[key] != stored.get(key)]:
        raise ConfigError(
            f"study '{plan.name}' was begun with another {', '.join(different)}; "
            "repeat its options to go on with it, or choose another --name"
        )
    return study
