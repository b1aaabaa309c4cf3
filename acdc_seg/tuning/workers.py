"""Running a study: worker processes that take trials until enough are finished, watched by the
process that started them.
"""

import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import TrainingError
from acdc_seg.runtime.device import resolve_device, resolve_precision
from acdc_seg.tuning.checkpoints import keep_best_checkpoints
from acdc_seg.tuning.objective import run_trial
from acdc_seg.tuning.queue import Worker, is_finished
from acdc_seg.tuning.spec import Plan, open_study

WATCH_SECONDS = 0.5
MAX_RESTARTS = 10
"""How many killed workers one call replaces."""


@dataclass(frozen=True)
class Progress:
    """Where a study stands: its finished trials, those that finished since the last call, and the
    seconds that remain, if known.
    """

    finished: int
    total: int
    new: tuple[FrozenTrial, ...]
    best: float | None
    seconds_left: float | None


def tune(
    plan: Plan,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Study:
    """Makes or joins a study and works on it until `plan.trials` of its trials are finished, or a
    stop is wished.

    Raises:
        AcdcError: The study was begun otherwise, its data cannot be read, or its workers cannot
            work.
    """
    plan = settled(plan)
    study = open_study(plan)
    open_source(plan.config.data, prepare_settings=plan.config.prepare)
    team = _Team(plan)
    observer = _Observer(study, plan.trials)
    try:
        while team.is_busy(wanted=not (stop := should_stop())):
            if stop:
                team.stop()
            on_progress(observer.look())
            time.sleep(WATCH_SECONDS)
        on_progress(observer.look())
    finally:
        team.kill()
    return study


def settled(plan: Plan) -> Plan:
    """The plan with `auto` device and precision resolved here, so that best.yaml says what was
    used.
    """
    device = resolve_device(plan.config.train.device)
    precision = resolve_precision(plan.config.train.precision, device)
    return replace(
        plan,
        config=with_overrides(
            plan.config, {"train.device": device.type, "train.precision": precision}
        ),
    )


def work(plan: Plan, *, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Takes and runs trials of an existing study in this process until enough are finished."""
    study = open_study(plan)
    with Worker(study, plan.folder) as worker:
        while (trial := worker.take(plan.trials, should_stop=should_stop)) is not None:
            run_trial(study, trial, plan, plan.config, should_stop=should_stop)
            keep_best_checkpoints(study, plan)


class _Team:
    """The worker processes of one call; one that is killed is replaced."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.restarts = plan, 0
        self.context = multiprocessing.get_context("spawn")
        self.processes: dict[int, BaseProcess] = {
            index: self._start(index) for index in range(plan.workers)
        }

    def _start(self, index: int) -> BaseProcess:
        process = self.context.Process(
            target=_work_in_process, args=(self.plan, index, os.getpid())
        )
        process.start()
        return process

    def is_busy(self, *, wanted: bool) -> bool:
        """Whether workers still run; replaces killed ones if `wanted`.

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
                    "same command goes on"
                )
            if process.exitcode < 0 and wanted:
                self.restarts += 1
                if self.restarts > MAX_RESTARTS:
                    raise TrainingError(
                        f"{self.restarts} workers were killed, perhaps for lack of memory; go on "
                        "with fewer --workers"
                    )
                self.processes[index] = self._start(index)
        return bool(self.processes)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()

    def kill(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()


class _Observer:
    """Reads a study from outside its workers."""

    def __init__(self, study: Study, total: int) -> None:
        self.study, self.total = study, total
        self.started, self.known = time.monotonic(), {trial.number for trial in self._finished()}
        self.num_before = len(self.known)

    def _finished(self) -> list[FrozenTrial]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if is_finished(trial)]

    def look(self) -> Progress:
        finished = self._finished()
        new = tuple(trial for trial in finished if trial.number not in self.known)
        self.known |= {trial.number for trial in new}
        done_here = len(finished) - self.num_before
        left = (
            (time.monotonic() - self.started) / done_here * max(self.total - len(finished), 0)
            if done_here
            else None
        )
        best = max(
            (trial.values[0] for trial in finished if trial.state == TrialState.COMPLETE),
            default=None,
        )
        return Progress(len(finished), self.total, new, best, left)


def _work_in_process(plan: Plan, index: int, parent: int) -> None:
    """Entry point of a worker process: its share of threads or its GPU, and a stop that ends the
    trial in good order.
    """
    requested: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: requested.append(received))
    warnings.simplefilter("ignore")
    if plan.config.train.device == "cuda":
        _choose_gpu(index)
    torch.set_num_threads(max(1, torch.get_num_threads() // plan.workers))
    work(plan, should_stop=lambda: bool(requested) or os.getppid() != parent)


def _choose_gpu(index: int) -> None:
    """One GPU for a worker: they are dealt out in turn."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible: list[Any] = given.split(",") if given else list(range(torch.cuda.device_count()))
    os.environ["CUDA_VISIBLE_DEVICES"] = str(visible[index % len(visible)])
