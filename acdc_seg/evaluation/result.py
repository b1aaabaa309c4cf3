"""A predictor on a split of a data set: its scores and their protocol."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from acdc_seg.data.record import ProgressCallback
from acdc_seg.evaluation.protocol import (
    CROP_NOTE,
    SplitImages,
    check_replaceable,
    make_protocol,
    open_split,
)
from acdc_seg.evaluation.scoring import score_stream
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.levels import headline_level, levels_of, write_scores
from acdc_seg.metrics.scores import ImageScore
from acdc_seg.metrics.summary import Summary, summarize
from acdc_seg.metrics.tables import format_score_set
from acdc_seg.metrics.volumes import ScoreSet


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split of a data set, and the protocol of metrics.json; printed, tables.

    Attributes:
        images: The split.
        score_set: Scores of its images, volumes and patients.
        protocol: See `make_protocol`.
    """

    images: SplitImages
    score_set: ScoreSet
    protocol: dict[str, Any]

    @property
    def scores(self) -> list[ImageScore]:
        """Of every image."""
        return self.score_set.images

    @cached_property
    def summary(self) -> Summary:
        """Means over images and classes."""
        return summarize(self.scores)

    @property
    def level(self) -> str:
        """Level of the headline: volume, slice or image."""
        return headline_level(self.score_set)

    @cached_property
    def headline(self) -> Summary:
        """Means over volumes where the images are slices of volumes, else over images."""
        return summarize(levels_of(self.score_set)[self.level])

    @property
    def dice(self) -> float:
        """Mean Dice over images and foreground classes."""
        return self.summary.dice

    def write(self, folder: Path) -> None:
        """Writes metrics.json, and metrics.csv, volumes.csv and patients.csv.

        Raises:
            ConfigError: The folder holds scores of another protocol.
            DataError: They cannot be written.
        """
        check_replaceable(folder, self.protocol)
        write_scores(folder, self.score_set, self.protocol)

    def __str__(self) -> str:
        lines = [format_score_set(self.score_set)]
        if self.protocol["cropped_by_masks"]:
            lines.append(CROP_NOTE)
        if num_seen := self.protocol["num_seen_images"]:
            lines.append(
                f"Data leakage: trained on {num_seen} of these images or on their patients; the "
                "scores are too high."
            )
        return "\n".join(lines)


def evaluate(
    predictor: Predictor,
    data: str | Path | None = None,
    *,
    split: str | None = None,
    allow_seen: bool = False,
    batch_size: int = 16,
    tolerance: float = TOLERANCE,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Evaluation:
    """Scores a predictor on a split of the data it was trained on, or of other data.

    Args:
        predictor: For example of `load_predictor`.
        data: Data to take the place of the model's own; folds are set aside then.
        split: train, val or test; by default val, or all images of data that is not divided.
        allow_seen: Score images that the predictor was trained on; the protocol says so.
        batch_size: Most images that are predicted at a time.
        tolerance: NSD's, in mm, or in pixels where the spacing is unknown.
        on_progress: Called while data is prepared and images are predicted.

    Raises:
        ConfigError: An unknown or empty split, or images that the predictor was trained on.
        DataError: An image without mask, or a damaged file.
    """
    images = open_split(predictor.config, data, split, on_progress)
    return evaluate_images(
        predictor,
        images,
        allow_seen=allow_seen,
        batch_size=batch_size,
        tolerance=tolerance,
        on_progress=on_progress,
    )


def evaluate_images(
    predictor: Predictor,
    images: SplitImages,
    *,
    allow_seen: bool = False,
    batch_size: int = 16,
    tolerance: float = TOLERANCE,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> Evaluation:
    """Scores a predictor on images that are opened already, see `evaluate`.

    Raises:
        ConfigError: Images that the predictor was trained on.
        DataError: An image without mask, or a damaged file.
    """
    protocol = make_protocol(predictor, images, allow_seen=allow_seen, tolerance=tolerance)
    records = images.records
    stream = predict_examples(
        predictor,
        read_examples(records, predictor),
        batch_size=batch_size,
        on_image=lambda done: on_progress("images", done, len(records)),
    )
    scores = score_stream(stream, records, predictor.classes, tolerance=tolerance)
    return Evaluation(images, scores, protocol)
