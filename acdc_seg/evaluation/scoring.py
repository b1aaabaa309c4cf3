"""Predictions of examples to scores."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, to_labels
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.calibration import Calibration
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.scores import ImageScore, score_labels
from acdc_seg.metrics.volumes import Case, Scorer, ScoreSet


def score_example(labels: np.ndarray, example: Example, classes: ClassesConfig) -> ImageScore:
    """The metrics of labels `(H, W)` against the example's mask.

    Raises:
        DataError: The example has no mask, or its size differs.
    """
    record = example.record
    return score_labels(
        labels,
        _mask_of(example),
        id=record.id,
        classes=classes.names,
        has_background=classes.has_background,
        ignore_index=IGNORE_INDEX,
        patient=record.patient,
        phase=record.phase,
    )


def score_examples(
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


def score_stream(
    stream: Iterable[tuple[Example, torch.Tensor]],
    records: Sequence[Record],
    classes: ClassesConfig,
    *,
    tolerance: float = TOLERANCE,
) -> ScoreSet:
    """All metrics, distances among them, of images and of the volumes and patients they are of, and
    the calibration of the probabilities.

    Args:
        stream: Examples with masks and their probabilities `(K, H, W)`, those of
            `predict_examples`.
        records: The records of all examples of the stream.
        classes: Their classes.
        tolerance: NSD's, in mm, or in pixels where a spacing is missing.

    Raises:
        DataError: An example without mask, or a damaged file.
    """
    scorer = Scorer(
        [make_case(record) for record in records],
        classes=classes.names,
        has_background=classes.has_background,
        ignore_index=IGNORE_INDEX,
        tolerance=tolerance,
    )
    calibration = Calibration(len(records), has_background=classes.has_background)
    for example, probabilities in stream:
        mask = _mask_of(example)
        scorer.add(to_labels(probabilities), mask, make_case(example.record))
        calibration.add(probabilities.numpy(), mask, IGNORE_INDEX)
    return replace(scorer.result(), calibration=calibration.summarize())


def make_case(record: Record) -> Case:
    """The record's part of its score."""
    volume = ""
    if record.slice is not None:
        stem = record.id.removesuffix(f"_s{record.slice:02d}")  # as volumes are cut
        volume = stem if stem != record.id else f"{record.patient} {record.phase}".strip()
    return Case(
        id=record.id,
        patient=record.patient,
        phase=record.phase,
        group=record.group,
        spacing=record.spacing,
        volume=volume,
        slice=record.slice,
        slice_spacing=record.slice_spacing,
    )


def _mask_of(example: Example) -> np.ndarray:
    if example.mask is None:
        raise DataError(
            f"{example.record.image}: has no mask to compare with; evaluate a split with masks"
        )
    return np.asarray(example.mask)
