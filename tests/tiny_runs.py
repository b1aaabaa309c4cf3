"""Trainings of tiny networks that several test files run and compare; without the report, which is
slow to draw.
"""

import csv

import torch

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.runs.checkpoint import has_checkpoint, load_checkpoint
from acdc_seg.runs.folder import create_run
from acdc_seg.training.loop import Hooks, train


def train_run(config, name="run", *, hooks=None, changes=(), report=False):
    """Trains into runs/NAME and gives the result and the run."""
    config = with_overrides(config, dict(changes))
    made = []

    def make_run(resolved):
        made.append(create_run(resolved, name=name))
        return made[0]

    source = open_source(config.data, prepare_settings=config.prepare)
    return train(config, source, make_run, hooks=hooks, report=report), made[0]


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


def resume_run(config, run, *, changes=(), hooks=None, extends=False):
    """Goes on with the run and gives the result."""
    config = with_overrides(config, dict(changes))
    source = open_source(config.data, prepare_settings=config.prepare)
    return train(
        config,
        source,
        lambda resolved: run,
        hooks=hooks,
        resume=True,
        extends=extends,
        report=False,
    )


def stop_after(num_batches):
    """A hooks that asks to stop once so many batches are done."""
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
    train(
        config,
        open_source(config.data, prepare_settings=config.prepare),
        lambda resolved: run,
        hooks=hooks,
        report=False,
    )


def live(config, changes, run, is_training):
    """Trains until killed, from the beginning or from the checkpoint that is there; sets the event
    after the first batch.
    """
    hooks = Hooks(on_batch=lambda *args: is_training.set())
    if has_checkpoint(run.last):
        resume_run(config, run, changes=changes, hooks=hooks)
    else:
        train_into(run, config, changes=changes, hooks=hooks)
