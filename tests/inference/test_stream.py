from pathlib import Path

import numpy as np
import pytest
import torch

from acdc_seg.config import ClassesConfig, Config
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError
from acdc_seg.inference import stream
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import (
    predict_batches,
    predict_examples,
    read_examples,
    to_labels,
)

TWO = ClassesConfig(names=("background", "heart"), values=(0, 1), colors=((0, 0, 0), (255, 0, 0)))
SIZES = [(2, 2)] * 5 + [(3, 2)] * 2 + [(2, 2)]


class Bright(Predictor):
    """The heart is where the image is bright."""

    config, classes, channels = Config(), TWO, 1

    def predict_batch(self, images):
        return torch.cat([1 - images, images], dim=1)


def examples(sizes):
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        image = torch.from_numpy(rng.random((1, *size), np.float32))
        yield Example(Record(f"image{number}", Path("image"), None, ""), image, None)


def test_examples_are_predicted_in_order_whatever_their_sizes():
    done = []
    predictions = list(
        predict_examples(Bright(), examples(SIZES), batch_size=2, on_image=done.append)
    )
    assert done == list(range(1, 9))
    assert [example.record.id for example, _ in predictions] == [f"image{n}" for n in range(8)]
    for example, probabilities in predictions:
        assert torch.equal(probabilities, Bright().predict_batch(example.image[None])[0])


def test_batches_are_neighbors_of_one_size():
    batches = [
        ([example.record.id[-1] for example in batch], outputs.shape)
        for batch, outputs in predict_batches(
            Bright().predict_batch, examples(SIZES[3:]), batch_size=2
        )
    ]
    assert batches == [
        (["0", "1"], (2, 2, 2, 2)),
        (["2", "3"], (2, 2, 3, 2)),
        (["4"], (1, 2, 2, 2)),
    ]


def test_large_images_are_predicted_one_at_a_time(monkeypatch):
    monkeypatch.setattr(stream, "MAX_PIXELS", 8)
    sizes = [(2, 2)] * 3 + [(3, 3)] * 2
    batches = predict_batches(Bright().predict_batch, examples(sizes), batch_size=4)
    assert [len(batch) for batch, _ in batches] == [2, 1, 1, 1]


def test_a_stream_reads_no_further_than_its_batch():
    read = []

    def counted():
        for example in examples([(2, 2)] * 10):
            read.append(example.record.id)
            yield example

    next(predict_examples(Bright(), counted(), batch_size=3))
    assert len(read) == 3


def test_labels_are_the_most_probable_classes_of_one_image_or_a_batch():
    probabilities = torch.tensor([[[0.2, 0.5]], [[0.7, 0.1]], [[0.1, 0.4]]])  # (3, 1, 2)
    labels = to_labels(probabilities)
    assert (labels.dtype, labels.tolist()) == (np.uint8, [[1, 0]])
    assert to_labels(torch.stack([probabilities, probabilities.flip(0)])).tolist() == [
        [[1, 0]],
        [[1, 2]],
    ]


@pytest.fixture
def record(tmp_path, write_png):
    image = write_png(tmp_path / "a.png", np.array([[0, 255]], np.uint8))
    return Record("a", image, write_png(tmp_path / "m.png", np.array([[0, 1]], np.uint8)), "p")


def test_examples_are_read_when_they_are_asked_for(record):
    gone = Record("b", record.image.with_name("b.png"), record.mask, "p")
    stream = read_examples([record, gone], Bright())
    example = next(stream)
    assert (example.image.tolist(), example.mask.tolist()) == ([[[0, 1]]], [[0, 1]])
    with pytest.raises(DataError, match=r"b\.png: cannot read"):
        next(stream)


def test_masks_are_read_only_where_they_are_wanted(record, tmp_path):
    (tmp_path / "m.png").write_bytes(b"damaged")
    (example,) = read_examples([record], Bright(), with_masks=False)
    assert (example.record.id, example.mask) == ("a", None)
    with pytest.raises(DataError, match=r"m\.png: not a readable image"):
        next(read_examples([record], Bright()))


def test_images_without_mask_are_named_before_any_is_read(tmp_path):
    records = [Record(f"cmr{number}", tmp_path / "a.png", None, "p") for number in range(5)]
    with pytest.raises(
        DataError,
        match="5 images have no mask to compare with, first cmr0, cmr1, cmr2; evaluate a split "
        "with masks",
    ):
        next(read_examples(records, Bright()))
