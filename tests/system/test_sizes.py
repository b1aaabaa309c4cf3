"""Images of several sizes from training to submission, without a setting and with each fit."""

import json

import cv2
import numpy as np
import pytest
import torch
from hearts import SPLIT_OF_PATIENT, make_heart, tiny_settings, write_image
from tiny_runs import assert_same_run, open_data, resume_run, stop_after, train_run

from acdc_seg import evaluate, load_predictor, write_submission
from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.images import read_image
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Ensemble
from acdc_seg.inference.stored import load_probabilities
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.training.finish import PROBABILITIES
from acdc_seg.training.folds import train_folds
from acdc_seg.training.loop import Hooks, train
from acdc_seg.training.setup import prepare_training

SIZES = [(61, 83), (40, 48), (130, 50), (64, 64), (37, 120), (90, 90), (48, 48), (75, 101)]
CHOSEN = {"data.size": (64, 96), "data.fit": "crop"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The eight hearts, each at a size of its own."""
    root = tmp_path_factory.mktemp("sizes")
    for number, (height, width) in enumerate(SIZES):
        image, mask = make_heart(number)
        patient = list(SPLIT_OF_PATIENT)[number // 2]
        split, stem = root / SPLIT_OF_PATIENT[patient], f"{patient}_{number % 2}"
        write_image(split / f"image/{stem}.png", cv2.resize(image, (width, height)))
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        write_image(split / f"mask/{stem}_mask.png", mask)
    return root


@pytest.fixture
def config(folder, tmp_path):
    return tiny_settings(folder, tmp_path / "runs")


def test_no_setting_is_needed(config, folder, tmp_path):
    notices = []
    hooks = Hooks(on_notice=notices.append)
    result, run = train_run(config, hooks=hooks, finish=True)
    assert notices[0].startswith("The images are 37 to 130 pixels high and 48 to 120 wide: random")
    for kept in (
        result.config,
        load_checkpoint(run.best).config,
        load_config(run.folder / "config.yaml", with_recipe=False),
    ):
        assert (kept.data.size, kept.data.fit) == (CHOSEN["data.size"], "crop")
    predictor = load_predictor(run.folder, device="cpu")
    for path in folder.glob("*/image/*.png"):
        image = read_image(path)
        assert predictor(image).shape == (4, *image.shape[1:])
    assert json.loads((run.folder / "metrics.json").read_text())["dice"] == result.dice
    stored = load_probabilities(run.folder / PROBABILITIES)
    assert [stored[id].shape[1:] for id in stored] == [(37, 120), (90, 90)]
    assert evaluate(predictor).dice == pytest.approx(result.dice)
    rows = write_submission(predictor, folder / "test", tmp_path / "submission.csv")
    assert len(rows) == 2 * 3


@pytest.mark.parametrize(
    ("fit", "size"), [("resize", (64, 48)), ("stretch", (48, 64)), ("pad", (130, 120))]
)
def test_every_fit_trains_and_validates_as_it_evaluates(config, fit, size):
    changes = {"data.fit": fit, "data.size": size, "train.epochs": 1}
    result, run = train_run(config, changes=changes)
    assert np.isfinite(result.history[0]["train_loss"])
    predictor = load_predictor(run.folder, device="cpu", precision="fp32")
    assert evaluate(predictor).dice == pytest.approx(result.dice)


@pytest.mark.timeout(120)
def test_neither_workers_nor_the_place_of_images_change_the_windows(config):
    changes = {"augment.repeats": 2, "model.dropout": 0.2}
    _, expected = train_run(config, "plain", changes={**changes, "data.cache": "memory"})
    for num_workers, cache in ((1, "disk"), (2, "none"), (2, "memory"), (0, "disk"), (0, "none")):
        settings = {"data.num_workers": num_workers, "data.cache": cache}
        _, run = train_run(config, f"{num_workers}{cache}", changes={**changes, **settings})
        ours, theirs = (load_checkpoint(each.last).weights for each in (run, expected))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_windows_resume_as_if_never_stopped(config):
    _, straight = train_run(config, "straight")
    result, stopped = train_run(config, "stopped", hooks=stop_after(3))
    assert result.stopped
    resume_run(config, stopped)  # whose settings leave the size open, as they did at first
    assert_same_run(stopped, straight)


def test_every_epoch_sees_other_windows(config):
    training = prepare_training(
        config, open_data(config), run=None, resume=False, extend=False, on_notice=lambda text: None
    )
    dataset = training.loader.dataset
    first, second = dataset[(0, 2)], dataset[(1, 2)]
    assert first[0].shape == second[0].shape == (1, 64, 96)
    assert not torch.equal(first[1], second[1])


def test_folds_take_one_size_and_continue(config, folder):
    config = with_overrides(config, {"data.num_folds": 3, "data.fold": 0, "train.epochs": 1})
    notices = []

    def train_fold(fold_config, source, run, resume):
        hooks = Hooks(on_notice=notices.append)
        return train(fold_config, source, run=run, resume=resume, hooks=hooks).stopped

    arguments = {"open_data": open_data, "train_fold": train_fold}
    runs = train_folds(config, "folds", **arguments)
    configs = [load_checkpoint(run.best).config.data for run in runs]
    assert {(data.size, data.fit) for data in configs} == {((64, 96), "crop")}
    assert len(notices) == 3
    train_folds(config, "folds", **arguments)  # not refused for other settings


def test_an_ensemble_of_fits_predicts_every_size(config, folder):
    runs = [
        train_run(config, fit, changes={"data.fit": fit, "data.size": size, "train.epochs": 1})[1]
        for fit, size in (("crop", (48, 32)), ("resize", (64, 64)))
    ]
    members = [load_predictor(run.folder, device="cpu") for run in runs]
    for path in folder.glob("*/image/*.png"):
        image = read_image(path)
        expected = (members[0](image) + members[1](image)) / 2
        np.testing.assert_allclose(Ensemble(members)(image), expected, atol=1e-6)


def criterion_of(config):
    return prepare_training(
        config, open_data(config), run=None, resume=False, extend=False, on_notice=lambda text: None
    ).criterion


@pytest.mark.parametrize("loss", ["dice_ce", "bce", "focal_tversky", "dice_focal"])
@pytest.mark.parametrize(
    "changes", [{}, {"data.fit": "pad"}, {"data.fit": "stretch", "augment.preset": "shear"}]
)
def test_padding_is_in_no_loss(config, loss, changes):
    criterion = criterion_of(with_overrides(config, {**changes, "loss.name": loss}))
    logits = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.arange(128).reshape(2, 8, 8) % 4
    target[:, :3] = 255
    logits.requires_grad_()
    value = criterion(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient[:, :, :3] == 0).all()
    assert (gradient[:, :, 3:] != 0).any()
    changed = logits.detach().clone()
    changed[:, :, :3] += 7
    torch.testing.assert_close(criterion(changed, target), value.detach())


def test_the_loss_looks_for_void_only_where_it_can_be(config, paired_folder):
    one_size = with_overrides(config, {"data.path": str(paired_folder), "loss.name": "bce"})
    for changes, ignored in (
        ({}, None),
        ({"data.size": [48, 48], "data.fit": "stretch"}, None),
        ({"data.size": [48, 48]}, 255),
        ({"augment.preset": "mix"}, 255),
        ({"augment.preset": "shift"}, None),
    ):
        criterion = criterion_of(with_overrides(one_size, changes)).criterion
        assert criterion.ignore_index == ignored


def test_a_small_image_to_validate_is_named(config, folder, tmp_path):
    for split in ("train", "val"):
        for number in range(2):
            image, mask = make_heart(number)
            size = slice(None) if split == "train" or number else slice(0, 20)
            write_image(tmp_path / f"d/{split}/image/{split}{number}.png", image[size])
            write_image(tmp_path / f"d/{split}/mask/{split}{number}_mask.png", mask[size])
    with pytest.raises(DataError, match=r"val0\.png: images of height=20, width=48 are too small"):
        train_run(with_overrides(config, {"data.path": str(tmp_path / "d")}))
