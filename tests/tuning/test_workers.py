"""Whole studies: their count, their repetition, and what becomes of what goes wrong."""

import csv
import math
import os
import signal
import time
from collections import Counter

import optuna
import pytest
import torch
from optuna.trial import TrialState

from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import ConfigError, DataError, TrainingError
from acdc_seg.losses import SegmentationLoss
from acdc_seg.runs.folder import create_run
from acdc_seg.training.loop import Result, train
from acdc_seg.tuning.checkpoints import ranked
from acdc_seg.tuning.queue import is_finished, num_finished
from acdc_seg.tuning.results import write_outcome
from acdc_seg.tuning.spec import open_study
from acdc_seg.tuning.workers import _choose_gpu

GRID = (
    "optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true, points: 2}\nloss.name: [dice_ce, dice]\n"
)


@pytest.fixture
def fake_train(monkeypatch):
    """Replaces training by `score(config)`, a Dice for each epoch or an exception."""

    def use(score):
        def run(config, source, make_run, *, hooks, report):
            assert not report
            made = make_run(config)
            made.best.write_bytes(b"weights")
            for epoch, dice in enumerate(score(config), start=1):
                hooks.on_epoch_end(epoch, dice)
            return Result(1.0, 1, config.train.epochs, hooks.should_stop())

        monkeypatch.setattr("acdc_seg.tuning.objective.train", run)

    return use


def growing(config):
    return [
        1 - abs(math.log10(config.optimizer.lr) + 2) / 4 - 1 / epoch / 10
        for epoch in range(1, config.train.epochs + 1)
    ]


def what_happened(study):
    return [
        (trial.number, trial.state, trial.params, trial.values, trial.intermediate_values)
        for trial in study.trials
    ]


def check_twelve(study):
    """Exactly twelve finished trials, each drawn and run once; those cut short are run again with
    the same settings.
    """
    trials = study.trials
    assert num_finished(study) == 12
    assert all(trial.state.is_finished() for trial in trials)
    finished = [trial for trial in trials if is_finished(trial)]
    assert max(Counter(tuple(trial.params.items()) for trial in finished).values()) == 1
    for trial in finished:
        if (number := trial.user_attrs.get("retry_of")) is not None:
            assert trials[number].params == trial.params
            assert not is_finished(trials[number])


def wait_for(study, num_trials, process):
    end = time.monotonic() + 200
    while num_finished(study) < num_trials:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.timeout(400)
def test_a_study_that_is_killed_and_resumed_has_exactly_its_trials(start_command, tmp_path):
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
    assert (
        said.splitlines()[-1]
        == "Stopped; trials that were running will be run again. The same command goes on."
    )
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "studies" / "s" / "journal.log"))
    )
    stopped, queued = optuna.load_study(study_name="s", storage=storage).trials
    assert (stopped.state, queued.state) == (TrialState.FAIL, TrialState.WAITING)
    assert queued.user_attrs["retry_of"] == 0
    assert "stopped, to be run again" in (tmp_path / "studies" / "s" / "trials.csv").read_text()
    assert list((tmp_path / "studies" / "s" / "workers").iterdir()) == []


def write_long_space(folder):
    path = folder / "long.yaml"
    path.write_text("optimizer.lr: [0.01, 0.02]")
    return path


