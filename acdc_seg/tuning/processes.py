"""Worker processes that share a work, on one machine: started, watched, replaced, stopped."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Protocol

import torch
from optuna.trial import FrozenTrial, TrialState

from acdc_seg.errors import TrainingError
from acdc_seg.tuning.objective import describe_error

POLL_SECONDS = 0.5
MAX_RESTARTS = 10
"""Workers, killed or ended by an error, that one call replaces."""
MAX_FAILURES = 5
"""Failures in a row that end a study: of trials by their settings, and of workers."""
STOP_SECONDS = 20
"""Time that workers get to stop in good order."""


class WorkSpec(Protocol):
    """What worker processes need to know of the work that they share."""

    @property
    def num_workers(self) -> int:
        """Processes on this machine."""

    @property
    def device(self) -> str:
        """cpu, cuda or mps."""

    @property
    def folder(self) -> Path:
        """Where errors.log is written."""


class Workers:
    """The worker processes of one call; one that is killed or ends with an error is replaced.

    Args:
        spec: What they work on.
        work: `work(spec, worker=INDEX, should_stop=...)`, a function of a module.
    """

    def __init__(self, spec: WorkSpec, work: Callable[..., None]) -> None:
        self.spec, self.work, self.num_restarts, self.num_failures = spec, work, 0, 0
        self.context = multiprocessing.get_context("spawn")
        self.errors: SimpleQueue[str] = self.context.SimpleQueue()
        self.processes: dict[int, BaseProcess] = {
            index: self._start(index) for index in range(spec.num_workers)
        }

    def _start(self, index: int) -> BaseProcess:
        process = self.context.Process(
            target=_work_in_process, args=(self.work, self.spec, index, os.getpid(), self.errors)
        )
        process.start()
        return process

    def watch(self, on_poll: Callable[[], None], *, should_stop: Callable[[], bool]) -> None:
        """Waits until all workers have ended, and calls `on_poll` meanwhile and at the end.

        Raises:
            AcdcError: Workers, or what `on_poll` looks at, keep failing.
        """
        try:
            while self.are_running(restart=not should_stop()):
                if should_stop():
                    self.terminate()
                on_poll()
                time.sleep(POLL_SECONDS)
            on_poll()
        except TrainingError:
            self.terminate()
            self.join(STOP_SECONDS)
            raise
        finally:
            self.kill()

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


def _work_in_process(
    work: Callable[..., None],
    spec: WorkSpec,
    index: int,
    parent: int,
    errors: "SimpleQueue[str]",
) -> None:
    """Entry point of a worker process: takes its share of threads or its GPU; a signal, or the end
    of the parent, stops its trial in good order. An error goes to `errors`, its traceback to
    errors.log.
    """
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    warnings.simplefilter("ignore")
    if spec.device == "cuda":
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
