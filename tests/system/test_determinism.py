"""The same seed gives the same weights, whatever the process drew before."""

import random

import numpy as np
import pytest
import torch
from tiny_runs import assert_same, assert_same_run, train_run

from acdc_seg.runs.checkpoint import load_checkpoint

RANDOM_PARTS = {
    "augment.preset": "strong",
    "augment.bias_field": 0.3,
    "model.dropout": 0.5,
    "model.upsample": "bilinear",
}


def seed_generators(seed):
    """Sets the generators of the whole process."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


@pytest.fixture
def run(tiny_config):
    seed_generators(1)
    return train_run(tiny_config, "first", changes=RANDOM_PARTS)[1]


def test_generators_of_the_process_do_not_change_a_training(tiny_config, run):
    seed_generators(2)
    assert_same_run(train_run(tiny_config, "second", changes=RANDOM_PARTS)[1], run)


def test_the_seed_changes_a_training(tiny_config, run):
    other = train_run(tiny_config, "second", changes={**RANDOM_PARTS, "seed": 1})[1]
    with pytest.raises(AssertionError):
        assert_same(
            dict(load_checkpoint(other.folder / "best.pt").weights),
            dict(load_checkpoint(run.folder / "best.pt").weights),
        )
