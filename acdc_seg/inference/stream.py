"""Predictions of many images as a stream: each image is read once, a batch at a time is in memory.

Validation, evaluation, stored probabilities, submissions and reports all read from it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby, islice
from math import prod

import numpy as np
import torch

from acdc_seg.data.examples import Example, read_example
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Predictor

MAX_PIXELS = 2**22
"""Pixels of the images of a batch, 16 of 512 x 512; a larger image is a batch of its own."""


def read_examples(
    records: Sequence[Record], predictor: Predictor, *, with_masks: bool = True
) -> Iterator[Example]:
    """Examples at the size of their files, each read when it is asked for.

    Args:
        records: Images, and their masks where those are wanted.
        predictor: Determines how many channels are read and which classes masks have.
        with_masks: Every record must have a mask; else none is read.

    Raises:
        DataError: A record without mask, or a damaged file.
    """
    unlabeled = [record.id for record in records if record.mask is None]
    if with_masks and unlabeled:
        raise DataError(
            f"{len(unlabeled)} images have no mask to compare with, first "
            f"{', '.join(unlabeled[:3])}; evaluate a split with masks"
        )
    data = predictor.config.data.model_copy(update={"channels": predictor.channels})
    for record in records:
        source = record if with_masks else replace(record, mask=None)
        example = read_example(source, data=data, classes=predictor.classes)
        yield example._replace(record=record)


def batch_examples(examples: Iterable[Example], *, batch_size: int) -> Iterator[list[Example]]:
    """Batches of neighbors of one size; examples are read no further than the batch and one more.

    Args:
        examples: Each read once.
        batch_size: Most examples in a batch; fewer of those that would have more than `MAX_PIXELS`
            together.
    """
    for shape, neighbors in groupby(examples, key=lambda example: example.image.shape):
        size = max(1, min(batch_size, MAX_PIXELS // prod(shape[1:])))
        while batch := list(islice(neighbors, size)):
            yield batch


@contextmanager
def name_file(batch: Sequence[Example]) -> Iterator[None]:
    """Puts the first file of a batch before the text of a DataError about it."""
    try:
        yield
    except DataError as error:
        raise DataError(
            f"{batch[0].record.image}: {error}", code=error.code, settings=error.settings
        ) from None


def predict_batches(
    predict: Callable[[torch.Tensor], torch.Tensor], examples: Iterable[Example], *, batch_size: int
) -> Iterator[tuple[list[Example], torch.Tensor]]:
    """The batches of `batch_examples` with their outputs `(B, K, H, W)`.

    Args:
        predict: Maps images `(B, C, H, W)` to outputs, for example `ModelPredictor.logits`.
        examples: Those of `read_examples`, for example.
        batch_size: Most examples in a batch.

    Raises:
        DataError: Names the first file of a batch that cannot be predicted.
    """
    for batch in batch_examples(examples, batch_size=batch_size):
        with name_file(batch):
            outputs = predict(torch.stack([example.image for example in batch]))
        yield batch, outputs


def predict_examples(
    predictor: Predictor,
    examples: Iterable[Example],
    *,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[Example, torch.Tensor]]:
    """Examples in their order, each with its probabilities float32 `(K, H, W)` in CPU memory.

    Args:
        examples: Those of `read_examples`, for example.
        batch_size: Most images that are predicted at a time.
        on_image: Called with the number of images done.
    """
    done = 0
    for batch, outputs in predict_batches(predictor.predict_batch, examples, batch_size=batch_size):
        for example, probabilities in zip(batch, outputs.cpu(), strict=True):
            done += 1
            on_image(done)
            yield example, probabilities


def to_labels(probabilities: torch.Tensor) -> np.ndarray:
    """The most probable class of every pixel: uint8 `(..., H, W)` of `(..., K, H, W)`.

    Classes are disjoint; logits give the same labels.
    """
    return probabilities.argmax(-3).to(torch.uint8).cpu().numpy()
