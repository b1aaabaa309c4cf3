"""Pre-trained encoders in the training loop."""

from pathlib import Path

import pytest
import torch

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.errors import CheckpointError
from acdc_seg.models import create_model
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.training.loop import Hooks, train


@pytest.fixture
def weights(tmp_path):
    """A file of encoder weights as published, with the parts of the classifier."""
    torch.manual_seed(5)
    state = create_model("deeplab_mobilenet", 3, 4).encoder.state_dict()
    path = tmp_path / "mobilenet_v2.pth"
    torch.save({**state, "classifier.1.bias": torch.zeros(1000)}, path)
    return path


def train_run(config, name, *, resume=None, hooks=None, **changes):
    """Trains into runs/NAME and gives the run."""
    config = with_overrides(
        config,
        {
            "model.name": "deeplab_mobilenet",
            **{key.replace("__", "."): value for key, value in changes.items()},
        },
    )
    run = resume or create_run(config, name=name)
    source = open_source(config.data, prepare_settings=config.prepare)
    train(config, source, run=run, resume=resume is not None, hooks=hooks)
    return run


def encoder_of(run):
    state = load_checkpoint(run.last).training["model"]
    return {
        key.removeprefix("encoder."): value
        for key, value in state.items()
        if key.startswith("encoder.")
    }


def changed(state, reference):
    return [
        key
        for key, value in reference.items()
        if not key.endswith("num_batches_tracked") and not torch.equal(state[key], value)
    ]


def grey(path):
    """The published weights as an encoder of grey images holds them."""
    state = torch.load(path, weights_only=True)
    del state["classifier.1.bias"]
    return {
        key: value.sum(1, keepdim=True) if value.ndim == 4 and value.shape[1] == 3 else value
        for key, value in state.items()
    }


def test_a_frozen_encoder_keeps_its_published_weights_and_the_rest_learns(tiny_config, weights):
    run = train_run(
        tiny_config, "frozen", model__pretrained=str(weights), model__freeze_encoder=True
    )
    assert changed(encoder_of(run), grey(weights)) == []
    assert {"encoder.features.0.0.weight"} < load_checkpoint(run.best).weights.keys()
    decoder = {
        key: value
        for key, value in load_checkpoint(run.last).training["model"].items()
        if key.startswith("decoder.")
    }
    torch.manual_seed(tiny_config.seed)
    fresh = {
        f"decoder.{key}": value
        for key, value in create_model("deeplab_mobilenet", 1, 4).decoder.state_dict().items()
    }
    assert len(changed(decoder, fresh)) > 20


def test_it_thaws_after_the_epochs_asked_for(tiny_config, weights):
    run = train_run(tiny_config, "thawed", model__pretrained=str(weights), model__freeze_encoder=1)
    assert len(changed(encoder_of(run), grey(weights))) == len(
        [key for key in grey(weights) if not key.endswith("num_batches_tracked")]
    )


def test_resuming_does_not_read_the_published_weights_again(tiny_config, weights):
    changes = {
        "model__pretrained": str(weights),
        "model__freeze_encoder": 1,
        "train__batch_size": 1,
    }
    straight = train_run(tiny_config, "straight", **changes)
    for stop in (2, 6):  # in the frozen epoch, and after it
        done = []
        hooks = Hooks(
            on_batch=lambda *args, done=done: done.append(args),
            should_stop=lambda done=done, stop=stop: len(done) >= stop,
        )
        run = train_run(tiny_config, f"stopped-{stop}", hooks=hooks, **changes)
        weights.rename(weights.with_suffix(".away"))
        train_run(tiny_config, "", resume=run, **changes)
        weights.with_suffix(".away").rename(weights)
        assert (
            changed(
                load_checkpoint(run.last).training["model"],
                load_checkpoint(straight.last).training["model"],
            )
            == []
        )


def test_missing_weights_leave_no_run_behind(tiny_config, tmp_path):
    config = with_overrides(
        tiny_config,
        {"model.name": "deeplab_mobilenet", "model.pretrained": str(tmp_path / "nothing.pth")},
    )
    with pytest.raises(CheckpointError, match=r"nothing\.pth"):
        train(config)
    assert not Path(config.runs_dir).exists()
