"""Whole studies in processes of their own, and what becomes of those that are killed."""

import multiprocessing
import os
import signal
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from acdc_seg.errors import TrainingError
from acdc_seg.tuning import processes, workers
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import is_finished, num_finished


def check_twelve(study):
    """Twelve finished trials, each drawn and run once; those cut short are run again with the same
    settings.
    """
    trials = study.trials
    assert 12 <= num_finished(study) <= 13  # two workers may exceed it by one
    assert all(trial.state.is_finished() for trial in trials)
    finished = [trial for trial in trials if is_finished(trial)]
    assert max(Counter(tuple(trial.params.items()) for trial in finished).values()) == 1
    for trial in finished:
        if (number := trial.user_attrs.get("retry_of")) is not None:
            # one that was killed while it drew its settings had only some of them
            assert trials[number].params.items() <= trial.params.items()
            assert not is_finished(trials[number])


def wait_for(study, num_trials, process):
    end = time.monotonic() + 200
    while num_finished(study) < num_trials:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_study_that_is_killed_and_resumed_runs_its_trials_again(start_command, tmp_path):
    first = start_command("--workers", "2")
    journal = tmp_path / "studies" / "s" / "journal.log"
    while not journal.is_file() or b"train.epochs" not in journal.read_bytes():
        assert first.poll() is None
        time.sleep(0.2)
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(journal))
    )
    study = optuna.load_study(study_name="s", storage=storage)
    wait_for(study, 3, first)
    os.killpg(first.pid, 9)  # the command and its workers
    first.wait()
    assert num_finished(study) < 12
    second = start_command("--workers", "2")
    said, _ = second.communicate(timeout=250)
    assert second.returncode == 0
    assert "Wrote studies/s/best.yaml, trials.csv and report.html" in said
    check_twelve(study)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ctrl_c_stops_in_good_order_and_queues_what_ran(start_command, tmp_path):
    process = start_command("train.epochs=500", "--space", str(write_long_space(tmp_path)))
    history = tmp_path / "studies" / "s" / "runs" / "trial-0000" / "history.csv"
    end = time.monotonic() + 200
    while not history.is_file() and time.monotonic() < end:
        assert process.poll() is None
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("Stopped; trials that were running will be run again.")
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "studies" / "s" / "journal.log"))
    )
    stopped, queued = optuna.load_study(study_name="s", storage=storage).trials
    assert (stopped.state, queued.state) == (TrialState.FAIL, TrialState.WAITING)
    assert queued.user_attrs["retry_of"] == 0
    assert "stopped, to be run again" in (tmp_path / "studies" / "s" / "trials.csv").read_text()


@pytest.fixture
def run_in_workers(monkeypatch):
    """Runs a study in forked processes, which inherit what a test replaced."""
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(processes.multiprocessing, "get_context", lambda kind: fork)
    monkeypatch.setattr(processes, "POLL_SECONDS", 0.02)
    return workers.tune


def test_a_fault_of_the_machine_ends_the_study_quickly_and_costs_no_trial(
    make_spec, fake_train, run_in_workers
):
    def score(config):
        if len(list((spec.folder / "runs").iterdir())) > 3 and not repaired:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return [0.5] * config.train.epochs

    repaired = False
    fake_train(score)
    spec = make_spec(num_trials=8, pruner="none")
    with pytest.raises(TrainingError, match="5 failures in a row, the last: RuntimeError: CUDA er"):
        run_in_workers(spec)
    study = open_study(spec)
    states = Counter(trial.state for trial in study.trials if is_finished(trial))
    assert states == {TrialState.COMPLETE: 3}
    assert (spec.folder / "errors.log").read_text().count("RuntimeError: CUDA error") == 5
    repaired = True
    study = run_in_workers(spec)
    states = Counter(trial.state for trial in study.trials if is_finished(trial))
    assert states == {TrialState.COMPLETE: 8}


def test_trials_that_keep_failing_end_the_study(make_spec, fake_train, run_in_workers):
    def score(config):
        raise TrainingError("the loss is nan")

    fake_train(score)
    with pytest.raises(TrainingError, match="failures in a row, the last: the loss is nan"):
        run_in_workers(make_spec(num_trials=200))


def test_a_worker_that_ends_with_an_error_is_replaced(make_spec, fake_train, run_in_workers):
    def score(config):
        if config.name == "trial-0002":
            raise OSError("Input/output error")
        return [0.5] * config.train.epochs

    fake_train(score)
    study = run_in_workers(make_spec(num_trials=5, pruner="none"))
    assert num_finished(study) == 5
    assert study.trials[3].user_attrs["retry_of"] == 2


def test_visible_gpus_are_dealt_out_in_turn(monkeypatch):
    dealt = []
    for index in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
        processes._choose_gpu(index)
        dealt.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert dealt == ["4", "7", "4"]


def write_long_space(folder):
    path = folder / "long.yaml"
    path.write_text("optimizer.lr: [0.01, 0.02]")
    return path


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_processes_share_a_study_in_postgresql(start_command, postgresql, tmp_path):
    storage = postgresql.replace("postgresql:", "postgresql+psycopg:")
    both = [
        start_command("--storage", postgresql, "--studies-dir", place)
        for place in ("here", "there")
    ]
    end = time.monotonic() + 200
    while "s" not in (names := optuna.get_all_study_names(storage)) and time.monotonic() < end:
        time.sleep(0.5)
    assert "s" in names
    study = optuna.load_study(study_name="s", storage=storage)
    wait_for(study, 3, both[0])
    os.killpg(both[0].pid, 9)
    third = start_command("--storage", postgresql, "--studies-dir", "here")
    for process in (both[1], third):
        process.communicate(timeout=250)
        assert process.returncode == 0
    check_twelve(study)
    for place in ("here", "there"):  # each machine keeps the runs of its own trials
        assert list((tmp_path / place / "s" / "runs").glob("trial-*/run.json"))