@pytest.mark.parametrize(("given", "expected"), [("4,7", ["4", "7", "4"]), ("", ["0", "1", "2"])])
def test_gpus_are_dealt_out_in_turn(monkeypatch, given, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    dealt = []
    for index in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        _choose_gpu(index)
        dealt.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert dealt == expected


@pytest.mark.timeout(400)
def test_two_processes_share_a_study_in_postgresql(start_command, postgresql):
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
    assert len({trial.user_attrs["worker"] for trial in study.trials if is_finished(trial)}) > 1


def test_one_worker_repeats_a_study_and_best_yaml_its_score(make_plan, run_study, tmp_path):
    plan = make_plan(trials=4, pruner="median")
    study = run_study(plan)
    stopped = make_plan(trials=2, pruner="median", place="again")
    assert num_finished(run_study(stopped)) == 2
    again = run_study(make_plan(trials=4, pruner="median", place="again"))
    assert what_happened(again) == what_happened(study)
    config = load_config(write_outcome(study, plan))
    assert config.train.num_threads == 1
    config = with_overrides(config, {"runs_dir": str(tmp_path / "runs")})
    source = open_source(config.data, prepare_settings=config.prepare)
    torch.set_num_threads(2)
    assert (
        train(config, source, lambda resolved: create_run(resolved, name="best")).dice
        == study.best_value
    )
    rows = list(csv.DictReader((plan.folder / "trials.csv").open()))
    assert [float(row["dice"]) for row in rows] == [trial.value for trial in study.trials]
    page = (plan.folder / "report.html").read_text()
    for caption in (
        "History",
        "Parallel coordinates",
        "Slices: optimizer.lr, train.epochs, loss.name",
    ):
        assert f"<h2>{caption}</h2>" in page
    assert len(list((plan.folder / "tensorboard").glob("trial-*"))) == len(ranked(study))


def test_tpe_learns_from_trials_before_and_a_second_call_goes_on(make_plan, run_study, fake_train):
    fake_train(growing)
    space = "optimizer.lr: {low: 1.0e-6, high: 1.0, log: true}"
    assert num_finished(run_study(make_plan(space=space, trials=8, pruner="none"))) == 8
    study = run_study(make_plan(space=space, trials=18, pruner="none"))
    assert num_finished(study) == 18
    misses = [abs(math.log10(trial.params["optimizer.lr"]) + 2) for trial in study.trials]
    assert sum(misses[10:]) < sum(misses[:8])
    assert run_study(make_plan(space=space, trials=18, pruner="none")).trials == study.trials


def test_grid_runs_every_point_once(make_plan, run_study, fake_train):
    fake_train(growing)
    study = run_study(make_plan(space=GRID, trials=4, sampler="grid", pruner="none"))
    points = [(trial.params["optimizer.lr"], trial.params["loss.name"]) for trial in study.trials]
    assert points == [
        (pytest.approx(lr), name) for lr in (1e-3, 1e-1) for name in ("dice_ce", "dice")
    ]
    with pytest.raises(ConfigError, match="the grid has 4 points; give 4 at most"):
        make_plan(space=GRID, trials=5, sampler="grid")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("the loss is nan"), "the loss is nan"),
        (
            RuntimeError("CUDA out of memory. Tried to allocate"),
            "out of memory: CUDA out of memory. Tried to allocate",
        ),
        (MemoryError(), "out of memory"),
        (DataError("images too small"), "images too small"),
        (RuntimeError("shapes differ"), "RuntimeError: shapes differ"),
    ],
)
def test_what_a_combination_breaks_is_recorded_and_the_study_goes_on(
    make_plan, run_study, fake_train, error, reason
):
    def score(config):
        if config.loss.name == "dice":
            raise error
        return growing(config)

    fake_train(score)
    study = run_study(make_plan(space=GRID, trials=4, sampler="grid", pruner="none"))
    assert num_finished(study) == 4
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["reason"] for trial in failed] == [reason] * 2
    assert {trial.params["loss.name"] for trial in failed} == {"dice"}


def test_a_loss_that_is_no_number_is_a_failed_trial(make_plan, run_study, monkeypatch):
    monkeypatch.setattr(
        SegmentationLoss, "forward", lambda self, logits, target: logits.sum() * math.nan
    )
    plan = make_plan(trials=1)
    study = run_study(plan)
    assert study.trials[0].user_attrs["reason"].startswith("epoch 1, batch 1: the loss is nan")
    assert write_outcome(study, plan) is None
    assert "failed: epoch 1, batch 1: the loss is nan" in (plan.folder / "trials.csv").read_text()


def test_settings_that_exclude_each_other_are_a_failed_trial(make_plan, run_study, fake_train):
    fake_train(growing)
    space = "classes.ignore_value: [null, 9]\nclasses.values: [[0, 1, 2, 3], [0, 1, 2, 9]]\n"
    study = run_study(make_plan(space=space, trials=4, sampler="grid", pruner="none"))
    assert [trial.state for trial in study.trials] == [*[TrialState.COMPLETE] * 3, TrialState.FAIL]
    assert "ignore_value 9 is the value of a class" in study.trials[3].user_attrs["reason"]


def test_steps_are_twentieths_of_a_trials_own_epochs(make_plan, run_study, fake_train):
    fake_train(lambda config: [0.3, math.nan, 0.2, 0.6][: config.train.epochs])
    study = run_study(
        make_plan(space="train.epochs: [4]\noptimizer.lr: [0.01, 0.02]", trials=1, pruner="none")
    )
    values = study.trials[0].intermediate_values
    assert values == {step: 0.3 if step < 20 else 0.6 for step in range(5, 21)}
    assert study.trials[0].value == 0.6


