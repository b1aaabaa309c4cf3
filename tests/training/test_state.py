"""Losses that are read together, as on a GPU, and a step that waits for nothing."""

import math
from collections import Counter
from itertools import pairwise

import pytest
import torch
from tiny_runs import assert_same_run, train_run
from torch.utils._python_dispatch import TorchDispatchMode

from acdc_seg.config import with_overrides
from acdc_seg.errors import TrainingError
from acdc_seg.training import state as states
from acdc_seg.training.loop import Hooks
from acdc_seg.training.state import TrainState


@pytest.fixture
def read_every_three(monkeypatch):
    monkeypatch.setitem(states.READ_EVERY, "cpu", 3)


def add(state, *values, norm=1.0):
    for value in values:
        state.add_loss(torch.tensor(value), torch.tensor(norm))
        state.batch += 1


def new_state():
    return TrainState(None, None, None, None, None)


def test_losses_are_read_together_and_the_mean_is_of_those_that_were(read_every_three):
    state = new_state()
    add(state, 1.0, 2.0)
    assert (state.loss_sum, state.mean_loss) == (0.0, 0.0)
    add(state, 6.0)
    assert (state.loss_sum, state.mean_loss) == (9.0, 3.0)
    add(state, 7.0)
    assert state.mean_loss == 3.0
    assert state.state_dict()["loss_sum"] == 16.0
    assert state.mean_loss == 4.0


@pytest.mark.parametrize(
    ("values", "norm", "message"),
    [
        ((1.0, math.nan, 2.0), 1.0, "epoch 1, batch 2: the loss is nan"),
        ((1.0, 2.0, 3.0), math.inf, "epoch 1, batch 1: the norm of the gradient is inf"),
    ],
)
def test_one_that_is_not_finite_names_its_batch(read_every_three, values, norm, message):
    with pytest.raises(TrainingError, match=message):
        add(new_state(), *values, norm=norm)


def test_weights_that_were_not_checked_are_not_saved(read_every_three):
    state = new_state()
    add(state, math.nan)
    with pytest.raises(TrainingError, match="batch 1: the loss is nan"):
        state.state_dict()


def test_when_losses_are_read_changes_nothing(tiny_config, monkeypatch):
    """Epochs of four batches, of which three are read together."""
    changes = {"train.batch_size": 1, "train.checkpoint_interval_s": 0}
    _, each = train_run(tiny_config, "each", changes=changes)
    monkeypatch.setitem(states.READ_EVERY, "cpu", 3)
    _, together = train_run(tiny_config, "together", changes=changes)
    assert_same_run(together, each)


class CountSyncs(TorchDispatchMode):
    """Counts what a GPU would be waited for: values that are read, and copies to the host."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # item, bool, int and float of a tensor, and masks whose number of pixels is asked for
        if function.name() in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal"):
            self.calls[function.name()] += 1
        return function(*args, **(kwargs or {}))


@pytest.fixture
def syncs(monkeypatch):
    """Counts them in this process, while it is entered."""
    counter = CountSyncs()

    def count(name):
        method = getattr(torch.Tensor, name)

        def counted(tensor, *args, **kwargs):
            counter.calls[name] += tensor.is_floating_point()  # MONAI counts axes with a tensor
            return method(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)

    for name in ("tolist", "cpu"):  # these dispatch nothing that tells them apart
        count(name)
    return counter


def calls_by_step(config, syncs, **settings):
    """What was called between one batch and the next, of one epoch."""
    seen = []
    hooks = Hooks(on_batch=lambda *args: seen.append(Counter(syncs.calls)))
    changes = {"train.batch_size": 1, "train.epochs": 1, "data.validation": False, **settings}
    with syncs:
        train_run(with_overrides(config, changes), hooks=hooks)
    assert len(seen) >= 4
    return [after - before for before, after in pairwise(seen)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"augment.preset": "mix", "train.max_grad_norm": None},  # with void pixels
        {"loss.name": "dice_focal", "loss.class_weights": (1, 2, 1, 1), "optimizer.name": "sgd"},
        {"train.precision": "bf16", "train.grad_accum_steps": 2, "data.normalize": "fixed"},
    ],
)
def test_a_step_waits_for_nothing(tiny_config, monkeypatch, syncs, settings):
    monkeypatch.setitem(states.READ_EVERY, "cpu", 50)
    assert set(map(frozenset, calls_by_step(tiny_config, syncs, **settings))) == {frozenset()}


def test_on_the_cpu_a_step_reads_its_loss_once(tiny_config, syncs):
    assert calls_by_step(tiny_config, syncs)[0] == {"tolist": 1}
