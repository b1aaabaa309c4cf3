"""The benchmark scripts run on tiny data, and what they print is consistent."""

import math
import queue
import runpy
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from acdc_seg.config import with_overrides
from acdc_seg.data.source import open_source
from acdc_seg.models import build_model

SCRIPTS = Path(__file__).parents[2] / "scripts"
inference = runpy.run_path(str(SCRIPTS / "benchmark_inference.py"))
neighbors = runpy.run_path(str(SCRIPTS / "benchmark_neighbors.py"))
training = runpy.run_path(str(SCRIPTS / "benchmark_training.py"))


def test_the_stopwatch_takes_whole_epochs(monkeypatch):
    """Epochs of two batches a second apart, of which half a second is spent waiting."""
    now = iter(number / 2 for number in range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    watch = training["Stopwatch"](seconds=4.0)
    for _ in range(20):
        for done, _ in enumerate(watch.watch([0, 0]), start=1):
            watch.count(done)
            if watch.is_over:
                break
        if watch.is_over:
            break
    assert watch.batches == 5  # two epochs of 3.5 seconds, and the batch that ends the second
    rate, wait = watch.rates()
    assert rate == pytest.approx(4 / 7)
    assert wait == pytest.approx(4 * 0.5 / 7)


def test_rates_of_both_loops_are_finite_and_their_ratio_is_theirs(tiny_config, monkeypatch):
    names = training["compare"].__globals__
    monkeypatch.setitem(names, "PEAK_SHAPES", ((4, 16),))
    monkeypatch.setitem(names, "PLAIN_WORKERS", 0)
    config = training["for_benchmark"](with_overrides(tiny_config, {"train.batch_size": 2}))
    said = []
    row = training["compare"](
        config, pairs=1, seconds=0.0, say=lambda number, pair: said.append((number, pair))
    )
    (pair,) = row["pairs"]
    assert said == [(1, pair)]
    for key in ("plain", "ours", "ratio", "peak_fraction", "peak_gflops"):
        assert math.isfinite(row[key])
        assert row[key] > 0
    assert 0 <= row["data_wait"] < 1
    assert row["ratio"] == pytest.approx(row["ours"] / row["plain"])
    rate = row["ours"] * row["gflop_per_image"]
    assert row["peak_fraction"] == pytest.approx(rate / row["peak_gflops"])
    assert (row["batch_size"], row["precision"]) == (2, "fp32")
    assert row["threads"] == torch.get_num_threads()


def test_the_arithmetic_of_a_step_is_three_times_that_of_the_forward_pass(tiny_config):
    """Less the gradient of the image, which nothing asks for."""
    source = open_source(tiny_config.data, prepare_settings=tiny_config.prepare)
    model = build_model(tiny_config.model, 1, 4).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, 48, 48))
    forward = counter.get_total_flops()
    first = 2 * 9 * 48**2 * tiny_config.model.base_channels
    step = training["step_flop"](tiny_config, source)
    assert step == pytest.approx(3 * forward - first)


@pytest.fixture
def records(tiny_config):
    return list(open_source(tiny_config.data, prepare_settings=tiny_config.prepare).records)


def test_rates_of_prediction_are_finite_and_their_ratios_are_theirs(tiny_config, records):
    said = []
    results = inference["compare"](
        tiny_config, [tiny_config] * 2, records[:3], pairs=1, say=said.append
    )
    assert len(said) == 4
    for name in ("one model", "ensemble", "flips", "dihedral"):
        row = results[name]
        assert all(math.isfinite(row[key]) and row[key] > 0 for key in ("plain", "ours", "ratio"))
        assert row["ratio"] == pytest.approx(row["ours"] / row["plain"])
    assert results["precision"] == "fp32"


def test_both_ways_predict_the_same_labels(tiny_config, records):
    network, predictor = inference["make_pair"](tiny_config)
    plain = inference["plain_labels"]([network], records)
    ours = inference["our_labels"](predictor, records)
    assert len(plain) == len(ours) == len(records)
    assert np.mean(np.array(plain) == np.array(ours)) > 0.999
    assert len(np.unique(plain)) > 1


def test_a_training_beside_others_counts_images_from_their_common_start(tiny_config):
    rates: queue.Queue[float] = queue.Queue()
    barrier = threading.Barrier(2)
    started = time.perf_counter()
    other = threading.Thread(target=barrier.wait)
    other.start()
    neighbors["_train"](tiny_config, 0.0, barrier, rates)
    other.join()
    # two batches of two images at least, the first of which is not counted
    assert rates.get() > 2 / (time.perf_counter() - started)
