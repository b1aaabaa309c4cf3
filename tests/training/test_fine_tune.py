import pytest
import torch
from tiny_runs import train_run

from acdc_seg.config import with_overrides
from acdc_seg.errors import CheckpointError, ConfigError
from acdc_seg.models import build_model
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.training.fine_tune import load_weights
from acdc_seg.training.loop import Hooks


def network_of(config):
    return build_model(config.model, config.data.channels, len(config.classes.names))


@pytest.fixture
def first(tiny_config):
    """Run of one epoch."""
    return train_run(tiny_config, "first", changes={"train.epochs": 1})[1]


def test_all_weights_are_taken(tiny_config, first):
    config = with_overrides(tiny_config, {"train.start_from": str(first.folder)})
    network = network_of(config)
    trained_on = load_weights(network, config, pytest.fail)
    weights = load_checkpoint(first.best).weights
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    assert trained_on == load_checkpoint(first.best).trained_on


def test_a_fine_tuned_run_starts_there_and_says_what_it_had_seen(tiny_config, first):
    changes = {"train.start_from": str(first.best), "optimizer.lr": 1e-12, "train.ema_decay": None}
    notices = []
    _, second = train_run(
        tiny_config, "second", changes=changes, hooks=Hooks(on_notice=notices.append)
    )
    start, end = load_checkpoint(first.best), load_checkpoint(second.best)
    for name, value in start.weights.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(value, end.weights[name], atol=1e-7), name
    assert end.trained_on == start.trained_on
    assert notices == []


def test_the_last_layer_starts_at_random_for_other_classes(tiny_config, first):
    changes = {"train.start_from": str(first.best), "classes.names": ["background", "heart"]}
    changes |= {"classes.values": [0, 1], "classes.colors": [[0, 0, 0], [255, 0, 0]]}
    config = with_overrides(tiny_config, changes)
    network, notices = network_of(config), []
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    load_weights(network, config, notices.append)
    weights = load_checkpoint(first.best).weights
    for name, value in network.state_dict().items():
        expected = head[name.removeprefix("head.")] if name.startswith("head.") else weights[name]
        assert torch.equal(value, expected), name
    assert "the last layer starts at random" in notices[0]
    assert "rv, myo, lv" in notices[0].lower()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model.name": "enet"}, CheckpointError, "set model.name=unet"),
        ({"model.base_channels": 8}, ConfigError, "set model.base_channels=4"),
        ({"data.channels": 3}, ConfigError, "set data.channels=1"),
        ({"train.start_from": "acdc_volume"}, ConfigError, "did you mean 'acdc_volumes'"),
    ],
)
def test_weights_that_do_not_fit_are_named(tiny_config, first, changes, error, message):
    tree = {**tiny_config.model_dump(mode="json"), "model": {"name": "enet"}}
    base = tiny_config if "model.name" not in changes else type(tiny_config).model_validate(tree)
    config = with_overrides(base, {"train.start_from": str(first.best), **changes})
    with pytest.raises(error, match=message.replace(".", r"\.")):
        load_weights(network_of(config), config, pytest.fail)


def test_an_encoder_has_one_start(tiny_config, first):
    tree = {**tiny_config.model_dump(mode="json"), "model": {"name": "deeplab_mobilenet"}}
    config = type(tiny_config).model_validate(tree)
    changes = {"model.pretrained": str(first.best), "train.start_from": str(first.best)}
    with pytest.raises(ConfigError, match="leave one of them out"):
        train_run(config, "both", changes=changes)
