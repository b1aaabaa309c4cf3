"""An experiment in processes of its own that are killed: resumed, nothing twice, nothing lost."""

import csv
import os
import subprocess
import sys
import time

import pytest
from tiny_experiments import RATES

from acdc_seg.experiments.sweep import job_states, open_experiment

SCRIPT = """
from acdc_seg.tuning import queue

queue.HEARTBEAT_SECONDS, queue.GRACE_SECONDS = 0.3, 3

if __name__ == "__main__":
    from acdc_seg.cli.experiment import main

    main()
"""
EPOCHS = 40


@pytest.fixture
def start(tmp_path, paired_folder):
    """Starts the experiment with two workers in a process group of its own; a dead worker is
    noticed after three seconds.
    """
    started = []
    (tmp_path / "script.py").write_text(SCRIPT)
    text = RATES.replace("[0.1, 0.01]", "[0.1, 0.03, 0.01]")
    (tmp_path / "rates.yaml").write_text(text)

    def command():
        words = ["script.py", "rates.yaml", "--data", paired_folder, "--workers", "2"]
        words += [f"train.epochs={EPOCHS}", "train.checkpoint_interval_s=0"]
        process = subprocess.Popen(
            [sys.executable, *map(str, words)],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield command
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.communicate()


def read_rows(path):
    """The rows of the run's history, times included."""
    with path.open(newline="") as file:
        return list(csv.reader(file))


def wait_for_epochs(process, folder, num_epochs):
    """Waits until the trainings have done so many epochs together; gives their histories."""
    end = time.monotonic() + 120
    while True:
        histories = {path.parent.name: read_rows(path) for path in folder.glob("*/history.csv")}
        if sum(len(rows) - 1 for rows in histories.values()) >= num_epochs:
            return histories
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_twice_on_two_workers(start, plan_of, tmp_path):
    text = RATES.replace("[0.1, 0.01]", "[0.1, 0.03, 0.01]")
    changes = (f"train.epochs={EPOCHS}", "train.checkpoint_interval_s=0")
    plan = plan_of(text, overrides=changes)
    runs, killed = plan.folder / "runs", []
    for num_epochs in (20, 60):
        process = start()
        wait_for_epochs(process, runs, num_epochs)
        os.killpg(process.pid, 9)  # the command and its workers
        process.wait()
        killed.append({path.parent.name: read_rows(path) for path in runs.glob("*/history.csv")})
    last = start()
    said, _ = last.communicate(timeout=200)
    assert last.returncode == 0
    assert "Wrote experiments/rates/report.html, " in said

    # Nothing is lost: every variant is finished, and what was done before stayed, times included.
    states = job_states(open_experiment(plan), plan)
    assert [list(state.result.column("train_loss")) for state in states] == [
        list(range(1, EPOCHS + 1))
    ] * 3
    for histories in killed:
        assert 2 <= len(histories) <= 3
        for name, rows in histories.items():
            after = read_rows(runs / name / "history.csv")
            assert after[: len(rows) - 1] == rows[:-1]  # the last one may not be in last.pt yet

    # Nothing was done twice: one folder for each, and one trial of each that completed.
    assert len(list(runs.iterdir())) == 3
    trials = open_experiment(plan).trials
    complete = [trial.user_attrs["digest"] for trial in trials if trial.state.name == "COMPLETE"]
    assert sorted(complete) == sorted(plan.by_digest)
