import numpy as np
import pytest
from scipy import stats

from acdc_seg.errors import DataError
from acdc_seg.metrics.agreement import Agreement, agreement


def test_by_hand():
    """Differences 1, -1, 3: mean 1, standard deviation 2."""
    result = agreement([11, 19, 33], [10, 20, 30])
    assert result == Agreement(
        n=3,
        bias=pytest.approx(1),
        low=pytest.approx(1 - 1.96 * 2),
        high=pytest.approx(1 + 1.96 * 2),
        mae=pytest.approx(5 / 3),
        r=pytest.approx(stats.pearsonr([11, 19, 33], [10, 20, 30]).statistic),
    )


def test_pairs_of_which_one_is_unknown_are_left_out():
    measured, truth = [11, None, 19, 33, float("nan")], [10, 5, 20, 30, 7]
    assert agreement(measured, truth) == agreement([11, 19, 33], [10, 20, 30])
    assert agreement(np.array([11, np.nan]), [10, 3]) == agreement([11], [10])


def test_what_too_few_pairs_do_not_define():
    assert agreement([], []) == agreement([None], [1]) == Agreement(0)
    assert agreement([4], [6]) == Agreement(1, bias=-2, mae=2)
    assert agreement([4, 4], [6, 5]).r is None
    assert agreement([4, 5], [6, 6]).r is None
    assert agreement([4, 5], [6, 6]).mae == 1.5


def test_perfect_agreement():
    assert agreement([1, 2, 4], [1, 2, 4]) == Agreement(3, 0, 0, 0, 0, pytest.approx(1))


def test_lengths():
    with pytest.raises(DataError, match="2 measured and 1 true"):
        agreement([1, 2], [1])
