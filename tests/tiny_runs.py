"""Trainings of tiny networks that several test files run and compare."""

import csv

import torch

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.runs.checkpoint import has_checkpoint, load_checkpoint
from acdc_seg.training.finish import finish_run
from acdc_seg.training.loop import Hooks, train


def open_data(config):
    """The source of a config."""
    return open_source(config.data, prepare_settings=config.prepare)


def train_run(config, name="run", *, hooks=None, changes=(), finish=False):
    """Trains into runs/NAME, and scores it if asked; gives the result and the run."""
    config = with_overrides(config, {**dict(changes), "name": name})
    source = open_data(config)
    result = train(config, source, hooks=hooks)
    if finish:
        finish_run(result.run, result.config, source, result.history)
    return result, result.run


def ending(result):
    """Result of a training without its folder and its times."""
    return result.dice, result.epoch, result.num_epochs, result.stopped


def read_history(run):
    """The rows of history.csv without the time they took."""
    with (run.folder / "history.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def assert_same(a, b):
    """Equal trees of dicts, lists, tensors and plain values, times aside."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def resume_run(config, run, *, changes=(), hooks=None, extend=False):
    """Resumes the run and gives the result."""
    config = with_overrides(config, dict(changes))
    return train(config, open_data(config), run=run, hooks=hooks, resume=True, extend=extend)


def stop_after(num_batches):
    """Hooks that ask to stop once so many batches are done."""
    done = []
    return Hooks(
        on_batch=lambda *args: done.append(args), should_stop=lambda: len(done) >= num_batches
    )


def assert_same_run(run, expected):
    """Equal histories and checkpoints, times aside."""
    assert read_history(run) == read_history(expected)
    for file in ("best.pt", "last.pt"):
        ours, theirs = load_checkpoint(run.folder / file), load_checkpoint(expected.folder / file)
        assert_same(dict(ours.weights), dict(theirs.weights))
        assert_same(ours.training, theirs.training)
        assert (ours.epoch, ours.dice) == (theirs.epoch, theirs.dice)


def train_into(run, config, *, changes=(), hooks=None):
    """Trains into this run folder."""
    config = with_overrides(config, dict(changes))
    train(config, open_data(config), run=run, hooks=hooks)


def live(config, changes, run, is_training):
    """Trains until killed, from the beginning or from the checkpoint that is there; sets the event
    after the first batch.
    """
    hooks = Hooks(on_batch=lambda *args: is_training.set())
    if has_checkpoint(run.last):
        resume_run(config, run, changes=changes, hooks=hooks)
    else:
        train_into(run, config, changes=changes, hooks=hooks)
