import math
from contextlib import ExitStack

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from acdc_seg.config import load_config, with_overrides
from acdc_seg.data.examples import read_example
from acdc_seg.data.source import open_source
from acdc_seg.errors import CheckpointError
from acdc_seg.runs.checkpoint import load_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.runs.writer import RunWriter

NETWORK = nn.Linear(2, 3)


@pytest.fixture
def clock(monkeypatch):
    """Stands in for the seconds that pass; set `clock[0]`."""
    now = [100.0]
    monkeypatch.setattr("acdc_seg.runs.writer.time.monotonic", lambda: now[0])
    return now


@pytest.fixture
def source(tiny_config):
    return open_source(tiny_config.data, prepare_settings=tiny_config.prepare)


@pytest.fixture
def run(tiny_config):
    return create_run(tiny_config, name="run")


@pytest.fixture
def writer(run, tiny_config, source):
    return RunWriter(run, tiny_config, source, active=True)


@pytest.fixture
def stack():
    """Writers entered here record until the test ends."""
    with ExitStack() as stack:
        yield stack


def state(epoch=1, best_dice=0.5):
    return {"model": NETWORK.state_dict(), "epoch": epoch, "best_dice": best_dice, "best_epoch": 1}


def row(epoch, dice=0.5):
    return {
        "epoch": epoch,
        "lr": 0.1,
        "train_loss": 1.5,
        "dice": dice,
        "dice_rv": 0.25,
        "seconds": 3.0,
    }


def events_of(run):
    return EventAccumulator(str(run.folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def test_one_that_is_not_active_writes_nothing(stack, run, tiny_config, source):
    writer = RunWriter(run, tiny_config, source, active=False)
    stack.enter_context(writer.recording(first_epoch=0))
    writer.add([row(1)])
    writer.draw(1, [], [])
    writer.save_best(NETWORK, epoch=1, dice=0.5)
    writer.save_when_due(state)
    writer.close(state(), stopped=False)
    assert list(run.folder.iterdir()) == []


def test_the_start_is_written_down(stack, writer, run, tiny_config, source):
    stack.enter_context(writer.recording(first_epoch=0))
    assert load_config(run.folder / "config.yaml") == tiny_config
    facts = run.read_json()
    assert facts["status"] == "running"
    assert facts["data_sha256"] == source.digest()
    assert (facts["num_images"], facts["num_patients"]) == (
        {"train": 4, "val": 2},
        {"train": 2, "val": 1},
    )


def test_epochs_go_to_the_table_and_to_tensorboard(stack, writer, run):
    stack.enter_context(writer.recording(first_epoch=0))
    rows = [row(1, 0.25), row(2, 0.75)]
    writer.add(rows[:1])
    writer.add(rows)
    assert len((run.folder / "history.csv").read_text().splitlines()) == 3
    events = events_of(run)
    assert set(events.Tags()["scalars"]) == {
        "loss/train_loss",
        "dice/dice",
        "dice/dice_rv",
        "run/lr",
        "run/seconds",
    }
    assert [(event.step, event.value) for event in events.Scalars("dice/dice")] == [
        (1, 0.25),
        (2, 0.75),
    ]


def test_a_resumed_run_takes_the_place_of_the_epochs_it_repeats(
    stack, writer, run, tiny_config, source
):
    stack.enter_context(writer.recording(first_epoch=0))
    for epoch in (1, 2, 3):
        writer.add([row(epoch, 0.25)])
    writer.close(state(epoch=1), stopped=True)
    resumed = RunWriter(run, tiny_config, source, active=True)
    stack.enter_context(resumed.recording(first_epoch=1))
    resumed.add([row(2, 0.5)])
    assert [(event.step, event.value) for event in events_of(run).Scalars("dice/dice")] == [
        (1, 0.25),
        (2, 0.5),
    ]


@pytest.mark.parametrize(
    ("num_images", "drawn"),
    [
        (1, ["patient003_0"]),
        (2, ["patient003_0", "patient003_1"]),
        (9, ["patient003_0", "patient003_1"]),
    ],
)
def test_a_few_validation_images_are_drawn_beside_their_truth(
    stack, run, tiny_config, source, num_images, drawn
):
    config = with_overrides(tiny_config, {"train.num_log_images": num_images})
    writer = RunWriter(run, config, source, active=True)
    stack.enter_context(writer.recording(first_epoch=0))
    examples = [
        read_example(record, data=config.data, classes=config.classes)
        for record in source.split("val")
    ]
    writer.draw(5, examples, lambda image: torch.zeros(image.shape[1:], dtype=torch.long))
    writer.add([row(1)])
    events = events_of(run)
    assert events.Tags()["images"] == [f"validation/{stem}" for stem in drawn]
    (image,) = events.Images(f"validation/{drawn[0]}")
    assert (image.step, image.height, image.width) == (5, 48, 96)


def test_last_is_written_when_its_time_has_come(clock, writer, run):
    for seconds, written in ((59, False), (60, True), (100, True)):
        clock[0] = 100.0 + seconds
        writer.save_when_due(lambda: state(epoch=clock[0]))
        assert run.last.exists() == written
    assert load_checkpoint(run.last).training["epoch"] == 160
    clock[0] = 100.0 + 120
    writer.save_when_due(lambda: state(epoch=2))
    assert load_checkpoint(run.last).training["epoch"] == 2


def test_best_holds_weights_alone(writer, run, tiny_config):
    writer.save_best(NETWORK, epoch=7, dice=0.75)
    best = load_checkpoint(run.best)
    assert (best.config, best.epoch, best.dice, best.data, best.training) == (
        tiny_config,
        7,
        0.75,
        "paired",
        None,
    )
    assert torch.equal(best.weights["weight"], NETWORK.weight)


def test_time_adds_up_over_a_stop(stack, clock, writer, run, tiny_config, source):
    stack.enter_context(writer.recording(first_epoch=0))
    clock[0] += 10
    writer.close(state(), stopped=True)
    started = run.read_json()["started"]
    assert (run.read_json()["status"], run.read_json()["seconds"]) == ("stopped", 10)
    resumed = RunWriter(run, tiny_config, source, active=True)
    clock[0] += 1000
    stack.enter_context(resumed.recording(first_epoch=1))
    clock[0] += 5
    resumed.close(state(epoch=2, best_dice=0.625), stopped=False)
    facts = run.read_json()
    assert (facts["status"], facts["seconds"], facts["started"]) == ("finished", 15, started)
    assert (facts["epochs"], facts["best_dice"], facts["best_epoch"]) == (2, 0.625, 1)


def test_the_last_state_is_read_back(stack, writer, run, tiny_config, source):
    stack.enter_context(writer.recording(first_epoch=0))
    writer.close(state(epoch=3), stopped=True)
    saved = writer.read_last()
    assert saved["epoch"] == 3
    assert torch.equal(saved["model"]["bias"], NETWORK.bias)
    other = RunWriter(run, with_overrides(tiny_config, {"seed": 5}), source, active=True)
    with pytest.raises(
        CheckpointError,
        match=r"/run: exists with different settings[^\n]*\n  seed: 0 in the run, 5 "
        r"now\nresume with",
    ):
        other.read_last()


def test_without_a_state_there_is_nothing_to_resume(writer, run):
    with pytest.raises(
        CheckpointError, match=r"no last\.pt to resume from; start again without --resume"
    ):
        writer.read_last()
    writer.save_best(NETWORK, epoch=1, dice=math.pi)
    run.best.rename(run.last)
    with pytest.raises(CheckpointError, match=r"last\.pt: holds weights alone"):
        writer.read_last()
