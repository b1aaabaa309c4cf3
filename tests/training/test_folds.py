"""Cross-validation from settings to what a run leaves: folds, training without validation,
out-of-fold probabilities.
"""

import math

import numpy as np
import pytest
import torch
from tiny_runs import ending, open_data, train_run

from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.images import read_image
from acdc_seg.errors import ConfigError
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import ModelPredictor
from acdc_seg.inference.stored import find_probabilities
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.training import finish
from acdc_seg.training.loop import Hooks, train

ONE_FOLD = {"data.num_folds": 3, "data.fold": 1}
NO_VALIDATION = {"data.validation": False}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.num_folds=5"],
            "num_folds=5 needs the fold that validates: set data.fold to 0..4",
        ),
        (["data.fold=0"], "fold needs the number of folds: set data.num_folds"),
        (
            ["data.num_folds=5", "data.fold=5"],
            "fold=5 is not one of 5 folds, which count from 0: set data.fold to 0..4",
        ),
        (
            ["data.num_folds=5", "data.fold=-1"],
            "data.fold: got -1; input should be greater than or equal to 0",
        ),
        (
            ["data.num_folds=5", "data.fold=all"],
            "data.fold: got 'all'; input should be a valid integer",
        ),
        (
            ["data.validation=false", "data.num_folds=5", "data.fold=0"],
            "validation=false trains on all folds: leave data.fold and data.num_folds out",
        ),
        (["data.num_folds=5", "data.fold=true"], "data.fold: got True"),
        (
            ["data.num_folds=1", "data.fold=0"],
            "data.num_folds: got 1; input should be greater than or equal to 2",
        ),
    ],
)
def test_settings_that_make_no_fold(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=overrides)


def test_a_fold_names_its_patients_and_its_config_repeats_it(tiny_config):
    config = with_overrides(tiny_config, ONE_FOLD)
    result, run = train_run(config, "run")
    facts = run.read_json()
    (patient,) = facts["val_patients"]
    assert patient in {"patient001", "patient002", "patient003"}
    assert facts["num_patients"] == {"train": 2, "val": 1}
    again, repeated = train_run(load_config(run.folder / "config.yaml"), "again")
    assert ending(again) == ending(result)
    assert repeated.read_json()["val_patients"] == [patient]
    assert (repeated.folder / "config.yaml").read_text() == (run.folder / "config.yaml").read_text()


def test_training_on_everything_is_training_with_the_val_images_in_train(
    tiny_config, paired_folder
):
    config = with_overrides(tiny_config, NO_VALIDATION)
    result, run = train_run(config, "none")
    for path in (paired_folder / "val").rglob("*.png"):
        path.rename(str(path).replace("/val/", "/train/"))
    for path in (paired_folder / "test").rglob("*.png"):
        path.rename(str(path).replace("/test/", "/val/"))
    _, moved = train_run(tiny_config, "moved")
    ours, theirs = load_checkpoint(run.last), load_checkpoint(moved.last)
    assert moved.read_json()["num_images"]["train"] == run.read_json()["num_images"]["train"] == 6
    for name, value in theirs.weights.items():
        assert torch.equal(ours.weights[name], value), name
    best = load_checkpoint(run.best)
    for name, value in best.weights.items():
        assert torch.equal(theirs.training["ema"][f"module.{name}"], value), name
    assert math.isnan(result.dice)
    assert (result.epoch, result.num_epochs, best.epoch) == (2, 2, 2)


def test_without_validation_no_score_is_written(tiny_config):
    seen = []
    config = with_overrides(tiny_config, NO_VALIDATION)
    _, run = train_run(
        config,
        "none",
        hooks=Hooks(on_epoch_end=lambda epoch, dice: seen.append((epoch, math.isnan(dice)))),
    )
    assert seen == [(1, True), (2, True)]
    assert (run.folder / "history.csv").read_text().splitlines()[0] == "epoch,lr,train_loss,seconds"
    facts = run.read_json()
    assert (facts["best_dice"], facts["best_epoch"], facts["val_patients"]) == (None, 2, [])
    assert facts["num_images"] == {"train": 6, "val": 0}
    assert load_checkpoint(run.best).dice is None
    assert load_checkpoint(run.last).dice is None


