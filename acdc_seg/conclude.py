"""What a finished training leaves beside its checkpoints: scores and probabilities of the best weights, and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from acdc_seg.config import Config, config_tree
from acdc_seg.data.records import Record
from acdc_seg.data.sources import Source
from acdc_seg.data.transforms import load_example
from acdc_seg.evaluate import score_image
from acdc_seg.metrics import score_tree, summarize, write_csv, write_json
from acdc_seg.predict import Predictor, load_predictor, predict_labels
from acdc_seg.probabilities import store_probabilities
from acdc_seg.report.figures import pick_cases, prediction_grid
from acdc_seg.report.html import write_report
from acdc_seg.run import Run

PROBABILITIES = "probabilities"
"""Folder of a run that `store_probabilities` writes those of its validation images to."""
KEPT_BYTES = 200_000_000
"""Probabilities larger than this are kept for folds only."""

Example = tuple[torch.Tensor, torch.Tensor | None]


def conclude(run: Run, config: Config, source: Source, history: Sequence[Mapping[str, Any]]) -> None:
    """Writes report.html and, where images validate, metrics.csv, metrics.json and the probabilities that best.pt gives them."""
    records, scores, figures = source.split("val"), None, {}
    if records:
        examples = [load_example(record, data=config.data, classes=config.classes) for record in records]
        labels = _predict(run, config, records, examples)
        scores = _score(run, config, records, examples, labels)
        cases = pick_cases(scores["images"])
        figures = {"Best, median and worst validation image": _draw_cases(config, records, examples, labels, cases)}
    write_report(
        run.folder / "report.html",
        title=f"{run.folder.name}: {config.model.name} on {source.kind} data",
        config=config_tree(config),
        run=run.read_json(),
        protocol=_protocol(config, source),
        history=history,
        scores=scores,
        figures=figures,
    )


class _Labels(Predictor):
    """Hands on what a predictor gives and remembers the most probable classes, `(H, W)` of every image in turn."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.classes, self.channels = predictor, predictor.classes, predictor.channels
        self.labels: list[np.ndarray] = []

    def predict_batch(self, images: torch.Tensor) -> torch.Tensor:
        probabilities = self.predictor.predict_batch(images)
        self.labels += list(probabilities.argmax(1).to(torch.uint8).cpu().numpy())
        return probabilities


def _predict(run: Run, config: Config, records: Sequence[Record], examples: Sequence[Example]) -> list[np.ndarray]:
    """Class indices `(H, W)` of all images; the probabilities behind them are kept on the way where they are small or out of fold."""
    predictor = load_predictor(run.best, device=config.train.device, precision=config.train.precision)
    num_bytes = sum(image[0].numel() for image, _ in examples) * len(config.classes.names) * np.dtype(np.float16).itemsize
    if config.data.fold is None and num_bytes > KEPT_BYTES:
        return list(predict_labels(predictor, (image.numpy() for image, _ in examples), batch_size=config.train.batch_size))
    noted = _Labels(predictor)
    store_probabilities(run.folder / PROBABILITIES, noted, records, checkpoint=run.best, batch_size=config.train.batch_size)
    return noted.labels


def _score(
    run: Run, config: Config, records: Sequence[Record], examples: Sequence[Example], labels: Sequence[np.ndarray]
) -> dict[str, Any]:
    """Writes metrics.csv and metrics.json, and gives the content of the latter."""
    truths = [mask.numpy() for _, mask in examples if mask is not None]
    rows = [score_image(*each, config.classes) for each in zip(labels, truths, records, strict=True)]
    summary = summarize(rows)
    write_csv(run.folder / "metrics.csv", rows)
    write_json(run.folder / "metrics.json", rows, summary)
    return score_tree(rows, summary)


def _protocol(config: Config, source: Source) -> dict[str, str]:
    described = {}
    for split in ("train", "val"):
        records = source.split(split)
        described[split] = f"{len(records)} images of {len({record.patient for record in records})} patients" if records else "none"
    return {
        "Data": "synthetic phantom; its scores say nothing about real hearts" if source.kind == "phantom" else str(source.root),
        "Split": _split_rule(config),
        "Training": described["train"],
        "Validation": described["val"],
        "Checkpoint": "the epoch with the best validation foreground Dice" if source.split("val") else "the last epoch",
        "Seed": str(config.seed),
    }


def _split_rule(config: Config) -> str:
    """Who validates, in words."""
    if config.data.fold == "none":
        return "train and val together; nothing validates"
    if config.data.folds is None:
        return "by patient"
    return f"by patient: fold {config.data.fold} (counted from 0) of {config.data.folds}, seed {config.data.split_seed}"


def _draw_cases(
    config: Config,
    records: Sequence[Record],
    examples: Sequence[Example],
    labels: Sequence[np.ndarray],
    cases: Mapping[str, int],
) -> Figure:
    chosen = [(*examples[index], labels[index]) for index in cases.values()]
    return prediction_grid(
        [image.numpy() for image, _, _ in chosen],
        [predicted for _, _, predicted in chosen],
        [mask.numpy() for _, mask, _ in chosen if mask is not None],
        colors=config.classes.colors,
        names=config.classes.names,
        titles=[f"{case}\n{records[index].id}" for case, index in cases.items()],
    )
