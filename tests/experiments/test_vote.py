"""The soft vote of all variants."""

import numpy as np
import pytest
from tiny_experiments import RATES

from acdc_seg.data.examples import read_example
from acdc_seg.data.source import open_source
from acdc_seg.experiments.jobs import run_job
from acdc_seg.experiments.sweep import JobState
from acdc_seg.experiments.vote import soft_votes
from acdc_seg.inference.stored import load_probabilities
from acdc_seg.metrics.scores import score_labels


def test_a_vote_is_the_mean_of_the_stored_probabilities(plan_of):
    plan = plan_of(f"{RATES}vote: both\nkeep_weights: false\n")
    states = [JobState(job, run_job(job, plan)) for job in plan.jobs]
    (vote,) = soft_votes(plan, states)
    config = plan.jobs[0].config
    source = open_source(config.data, prepare_settings=config.prepare)
    stored = [load_probabilities(plan.run_folder(job) / "probabilities") for job in plan.jobs]
    for record, image in zip(source.split("val"), vote.images, strict=True):
        mean = np.mean([part[record.id].astype(np.float32) for part in stored], axis=0)
        mask = read_example(record, data=config.data, classes=config.classes).mask.numpy()
        score = score_labels(mean.argmax(0), mask, id=record.id, classes=config.classes.names)
        assert image["dice"] == pytest.approx(score.mean())
    assert vote.num_parameters == 2 * states[0].result.num_parameters


def test_there_is_no_vote_before_all_are_finished(plan_of):
    plan = plan_of(f"{RATES}vote: both\n")
    first, second = plan.jobs
    assert soft_votes(plan, [JobState(first, run_job(first, plan)), JobState(second)]) == []
