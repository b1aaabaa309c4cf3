"""Confidence intervals."""

from collections.abc import Sequence

import numpy as np


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
    draws = np.random.default_rng(seed).integers(num_patients, size=(resamples, num_patients))
    sizes_drawn = sizes[draws].sum(1)
    means = [column[draws].sum(1) / sizes_drawn for column in sums.T]  # of (resamples,)
    return np.percentile(means, [2.5, 97.5], axis=1).T
