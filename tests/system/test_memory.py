"""Predictions stream: what is in memory does not grow with the number of images, results aside."""

import gc
import runpy
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.record import Record
from acdc_seg.evaluation import evaluate
from acdc_seg.inference.predictors import Predictor, predict_labels
from acdc_seg.submission.table import encode_rows

script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "benchmark_memory.py"))
NUM_IMAGES, BATCH = 40, 4


class Background(Predictor):
    def __init__(self):
        self.classes, self.channels = ClassesConfig(), 1

    def predict_batch(self, images):
        return torch.zeros(len(images), 4, *images.shape[-2:])


class Census:
    """Counts how many of the arrays that it was shown are alive, at most."""

    def __init__(self):
        self.alive, self.most = 0, 0

    def hooks(self, array):
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(array, self._lose)
        return array

    def _lose(self):
        self.alive -= 1


@pytest.fixture(autouse=True)
def without_cycles():
    """Arrays go as soon as nothing holds them."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_submission_holds_two_batches_of_images_and_one_mask():
    images, masks = Census(), Census()
    stream = (images.hooks(np.zeros((1, 16, 16), np.float32)) for _ in range(NUM_IMAGES))
    labels = (
        masks.hooks(each.copy()) for each in predict_labels(Background(), stream, batch_size=BATCH)
    )
    rows = encode_rows(
        ((f"image{number}", each) for number, each in enumerate(labels)), num_classes=4
    )
    assert len(rows) == 3 * NUM_IMAGES
    assert images.most <= 2 * BATCH + 1
    assert masks.most <= 2


def test_an_evaluation_holds_two_batches_of_examples(monkeypatch):
    images, masks = Census(), Census()

    def load(record, **settings):
        return images.hooks(torch.zeros(1, 16, 16)), masks.hooks(
            torch.zeros(16, 16, dtype=torch.uint8)
        )

    monkeypatch.setattr("acdc_seg.evaluation.load_example", load)
    records = [
        Record(f"image{number}", Path("image"), Path("mask"), "patient")
        for number in range(NUM_IMAGES)
    ]
    rows = evaluate(Background(), records, data=DataConfig(), batch_size=BATCH)
    assert len(rows) == NUM_IMAGES
    assert images.most <= 2 * BATCH + 1
    assert masks.most <= 2 * BATCH + 1


def test_peak_memory_of_a_submission_grows_by_its_results_alone(tmp_path):
    """Labels of these slices take 25,600 bytes each, images 102,400; ids and paths far less than
    half of the former.
    """
    few, many = (
        script["measure"](tmp_path, num_slices=num, size=160, commands=["submit"])["submit"]
        for num in (300, 1500)
    )
    assert many - few < 1200 * 10_000
