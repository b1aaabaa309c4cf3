"""Who may run a trial: exactly as many trials finish as were asked for, whatever dies, on however
many machines.
"""

import fcntl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import IO

from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

MAX_RETRIES = 2
"""How often a trial is begun again after its worker was killed; then it counts as failed."""
POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 15
GRACE_SECONDS = 60
"""How long a trial may be silent before it is taken for dead, where its worker's lock file cannot
be looked at.
"""


def is_finished(trial: FrozenTrial) -> bool:
    """Whether a trial counts: complete, pruned, or failed for a reason of its own (not because its
    worker was stopped or killed).
    """
    if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
        return True
    attrs = trial.user_attrs
    killed_too_often = attrs.get("retries", 0) >= MAX_RETRIES and not attrs.get("given_up")
    return trial.state == TrialState.FAIL and ("reason" in attrs or killed_too_often)


def holds_slot(trial: FrozenTrial) -> bool:
    """Whether a trial is finished, or runs or waits and so will be."""
    return is_finished(trial) or trial.state in (TrialState.RUNNING, TrialState.WAITING)


def num_finished(study: Study) -> int:
    return sum(map(is_finished, study.get_trials(deepcopy=False)))


def give_up(study: Study, trial: Trial, *, again: bool) -> None:
    """Ends a trial so that it does not count; `again` queues its parameters anew."""
    trial.set_user_attr("given_up", True)
    frozen = study.trials[trial.number]
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    if again:
        _retry(study, frozen, retries=frozen.user_attrs.get("retries", 0))


def _retry(study: Study, trial: FrozenTrial, *, retries: int) -> None:
    kept = {key: trial.user_attrs[key] for key in ("point",) if key in trial.user_attrs}
    if trial.params:
        study.enqueue_trial(
            trial.params, user_attrs={**kept, "retry_of": trial.number, "retries": retries}
        )


class Worker:
    """One process that works on a study: holds a lock file while it lives, takes trials, and sweeps
    those of dead workers.

    The operating system drops the lock when the process dies, however it dies.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder / "workers"
        self.id = uuid.uuid4().hex[:12]
        self.file: IO[str] | None = None
        self.first_seen: dict[int, float] = {}

    def __enter__(self) -> "Worker":
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = (self.folder / self.id).open("w")
        fcntl.lockf(self.file, fcntl.LOCK_EX)
        return self

    def __exit__(self, *error: object) -> None:
        assert self.file is not None
        (self.folder / self.id).unlink(missing_ok=True)
        self.file.close()

    def take(self, target: int, *, should_stop: Callable[[], bool]) -> Trial | None:
        """The next trial to run, or None when `target` trials of the study are finished or a stop
        is wished.

        A trial is first created, and may run only if fewer than `target` trials with lower numbers
        are finished, running or waiting: numbers are given out by the storage one by one, so two
        processes that create a trial at once both see who was first.
        """
        while not should_stop():
            self.sweep()
            trials = self.study.get_trials(deepcopy=False)
            if sum(map(is_finished, trials)) >= target:
                return None
            if (
                any(trial.state == TrialState.WAITING for trial in trials)
                or sum(map(holds_slot, trials)) < target
            ):
                trial = self.study.ask()
                beat(self.study._storage, trial._trial_id)
                trial.set_user_attr("worker", self.id)
                before = [
                    other
                    for other in self.study.get_trials(deepcopy=False)
                    if other.number < trial.number
                ]
                if sum(map(holds_slot, before)) < target:
                    return trial
                give_up(self.study, trial, again=False)
            else:
                time.sleep(POLL_SECONDS)
        return None

    def sweep(self) -> None:
        """Fails the trials of dead workers and queues their parameters again, `MAX_RETRIES` times
        at most.
        """
        storage = self.study._storage
        silent = (
            set(storage._get_stale_trial_ids(self.study._study_id))
            if isinstance(storage, BaseHeartbeat)
            else set()
        )
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial._trial_id in silent or self._is_dead(trial):
                with suppress(
                    UpdateFinishedTrialError
                ):  # another worker swept it, or it finished just now
                    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    retries = trial.user_attrs.get("retries", 0)
                    if "reason" not in trial.user_attrs and retries < MAX_RETRIES:
                        _retry(self.study, trial, retries=retries + 1)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        owner = trial.user_attrs.get("worker")
        if owner is None:  # killed between creating the trial and signing it, or just being created
            seen = self.first_seen.setdefault(trial.number, time.monotonic())
            return time.monotonic() - seen > GRACE_SECONDS
        path = self.folder / owner
        if owner == self.id or not path.is_file():
            return False
        with path.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True


def beat(storage: BaseStorage, trial_id: int) -> None:
    """Tells a database that a trial is alive; other storages have no place for it."""
    if isinstance(storage, BaseHeartbeat):
        storage.record_heartbeat(trial_id)


@contextmanager
def heartbeat(storage: BaseStorage, trial_id: int) -> Iterator[None]:
    """Beats every `HEARTBEAT_SECONDS` while the body runs."""
    ended = Event()

    def keep_beating() -> None:
        while not ended.wait(HEARTBEAT_SECONDS):
            with suppress(
                OptunaError
            ):  # a database that is away for a moment must not end the training
                beat(storage, trial_id)

    thread = Thread(target=keep_beating, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
