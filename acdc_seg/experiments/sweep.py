"""Running an experiment: its missing trainings are queued, and worker processes claim them."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import MappingProxyType

import optuna
from optuna.exceptions import OptunaError
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from acdc_seg.errors import ConfigError
from acdc_seg.experiments.jobs import run_job
from acdc_seg.experiments.plan import Job, Plan
from acdc_seg.experiments.results import RunResult, read_result
from acdc_seg.tuning.objective import run_claimed
from acdc_seg.tuning.processes import Workers
from acdc_seg.tuning.queue import TrialQueue, release
from acdc_seg.tuning.storage import open_storage

PROGRESS_SECONDS = 5
"""Time between reports of how far a training is, at least."""
LIVE = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class JobState:
    """How a job is: its result, or the reason of its failure, or neither yet.

    `fraction` is the part of its epochs that is done; `is_live` where it is queued or running.
    """

    job: Job
    result: RunResult | None = None
    reason: str | None = None
    fraction: float = 0.0
    is_live: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.result is not None or self.reason is not None


@dataclass(frozen=True)
class SweepProgress:
    """State of an experiment: all jobs, those that ended since the last call, and the seconds that
    remain, if known.
    """

    states: tuple[JobState, ...]
    new: tuple[JobState, ...] = ()
    seconds_left: float | None = None

    @property
    def num_over(self) -> int:
        """Jobs that are finished or failed."""
        return sum(state.is_over for state in self.states)


def run_experiment(
    plan: Plan,
    *,
    retry_failed: bool = False,
    on_progress: Callable[[SweepProgress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[JobState]:
    """Trains what is missing of an experiment, together with all others that work on it.

    Args:
        plan: All its trainings.
        retry_failed: Also those that failed by their own settings.
        on_progress: Called several times a second.
        should_stop: Asked several times a second; running trainings are then stopped, to be
            resumed.

    Raises:
        AcdcError: The storage cannot be opened, the precision is not that of the other machines, or
            workers keep failing.
    """
    study = open_experiment(plan)
    _enqueue_missing(study, plan, retry_failed=retry_failed)
    observer = _Observer(study, plan)
    if not all(state.is_over for state in observer.progress().states):
        workers = Workers(plan, work)
        workers.watch(lambda: on_progress(observer.progress()), should_stop=should_stop)
    progress = observer.progress()
    on_progress(progress)
    return list(progress.states)


def open_experiment(plan: Plan) -> Study:
    """The study behind an experiment, made where it is missing.

    Raises:
        AcdcError: The storage cannot be opened.
    """
    return optuna.create_study(
        storage=open_storage(plan.storage, plan.folder),
        study_name=f"experiment-{plan.name}",
        sampler=RandomSampler(seed=0),
        direction="maximize",
        load_if_exists=True,
    )


def work(plan: Plan, *, worker: int = 0, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Runs jobs of an experiment in this process until none is left."""
    study = open_experiment(plan)
    queue = TrialQueue(study)

    def is_over() -> bool:
        return should_stop() or study.user_attrs.get("plan") != plan.digest

    while (trial := queue.claim_next(should_stop=is_over)) is not None:
        job = plan.by_digest.get(trial.user_attrs["digest"])
        if job is None or _is_taken(study, trial):
            release(study, trial, requeue=False)
        else:
            _run_claimed(study, trial, job, plan, should_stop)


def _run_claimed(
    study: Study, trial: Trial, job: Job, plan: Plan, should_stop: Callable[[], bool]
) -> None:
    """Runs the job of a trial and tells the study."""
    reported = time.monotonic()

    def report(fraction: float) -> None:
        nonlocal reported
        if time.monotonic() - reported >= PROGRESS_SECONDS:
            reported = time.monotonic()
            with suppress(OptunaError):  # a database may be away for a moment
                trial.set_user_attr("progress", fraction)

    def train() -> list[float]:
        result = run_job(job, plan, should_stop=should_stop, on_progress=report)
        if plan.storage is not None:  # other machines do not see the run folder
            trial.set_user_attr("result", json.dumps(asdict(result)))
        return [result.dice]

    run_claimed(study, trial, train, varied=lambda: job.variant.changes)


