"""Evaluation: a predictor and a split of a data set to scores of images, volumes and patients."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from acdc_seg.config import ClassesConfig, Config, to_dict, with_overrides
from acdc_seg.data.examples import Example
from acdc_seg.data.record import SPLITS, ProgressCallback, Record
from acdc_seg.data.source import Source, open_source
from acdc_seg.errors import ConfigError, DataError, did_you_mean
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.labels import IGNORE_INDEX
from acdc_seg.metrics.calibration import Calibration
from acdc_seg.metrics.distances import TOLERANCE
from acdc_seg.metrics.levels import headline_level, levels_of, write_scores
from acdc_seg.metrics.scores import ImageScore, Summary, score_labels, summarize
from acdc_seg.metrics.tables import format_score_set
from acdc_seg.metrics.volumes import Case, Scorer, ScoreSet
from acdc_seg.runs.folder import environment
from acdc_seg.runs.trained_on import data_name, find_seen

ALL_IMAGES = "all"
"""Name of the split of data that is not divided: all its images."""


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


class SplitImages(NamedTuple):
    """The images of one split of a data set; `name` is "all" where it is not divided."""

    source: Source
    config: Config
    name: str
    records: list[Record]


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
        table, num_seen = format_score_set(self.score_set), self.protocol["num_seen_images"]
        if not num_seen:
            return table
        return (
            f"{table}\nData leakage: trained on {num_seen} of these images or on their patients; "
            "the scores are too high."
        )


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


def open_split(
    config: Config, data: str | Path | None, split: str | None, on_progress: ProgressCallback
) -> SplitImages:
    """The config's data, or other data read with its settings; the split is not empty.

    Raises:
        ConfigError: An unknown or empty split, or one that other data does not tell.
    """
    if split not in (None, *SPLITS):
        raise ConfigError(f"split '{split}' is unknown; {did_you_mean(str(split), SPLITS)}")
    if data is not None:
        changes = {"data.num_folds": None, "data.fold": None, "data.validation": True}
        config = with_overrides(config, {**changes, "data.path": str(Path(data).resolve())})
    source = open_source(config.data, prepare_settings=config.prepare, on_progress=on_progress)
    name = split or "val"
    if data is not None and not source.own_splits:
        if split is not None:
            raise ConfigError(
                f"{data}: not divided into splits; leave --split out to take all "
                f"{len(source.records)} images"
            )
        return SplitImages(source, config, ALL_IMAGES, list(source.records))
    available = [each for each in SPLITS if source.split(each)]
    if data is not None:  # a fifth of train that we would draw is no split of other data
        available = [each for each in available if each in source.own_splits]
    if name not in available:
        raise ConfigError(
            f"{data or source.root}: there are no images in split '{name}'; choose from: "
            f"{', '.join(available)}"
        )
    return SplitImages(source, config, name, source.split(name))


def make_protocol(
    predictor: Predictor,
    images: SplitImages,
    *,
    allow_seen: bool = False,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """What was scored on what and how, as metrics.json holds it.

    Raises:
        ConfigError: A member was trained on the images, unless `allow_seen`.
    """
    source, config, split, records = images
    data = data_name(source, config.data)
    seen = {
        origin.path: find_seen(records, origin.trained_on, siblings=source.records, data=data)
        for origin in predictor.origins
    }
    if not allow_seen:
        _check_unseen(seen, len(records))
    num_seen, versions = len({each for part in seen.values() for each in part}), environment()
    return {
        "data": data,
        "data_sha256": source.digest(),
        "kind": source.kind,
        "split": split,
        "num_folds": config.data.num_folds,
        "fold": config.data.fold,
        "prepare": None if source.kind == "paired" else to_dict(config.prepare),
        **predictor.describe(),
        "nsd_tolerance": tolerance,
        "allow_seen": allow_seen and num_seen > 0,
        "num_seen_images": num_seen,
        "versions": {name: versions[name] for name in ("acdc_seg", "python", "libraries")},
    }


def check_replaceable(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Raises ConfigError where a folder holds scores of another protocol, or damaged ones."""
    path = folder / "metrics.json"
    if not path.is_file():
        return
    try:
        old = json.loads(path.read_text(encoding="utf-8"))["protocol"]
        changed = _differences(old, protocol)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        changed = ["protocol"]
    if changed:
        raise ConfigError(
            f"{path}: holds scores of another evaluation ({', '.join(changed)}); give --out "
            "FOLDER, or remove them"
        )


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Keys of the protocol that differ; data and checkpoints may have moved, or be newer."""
    keys = ("split", "num_folds", "fold", "prepare", "tta", "keep_largest")
    changed = [key for key in keys if old[key] != new[key]]
    if old.get("nsd_tolerance", TOLERANCE) != new["nsd_tolerance"]:
        changed.append("nsd_tolerance")
    if all(old[key] != new[key] for key in ("data", "data_sha256")):
        changed.append("data")
    pairs = list(zip(old["members"], new["members"], strict=False))
    if len(old["members"]) != len(new["members"]) or any(
        all(first[key] != second[key] for key in ("path", "sha256"))
        or any(first[key] != second[key] for key in ("weight", "tta", "precision"))
        for first, second in pairs
    ):
        changed.append("members")
    return changed


def _check_unseen(seen: Mapping[Path, Sequence[Record]], num_images: int) -> None:
    """Raises ConfigError where a member was trained on images, or on other ones of their
    patients.
    """
    for path, records in seen.items():
        if records:
            raise ConfigError(
                f"data leakage: {path} was trained on {len(records)} of the {num_images} images to "
                f"score, or on their patients (first {records[0].id}); give a --split or --data "
                "that it was not trained on, or --allow-seen, which the scores then say"
            )
