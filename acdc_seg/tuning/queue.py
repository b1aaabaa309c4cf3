"""Trial queue shared by the workers of a study, on one machine or several."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from threading import Event, Thread

from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from acdc_seg.tuning.trials import MAX_RETRIES, is_finished

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 60
"""A trial without a new heartbeat for this long belongs to a dead worker."""
KEPT_ATTRS = ("recipe", "digest")
"""Attributes that a trial that is queued again keeps."""


class TrialQueue:
    """One worker's access to the trials of a study.

    Args:
        study: The study, in a storage that all workers share.
        num_trials: Finished trials after which there is no next one; by default all that are
            queued.
        ask: Draws a new trial, or takes a queued one, given all trials so far; None takes queued
            ones alone.
    """

    def __init__(
        self,
        study: Study,
        *,
        num_trials: float = math.inf,
        ask: Callable[[Sequence[FrozenTrial]], Trial] | None = None,
    ) -> None:
        self.study, self.num_trials, self.ask = study, num_trials, ask
        self.heartbeats: dict[int, tuple[int, float]] = {}  # by trial: the last, and since when

    def claim_next(self, *, should_stop: Callable[[], bool]) -> Trial | None:
        """Waits for the next trial to run; None when enough are finished or a stop is requested.

        Workers that claim at the same moment may together exceed `num_trials`, by one less than
        there are of them at most.
        """
        while not should_stop():
            self.requeue_dead()
            trials = self.study.get_trials(deepcopy=False)
            states = [trial.state for trial in trials]
            num_done, num_running = sum(map(is_finished, trials)), states.count(TrialState.RUNNING)
            is_waiting = TrialState.WAITING in states
            is_empty = self.ask is None and not is_waiting and not num_running
            if num_done >= self.num_trials or is_empty:
                return None
            if num_done + num_running < self.num_trials and (is_waiting or self.ask is not None):
                trial = self.study.ask() if self.ask is None else self.ask(trials)
                if self.ask is not None or "queued" in trial.user_attrs:
                    return trial
                release(self.study, trial, requeue=False)  # another worker took the last one
            time.sleep(POLL_SECONDS)
        return None

    def requeue_dead(self) -> None:
        """Fails the trials of dead workers and queues their parameters again, `MAX_RETRIES` times
        at most.
        """
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if not self._is_dead(trial):
                continue
            try:
                self.study.tell(trial.number, state=TrialState.FAIL)
            except (UpdateFinishedTrialError, ValueError):
                continue  # it finished just now, or another worker requeued it
            retries = trial.user_attrs.get("retries", 0)
            if "reason" not in trial.user_attrs and retries < MAX_RETRIES:
                _requeue(self.study, trial, retries=retries + 1)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        """Whether its heartbeat has stopped, by this process's clock (machines' clocks differ)."""
        heartbeat, now = trial.user_attrs.get("heartbeat", 0), time.monotonic()
        last, since = self.heartbeats.get(trial.number, (-1, now))
        since = since if heartbeat == last else now
        self.heartbeats[trial.number] = heartbeat, since
        return now - since > GRACE_SECONDS


def release(study: Study, trial: Trial, *, requeue: bool) -> None:
    """Ends a trial so that it does not count; `requeue` queues its parameters again."""
    trial.set_user_attr("released", True)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
    if requeue:
        _requeue(study, trial, retries=trial.user_attrs.get("retries", 0))


def _requeue(study: Study, trial: Trial | FrozenTrial, *, retries: int) -> None:
    params = {**trial.user_attrs.get("queued", {}), **trial.params}
    if params:
        kept = {key: trial.user_attrs[key] for key in KEPT_ATTRS if key in trial.user_attrs}
        attrs = {"queued": params, "retry_of": trial.number, "retries": retries}
        study.enqueue_trial(params, user_attrs={**kept, **attrs})


@contextmanager
def send_heartbeat(trial: Trial) -> Iterator[None]:
    """Shows the other workers that a trial is alive while the body runs."""
    ended = Event()

    def beat() -> None:
        for number in count(1):
            with suppress(OptunaError):  # a database may be away for a moment
                trial.set_user_attr("heartbeat", number)
            if ended.wait(HEARTBEAT_SECONDS):
                return

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
