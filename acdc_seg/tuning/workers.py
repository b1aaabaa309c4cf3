"""Running a study: worker processes that claim trials until enough are finished, watched by the
process that started them.
"""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.data.source import open_source
from acdc_seg.errors import TrainingError
from acdc_seg.tuning.objective import run_trial
from acdc_seg.tuning.queue import TrialQueue
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import is_finished, keep_best_checkpoints

POLL_SECONDS = 0.5
MAX_RESTARTS = 10
"""Killed workers that one call replaces."""


@dataclass(frozen=True)
class StudyProgress:
    """State of a study: its finished trials, those new since the last call, the best Dice, and the
    seconds that remain, if known.
    """

    num_finished: int
    num_trials: int
    new: tuple[FrozenTrial, ...]
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
        AcdcError: The study exists with different settings, its data cannot be read, or its workers
            fail.
    """
    spec = spec.with_resolved_device()
    study = open_study(spec)
    open_source(spec.config.data, prepare_settings=spec.config.prepare)
    workers, observer = _Workers(spec), _Observer(study, spec.num_trials)
    try:
        while workers.are_running(restart=not should_stop()):
            if should_stop():
                workers.terminate()
            on_progress(observer.progress())
            time.sleep(POLL_SECONDS)
        on_progress(observer.progress())
    finally:
        workers.kill()
    return study


def work(
    spec: StudySpec, *, worker: int = 0, should_stop: Callable[[], bool] = lambda: False
) -> None:
    """Runs trials of a study in this process until enough are finished."""
    study = open_study(spec)
    queue = TrialQueue(study, spec, worker=worker)
    while (trial := queue.claim_next(should_stop=should_stop)) is not None:
        run_trial(study, trial, spec, should_stop=should_stop)
        keep_best_checkpoints(study, spec)


class _Workers:
    """The worker processes of one call; one that is killed is replaced."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec, self.num_restarts = spec, 0
        self.context = multiprocessing.get_context("spawn")
        self.processes: dict[int, BaseProcess] = {
            index: self._start(index) for index in range(spec.num_workers)
        }

    def _start(self, index: int) -> BaseProcess:
        process = self.context.Process(
            target=_work_in_process, args=(self.spec, index, os.getpid())
        )
        process.start()
        return process

    def are_running(self, *, restart: bool) -> bool:
        """Whether any worker still runs; `restart` replaces those that were killed.

        Raises:
            TrainingError: A worker ended with an error of its own, or too many were killed.
        """
        for index, process in list(self.processes.items()):
            if process.exitcode is None:
                continue
            del self.processes[index]
            if process.exitcode > 0:
                raise TrainingError(
                    f"a worker ended with exit code {process.exitcode}; its message is above. The "
                    "same command resumes the study"
                )
            if process.exitcode < 0 and restart:
                self.num_restarts += 1
                if self.num_restarts > MAX_RESTARTS:
                    raise TrainingError(
                        f"{self.num_restarts} workers were killed, perhaps for lack of memory; "
                        "resume with fewer --workers"
                    )
                self.processes[index] = self._start(index)
        return bool(self.processes)

    def terminate(self) -> None:
        """Asks the workers to stop in good order."""
        for process in self.processes.values():
            process.terminate()

    def kill(self) -> None:
        """Ends all workers at once."""
        for process in self.processes.values():
            process.kill()
            process.join()


class _Observer:
    """Reads a study from outside its workers."""

    def __init__(self, study: Study, num_trials: int) -> None:
        self.study, self.num_trials, self.started = study, num_trials, time.monotonic()
        self.known = {trial.number for trial in self._finished()}
        self.num_before = len(self.known)

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
        complete = [trial.values[0] for trial in finished if trial.state == TrialState.COMPLETE]
        best = max(complete, default=None)
        return StudyProgress(len(finished), self.num_trials, new, best, seconds_left)


def _work_in_process(spec: StudySpec, index: int, parent: int) -> None:
    """Entry point of a worker process: takes its share of threads or its GPU; a signal, or the end
    of the parent, stops its trial in good order.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    warnings.simplefilter("ignore")
    if spec.config.train.device == "cuda":
        _choose_gpu(index)
    torch.set_num_threads(max(1, torch.get_num_threads() // spec.num_workers))
    work(spec, worker=index, should_stop=lambda: bool(signals) or os.getppid() != parent)


def _choose_gpu(index: int) -> None:
    """Deals out the visible GPUs in turn, one to a worker."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [*map(str, range(torch.cuda.device_count()))]
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
