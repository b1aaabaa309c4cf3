from types import SimpleNamespace

import pytest
from tiny_runs import open_data, train_run

from acdc_seg.config import load_config, with_overrides
from acdc_seg.models.summary import Speed
from acdc_seg.training import estimate


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train.ema_decay": None, "optimizer.name": "sgd"},
        {"optimizer.name": "rmsprop", "optimizer.momentum": 0},
        {"train.keep_last": False},
    ],
)
def test_the_disk_space_is_that_of_the_files(tiny_config, changes):
    config = with_overrides(tiny_config, {"model.base_channels": 24, "train.epochs": 3, **changes})
    often = {"train.checkpoint_interval_s": 0}
    training, finished = estimate.disk_bytes(config, open_data(config))
    _, run = train_run(config, changes=often)
    files = {path.name: path.stat().st_size for path in run.folder.glob("*.pt")}
    assert len(files) >= 3
    assert 2 * (files["best.pt"] + files["last.pt"]) == pytest.approx(training, rel=0.1)
    _, run = train_run(config, "scored", changes=often, finish=True)
    kept = [*run.folder.glob("*.pt"), *(run.folder / "probabilities").iterdir()]
    if not config.train.keep_last:
        total = sum(path.stat().st_size for path in kept)
        assert total == pytest.approx(finished, rel=0.15)


@pytest.mark.parametrize(("seconds", "epochs"), [(1, 1), (120, 60), (10_000, 100)])
def test_the_epochs_that_fit_into_a_time(monkeypatch, seconds, epochs):
    """Of 30 images to train on, twice an epoch at 60 a second, and 10 to validate at 10."""
    monkeypatch.setattr(estimate, "measure_speed", lambda model, **options: Speed(60.0, 10.0))
    config = load_config(
        overrides=["augment.repeats=2", "train.device=cpu", "model.base_channels=4"]
    )
    source = SimpleNamespace(split=lambda name: [None] * {"train": 30, "val": 10}[name])
    assert estimate.epochs_within(config, source, seconds=seconds) == epochs


def test_the_speed_is_measured(tiny_config):
    config = with_overrides(tiny_config, {"train.epochs": 100})
    assert 1 <= estimate.epochs_within(config, open_data(config), seconds=0.05) <= 100
