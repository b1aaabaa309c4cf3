"""Running a study: worker processes that claim trials until enough are finished, watched by the
process that started them.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.data.source import open_source
from acdc_seg.errors import TrainingError
from acdc_seg.tuning.objective import describe_error, run_trial
from acdc_seg.tuning.queue import TrialQueue
from acdc_seg.tuning.spec import StudySpec
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import is_finished, keep_best_checkpoints

POLL_SECONDS = 0.5
MAX_RESTARTS = 10
"""Workers, killed or ended by an error, that one call replaces."""
MAX_FAILURES = 5
"""Failures in a row that end a study: of trials by their settings, and of workers."""
STOP_SECONDS = 20
"""Time that workers get to stop in good order."""


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
    open_source(spec.config.data, prepare_settings=spec.config.prepare)
    workers, observer = _Workers(spec), _Observer(study, spec.num_trials)
    try:
        while workers.are_running(restart=not should_stop()):
            if should_stop():
                workers.terminate()
            progress = observer.progress()
            on_progress(progress)
            workers.count_failures(progress.new)
            time.sleep(POLL_SECONDS)
        on_progress(observer.progress())
    except TrainingError:
        workers.terminate()
        workers.join(STOP_SECONDS)
        raise
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
    """The worker processes of one call; one that is killed or ends with an error is replaced."""

    def __init__(self, spec: StudySpec) -> None:
        self.spec, self.num_restarts, self.num_failures = spec, 0, 0
        self.context = multiprocessing.get_context("spawn")
        self.errors: SimpleQueue[str] = self.context.SimpleQueue()
        self.processes: dict[int, BaseProcess] = {
            index: self._start(index) for index in range(spec.num_workers)
        }

    def _start(self, index: int) -> BaseProcess:
        process = self.context.Process(
            target=_work_in_process, args=(self.spec, index, os.getpid(), self.errors)
        )
        process.start()
        return process

    def are_running(self, *, restart: bool) -> bool:
        """Whether any worker still runs; `restart` replaces those that did not end by themselves.

        Raises:
            TrainingError: Too many of them.
        """
        for index, process in list(self.processes.items()):
            if process.exitcode is None:
                continue
            del self.processes[index]
            if process.exitcode == 0 or not restart:
                continue
            reason = "killed, perhaps for lack of memory; fewer --workers need less"
            if process.exitcode > 0:
                reason = f"exit code {process.exitcode}"
                if not self.errors.empty():
                    reason = self.errors.get()
                self._count_failure(reason)
            self.num_restarts += 1
            if self.num_restarts > MAX_RESTARTS:
                raise TrainingError(
                    f"{self.num_restarts} workers did not survive, the last: {reason}. The same "
                    "command resumes the study"
                )
            self.processes[index] = self._start(index)
        return bool(self.processes)

    def count_failures(self, ended: Sequence[FrozenTrial]) -> None:
        """Counts the failures in a row among trials that ended.

        Raises:
            TrainingError: There are too many.
        """
        for trial in ended:
            if trial.state != TrialState.FAIL:
                self.num_failures = 0
            else:
                self._count_failure(trial.user_attrs.get("reason", "its worker was killed"))

    def _count_failure(self, reason: str) -> None:
        self.num_failures += 1
        if self.num_failures >= MAX_FAILURES:
            raise TrainingError(
                f"{self.num_failures} failures in a row, the last: {reason}. Finished trials are "
                "kept; the same command resumes the study"
            )

    def terminate(self) -> None:
        """Asks the workers to stop in good order."""
        for process in self.processes.values():
            process.terminate()

    def join(self, seconds: float) -> None:
        """Waits for the workers to end, so long at most."""
        end = time.monotonic() + seconds
        for process in self.processes.values():
            process.join(max(0, end - time.monotonic()))

    def kill(self) -> None:
        """Ends all workers at once."""
        for process in self.processes.values():
            process.kill()
            process.join()


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


def _work_in_process(spec: StudySpec, index: int, parent: int, errors: "SimpleQueue[str]") -> None:
    """Entry point of a worker process: takes its share of threads or its GPU; a signal, or the end
    of the parent, stops its trial in good order. An error goes to `errors`, its traceback to
    errors.log.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    warnings.simplefilter("ignore")
    if spec.config.train.device == "cuda":
        _choose_gpu(index)
    torch.set_num_threads(max(1, torch.get_num_threads() // spec.num_workers))
    try:
        work(spec, worker=index, should_stop=lambda: bool(signals) or os.getppid() != parent)
    except Exception as error:
        errors.put(describe_error(error))
        with suppress(OSError), (spec.folder / "errors.log").open("a", encoding="utf-8") as log:
            log.write(f"{traceback.format_exc()}\n")
        sys.exit(1)


def _choose_gpu(index: int) -> None:
    """Deals out the visible GPUs in turn, one to a worker."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [*map(str, range(torch.cuda.device_count()))]
    os.environ["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
