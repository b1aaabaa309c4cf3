"""Evaluation: a predictor and a split of a data set to scores, one `ImageScore` per image."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, Config, with_overrides
from acdc_seg.data.examples import Example
from acdc_seg.data.record import SPLITS, ProgressCallback
from acdc_seg.data.source import Source, open_source
from acdc_seg.errors import ConfigError, DataError, did_you_mean
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.scores import (
    ImageScore,
    Summary,
    format_table,
    score_labels,
    summarize,
    write_csv,
    write_json,
)


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


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split of a data set; printed, a table."""

    source: Source
    split: str
    scores: list[ImageScore]

    @cached_property
    def summary(self) -> Summary:
        """Means over images and classes."""
        return summarize(self.scores)

    @property
    def dice(self) -> float:
        """Mean Dice over images and foreground classes."""
        return self.summary.dice

    def write(self, folder: Path) -> None:
        """Writes metrics.csv and metrics.json; raises DataError where that fails."""
        write_csv(folder / "metrics.csv", self.scores)
        write_json(folder / "metrics.json", self.scores, self.summary)

    def __str__(self) -> str:
        return format_table(self.summary)


def evaluate(
    predictor: Predictor,
    data: str | Path | None = None,
    *,
    split: str = "val",
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Evaluation:
    """Scores a predictor on a split of the data it was trained on, or of other data.

    Args:
        predictor: For example of `load_predictor`.
        data: Data to take the place of the model's own; folds are set aside then.
        split: train, val or test.
        batch_size: Most images that are predicted at a time.
        on_progress: Called while data is prepared and images are predicted.

    Raises:
        ConfigError: An unknown or empty split.
        DataError: An image without mask, or a damaged file.
    """
    source = open_split(predictor.config, data, split, on_progress)
    records = source.split(split)
    scores = score_examples(
        predictor,
        read_examples(records, predictor),
        batch_size=batch_size,
        on_image=lambda done: on_progress("images", done, len(records)),
    )
    return Evaluation(source, split, scores)


def open_split(
    config: Config, data: str | Path | None, split: str, on_progress: ProgressCallback
) -> Source:
    """The config's data, or other data read with its settings; its split is not empty.

    Raises:
        ConfigError: An unknown or empty split.
    """
    if split not in SPLITS:
        raise ConfigError(f"split '{split}' is unknown; {did_you_mean(split, SPLITS)}")
    if data is not None:
        changes = {"data.num_folds": None, "data.fold": None, "data.validation": True}
        config = with_overrides(config, {**changes, "data.path": str(Path(data).resolve())})
    source = open_source(config.data, prepare_settings=config.prepare, on_progress=on_progress)
    if not source.split(split):
        available = ", ".join(name for name in SPLITS if source.split(name))
        raise ConfigError(
            f"{source.root}: there are no images in split '{split}'; choose from: {available}"
        )
    return source
