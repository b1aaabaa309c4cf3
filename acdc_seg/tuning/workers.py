"""Running a study: worker processes that claim trials until enough are finished, watched by the
process that started them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from acdc_seg.data.source import open_source
from acdc_seg.tuning.objective import run_trial
from acdc_seg.tuning.processes import Workers
from acdc_seg.tuning.queue import TrialQueue
from acdc_seg.tuning.samplers import make_sampler
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import is_finished, keep_best_checkpoints


@dataclass(frozen=True)
class StudyProgress:
    """State of a study: its finished trials, those new since the last call, the best Dice before
    these and with them, and the seconds that remain, if known.
    """

    num_finished: int
    num_trials: int
    new: tuple[FrozenTrial, ...]
    previous_best: float | None
    best: float | None
    seconds_left: float | None


def tune(
    spec: StudySpec,
    *,
    on_progress: Callable[[StudyProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Study:
    """Creates or joins a study and works on it until it has `spec.num_trials` finished trials, or a
    stop is requested.

    Args:
        spec: Settings of the study.
        on_progress: Called several times a second.
        should_stop: Asked several times a second; running trials are then stopped and queued again.

    Raises:
        AcdcError: The study exists with different settings, its data cannot be read, or trials or
            workers keep failing.
    """
    spec = spec.with_resolved_device()
    study = open_study(spec)
    open_source(spec.config.data, prepare_settings=spec.config.prepare, classes=spec.config.classes)
    workers, observer = Workers(spec, work), _Observer(study, spec.num_trials)

    def observe() -> None:
        progress = observer.progress()
        on_progress(progress)
        workers.count_failures(progress.new)

    workers.watch(observe, should_stop=should_stop)
    return study


def work(
    spec: StudySpec, *, worker: int = 0, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Runs trials of a study in this process until enough are finished."""
    study = open_study(spec)
    queue = make_queue(study, spec, worker=worker)
    while (trial := queue.claim_next(should_stop=should_stop)) is not None:
        run_trial(study, trial, spec, should_stop=should_stop)
        keep_best_checkpoints(study, spec)


def make_queue(study: Study, spec: StudySpec, *, worker: int = 0) -> TrialQueue:
    """The queue of a study; `worker` is part of the sampler's seed."""

    def ask(trials: Sequence[FrozenTrial]) -> Trial:
        num_draws = sum("retry_of" not in trial.user_attrs for trial in trials)
        study.sampler = make_sampler(
            spec.sampler, seed=spec.seed, num_draws=num_draws, worker=worker
        )
        return study.ask()

    is_grid = spec.sampler == "grid"  # all its points are queued when the study is created
    return TrialQueue(study, num_trials=spec.num_trials, ask=None if is_grid else ask)


class _Observer:
    """Reads a study from outside its workers."""

    def __init__(self, study: Study, num_trials: int) -> None:
        self.study, self.num_trials, self.started = study, num_trials, time.monotonic()
        before = self._finished()
        self.known, self.best = {trial.number for trial in before}, _best_dice(before)
        self.num_before = len(before)

    def _finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if is_finished(trial)]

    def progress(self) -> StudyProgress:
        """The study's state now."""
        finished = self._finished()
        new = tuple(trial for trial in finished if trial.number not in self.known)
        self.known.update(trial.number for trial in new)
        num_here, num_left = len(finished) - self.num_before, self.num_trials - len(finished)
        seconds_left = None
        if num_here:
            seconds_left = (time.monotonic() - self.started) / num_here * max(num_left, 0)
        previous, self.best = self.best, _best_dice(finished)
        return StudyProgress(len(finished), self.num_trials, new, previous, self.best, seconds_left)


def _best_dice(trials: Sequence[FrozenTrial]) -> float | None:
    complete = [trial.values[0] for trial in trials if trial.state == TrialState.COMPLETE]
    return max(complete, default=None)
