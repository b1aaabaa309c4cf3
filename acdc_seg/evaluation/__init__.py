"""Evaluation: a predictor and a split of a data set to scores of images, volumes and patients."""

from acdc_seg.evaluation.protocol import (
    ALL_IMAGES,
    SplitImages,
    check_replaceable,
    make_protocol,
    open_split,
)
from acdc_seg.evaluation.result import Evaluation, evaluate, evaluate_images
from acdc_seg.evaluation.scoring import make_case, score_example, score_examples, score_stream

__all__ = [
    "ALL_IMAGES",
    "Evaluation",
    "SplitImages",
    "check_replaceable",
    "evaluate",
    "evaluate_images",
    "make_case",
    "make_protocol",
    "open_split",
    "score_example",
    "score_examples",
    "score_stream",
]