def _is_taken(study: Study, trial: Trial) -> bool:
    """Whether another trial is of the same job, as where two commands queue it at once: of those
    that are alive the first one counts.
    """
    digest = trial.user_attrs["digest"]
    others = [
        other
        for other in study.get_trials(deepcopy=False)
        if other.user_attrs.get("digest") == digest and other.number != trial.number
    ]
    return any(
        "result" in other.user_attrs or (other.state in LIVE and other.number < trial.number)
        for other in others
    )


def _enqueue_missing(study: Study, plan: Plan, *, retry_failed: bool) -> None:
    """Queues the jobs that nobody works on; what other commands queued counts, unless they want
    other jobs: the last command decides.
    """
    precision = sorted({job.config.train.precision for job in plan.jobs})
    before = study.user_attrs.get("precision", precision)
    if before != precision:
        raise ConfigError(
            f"experiment '{plan.name}' was begun with train.precision={','.join(before)}, not "
            f"{','.join(precision)}; give that, or another --name"
        )
    study.set_user_attr("precision", precision)
    study.set_user_attr("plan", plan.digest)
    for state in job_states(study, plan):
        is_failed = state.reason is not None and not retry_failed
        if state.result is None and not state.is_live and not is_failed:
            attrs = {"queued": {"job": state.job.digest}, "digest": state.job.digest}
            study.enqueue_trial({"job": state.job.digest}, user_attrs=attrs)


def job_states(
    study: Study, plan: Plan, known: Mapping[str, JobState] = MappingProxyType({})
) -> list[JobState]:
    """How all jobs are, by their run folders and the study.

    Args:
        study: The study behind the experiment.
        plan: Its jobs.
        known: States by digest that need not be looked up again.
    """
    by_digest: dict[str, list[FrozenTrial]] = {}
    for trial in study.get_trials(deepcopy=False):
        by_digest.setdefault(trial.user_attrs.get("digest", ""), []).append(trial)
    return [
        known.get(job.digest) or _state(job, plan, by_digest.get(job.digest, []))
        for job in plan.jobs
    ]


def _state(job: Job, plan: Plan, trials: Iterable[FrozenTrial]) -> JobState:
    result = read_result(plan.run_folder(job))
    reason, fraction, is_live = None, 0.0, False
    for trial in trials:
        attrs = trial.user_attrs
        if result is None and "result" in attrs:
            result = RunResult.from_dict(json.loads(attrs["result"]))  # of another machine
        is_live = is_live or trial.state in LIVE
        reason = attrs.get("reason", reason)
        fraction = max(fraction, attrs.get("progress", 0.0))
    if result is not None:
        return JobState(job, result, fraction=1.0)
    return JobState(job, None, None if is_live else reason, fraction, is_live)


class _Observer:
    """Reads an experiment from outside its workers."""

    def __init__(self, study: Study, plan: Plan) -> None:
        self.study, self.plan, self.started = study, plan, time.monotonic()
        before = job_states(study, plan)
        self.done_before = _work_done(before)
        self.over = {state.job.digest: state for state in before if state.result is not None}
        self.told = {state.job.digest for state in before if state.is_over}

    def progress(self) -> SweepProgress:
        """The experiment's state now."""
        states = job_states(self.study, self.plan, self.over)
        self.over |= {state.job.digest: state for state in states if state.result is not None}
        new = [state for state in states if state.is_over and state.job.digest not in self.told]
        self.told |= {state.job.digest for state in new}
        done, total = _work_done(states), sum(job.size for job in self.plan.jobs)
        seconds_left = None
        if done > self.done_before:
            passed = time.monotonic() - self.started
            seconds_left = passed / (done - self.done_before) * (total - done)
        return SweepProgress(tuple(states), tuple(new), seconds_left)


def _work_done(states: Iterable[JobState]) -> float:
    return sum(state.job.size * (1.0 if state.is_over else state.fraction) for state in states)
