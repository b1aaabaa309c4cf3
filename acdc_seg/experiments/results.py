"""Result of one training of an experiment: what figures and tables need of its run folder."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from accelerate import init_empty_weights

from acdc_seg.config import Config
from acdc_seg.data.examples import read_example
from acdc_seg.data.source import Source
from acdc_seg.errors import DataError
from acdc_seg.files import write_text
from acdc_seg.inference.stored import load_probabilities
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.models import build_model
from acdc_seg.runs.folder import Run
from acdc_seg.training.finish import PROBABILITIES

FILE = "result.json"
SHOWN_METRICS = ("dice", "iou")
"""Metrics that tables and comparisons show."""
SMALLEST = 2.0**-24
"""The smallest probability above zero on disk; the cross-entropy takes no smaller one."""


@dataclass(frozen=True)
class RunResult:
    """Scores and history of one finished training.

    Attributes:
        history: The rows of history.csv; None where an epoch has no value.
        images: Of each validation image `id`, `patient`, and the mean over the foreground classes
            of each of `SHOWN_METRICS`.
        cross_entropy: Mean over the pixels of the validation images, in nats; None where their
            probabilities are not stored, or not numbers.
        num_parameters: Of the network.
        num_images: Images that an epoch trains on.
        seconds: Of the whole training.
        conditions: Device, precision and threads.
    """

    history: list[dict[str, float | None]]
    images: list[dict[str, Any]]
    cross_entropy: float | None
    num_parameters: int
    num_images: int
    seconds: float
    conditions: dict[str, Any]

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(**content)

    @property
    def dice(self) -> float:
        """Mean over images and foreground classes."""
        return float(np.mean([image["dice"] for image in self.images]))

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were scored: the first with the highest validation Dice."""
        dice = self.column("dice")
        return max(dice, key=lambda epoch: dice[epoch]) if dice else None

    @property
    def images_per_second(self) -> float | None:
        """Training images by time, in an epoch of median length."""
        seconds = list(self.column("seconds").values())
        return self.num_images / float(np.median(seconds)) if seconds and max(seconds) > 0 else None

    def column(self, name: str) -> dict[int, float]:
        """Values of a column of the history by epoch, where it has one."""
        values = {int(row["epoch"] or 0): row.get(name) for row in self.history}
        return {epoch: value for epoch, value in values.items() if value is not None}


def read_result(folder: Path) -> RunResult | None:
    """The result in a run folder; None where the training is not finished."""
    try:
        return RunResult.from_dict(json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_result(folder: Path, result: RunResult) -> None:
    """Writes result.json, with which a training is finished; raises DataError where it fails."""
    write_text(folder / FILE, json.dumps(asdict(result), allow_nan=False) + "\n")


def measure(run: Run, config: Config, source: Source) -> RunResult:
    """Reads the result of a finished and scored run.

    Raises:
        DataError: A file of the run is missing or damaged.
    """
    facts = run.read_json()
    try:
        scores = json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))
        with (run.folder / "history.csv").open(encoding="utf-8", newline="") as file:
            history = [
                {name: _number(text) for name, text in row.items()} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError) as error:
        raise DataError(f"{run.folder}: cannot read its scores ({error})") from None
    return RunResult(
        history=history,
        images=[_summary(image) for image in scores["images"]],
        cross_entropy=_cross_entropy(run.folder / PROBABILITIES, config, source),
        num_parameters=count_parameters(config),
        num_images=len(source.split("train")) * config.augment.repeats,
        seconds=facts.get("seconds", 0.0),
        conditions={
            "device": config.train.device,
            "precision": config.train.precision,
            "threads": facts.get("num_threads"),
            "versions": facts.get("libraries"),
        },
    )


def count_parameters(config: Config) -> int:
    """Weights and biases of the config's network."""
    with init_empty_weights():
        network = build_model(config.model, config.data.channels, len(config.classes.names))
    return sum(parameter.numel() for parameter in network.parameters())


def _summary(image: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `images` in metrics.json with each metric's mean over the foreground classes."""
    means = {name: float(np.mean(list(image[name].values()))) for name in SHOWN_METRICS}
    return {"id": image["id"], "patient": image["patient"], **means}


def _cross_entropy(folder: Path, config: Config, source: Source) -> float | None:
    try:
        stored = load_probabilities(folder)
    except DataError:
        return None
    total, num_pixels = 0.0, 0
    for record in source.split("val"):
        mask = read_example(record, data=config.data, classes=config.classes).mask.numpy()
        target = np.where(mask == IGNORE_INDEX, 0, mask)[None].astype(np.intp)  # (1, H, W)
        of_target = np.take_along_axis(stored[record.id], target, axis=0)[0]  # (H, W)
        surprise = -np.log(np.maximum(of_target.astype(np.float64), SMALLEST))
        total += surprise[mask != IGNORE_INDEX].sum()
        num_pixels += int((mask != IGNORE_INDEX).sum())
    mean = float(total) / max(1, num_pixels)
    return mean if math.isfinite(mean) else None


def _number(text: str) -> float | None:
    value = float(text) if text else math.nan
    return value if math.isfinite(value) else None
