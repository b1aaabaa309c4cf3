"""Scores, probabilities and the report of a finished training, from its best weights."""

import warnings
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from acdc_seg.config import Config
from acdc_seg.data.examples import FileExamples, example_size
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.errors import AcdcWarning
from acdc_seg.evaluation import SplitImages, make_protocol, score_stream
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stored import DTYPE, storing
from acdc_seg.inference.stream import predict_examples
from acdc_seg.metrics.levels import write_scores
from acdc_seg.report.evidence import Evidence
from acdc_seg.report.run_page import write_run_page
from acdc_seg.runs.folder import Run

PROBABILITIES = "probabilities"
"""Folder of a run with the probabilities of its validation images."""
KEPT_BYTES = 200_000_000
"""Probabilities larger than this are kept for folds only."""


def finish_run(
    run: Run, config: Config, source: Source, history: Sequence[Mapping[str, Any]]
) -> None:
    """Scores the validation images with best.pt, writes the report, and removes what only resuming
    needs unless `train.keep_last`.

    Writes metrics.csv, metrics.json and the probabilities where images validate. Images are read
    as they are needed, a batch at a time. A report that fails costs a warning, not the run.
    """
    records, scores, evidence = source.split("val"), None, None
    if records:
        examples = FileExamples(records, data=config.data, classes=config.classes)
        predictor = load_predictor(
            run.best, device=config.train.device, precision=config.train.precision
        )
        images = SplitImages(source, config, "val", records)
        protocol = make_protocol(predictor, images, allow_seen=True)
        evidence = Evidence()
        scores = _score(run, config, predictor, examples, protocol, evidence)
    try:
        write_run_page(
            run.folder,
            config,
            run=run.read_json(),
            history=history,
            content=scores,
            evidence=evidence,
        )
    except Exception as error:
        warnings.warn(
            f"{run.folder}: trained and scored, but report.html cannot be written "
            f"({type(error).__name__}: {error})",
            AcdcWarning,
            stacklevel=2,
        )
    if not config.train.keep_last:
        run.remove_training_state()


def probability_bytes(config: Config, records: Sequence[Record]) -> int:
    """Bytes of the probabilities that are kept of these images: all if they are small or of a fold,
    else none.
    """
    num_pixels = sum(prod(example_size(record)) for record in records)
    size = num_pixels * np.dtype(DTYPE).itemsize * len(config.classes.names)
    return size if config.data.fold is not None or size <= KEPT_BYTES else 0


def _score(
    run: Run,
    config: Config,
    predictor: Predictor,
    examples: FileExamples,
    protocol: Mapping[str, Any],
    evidence: Evidence,
) -> dict[str, Any]:
    """Writes metrics.json and the tables beside it, and gives the content of the former.

    On the way the probabilities behind them are kept where they are small or out of fold, and the
    report collects its pictures.
    """
    stream = predict_examples(predictor, examples, batch_size=config.train.batch_size)
    stream = evidence.watch(stream)
    if probability_bytes(config, examples.records):
        stream = storing(
            stream, run.folder / PROBABILITIES, checkpoint=run.best, classes=config.classes
        )
    scores = score_stream(stream, examples.records, config.classes)
    return write_scores(run.folder, scores, protocol)