def test_folds_are_averaged_and_share_the_steps(make_plan, run_study, fake_train):
    fake_train(lambda config: [0.2 + 0.4 * config.data.fold] * config.train.epochs)
    plan = make_plan(space="optimizer.lr: [0.01, 0.02]", trials=1, folds=2, pruner="none")
    study = run_study(plan)
    assert study.best_value == pytest.approx(0.4)
    assert study.trials[0].intermediate_values[10] == pytest.approx(0.2)
    assert study.trials[0].intermediate_values[11 + 4] == pytest.approx(0.4)
    assert (plan.folder / "runs" / "trial-0000" / "fold-1").is_dir()


def test_median_pruner_ends_a_trial_behind_the_others(make_plan, run_study, fake_train):
    scores = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.95])

    def score(config):
        return [next(scores)] * config.train.epochs

    fake_train(score)
    study = run_study(make_plan(trials=7, pruner="median"))
    states = [trial.state for trial in study.trials]
    assert states == [*[TrialState.COMPLETE] * 5, TrialState.PRUNED, TrialState.COMPLETE]


def test_pareto_front_of_dice_and_parameters(make_plan, run_study, fake_train):
    fake_train(lambda config: [0.5 + config.model.base_channels / 100] * config.train.epochs)
    plan = make_plan(
        space="model.base_channels: [4, 8]",
        trials=2,
        sampler="grid",
        pruner="none",
        pareto="parameters",
    )
    study = run_study(plan)
    assert [trial.values[0] for trial in study.trials] == [0.54, 0.58]
    assert study.trials[0].values[1] < study.trials[1].values[1]
    write_outcome(study, plan)
    assert [row["pareto"] for row in csv.DictReader((plan.folder / "trials.csv").open())] == [
        "true",
        "true",
    ]
    assert "Pareto front" in (plan.folder / "report.html").read_text()


def test_only_the_best_three_keep_their_weights(make_plan, run_study, fake_train):
    fake_train(growing)
    plan = make_plan(trials=6, pruner="none")
    study = run_study(plan)
    kept = {path.parent.name for path in plan.folder.rglob("best.pt")}
    assert kept == {f"trial-{trial.number:04d}" for trial in ranked(study)[:3]}


def test_a_study_begun_with_other_options_is_refused(make_plan):
    open_study(make_plan())
    with pytest.raises(ConfigError, match="study 's' was begun with another sampler, seed"):
        open_study(make_plan(sampler="random", seed=1))


def test_runs_of_a_study_that_is_gone_are_not_mixed_with_a_new_one(
    make_plan, run_study, fake_train
):
    fake_train(growing)
    plan = make_plan(trials=1)
    run_study(plan)
    (plan.folder / "journal.log").unlink()
    with pytest.raises(ConfigError, match="holds runs of a study that is no longer stored"):
        open_study(plan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"storage": "sqlite:///s.db", "workers": 2},
            "SQLite locks its whole file for every write",
        ),
        ({"sampler": "tpee"}, "--sampler 'tpee' is unknown; did you mean 'tpe'"),
        ({"pruner": "mediann"}, "--pruner 'mediann' is unknown; did you mean 'median'"),
        ({"pareto": "time"}, "--pareto has two goals: it needs --pruner none"),
        ({"folds": 1}, "cross-validation needs two folds"),
        ({"sampler": "cmaes"}, "--sampler cmaes searches plain ranges only"),
    ],
)
def test_options_that_do_not_fit(make_plan, options, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(**options)


def test_sqlite_with_one_worker_works(make_plan, run_study, fake_train, tmp_path):
    fake_train(growing)
    assert num_finished(run_study(make_plan(trials=2, storage=f"sqlite:///{tmp_path}/s.db"))) == 2


def test_a_database_that_is_not_there(make_plan):
    for storage, message in (
        ("sqlite:////nowhere/s.db", "cannot open this database"),
        (
            "somewhere",
            "--storage is no address of a database that is known here; write "
            "postgresql://USER@HOST/NAME",
        ),
        (
            "postgresql://tuner:secret@127.0.0.1:1/s",
            r"--storage postgresql://tuner:\*\*\*@127\.0\.0\.1:1/s: (cannot open|its driver)",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            open_study(make_plan(storage=storage))


def test_cmaes_searches_ranges(make_plan, run_study, fake_train):
    pytest.importorskip("cmaes")
    fake_train(growing)
    space = (
        "optimizer.lr: {low: 1.0e-4, high: 1.0, log: true}\noptimizer.weight_decay: {low: "
        "0.0, high: 0.1}"
    )
    assert (
        num_finished(run_study(make_plan(space=space, trials=5, sampler="cmaes", pruner="none")))
        == 5
    )
