"""Trials in this process: their scores and steps, and the record of what goes wrong."""

import json
import math

import pytest
import torch
from optuna.trial import TrialState

from acdc_seg.errors import ConfigError, DataError, TrainingError
from acdc_seg.losses import SegmentationLoss
from acdc_seg.tuning.results import describe_result, write_results
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.trials import is_finished, num_finished, ranked

GRID = (
    "optimizer.lr: {low: 1.0e-3, high: 1.0e-1, log: true, points: 2}\nloss.name: [dice_ce, dice]\n"
)


def test_grid_runs_every_point_once(make_spec, run_study, fake_train):
    fake_train()
    study = run_study(make_spec(space=GRID, num_trials=4, sampler="grid", pruner="none"))
    points = [(trial.params["optimizer.lr"], trial.params["loss.name"]) for trial in study.trials]
    assert points == [
        (pytest.approx(lr), name) for lr in (1e-3, 1e-1) for name in ("dice_ce", "dice")
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TrainingError("the loss is nan"), "the loss is nan"),
        (ConfigError("these exclude each other"), "these exclude each other"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
            "out of memory: CUDA out of memory. Tried to allocate",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out of memory: DefaultCPUAllocator: can't allocate memory",
        ),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_failed_trial_is_recorded_with_its_reason_and_the_study_continues(
    make_spec, run_study, fake_train, error, reason
):
    def score(config):
        if config.loss.name == "dice":
            raise error
        return [0.5] * config.train.epochs

    fake_train(score)
    study = run_study(make_spec(space=GRID, num_trials=4, sampler="grid", pruner="none"))
    assert num_finished(study) == 4
    failed = [trial for trial in study.trials if trial.state == TrialState.FAIL]
    assert [trial.user_attrs["reason"] for trial in failed] == [reason] * 2
    assert {trial.params["loss.name"] for trial in failed} == {"dice"}


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        OSError(28, "No space left on device"),
        DataError("hearts: no such folder"),
        ValueError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_settings_cannot_cause_ends_the_worker_and_the_trial_is_queued_again(
    make_spec, run_study, fake_train, error
):
    scores = iter([[0.5], error, [0.6], [0.7]])

    def score(config):
        result = next(scores)
        if isinstance(result, Exception):
            raise result
        return result * config.train.epochs

    fake_train(score)
    spec = make_spec(num_trials=3, pruner="none")
    with pytest.raises(type(error), match=str(error.args[-1])):
        run_study(spec)
    study = open_study(spec)
    assert num_finished(study) == 1
    assert "reason" not in study.trials[1].user_attrs
    assert str(error.args[-1]) in describe_result(study.trials[1])
    assert study.trials[2].state == TrialState.WAITING
    study = run_study(spec)
    assert num_finished(study) == 3
    assert study.trials[2].params == study.trials[1].params
    assert [trial.value for trial in study.trials if is_finished(trial)] == [0.5, 0.6, 0.7]


def test_data_that_does_not_fit_is_a_trials_own_fault_where_it_draws_settings_of_the_data(
    make_spec, run_study
):
    spec = make_spec(space="data.size: [[8, 8], [48, 48]]", num_trials=2, sampler="grid")
    study = run_study(spec)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert "images of 8x8 are too small" in study.trials[0].user_attrs["reason"]


def test_a_loss_that_is_not_finite_is_a_failed_trial(make_spec, run_study, monkeypatch):
    monkeypatch.setattr(
        SegmentationLoss, "forward", lambda self, logits, target: logits.sum() * math.nan
    )
    spec = make_spec(num_trials=1)
    study = run_study(spec)
    assert study.trials[0].user_attrs["reason"].startswith("epoch 1, batch 1: the loss is nan")
    assert write_results(study, spec) is None
    assert "failed: epoch 1, batch 1: the loss is nan" in (spec.folder / "trials.csv").read_text()


