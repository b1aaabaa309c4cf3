import numpy as np
import pytest

from acdc_seg.metrics.intervals import bootstrap_columns, patient_bootstrap, wilson_interval


def test_the_interval_of_a_constant_difference_is_that_constant():
    np.testing.assert_allclose(
        patient_bootstrap(np.full(7, 0.125), list("aabbbcd")), (0.125, 0.125)
    )
    assert patient_bootstrap(np.zeros(3), list("abc")) == (0.0, 0.0)


def test_patients_are_drawn_not_images():
    """Draws of patients a and b: twice a gives 0, twice b 1 (a quarter each), both (3 * 0 + 1 * 1)
    / 4.
    """
    assert patient_bootstrap(np.array([0.0, 0.0, 0.0, 1.0]), list("aaab")) == (0.0, 1.0)
    means = {
        round(
            patient_bootstrap(np.array([0.0, 0.0, 0.0, 1.0]), list("aaab"), resamples=1, seed=seed)[
                0
            ],
            9,
        )
        for seed in range(30)
    }
    assert means == {0.0, 0.25, 1.0}


def test_the_interval_repeats_with_its_seed_and_narrows_with_patients():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.1, 1, 10), rng.normal(0.1, 1, 1000)
    assert (
        patient_bootstrap(few, range(10), seed=3)
        == patient_bootstrap(few, range(10), seed=3)
        != patient_bootstrap(few, range(10), seed=4)
    )
    low, high = patient_bootstrap(many, range(1000))
    assert low == pytest.approx(many.mean() - 1.96 / 1000**0.5, abs=0.01)
    assert high == pytest.approx(many.mean() + 1.96 / 1000**0.5, abs=0.01)


def test_columns_share_their_draws():
    values = np.random.default_rng(0).random((9, 3))
    patients = list("aabbccdde")
    expected = [patient_bootstrap(column, patients) for column in values.T]
    np.testing.assert_allclose(bootstrap_columns(values, patients), expected)


def test_many_patients_are_drawn_in_parts(monkeypatch):
    values, patients = np.random.default_rng(0).random((50, 2)), range(50)
    whole = bootstrap_columns(values, patients, resamples=101)
    monkeypatch.setattr("acdc_seg.metrics.intervals.DRAWN_AT_ONCE", 350)  # 7 draws
    np.testing.assert_array_equal(bootstrap_columns(values, patients, resamples=101), whole)


@pytest.mark.parametrize(
    ("successes", "total", "expected"),
    [  # Brown, Cai and DasGupta (2001) print the formula; values by hand from it
        (8, 10, (0.4902, 0.9433)),
        (0, 10, (0, 0.2775)),
        (10, 10, (0.7225, 1)),
        (57, 60, (0.8630, 0.9829)),
    ],
)
def test_wilson_interval(successes, total, expected):
    assert wilson_interval(successes, total) == pytest.approx(expected, abs=1e-4)
