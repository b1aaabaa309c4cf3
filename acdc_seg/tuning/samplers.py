"""Samplers and pruners by name."""

import zlib
from collections.abc import Callable

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

NUM_STEPS = 20
"""The pruner's resource: a trial reports when another twentieth of its own epochs (over all folds)
is done.
"""
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed),
    "random": RandomSampler,
    "cmaes": lambda seed: CmaEsSampler(seed=seed),
    "grid": RandomSampler,  # never asked: all points of a grid are queued when the study is made
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "hyperband": lambda: HyperbandPruner(2, NUM_STEPS, reduction_factor=3),
    "median": lambda: MedianPruner(n_startup_trials=5, n_warmup_steps=NUM_STEPS // 5),
    "none": NopPruner,
}


def make_sampler(name: str, *, seed: int, num_draws: int, worker: int = 0) -> BaseSampler:
    """The sampler of one trial.

    It depends on the study's seed and the number of draws before it, so that a study that was
    stopped resumes as if it had not been; parallel workers differ.

    Args:
        name: A key of `SAMPLERS`.
        seed: Seed of the study.
        num_draws: Trials drawn before this one, without retries.
        worker: Index of the worker on its machine.
    """
    key = f"{seed} {num_draws} {worker}" if worker else f"{seed} {num_draws}"
    return SAMPLERS[name](zlib.crc32(key.encode()))