def test_stopped_and_resumed_without_validation_is_the_straight_run(tiny_config):
    config = with_overrides(tiny_config, NO_VALIDATION)
    _, straight = train_run(config, "straight")
    done = []
    hooks = Hooks(on_batch=lambda *args: done.append(args), should_stop=lambda: len(done) >= 4)
    result, run = train_run(config, "stopped", hooks=hooks)
    assert result.stopped
    assert load_checkpoint(run.best).epoch == 1
    train(config, open_data(config), run=run, resume=True)
    ours, theirs = load_checkpoint(run.best), load_checkpoint(straight.best)
    assert ours.epoch == theirs.epoch == 2
    for name, value in theirs.weights.items():
        assert torch.equal(ours.weights[name], value), name


def test_early_stopping_without_validation_is_refused(tiny_config):
    config = with_overrides(tiny_config, {**NO_VALIDATION, "train.patience": 7})
    with pytest.raises(
        ConfigError,
        match=r"train\.patience=7 needs validation, which data\.validation=false leaves out; set "
        r"train\.patience=null",
    ):
        train_run(config, "none")


def test_the_report_of_a_run_without_validation(tiny_config):
    _, run = train_run(with_overrides(tiny_config, NO_VALIDATION), "none", finish=True)
    page = (run.folder / "report.html").read_text()
    assert "6 images of 3 patients" in page
    assert "train and val together; nothing validates" in page
    assert "the last epoch" in page
    assert "Foreground Dice" not in page
    assert not (run.folder / "metrics.json").exists()
    assert not (run.folder / finish.PROBABILITIES).exists()


def test_probabilities_of_the_best_weights_are_kept_from_one_prediction(tiny_config, monkeypatch):
    monkeypatch.setattr(finish, "KEPT_BYTES", 0)  # folds are kept whatever their size
    config = with_overrides(tiny_config, {**ONE_FOLD, "train.epochs": 1})
    predicted = []
    predict = ModelPredictor.predict_batch
    monkeypatch.setattr(
        ModelPredictor,
        "predict_batch",
        lambda self, images: predicted.append(len(images)) or predict(self, images),
    )
    result, run = train_run(config, "fold", finish=True)
    assert sum(predicted) == 2  # all once: the report collects what it shows on the way
    records = open_data(config).split("val")
    stored = find_probabilities(run.folder / finish.PROBABILITIES, records, checkpoint=run.best)
    assert stored is not None
    assert stored.patients == run.read_json()["val_patients"] * 2
    predictor = load_predictor(run.folder, device="cpu", precision="fp32")
    for record in records:
        expected = predictor(read_image(record.image, channels=1))
        np.testing.assert_allclose(stored[record.id], expected, atol=2e-3)
        assert stored[record.id].dtype == np.float16
    assert f"{result.dice:.3f}" in (run.folder / "report.html").read_text()
    assert "fold 1 (counted from 0) of 3, seed 0" in (run.folder / "report.html").read_text()


def test_large_probabilities_of_an_ordinary_run_are_left_out(tiny_config, monkeypatch):
    source = open_data(tiny_config)
    result, run = train_run(with_overrides(tiny_config, {"train.epochs": 1}), "run")
    size = 2 * 4 * 48 * 48 * 2  # two images, four classes, two bytes
    for limit, kept in ((size - 1, False), (size, True)):
        monkeypatch.setattr(finish, "KEPT_BYTES", limit)
        finish.finish_run(run, tiny_config, source, [])
        assert (run.folder / finish.PROBABILITIES).exists() is kept
        assert f'"dice": {result.dice}' in (run.folder / "metrics.json").read_text()
