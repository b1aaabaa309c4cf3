"""Scores, probabilities and the report of a finished training, from its best weights."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from acdc_seg.config import Config, to_dict
from acdc_seg.data.examples import FileExamples, example_size
from acdc_seg.data.record import Record
from acdc_seg.data.source import Source
from acdc_seg.errors import AcdcWarning
from acdc_seg.evaluation import SplitImages, make_protocol, score_stream
from acdc_seg.inference.load import load_predictor
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stored import DTYPE, storing
from acdc_seg.inference.stream import predict_examples, to_labels
from acdc_seg.metrics.levels import write_scores
from acdc_seg.report.figures import pick_cases, prediction_grid
from acdc_seg.report.page import write_report
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
    records, scores = source.split("val"), None
    draw: Callable[[], dict[str, Figure]] = dict
    if records:
        examples = FileExamples(records, data=config.data, classes=config.classes)
        predictor = load_predictor(
            run.best, device=config.train.device, precision=config.train.precision
        )
        images = SplitImages(source, config, "val", records)
        protocol = make_protocol(predictor, images, allow_seen=True)
        scores = _score(run, config, predictor, examples, protocol)
        draw = partial(_draw_cases, config, predictor, examples, scores["images"])
    try:
        _report(run, config, source, history, scores, draw())
    except Exception as error:
        warnings.warn(
            f"{run.folder}: trained and scored, but report.html cannot be written "
            f"({type(error).__name__}: {error})",
            AcdcWarning,
            stacklevel=2,
        )
    if not config.train.keep_last:
        run.remove_training_state()


def _report(
    run: Run,
    config: Config,
    source: Source,
    history: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any] | None,
    figures: Mapping[str, Figure],
) -> None:
    write_report(
        run.folder / "report.html",
        title=f"{run.folder.name}: {config.model.name} on {source.kind} data",
        config=to_dict(config),
        run=run.read_json(),
        protocol=_protocol(config, source, scores),
        history=history,
        scores=scores,
        figures=figures,
    )


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
) -> dict[str, Any]:
    """Writes metrics.json and the tables beside it, and gives the content of the former.

    The probabilities behind them are kept on the way where they are small or out of fold.
    """
    stream = predict_examples(predictor, examples, batch_size=config.train.batch_size)
    if probability_bytes(config, examples.records):
        stream = storing(
            stream, run.folder / PROBABILITIES, checkpoint=run.best, classes=config.classes
        )
    scores = score_stream(stream, examples.records, config.classes)
    return write_scores(run.folder, scores, protocol)


def _protocol(config: Config, source: Source, scores: Mapping[str, Any] | None) -> dict[str, str]:
    described = {}
    for split in ("train", "val"):
        records = source.split(split)
        described[split] = (
            f"{len(records)} images of {len({record.patient for record in records})} patients"
            if records
            else "none"
        )
    num_seen = scores["protocol"]["num_seen_images"] if scores else 0
    leakage = {
        "Data leakage": f"pretrained on {num_seen} of the validation images or their patients"
    }
    return {
        "Data": "synthetic phantom; its scores say nothing about real hearts"
        if source.kind == "phantom"
        else str(source.root),
        "Split": _split_rule(config),
        "Training": described["train"],
        "Validation": described["val"],
        "Checkpoint": "the epoch with the best validation foreground Dice"
        if source.split("val")
        else "the last epoch",
        "Seed": str(config.seed),
        **(leakage if num_seen else {}),
    }


def _split_rule(config: Config) -> str:
    """The rule by which patients validate, in words."""
    if not config.data.validation:
        return "train and val together; nothing validates"
    if config.data.num_folds is None:
        return "by patient"
    return (
        f"by patient: fold {config.data.fold} (counted from 0) of {config.data.num_folds}, seed "
        f"{config.data.split_seed}"
    )


def _draw_cases(
    config: Config,
    predictor: Predictor,
    examples: FileExamples,
    images: Sequence[Mapping[str, Any]],
) -> dict[str, Figure]:
    """The best, the median and the worst image, each with its prediction and its mask."""
    numbers = {record.id: number for number, record in enumerate(examples.records)}
    picked = pick_cases(images)  # of the images that have a score
    cases = {case: examples[numbers[images[index]["id"]]] for case, index in picked.items()}
    chosen = list(cases.values())
    predictions = predict_examples(predictor, chosen, batch_size=1)
    figure = prediction_grid(
        [example.image.numpy() for example in chosen],
        [to_labels(probabilities) for _, probabilities in predictions],
        [example.mask.numpy() for example in chosen],
        colors=config.classes.colors,
        names=config.classes.names,
        first=config.classes.first,
        titles=[f"{case}\n{example.record.id}" for case, example in cases.items()],
    )
    return {"Best, median and worst validation image": figure}
