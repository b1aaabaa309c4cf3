"""A training that was stopped, killed or extended ends like one that was not."""

import signal
import time
from multiprocessing import get_context

import numpy as np
import pytest
from tiny_runs import (
    assert_same,
    assert_same_run,
    ending,
    live,
    read_history,
    resume_run,
    stop_after,
    train_run,
)

from acdc_seg.config import load_config
from acdc_seg.errors import AcdcWarning, CheckpointError
from acdc_seg.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from acdc_seg.runs.folder import create_run


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({"train.batch_size": 1, "schedule.name": "one_cycle"}, (5, 8)),
        (
            {
                "train.batch_size": 1,
                "train.grad_accum_steps": 2,
                "schedule.name": "one_cycle",
                "train.ema_decay": None,
            },
            (6,),
        ),
        (
            {
                "train.batch_size": 1,
                "train.grad_accum_steps": 2,
                "schedule.name": "one_cycle",
                "train.precision": "bf16",
            },
            (6, 8),
        ),
        (
            {
                "train.batch_size": 1,
                "schedule.name": "one_cycle",
                "train.precision": "bf16",
                "data.num_workers": 2,
            },
            (7, 8),
        ),
        (
            {
                "train.batch_size": 1,
                "train.grad_accum_steps": 3,
                "optimizer.name": "sgd",
                "model.dropout": 0.3,
                "augment.repeats": 2,
            },
            (11,),
        ),
    ],
)
def test_stopped_and_resumed_is_the_straight_run_bit_for_bit(tiny_config, changes, stops):
    changes = {"train.epochs": 3, **changes}
    result, straight = train_run(tiny_config, "straight", changes=changes)
    for stop in stops:
        stopped, run = train_run(
            tiny_config, f"stopped-{stop}", changes=changes, hooks=stop_after(stop)
        )
        assert stopped.stopped
        assert run.read_json()["status"] == "stopped"
        resumed = resume_run(tiny_config, run, changes=changes)
        assert ending(resumed) == ending(result)
        assert run.read_json()["status"] == "finished"
        assert_same_run(run, straight)


def test_a_run_killed_thirty_times_is_the_undisturbed_run(tiny_config):
    """Killed with -9 at random moments while it writes last.pt after every step; no restart finds a
    broken file.
    """
    changes = {
        "train.epochs": 60,
        "train.batch_size": 1,
        "train.checkpoint_interval_s": 0,
        "schedule.name": "one_cycle",
    }
    _, straight = train_run(tiny_config, "straight", changes=changes)
    run = create_run(tiny_config, name="killed")
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["acdc_seg.training.loop", "torch._dynamo"])
    rng = np.random.default_rng(0)
    for _ in range(30):
        is_training = processes.Event()
        process = processes.Process(target=live, args=(tiny_config, changes, run, is_training))
        process.start()
        assert is_training.wait(timeout=60)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it ended by itself; more epochs are needed"
        load_checkpoint(run.last)
    live(tiny_config, changes, run, processes.Event())
    assert_same_run(run, straight)


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before(tiny_config):
    changes = {"train.batch_size": 1, "train.checkpoint_interval_s": 0}
    _, straight = train_run(tiny_config, "straight", changes=changes)
    stopped, run = train_run(tiny_config, "stopped", changes=changes, hooks=stop_after(6))
    assert stopped.stopped
    run.last.write_bytes(run.last.read_bytes()[:-1])
    with pytest.warns(
        AcdcWarning,
        match=r"last\.pt: not a checkpoint, or a damaged one.*\nUsing the one before it",
    ):
        resume_run(tiny_config, run, changes=changes)
    assert_same(load_checkpoint(run.last).training, load_checkpoint(straight.last).training)


def test_resume_needs_a_checkpoint(tiny_config):
    with pytest.raises(CheckpointError, match=r"no last\.pt to resume from"):
        resume_run(tiny_config, create_run(tiny_config, name="empty"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"optimizer.lr": 0.5},
            r"  optimizer\.lr: 0\.001 in the run, 0\.5 now\nresume with the run's own settings, "
            r"or start a new run$",
        ),
        (
            {"train.epochs": 3},
            r"  train\.epochs: 2 in the run, 3 now\n.*; for more epochs give --extend-epochs$",
        ),
        (
            {"train.epochs": 3, "loss.name": "dice"},
            r"dice_ce in the run, dice now\n(.*\n)*resume with[^;]*$",
        ),
    ],
)
def test_other_settings_are_refused_with_the_difference(tiny_config, changes, said):
    _, run = train_run(tiny_config)
    with pytest.raises(CheckpointError, match=said):
        resume_run(tiny_config, run, changes=changes)


def test_other_images_are_refused(tiny_config, paired_folder, write_png):
    _, run = train_run(tiny_config)
    image = paired_folder / "train" / "image" / "patient001_0.png"
    write_png(image, np.zeros((48, 48), np.uint8))
    with pytest.raises(
        CheckpointError, match=r"run: the images at .*hearts are not those it was trained on"
    ):
        resume_run(tiny_config, run)


def test_more_epochs_go_on_with_the_schedule_of_the_longer_training(tiny_config):
    changes = {
        "train.batch_size": 1,
        "schedule.name": "poly",
        "schedule.power": 1,
        "schedule.warmup_fraction": 0,
        "optimizer.lr": 0.8,
    }
    result, run = train_run(tiny_config, changes=changes)
    extended = resume_run(tiny_config, run, changes={**changes, "train.epochs": 4}, extend=True)
    assert (result.num_epochs, extended.num_epochs) == (2, 4)
    assert [float(row["lr"]) for row in read_history(run)] == pytest.approx(
        [0.8 * (1 - part) for part in (3 / 8, 7 / 8, 11 / 16, 15 / 16)]
    )
    assert load_config(run.folder / "config.yaml").train.epochs == 4
    assert extended.dice == load_checkpoint(run.best).dice
    assert extended.dice == pytest.approx(
        max(float(row["dice"]) for row in read_history(run)), abs=1e-6
    )


def test_fewer_epochs_than_the_run_has_are_refused(tiny_config):
    _, run = train_run(tiny_config)
    with pytest.raises(CheckpointError, match="cannot be extended from 2 to 1 epochs; give more"):
        resume_run(tiny_config, run, changes={"train.epochs": 1}, extend=True)
    with pytest.raises(CheckpointError, match=r"  seed: 0 in the run, 1 now"):
        resume_run(tiny_config, run, changes={"train.epochs": 3, "seed": 1}, extend=True)


def test_the_best_weights_on_disk_count_when_extended(tiny_config):
    """Killed after best.pt was written and before last.pt was: its epoch does not come again with
    another schedule.
    """
    changes = {"train.batch_size": 1, "train.epochs": 3, "optimizer.lr": 1e-12}
    _, run = train_run(tiny_config, changes=changes, hooks=stop_after(2))
    best = Checkpoint(
        config=load_checkpoint(run.last).config, weights={}, epoch=2, dice=0.99, data="paired"
    )
    save_checkpoint(run.best, best)
    extended = resume_run(tiny_config, run, changes={**changes, "train.epochs": 4}, extend=True)
    assert (extended.dice, extended.epoch) == (0.99, 2)


def test_resuming_a_finished_run_changes_nothing(tiny_config):
    result, run = train_run(tiny_config)
    before = run.best.read_bytes()
    assert ending(resume_run(tiny_config, run)) == ending(result)
    assert run.best.read_bytes() == before
    assert len(read_history(run)) == 2
