"""Agreement of measured with true numbers, as clinical studies report it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from acdc_seg.errors import DataError

NORMAL_95 = 1.96
"""Standard deviations to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Agreement:
    """Of `n` pairs, in the unit of the numbers; None where too few pairs define it.

    Attributes:
        n: Pairs of which both numbers are known.
        bias: Mean of measured minus true.
        low: Lower limit of agreement, bias - 1.96 standard deviations of the differences.
        high: Upper limit of agreement.
        mae: Mean absolute difference.
        r: Pearson's correlation; None also where one side does not vary.
    """

    n: int
    bias: float | None = None
    low: float | None = None
    high: float | None = None
    mae: float | None = None
    r: float | None = None


def agreement(
    measured: Sequence[float | None] | np.ndarray, truth: Sequence[float | None] | np.ndarray
) -> Agreement:
    """Agreement of pairs (Bland and Altman, Lancet 1986).

    Args:
        measured: A number for each case; None or NaN where it is unknown.
        truth: The true one of each, in the same order.

    Raises:
        DataError: The two differ in length.
    """
    first, second = known_pairs(measured, truth)
    count = len(first)
    if not count:
        return Agreement(0)
    differences = first - second
    bias, mae = float(differences.mean()), float(np.abs(differences).mean())
    if count < 2:
        return Agreement(count, bias, mae=mae)
    half = NORMAL_95 * float(differences.std(ddof=1))
    r = None
    if np.ptp(first) > 0 and np.ptp(second) > 0:
        r = float(np.corrcoef(first, second)[0, 1])
    return Agreement(count, bias, bias - half, bias + half, mae, r)


def known_pairs(
    measured: Sequence[float | None] | np.ndarray, truth: Sequence[float | None] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of both sides `(n,)` where both are known.

    Raises:
        DataError: The two differ in length.
    """
    # None becomes NaN
    first, second = (np.asarray(numbers, float) for numbers in (measured, truth))
    if first.shape != second.shape:
        raise DataError(
            f"{len(first)} measured and {len(second)} true numbers: expected one of each for every "
            "case, in the same order"
        )
    known = np.isfinite(first) & np.isfinite(second)
    return first[known], second[known]
