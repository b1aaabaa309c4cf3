import numpy as np
import pytest

from acdc_seg.metrics.calibration import NUM_BINS, Calibration, expected_error, fit_temperature


def draw(confidence, accuracy, *, num_pixels=4000, seed=0):
    """Probabilities (3, 1, N) with this confidence in class 1, which is so often right."""
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random(num_pixels) < accuracy, 1, 2).astype(np.uint8)[None]
    other = (1 - confidence) / 2
    probabilities = np.repeat([[other], [confidence], [other]], num_pixels, axis=1)[:, None]
    return probabilities, mask


def measure(probabilities, mask, **options):
    calibration = Calibration(1, **options)
    calibration.add(probabilities, mask, 255)
    return calibration.summarize()


def test_error_is_the_distance_of_confidence_and_accuracy():
    probabilities, mask = draw(0.9, 0.6)
    found = measure(probabilities, mask)
    accuracy = float((mask == 1).mean())
    assert found["pixels"] == 4000
    assert found["ece"] == pytest.approx(0.9 - accuracy, abs=1e-4)
    filled = [row for row in found["bins"] if row["n"]]
    assert filled == [{"confidence": pytest.approx(0.9), "accuracy": accuracy, "n": 4000}]
    assert len(found["bins"]) == NUM_BINS
    assert found["temperature"] > 1  # too sure
    assert found["scaled_ece"] < found["ece"] / 5


def test_a_calibrated_network_keeps_its_temperature():
    parts = [
        draw(confidence, confidence, seed=number)
        for number, confidence in enumerate((0.5, 0.7, 0.95))
    ]
    found = measure(*(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)))
    # the two other classes are not equally often right, so it is not exactly 1
    assert found["ece"] < 0.02


def test_temperature_of_logits_that_were_multiplied_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (4, 20000))
    probabilities = np.exp(logits) / np.exp(logits).sum(0)
    truth = (probabilities.cumsum(0) < rng.random(20000)).sum(0)
    assert fit_temperature(logits, truth) == pytest.approx(1, abs=0.05)
    assert fit_temperature(logits * 2.5, truth) == pytest.approx(2.5, abs=0.1)


def test_void_pixels_and_clear_background_are_left_out():
    probabilities, mask = draw(0.9, 0.5, num_pixels=400)
    mask[0, :50] = 255
    probabilities[:, 0, 50:150] = [[0.995], [0.003], [0.002]]
    assert measure(probabilities, mask)["pixels"] == 250
    assert measure(probabilities, mask, has_background=False)["pixels"] == 350


def test_many_images_give_a_few_pixels_each():
    calibration = Calibration(10_000)
    probabilities, mask = draw(0.9, 0.5, num_pixels=10_000)
    for _ in range(20):
        calibration.add(probabilities, mask, 255)
    assert calibration.summarize()["pixels"] <= 20 * calibration.per_image


def test_too_few_pixels_say_nothing():
    assert measure(*draw(0.9, 0.5, num_pixels=99)) is None
    assert Calibration(0).summarize() is None


def test_expected_error_weighs_bins_by_their_pixels():
    bins = [
        {"confidence": 0.5, "accuracy": 0.6, "n": 100},
        {"confidence": 0.9, "accuracy": 0.7, "n": 300},
    ]
    assert expected_error(bins) == pytest.approx((100 * 0.1 + 300 * 0.2) / 400)
