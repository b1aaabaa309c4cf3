"""One trial: draw settings, train with them, report as it goes, and say how it ended."""

import gc
import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import Trial, TrialState

from acdc_seg.config import Config, DataConfig, PrepareConfig, with_overrides
from acdc_seg.data.source import Source, open_source
from acdc_seg.errors import AcdcError
from acdc_seg.models import build_model
from acdc_seg.runs.folder import Run, create_run
from acdc_seg.training.loop import Hooks, train
from acdc_seg.tuning.queue import give_up, heartbeat
from acdc_seg.tuning.spec import NUM_STEPS, Plan

OWN_FAULTS = (AcdcError, MemoryError, RuntimeError, ValueError)
"""What a combination of settings can cause: refused settings, NaN, no memory left, shapes that do
not fit.
"""


class TrialStopped(Exception):
    """The study was asked to stop while the trial ran."""


def run_folder(plan: Plan, number: int) -> Path:
    """Where the trial of this number trains; with folds it holds a run for each."""
    return plan.folder / "runs" / f"trial-{number:04d}"


def run_trial(
    study: Study, trial: Trial, plan: Plan, config: Config, *, should_stop: Callable[[], bool]
) -> None:
    """Runs a trial to its end and tells the study: its value, pruned, failed with a reason, or
    stopped and queued again.

    Raises:
        Exception: Anything that settings cannot cause; the trial is then swept like that of a
            killed worker.
    """
    _free_memory()
    with (
        heartbeat(study._storage, trial._trial_id),
        suppress(UpdateFinishedTrialError),
    ):  # taken for dead, and another worker's now
        try:
            values = _Objective(trial, plan, config, should_stop)()
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except TrialStopped:
            give_up(study, trial, again=True)
        except OWN_FAULTS as error:
            trial.set_user_attr("reason", _reason(error))
            study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
        else:
            study.tell(trial, values, skip_if_finished=True)


def trial_config(plan: Plan, config: Config, params: dict[str, Any]) -> Config:
    """The config of a trial from the study's config and the trial's stored parameters."""
    return with_overrides(config, plan.space.values_of(params))


class _Objective:
    """Mean over folds (or the one split) of the best validation Dice, reported in steps of the
    trial's own length.
    """

    def __init__(
        self, trial: Trial, plan: Plan, config: Config, should_stop: Callable[[], bool]
    ) -> None:
        self.trial, self.plan, self.base, self.should_stop = trial, plan, config, should_stop
        self.scores: list[float] = []
        self.best, self.best_epoch = math.nan, 0
        self.step, self.reported = 0, math.nan

    def __call__(self) -> list[float]:
        self.trial.set_user_attr("threads", torch.get_num_threads())
        started = time.monotonic()
        config = with_overrides(self.base, {**self.plan.space.suggest(self.trial), "name": None})
        for fold in range(self.plan.folds or 1):
            self._train(config, fold)
            self.scores.append(self.best)
        seconds = time.monotonic() - started
        self.trial.set_user_attr("seconds", round(seconds, 2))
        costs = {"time": lambda: seconds, "parameters": lambda: float(_num_parameters(config))}
        return [
            sum(self.scores) / len(self.scores),
            *([costs[self.plan.pareto]()] if self.plan.pareto else []),
        ]

    def _train(self, config: Config, fold: int) -> None:
        folder = run_folder(self.plan, self.trial.number)
        config = with_overrides(config, {"runs_dir": str(folder.parent)})
        name = folder.name
        if self.plan.folds is not None:
            config = with_overrides(
                config,
                {"data.num_folds": self.plan.folds, "data.fold": fold, "runs_dir": str(folder)},
            )
            name = f"fold-{fold}"
        source = _open(config.data, config.prepare)
        made: list[Run] = []
        self.best, self.best_epoch = math.nan, 0

        def make_run(resolved: Config) -> Run:
            made.append(create_run(resolved, name=name))
            return made[0]

        def on_epoch_end(epoch: int, dice: float) -> None:
            if not math.isnan(dice) and not dice <= self.best:
                self.best, self.best_epoch = dice, epoch
            self._report((fold + epoch / config.train.epochs) / (self.plan.folds or 1))

        status = "stopped"
        try:
            result = train(
                config,
                source,
                make_run,
                hooks=Hooks(on_epoch_end=on_epoch_end, should_stop=self.should_stop),
                report=False,
            )
            if result.stopped:
                raise TrialStopped
            status = "finished"
        except optuna.TrialPruned:
            status = "pruned"
            raise
        except OWN_FAULTS:
            status = "failed"
            raise
        finally:
            for run in made:
                run.update_json(
                    status=status,
                    reason=None,
                    best_dice=_number(self.best),
                    best_epoch=self.best_epoch,
                )
                run.last.unlink(missing_ok=True)

    def _report(self, done: float) -> None:
        """Reports the mean so far at the step of `NUM_STEPS` that is reached, the last one at those
        skipped; raises TrialPruned.
        """
        reached = math.floor(NUM_STEPS * done + 1e-9)
        if self.plan.pareto or math.isnan(self.best) or reached <= self.step:
            return
        for step in range(self.step + 1, reached) if self.step else ():
            self.trial.report(self.reported, step)
        scores = [*self.scores, self.best]
        self.step, self.reported = reached, sum(scores) / len(scores)
        self.trial.report(self.reported, reached)
        if reached < NUM_STEPS and self.trial.should_prune():
            raise optuna.TrialPruned


@lru_cache(maxsize=8)
def _open(data: DataConfig, prepare: PrepareConfig) -> Source:
    """The data of a trial; kept for the next one, which mostly reads the same."""
    return open_source(data, prepare_settings=prepare)


def _num_parameters(config: Config) -> int:
    network = build_model(config.model, config.data.channels, len(config.classes.names))
    return sum(parameter.numel() for parameter in network.parameters())


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())[:500]
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in text:
        return f"out of memory: {text}".rstrip(": ")
    return text if isinstance(error, AcdcError) else f"{type(error).__name__}: {text}"


def _free_memory() -> None:
    """Lets go of what a failed trial before left on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
