"""One trial: draws settings, trains with them, reports to the pruner, and records the result."""

import gc
import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from optuna.exceptions import OptunaError, TrialPruned, UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from acdc_seg.config import ClassesConfig, Config, DataConfig, PrepareConfig, with_overrides
from acdc_seg.data.source import Source, open_source
from acdc_seg.errors import AcdcError, ConfigError, DataError, TrainingError
from acdc_seg.models import build_model
from acdc_seg.training.loop import Hooks, train
from acdc_seg.tuning.queue import release, send_heartbeat
from acdc_seg.tuning.samplers import NUM_STEPS
from acdc_seg.tuning.spec import StudySpec

DATA_SECTIONS = ("data.", "prepare.", "classes.")
"""Settings that decide whether the data fits; a trial that draws them can cause a DataError."""


class PrunedRun(TrialPruned):
    """A pruned trial; `run_status` is what its run.json says then."""

    run_status = "pruned"


class TrialStopped(Exception):
    """The study was asked to stop while the trial ran."""


def run_trial(
    study: Study, trial: Trial, spec: StudySpec, *, should_stop: Callable[[], bool]
) -> None:
    """Runs a trial to its end and tells the study: its values, pruned, failed by its own settings,
    or stopped and queued again.

    Args:
        study: The study that the trial is of.
        trial: A claimed trial.
        spec: Settings of the study.
        should_stop: Asked after every batch.

    Raises:
        Exception: Anything that settings cannot cause: a GPU error, a full disk, lost data, a bug.
            The trial is queued again, and the worker should end.
    """
    objective = _Objective(trial, spec, should_stop)
    run_claimed(study, trial, objective.run, varied=lambda: trial.params)


def run_claimed(
    study: Study,
    trial: Trial,
    objective: Callable[[], Sequence[float]],
    *,
    varied: Callable[[], Iterable[str]],
) -> None:
    """Runs the objective of a claimed trial, sends heartbeats meanwhile, and tells the study how it
    ended.

    Args:
        study: The study that the trial is of.
        trial: A claimed trial.
        objective: Gives the trial's values; raises TrialStopped where it was asked to stop.
        varied: Gives the settings that are the trial's own, whose errors are its fault.

    Raises:
        Exception: Like `run_trial`.
    """
    # UpdateFinishedTrialError: the trial was taken for dead and requeued
    with send_heartbeat(trial), suppress(UpdateFinishedTrialError):
        try:
            _free_gpu_memory()
            values = objective()
        except TrialPruned:
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except TrialStopped:
            release(study, trial, requeue=True)
        except Exception as error:
            if not _is_own_fault(error, varied()):
                with suppress(OptunaError, OSError):  # what broke may be the storage or its disk
                    trial.set_user_attr("fault", describe_error(error))
                    release(study, trial, requeue=True)
                raise
            trial.set_user_attr("reason", describe_error(error))
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            study.tell(trial, values, skip_if_finished=True)


class _Objective:
    """Mean over folds (or the one split) of the best validation Dice, reported in steps of the
    trial's own length.
    """

    def __init__(self, trial: Trial, spec: StudySpec, should_stop: Callable[[], bool]) -> None:
        self.trial, self.spec, self.should_stop = trial, spec, should_stop
        self.num_folds = spec.num_folds or 1
        self.scores: list[float] = []  # best Dice of each fold that is done
        self.best = math.nan  # best Dice of the fold under way
        self.step, self.reported = 0, math.nan
        self.num_images = 0  # that the folds so far validate on

    def run(self) -> list[float]:
        """Trains all folds and returns the values of the goals."""
        started = time.monotonic()
        drawn = self.spec.space.suggest(self.trial)
        config = with_overrides(self.spec.config, {**drawn, "name": None})
        for fold in range(self.num_folds):
            self._train(config, fold)
            self.scores.append(self.best)
        seconds = time.monotonic() - started
        self.trial.set_user_attr("seconds", round(seconds, 2))
        values = [sum(self.scores) / len(self.scores)]
        if self.spec.pareto:
            values.append(seconds if self.spec.pareto == "time" else _num_parameters(config))
        return values

    def _train(self, config: Config, fold: int) -> None:
        """Trains one fold, or the one split, in the trial's folder."""
        run = self.spec.run_folder(self.trial.number)
        changes: dict[str, Any] = {}
        if self.spec.num_folds is not None:
            changes = {"data.num_folds": self.spec.num_folds, "data.fold": fold}
            run /= f"fold-{fold}"
        config = with_overrides(config, {**changes, "runs_dir": str(run.parent), "name": run.name})
        self.best = math.nan

        def on_epoch_end(epoch: int, dice: float) -> None:
            self.best = float(np.fmax(self.best, dice))  # nan counts for nothing
            self._report((fold + epoch / config.train.epochs) / self.num_folds)

        source = _open(config.data, config.prepare, config.classes)
        hooks = Hooks(on_epoch_end=on_epoch_end, should_stop=self.should_stop)
        if train(config, source, hooks=hooks).stopped:
            raise TrialStopped
        self.num_images += len(source.split("val"))
        self.trial.set_user_attr("num_images", self.num_images)
        self.trial.set_user_attr("threads", torch.get_num_threads())  # that training has set

    def _report(self, done: float) -> None:
        """Reports the mean so far at the step of `NUM_STEPS` that is reached, and the one before at
        steps skipped.

        Raises:
            TrialPruned: The pruner ends the trial.
        """
        reached = math.floor(NUM_STEPS * done + 1e-9)
        if self.spec.pareto or math.isnan(self.best) or reached <= self.step:
            return
        for step in range(self.step + 1, reached) if self.step else ():
            self.trial.report(self.reported, step)
        scores = [*self.scores, self.best]
        self.step, self.reported = reached, sum(scores) / len(scores)
        self.trial.report(self.reported, reached)
        is_recipe = "recipe" in self.trial.user_attrs  # all others are compared with it
        if reached < NUM_STEPS and not is_recipe and self.trial.should_prune():
            raise PrunedRun


@lru_cache(maxsize=8)
def _open(data: DataConfig, prepare: PrepareConfig, classes: ClassesConfig) -> Source:
    """The data of a trial, cached for the next one, which mostly reads the same."""
    return open_source(data, prepare_settings=prepare, classes=classes)


def _num_parameters(config: Config) -> int:
    network = build_model(config.model, config.data.channels, len(config.classes.names))
    return sum(parameter.numel() for parameter in network.parameters())


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(
        error
    )


def _is_own_fault(error: Exception, varied: Iterable[str]) -> bool:
    """Whether a trial's settings caused an error, which would meet them again."""
    if isinstance(error, DataError):
        return any(key.startswith(DATA_SECTIONS) for key in varied)
    return isinstance(error, TrainingError | ConfigError) or _is_out_of_memory(error)


def describe_error(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())[:500]
    if _is_out_of_memory(error):
        return f"out of memory: {text}".rstrip(": ")
    return text if isinstance(error, AcdcError) else f"{type(error).__name__}: {text}"


def _free_gpu_memory() -> None:
    """Frees what a failed trial before left on the GPU."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
