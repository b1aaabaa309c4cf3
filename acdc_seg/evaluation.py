"""Scores of predictions: one `ImageScore` per image."""

from collections.abc import Callable, Iterable

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, to_labels
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.scores import ImageScore, score_labels


def score_example(labels: np.ndarray, example: Example, classes: ClassesConfig) -> ImageScore:
    """The metrics of labels `(H, W)` against the example's mask.

    Raises:
        DataError: The example has no mask, or its size differs.
    """
    record = example.record
    if example.mask is None:
        raise DataError(f"{record.image}: has no mask to compare with; evaluate a split with masks")
    return score_labels(
        labels,
        np.asarray(example.mask),
        id=record.id,
        classes=classes.names,
        ignore_index=IGNORE_INDEX if classes.ignore_value is not None else None,
        patient=record.patient,
        phase=record.phase,
    )


def evaluate(
    predictor: Predictor,
    examples: Iterable[Example],
    *,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> list[ImageScore]:
    """One score per example, at the size the examples have.

    Args:
        predictor: A model, an ensemble or what is done to either.
        examples: With masks, for example of `inference.stream.read_examples`.
        batch_size: Most images that are predicted at a time.
        on_image: Called with the number of images done.

    Raises:
        DataError: An example without mask, or a damaged file.
    """
    stream = predict_examples(predictor, examples, batch_size=batch_size, on_image=on_image)
    return [
        score_example(to_labels(probabilities), example, predictor.classes)
        for example, probabilities in stream
    ]
