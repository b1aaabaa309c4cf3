"""Predictions stream: what is in memory does not grow with the number of images, results aside."""

import gc
import runpy
import weakref
from pathlib import Path

import pytest
import torch

from acdc_seg.config import ClassesConfig, Config
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.evaluation import score_examples
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.submission.table import encode_rows

script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "benchmark_memory.py"))
NUM_IMAGES, BATCH = 40, 4


class Background(Predictor):
    def __init__(self):
        self.config, self.classes, self.channels = Config(), ClassesConfig(), 1

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


@pytest.fixture
def read(monkeypatch):
    """The images and masks that are read, blank ones."""
    images, masks = Census(), Census()

    def read_example(record, **settings):
        mask = None if record.mask is None else masks.hooks(torch.zeros(16, 16, dtype=torch.uint8))
        return Example(record, images.hooks(torch.zeros(1, 16, 16)), mask)

    monkeypatch.setattr("acdc_seg.inference.stream.read_example", read_example)
    return images, masks


RECORDS = [
    Record(f"image{number}", Path("image"), Path("mask"), "patient") for number in range(NUM_IMAGES)
]


def test_a_submission_holds_two_batches_of_images_and_two_label_arrays(read):
    images, masks = read
    examples = read_examples(RECORDS, Background(), with_masks=False)
    labels = Census()
    stream = predict_examples(Background(), examples, batch_size=BATCH)
    rows = encode_rows(
        (
            (example.record.id, labels.hooks(to_labels(probabilities)))
            for example, probabilities in stream
        ),
        num_classes=4,
    )
    assert len(rows) == 3 * NUM_IMAGES
    assert images.most <= 2 * BATCH
    assert masks.most == 0
    assert labels.most <= 2


def test_an_evaluation_holds_two_batches_of_examples(read):
    images, masks = read
    examples = read_examples(RECORDS, Background())
    scores = score_examples(Background(), examples, batch_size=BATCH)
    assert len(scores) == NUM_IMAGES
    assert images.most <= 2 * BATCH
    assert masks.most <= 2 * BATCH


def test_peak_memory_of_a_submission_grows_by_its_results_alone(tmp_path):
    """Labels of these slices take 25,600 bytes each, images 102,400; ids and paths far less than
    half of the former.
    """
    few, many = (
        script["measure"](tmp_path, num_slices=num, size=160, commands=["submit"])["submit"]
        for num in (100, 500)
    )
    assert many - few < 400 * 10_000
