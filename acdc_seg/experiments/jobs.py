"""One job: trains a variant in its run folder, or resumes it there, and measures the result."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from acdc_seg.config import DataConfig, PrepareConfig
from acdc_seg.data.source import Source, open_source
from acdc_seg.experiments.plan import Job, Plan
from acdc_seg.experiments.results import RunResult, measure, read_result, write_result
from acdc_seg.files import lock
from acdc_seg.runs.checkpoint import has_checkpoint
from acdc_seg.runs.folder import Run
from acdc_seg.training.finish import finish_run
from acdc_seg.training.loop import Hooks, train
from acdc_seg.tuning.objective import TrialStopped

POLL_SECONDS = 1.0


def run_job(
    job: Job,
    plan: Plan,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> RunResult:
    """Trains a job unless it is finished, from its last checkpoint where it has one.

    Args:
        job: One of the plan's.
        plan: The plan.
        should_stop: Asked after every batch.
        on_progress: Called with the fraction of the epochs that are done.

    Raises:
        TrialStopped: It was asked to stop.
        AcdcError: Like `train` and `finish_run`.
    """
    run = Run(plan.run_folder(job))
    run.folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(run.folder, should_stop):
        result = read_result(run.folder)
        if result is not None:
            return result
        config = job.config
        source = _open(config.data, config.prepare)
        if not run.is_complete():
            hooks = Hooks(
                on_epoch_end=lambda epoch, dice: on_progress(epoch / config.train.epochs),
                should_stop=should_stop,
            )
            trained = train(config, source, run=run, resume=has_checkpoint(run.last), hooks=hooks)
            if trained.stopped:
                raise TrialStopped
            finish_run(run, trained.config, source, trained.history)
        result = measure(run, config, source)
        if not plan.experiment.keep_weights:
            run.remove_training_state()
            run.best.unlink(missing_ok=True)
        write_result(run.folder, result)
        return result


@contextmanager
def _alone_in(folder: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Waits until no other process trains in the folder: one that was taken for dead may live.

    Without effect where there are no locks.
    """
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            while not _locks(descriptor):
                if should_stop():
                    raise TrialStopped
                time.sleep(POLL_SECONDS)
        yield


def _locks(descriptor: int) -> bool:
    try:
        lock(descriptor, wait=False)
    except BlockingIOError:
        return False
    return True


@lru_cache(maxsize=8)
def _open(data: DataConfig, prepare: PrepareConfig) -> Source:
    """The data of a job, cached for the next one, which mostly reads the same."""
    return open_source(data, prepare_settings=prepare)
