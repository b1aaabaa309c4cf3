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
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    sums, sizes = np.bincount(patient_of, weights=differences), np.bincount(patient_of)
    draws = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    low, high = np.percentile(sums[draws].sum(1) / sizes[draws].sum(1), [2.5, 97.5])
    return float(low), float(high)