def test_settings_that_exclude_each_other_are_a_failed_trial(make_spec, run_study, fake_train):
    fake_train()
    space = "classes.void: [null, 9]\nclasses.values: [[0, 1, 2, 3], [0, 1, 2, 9]]\n"
    study = run_study(make_spec(space=space, num_trials=4, sampler="grid", pruner="none"))
    assert [trial.state for trial in study.trials] == [*[TrialState.COMPLETE] * 3, TrialState.FAIL]
    assert "void has the value of a class, 9" in study.trials[3].user_attrs["reason"]


def test_steps_are_twentieths_of_a_trials_own_epochs(make_spec, run_study, fake_train):
    fake_train(lambda config: [0.3, math.nan, 0.2, 0.6][: config.train.epochs])
    study = run_study(
        make_spec(
            space="train.epochs: [4]\noptimizer.lr: [0.01, 0.02]", num_trials=1, pruner="none"
        )
    )
    values = study.trials[0].intermediate_values
    assert values == {step: 0.3 if step < 20 else 0.6 for step in range(5, 21)}
    assert study.trials[0].value == 0.6


def test_folds_are_averaged_and_share_the_steps(make_spec, run_study, fake_train):
    fake_train(lambda config: [0.2 + 0.4 * config.data.fold] * config.train.epochs)
    spec = make_spec(space="optimizer.lr: [0.01, 0.02]", num_trials=1, num_folds=2, pruner="none")
    study = run_study(spec)
    assert study.best_value == pytest.approx(0.4)
    assert study.trials[0].intermediate_values[10] == pytest.approx(0.2)
    assert study.trials[0].intermediate_values[11 + 4] == pytest.approx(0.4)
    assert (spec.folder / "runs" / "trial-0000" / "fold-1").is_dir()


def test_median_pruner_ends_a_trial_behind_the_others(make_spec, run_study, fake_train):
    scores = iter([0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.95])

    def score(config):
        return [next(scores)] * config.train.epochs

    fake_train(score)
    study = run_study(make_spec(num_trials=7, pruner="median"))
    states = [trial.state for trial in study.trials]
    assert states == [*[TrialState.COMPLETE] * 5, TrialState.PRUNED, TrialState.COMPLETE]


def test_the_run_of_a_pruned_trial_is_recorded_as_pruned(make_spec, run_study, monkeypatch):
    monkeypatch.setattr("optuna.trial.Trial.should_prune", lambda trial: True)
    spec = make_spec(num_trials=2)
    states = [trial.state for trial in run_study(spec).trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED]  # the recipe is never pruned
    run = json.loads((spec.run_folder(1) / "run.json").read_text())
    assert (run["status"], run.get("reason")) == ("pruned", None)


def test_only_the_best_three_keep_their_weights(make_spec, run_study, fake_train):
    fake_train()
    spec = make_spec(num_trials=6, pruner="none")
    study = run_study(spec)
    assert {path.name for path in spec.folder.rglob("*.pt")} == {"best.pt"}
    kept = {path.parent.name for path in spec.folder.rglob("best.pt")}
    assert kept == {f"trial-{trial.number:04d}" for trial in ranked(study)[:3]}


def test_a_trial_stopped_on_request_is_run_again_as_if_nothing_had_happened(
    make_spec, run_study, fake_train
):
    fake_train()
    options = {"num_trials": 6, "pruner": "median"}
    straight = run_study(make_spec(**options))
    answers = iter([*[False] * 7, True, True])  # before each claim, and at the end of each training
    assert (
        num_finished(run_study(make_spec(place="again", **options), should_stop=answers.__next__))
        == 3
    )
    resumed = run_study(make_spec(place="again", **options))
    assert resumed.trials[3].state == TrialState.FAIL
    finished = [trial for trial in resumed.trials if is_finished(trial)]
    assert [(trial.params, trial.value) for trial in finished] == [
        (trial.params, trial.value) for trial in straight.trials
    ]
