import math

import optuna
import pytest

from acdc_seg.tuning.samplers import make_sampler
from acdc_seg.tuning.storage import open_study
from acdc_seg.tuning.workers import make_queue

RANGES = (
    "optimizer.lr: {low: 1.0e-6, high: 1.0, log: true}\n"
    "optimizer.weight_decay: {low: 0.0, high: 1.0}\n"
)


@pytest.fixture
def search(make_spec):
    """search(sampler): how far each of 60 trials is from the best settings, in order."""

    def run(sampler, **options):
        spec = make_spec(space=RANGES, num_trials=60, sampler=sampler, name=sampler, **options)
        study = open_study(spec)
        queue, misses = make_queue(study, spec), []
        while (trial := queue.claim_next(should_stop=lambda: False)) is not None:
            drawn = spec.space.suggest(trial)
            lr, decay = math.log10(drawn["optimizer.lr"]), drawn["optimizer.weight_decay"]
            misses.append(abs(lr + 2) + abs(decay - 0.3))
            study.tell(trial, -misses[-1])
        return misses

    return run


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_samplers_learn_from_the_trials_before(search, sampler):
    if sampler == "cmaes":
        pytest.importorskip("cmaes")
    assert sum(search(sampler)[30:]) < 0.6 * sum(search("random")[30:])


def test_a_draw_depends_on_seed_draws_before_and_worker():
    def draw(**options):
        sampler = make_sampler("random", **{"seed": 0, "num_draws": 3, **options})
        return optuna.create_study(sampler=sampler).ask().suggest_float("x", 0, 1)

    assert draw() == draw()
    others = [draw(seed=1), draw(num_draws=4), draw(worker=1)]
    assert len({draw(), *others}) == 4
