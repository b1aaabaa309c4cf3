"""The queue alone, on a journal file and on databases; a dead worker is one without heartbeats."""

import time

import optuna
import pytest
from optuna.trial import TrialState

from acdc_seg.tuning import queue as queue_module
from acdc_seg.tuning.queue import release, send_heartbeat
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import MAX_RETRIES, is_finished, num_finished
from acdc_seg.tuning.workers import make_queue

GRID = "optimizer.lr: [0.1, 0.2, 0.3]"


@pytest.fixture
def open_queue(make_spec):
    """open_queue(num_trials, **options): one more worker of study s."""

    def make(num_trials=3, **options):
        spec = make_spec(num_trials=num_trials, **options)
        return make_queue(open_study(spec), spec)

    return make


@pytest.fixture
def clock(monkeypatch):
    """The time that the queue reads, as a list of one number."""
    now = [0.0]
    monkeypatch.setattr(queue_module.time, "monotonic", lambda: now[0])
    return now


def claim(queue):
    """The next trial, or None where there is nothing to claim now."""
    answers = iter([False, True])
    return queue.claim_next(should_stop=lambda: next(answers))


def states(queue):
    return [trial.state.name for trial in queue.study.trials]


def test_trials_are_claimed_up_to_the_number_asked_for(open_queue, monkeypatch):
    monkeypatch.setattr(queue_module, "POLL_SECONDS", 0)
    queue = open_queue(2)
    first, second = claim(queue), claim(queue)
    assert (first.number, second.number) == (0, 1)
    assert claim(queue) is None
    queue.study.tell(first, 1.0)
    queue.study.tell(second, state=TrialState.PRUNED)
    assert num_finished(queue.study) == 2
    assert queue.claim_next(should_stop=lambda: False) is None
    assert claim(open_queue(3)).number == 2


def test_failed_trials_count_only_with_a_reason(open_queue):
    study = open_queue().study
    for attrs, counts in (
        ({"reason": "nan"}, True),
        ({}, False),
        ({"retries": MAX_RETRIES}, True),
        ({"retries": MAX_RETRIES, "released": True}, False),
        ({"retries": 1}, False),
    ):
        trial = study.ask()
        for key, value in attrs.items():
            trial.set_user_attr(key, value)
        study.tell(trial, state=TrialState.FAIL)
        assert is_finished(study.trials[trial.number]) is counts


def test_a_stopped_trial_is_queued_again_with_its_parameters(open_queue):
    queue = open_queue(1)
    trial = claim(queue)
    drawn = trial.suggest_float("x", 0, 1)
    release(queue.study, trial, requeue=True)
    again = claim(queue)
    assert again.suggest_float("x", 0, 1) == drawn
    assert again.user_attrs["retry_of"] == trial.number
    assert num_finished(queue.study) == 0


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgresql"])
def test_the_trial_of_a_dead_worker_is_requeued_once(open_queue, clock, tmp_path, request, kind):
    storage = {"journal": None, "sqlite": f"sqlite:///{tmp_path}/s.db"}.get(kind)
    if kind == "postgresql":
        storage = request.getfixturevalue("postgresql")
    options = {"storage": storage, "name": "dead"}
    dying, watching, late = (open_queue(1, **options) for _ in range(3))
    trial = claim(dying)
    drawn = trial.suggest_float("x", 0, 1)
    trial.set_user_attr("heartbeat", 1)
    watching.requeue_dead()
    clock[0] = 59
    watching.requeue_dead()
    assert states(watching) == ["RUNNING"]
    trial.set_user_attr("heartbeat", 2)  # alive after all
    clock[0] = 61
    for queue in (watching, late):
        queue.requeue_dead()
    assert states(watching) == ["RUNNING"]
    clock[0] = 122
    for queue in (watching, late, watching):
        queue.requeue_dead()
    assert states(late) == ["FAIL", "WAITING"]
    again = claim(late)
    assert again.suggest_float("x", 0, 1) == drawn
    assert (again.user_attrs["retry_of"], again.user_attrs["retries"]) == (0, 1)


def test_a_running_trial_sends_heartbeats_until_it_ends(open_queue, monkeypatch):
    monkeypatch.setattr(queue_module, "HEARTBEAT_SECONDS", 0.01)
    queue = open_queue(1)
    trial, end = claim(queue), time.monotonic() + 20

    def heartbeat():
        return queue.study.trials[0].user_attrs.get("heartbeat", 0)

    with send_heartbeat(trial):
        while heartbeat() < 3:
            assert time.monotonic() < end
    assert heartbeat() == heartbeat() >= 3


def test_a_trial_whose_workers_keep_dying_counts_as_failed(open_queue, clock):
    queue = open_queue(1)
    for _ in range(MAX_RETRIES + 1):
        claim(queue).suggest_float("x", 0, 1)
        queue.requeue_dead()
        clock[0] += 61
        queue.requeue_dead()
    assert states(queue) == ["FAIL"] * (MAX_RETRIES + 1)
    assert num_finished(queue.study) == 1
    assert claim(queue) is None


def test_a_worker_that_comes_back_cannot_overwrite_the_retry(open_queue, clock):
    queue = open_queue(1)
    asleep = claim(queue)
    queue.requeue_dead()
    clock[0] = 61
    queue.requeue_dead()
    queue.study.tell(asleep, 1.0, skip_if_finished=True)
    assert states(queue) == ["FAIL", "WAITING"]
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        asleep.report(0.5, 1)


def test_a_grid_is_queued_once_and_a_dead_worker_loses_no_point(open_queue, clock):
    first, second = (
        open_queue(3, space=GRID, sampler="grid"),
        open_queue(3, space=GRID, sampler="grid"),
    )
    assert states(second) == ["WAITING"] * 3
    claim(first)  # killed before it drew anything
    claimed = [claim(second), claim(second)]
    assert claim(second) is None
    clock[0] = 61
    second.heartbeats |= {trial.number: (0, 60.0) for trial in claimed}
    claimed.append(claim(second))
    points = [trial.suggest_categorical("optimizer.lr", [0.1, 0.2, 0.3]) for trial in claimed]
    assert points == [0.2, 0.3, 0.1]


def test_a_grid_without_points_left_ends(open_queue):
    queue = open_queue(3, space=GRID, sampler="grid")
    for _ in range(3):
        release(queue.study, claim(queue), requeue=False)
    assert queue.claim_next(should_stop=lambda: False) is None
    assert states(queue) == ["FAIL"] * 3
