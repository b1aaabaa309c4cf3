"""Running experiments in this process: what is trained, skipped, dropped and recorded."""

import json
import os
from collections import Counter

import numpy as np
import pytest
from optuna.trial import TrialState
from tiny_experiments import RATES

from acdc_seg.errors import ConfigError, TrainingError
from acdc_seg.experiments import jobs, results, sweep
from acdc_seg.experiments.jobs import run_job
from acdc_seg.experiments.results import read_result
from acdc_seg.experiments.sweep import job_states, open_experiment, work
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.training.loop import train
from acdc_seg.tuning.objective import TrialStopped


@pytest.fixture
def trained(monkeypatch):
    """Names of the run folders that were trained, in order."""
    names = []

    def noted(config, source, *, run, **options):
        names.append(run.folder.name.rpartition("-")[0])
        return train(config, source, run=run, **options)

    monkeypatch.setattr(jobs, "train", noted)
    return names


@pytest.fixture
def run_here(monkeypatch):
    """run_here(plan): a run of the command whose one worker is this process."""

    class Here:
        def __init__(self, plan, work):
            self.plan, self.work = plan, work

        def watch(self, on_poll, *, should_stop):
            self.work(self.plan, should_stop=should_stop)
            on_poll()

    monkeypatch.setattr(sweep, "Workers", Here)
    return sweep.run_experiment


def test_each_variant_is_trained_once_and_finished_ones_are_skipped(plan_of, run_here, trained):
    states = run_here(plan_of())
    assert trained == ["0.1-seed0", "0.01-seed0"]
    assert [state.result.column("dice").keys() for state in states] == [{1, 2}, {1, 2}]
    assert run_here(plan_of()) == states
    assert trained == ["0.1-seed0", "0.01-seed0"]


def test_another_seed_or_variant_adds_what_is_missing(plan_of, run_here, trained):
    run_here(plan_of())
    run_here(plan_of(num_seeds=2))
    run_here(plan_of(RATES.replace("[0.1, 0.01]", "[0.1, 0.2]")))
    assert trained[2:] == ["0.1-seed1", "0.01-seed1", "0.2-seed0"]


def test_a_variant_that_was_renamed_is_not_trained_again(plan_of, run_here, trained):
    named = RATES.replace(
        "grid: {optimizer.lr: [0.1, 0.01]}", "variants: {NAME: {optimizer.lr: 1}}"
    )
    (before,) = run_here(plan_of(named.replace("NAME", "fast")))
    (after,) = run_here(plan_of(named.replace("NAME", "very fast")))
    assert (after.result, after.job.variant.name) == (before.result, "very fast")
    assert trained == ["fast-seed0"]


def test_other_settings_or_data_are_other_trainings(plan_of, run_here, trained, paired_folder):
    run_here(plan_of(only=("0.1",)))
    run_here(plan_of(only=("0.1",), overrides=("train.epochs=3",)))
    mask = paired_folder / "val" / "mask" / "patient003_0_mask.png"
    mask.write_bytes(mask.with_name("patient003_1_mask.png").read_bytes())
    run_here(plan_of(only=("0.1",)))
    assert trained == ["0.1-seed0"] * 3


def test_runs_are_known_without_the_journal(plan_of, run_here, trained):
    plan = plan_of()
    run_here(plan)
    (plan.folder / "journal.log").unlink()
    run_here(plan_of())
    assert len(trained) == 2


def test_a_failed_variant_is_recorded_and_does_not_stop_the_rest(plan_of, run_here, monkeypatch):
    def failing(config, source, **options):
        if config.optimizer.lr == 0.1:
            raise TrainingError("epoch 1, batch 1: the loss is nan")
        return train(config, source, **options)

    monkeypatch.setattr(jobs, "train", failing)
    first, second = run_here(plan_of())
    assert (first.result, first.reason) == (None, "epoch 1, batch 1: the loss is nan")
    assert second.result is not None
    monkeypatch.setattr(jobs, "train", train)
    assert run_here(plan_of())[0].reason == first.reason
    first, second = run_here(plan_of(), retry_failed=True)
    assert (first.reason, first.result is not None) == (None, True)


def test_data_that_a_variant_makes_unusable_is_its_own_failure(plan_of, run_here):
    text = RATES.replace("{optimizer.lr: [0.1, 0.01]}", "{data.image_dir: [nothing, image]}")
    first, second = run_here(plan_of(text))
    assert "holds 16 .png files" in first.reason
    assert second.result is not None


def test_an_error_of_the_machine_ends_the_worker_and_the_job_is_queued_again(
    plan_of, run_here, monkeypatch
):
    def broken(config, source, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jobs, "train", broken)
    plan = plan_of(only=("0.1",))
    with pytest.raises(OSError, match="No space left"):
        run_here(plan)
    (state,) = job_states(open_experiment(plan), plan)
    assert (state.is_over, state.is_live) == (False, True)
    monkeypatch.setattr(jobs, "train", train)
    (state,) = run_here(plan)
    assert state.result is not None


