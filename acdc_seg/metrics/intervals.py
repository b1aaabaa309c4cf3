"""Confidence intervals."""

from collections.abc import Sequence

import numpy as np

DRAWN_AT_ONCE = 1_000_000
"""Patients drawn before their means are taken."""


def wilson_interval(successes: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, in 0..1, after Wilson (J Am Stat Assoc 1927).

    Args:
        successes: Their number in 0..total; a mean of several counts need not be whole.
        total: Independent trials, at least one.
    """
    quantile = 1.959964
    part, spread = successes / total, quantile**2 / total
    middle = part + spread / 2
    half = (spread * (part * (1 - part) + spread / 4)) ** 0.5
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def patient_bootstrap(
    differences: np.ndarray, patients: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of a mean when patients are resampled with replacement.

    A patient's images are drawn together, for they are alike; a draw's mean is over its images
    (Efron and Tibshirani, 1993).

    Args:
        differences: Paired differences `(N,)` of two predictions, one for each image.
        patients: The patient of each image.
        resamples: Number of draws.
        seed: Of the draws.
    """
    low, high = bootstrap_columns(differences[:, None], patients, resamples=resamples, seed=seed)[0]
    return float(low), float(high)


def bootstrap_columns(
    values: np.ndarray, patients: Sequence[str], *, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """The intervals `(M, 2)` of `patient_bootstrap` for the mean of every column of `(N, M)`, all
    from the same draws.
    """
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    num_patients, num_columns = len(names), values.shape[1]
    sums, sizes = np.zeros((num_patients, num_columns)), np.bincount(patient_of)
    np.add.at(sums, patient_of, values)
    rng, means = np.random.default_rng(seed), np.empty((num_columns, resamples))
    step = max(1, DRAWN_AT_ONCE // num_patients)
    for start in range(0, resamples, step):  # so that many patients do not fill the memory
        stop = min(start + step, resamples)
        draws = rng.integers(num_patients, size=(stop - start, num_patients))
        cells = draws + num_patients * np.arange(stop - start)[:, None]
        times = np.bincount(cells.ravel(), minlength=cells.size).reshape(draws.shape)
        # not as a matrix product, whose rounding depends on the number of threads
        drawn = np.einsum("rp,pm->mr", times.astype(float), sums)
        means[:, start:stop] = drawn / (times @ sizes)
    return np.percentile(means, [2.5, 97.5], axis=1).T
