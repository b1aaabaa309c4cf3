import multiprocessing
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from acdc_seg.tuning.queue import (
    MAX_RETRIES,
    Worker,
    give_up,
    holds_slot,
    is_finished,
    num_finished,
)


@pytest.fixture
def study(tmp_path):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))), study_name="s"
    )


def take(worker, target):
    """The next trial, or None where there is nothing to take now."""
    calls = iter([False, True])
    return worker.take(target, should_stop=lambda: next(calls))


def die_holding_a_lock(folder, study_file, ready):
    study = optuna.load_study(
        study_name="s", storage=JournalStorage(JournalFileBackend(study_file))
    )
    worker = Worker(study, folder)
    worker.__enter__()
    trial = worker.take(9, should_stop=lambda: False)
    trial.suggest_float("x", 0, 1)
    ready.set()
    time.sleep(1000)


def kill_a_worker(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(
        target=die_holding_a_lock, args=(tmp_path, str(tmp_path / "journal.log"), ready)
    )
    process.start()
    assert ready.wait(100)
    return process


def test_trials_are_taken_up_to_the_number_asked_for(study, tmp_path):
    with Worker(study, tmp_path) as worker:
        first, second = take(worker, 2), take(worker, 2)
        assert (first.number, second.number) == (0, 1)
        assert take(worker, 2) is None
        study.tell(first, 1.0)
        study.tell(second, state=TrialState.PRUNED)
        assert num_finished(study) == 2
        assert worker.take(2, should_stop=lambda: False) is None
        assert take(worker, 3).number == 2
    assert list((tmp_path / "workers").iterdir()) == []


def test_the_later_of_two_trials_created_at_once_steps_back(study, tmp_path, monkeypatch):
    with Worker(study, tmp_path) as worker:
        ask = study.ask
        monkeypatch.setattr(
            study, "ask", lambda: (ask(), ask())[1]
        )  # another process creates one in between
        assert take(worker, 1) is None
        earlier, later = study.trials
        assert (earlier.state, later.state) == (TrialState.RUNNING, TrialState.FAIL)
        assert (holds_slot(earlier), holds_slot(later)) == (True, False)


def test_failed_trials_count_only_with_a_reason(study):
    for attrs, counts in (
        ({"reason": "nan"}, True),
        ({}, False),
        ({"retries": MAX_RETRIES}, True),
        ({"retries": 1}, False),
    ):
        trial = study.ask()
        for key, value in attrs.items():
            trial.set_user_attr(key, value)
        study.tell(trial, state=TrialState.FAIL)
        assert is_finished(study.trials[trial.number]) is counts


def test_a_stopped_trial_is_queued_again_with_its_parameters(study, tmp_path):
    with Worker(study, tmp_path) as worker:
        trial = take(worker, 1)
        drawn = trial.suggest_float("x", 0, 1)
        give_up(study, trial, again=True)
        again = take(worker, 1)
        assert again.suggest_float("x", 0, 1) == drawn
        assert again.user_attrs["retry_of"] == trial.number
        assert num_finished(study) == 0


@pytest.mark.timeout(200)
def test_trial_of_a_killed_worker_is_swept_once_and_retried(study, tmp_path):
    process = kill_a_worker(tmp_path)
    with Worker(study, tmp_path) as worker:
        worker.sweep()
        assert study.trials[0].state == TrialState.RUNNING
        process.kill()
        process.join()
        worker.sweep()
        worker.sweep()
        dead, again = study.trials
        assert (dead.state, again.state) == (TrialState.FAIL, TrialState.WAITING)
        assert again.user_attrs == {"retry_of": 0, "retries": 1}
        assert take(worker, 1).suggest_float("x", 0, 1) == dead.params["x"]


def test_a_trial_that_nobody_signed_is_swept_after_a_while(study, tmp_path, monkeypatch):
    study.ask()
    clock = [0.0]
    monkeypatch.setattr("acdc_seg.tuning.queue.time.monotonic", lambda: clock[0])
    with Worker(study, tmp_path) as worker:
        worker.sweep()
        clock[0] = 59
        worker.sweep()
        assert study.trials[0].state == TrialState.RUNNING
        clock[0] = 61
        worker.sweep()
        assert study.trials[0].state == TrialState.FAIL