def test_a_stopped_training_is_resumed_where_it_was(plan_of, run_here, paired_folder):
    (straight,) = run_here(plan_of(only=("0.1",), place="straight"))
    plan, asked = plan_of(only=("0.1",)), []

    def should_stop():
        asked.append(1)
        return len(asked) >= 3

    with pytest.raises(TrialStopped):
        run_job(plan.jobs[0], plan, should_stop=should_stop)
    assert (plan.run_folder(plan.jobs[0]) / "last.pt").is_file()
    (resumed,) = run_here(plan)
    rows = [
        [{**row, "seconds": 0} for row in state.result.history] for state in (straight, resumed)
    ]
    assert rows[0] == rows[1]
    assert straight.result.images == resumed.result.images


def test_a_run_that_was_killed_before_it_was_scored_is_only_scored(plan_of, run_here, trained):
    plan = plan_of(only=("0.1",))
    (before,) = run_here(plan)
    folder = plan.run_folder(plan.jobs[0])
    (folder / "result.json").unlink()
    (after,) = run_here(plan)
    assert after == before
    assert len(trained) == 1


def test_two_commands_queue_the_same_jobs_and_each_runs_once(plan_of, trained, monkeypatch):
    plan = plan_of()
    study = open_experiment(plan)
    states = job_states(study, plan)
    with monkeypatch.context() as patched:  # the second does not see yet what the first queued
        patched.setattr(sweep, "job_states", lambda *args: states)
        for _ in range(2):
            sweep._enqueue_missing(study, plan, retry_failed=False)
    assert len(study.trials) == 4
    work(plan)
    assert sorted(trained) == ["0.01-seed0", "0.1-seed0"]
    assert Counter(trial.state for trial in study.trials)[TrialState.COMPLETE] >= 2


def test_the_jobs_of_a_file_that_was_changed_are_dropped(plan_of, trained):
    old = plan_of()
    study = open_experiment(old)
    sweep._enqueue_missing(study, old, retry_failed=False)
    new = plan_of(RATES.replace("[0.1, 0.01]", "[0.1, 0.5]"))
    sweep._enqueue_missing(study, new, retry_failed=False)
    work(old)  # sees that it is of the old file
    assert trained == []
    work(new)
    assert trained == ["0.1-seed0", "0.5-seed0"]


def test_another_precision_is_refused(plan_of, run_here):
    run_here(plan_of(only=("0.1",)))
    with pytest.raises(ConfigError, match=r"begun with train\.precision=fp32, not bf16"):
        run_here(plan_of(only=("0.1",), overrides=("train.precision=bf16",)))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_machines_that_share_only_a_database_see_each_others_results(
    plan_of, run_here, trained, tmp_path, request, kind
):
    storage = f"sqlite:///{tmp_path}/shared.db"
    if kind == "postgresql":
        storage = request.getfixturevalue("postgresql")
    run_here(plan_of(place="here", storage=storage))
    there = plan_of(place="there", storage=storage)
    states = run_here(there)
    assert len(trained) == 2
    assert all(state.result.dice > 0 for state in states)
    assert not there.run_folder(there.jobs[0]).exists()


def test_weights_are_removed_where_they_are_not_kept(plan_of, run_here):
    plan = plan_of(f"{RATES}keep_weights: false\n", only=("0.1",))
    run_here(plan)
    folder = plan.run_folder(plan.jobs[0])
    assert list(folder.glob("*.pt")) == []
    assert read_result(folder) is not None


def test_a_result_says_what_was_measured(plan_of, run_here):
    plan = plan_of(only=("0.1",), overrides=("augment.repeats=2",))
    (state,) = run_here(plan)
    result, folder = state.result, plan.run_folder(plan.jobs[0])
    metrics = json.loads((folder / "metrics.json").read_text())
    assert result.dice == pytest.approx(metrics["dice"])
    assert [image["id"] for image in result.images] == ["patient003_0", "patient003_1"]
    assert result.num_images == 8
    weights = load_checkpoint(folder / "best.pt").weights
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    sizes = [value.numel() for name, value in weights.items() if not name.endswith(buffers)]
    assert result.num_parameters == sum(sizes)
    assert 0 < result.cross_entropy < 20
    assert result.conditions["threads"] == 1
    assert result.best_epoch in (1, 2)


def test_a_network_that_gives_no_numbers_has_a_result(plan_of, run_here, monkeypatch):
    nothing = dict.fromkeys(("patient003_0", "patient003_1"), np.full((4, 48, 48), np.nan))
    monkeypatch.setattr(results, "load_probabilities", lambda folder: nothing)
    (state,) = run_here(plan_of(only=("0.1",)))
    assert state.result.cross_entropy is None


def test_progress_has_the_time_left_by_the_epochs_that_are_done(plan_of, run_here):
    seen = []
    run_here(plan_of(), on_progress=seen.append)
    assert seen[-1].num_over == 2
    assert sorted(state.job.label for progress in seen for state in progress.new) == [
        "0.01, seed 0",
        "0.1, seed 0",
    ]
    assert seen[-1].seconds_left == 0


def test_the_folder_of_a_living_process_is_waited_for(plan_of, monkeypatch):
    plan = plan_of(only=("0.1",))
    folder = plan.run_folder(plan.jobs[0])
    folder.mkdir(parents=True)
    other = os.open(folder, os.O_RDONLY)
    assert jobs._locks(other)
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    asked = iter([False, False, True])
    with pytest.raises(TrialStopped):
        run_job(plan.jobs[0], plan, should_stop=lambda: next(asked))
    os.close(other)
    assert run_job(plan.jobs[0], plan).dice >= 0
