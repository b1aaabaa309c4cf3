"""From a folder of images, or of masks, to a submission."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.readers.unpaired import find_images
from acdc_seg.data.record import ProgressCallback, Record
from acdc_seg.errors import AcdcWarning
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
from acdc_seg.runs.trained_on import find_seen
from acdc_seg.submission.masks import read_masks, write_masks
from acdc_seg.submission.rle import Shape
from acdc_seg.submission.table import apply_template, decode_rows, encode_rows, write_rows


def write_submission(
    predictor: Predictor,
    images: str | Path,
    path: str | Path,
    *,
    template: Path | None = None,
    masks: Path | None = None,
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> list[tuple[str, str]]:
    """Predicts all images of a folder and writes their submission, a batch in memory at a time.

    Args:
        predictor: A model, an ensemble or what is done to either.
        images: Folder of images, or one that holds `test/image/` or `image/`.
        path: The CSV file to write.
        template: Sample submission that fixes ids and order.
        masks: Folder to write the predicted masks to as well, as PNG files.
        batch_size: Most images that are predicted at a time.
        on_progress: Called with "images", the number done and the number of all.

    Returns:
        The rows (id, encoding).

    Raises:
        DataError: A damaged image, ids that are not the template's, or a file that cannot be
            written.
    """
    data, classes = predictor.config.data, predictor.classes
    shapes: dict[str, Shape] = {}

    def predict() -> Iterator[tuple[str, np.ndarray]]:
        for stem, labels in _predict_folder(predictor, Path(images), batch_size, on_progress):
            shapes[stem] = labels.shape[0], labels.shape[1]
            yield stem, labels

    rows = _write(predict(), Path(path), template, classes, data)
    if masks is not None:  # after the CSV, so that a mistake in its ids leaves no masks
        labels = decode_rows(rows, shapes, pattern=data.output_pattern)
        write_masks(masks, labels, classes, data)
    return rows


def predict_masks(
    predictor: Predictor,
    images: str | Path,
    folder: str | Path,
    *,
    batch_size: int = 16,
    on_progress: ProgressCallback = lambda what, done, total: None,
) -> int:
    """Predicts all images of a folder and writes their masks alone, of any number of classes.

    Args:
        predictor: A model, an ensemble or what is done to either.
        images: Folder of images, or one that holds `test/image/` or `image/`.
        folder: Folder to write the masks to as PNG files, with the values or colors of the classes.
        batch_size: Most images that are predicted at a time.
        on_progress: Called with "images", the number done and the number of all.

    Returns:
        The number of masks.

    Raises:
        DataError: A damaged image, or a file that cannot be written.
    """
    labels = _predict_folder(predictor, Path(images), batch_size, on_progress)
    return write_masks(Path(folder), labels, predictor.classes, predictor.config.data)


def _predict_folder(
    predictor: Predictor, folder: Path, batch_size: int, on_progress: ProgressCallback
) -> Iterator[tuple[str, np.ndarray]]:
    """Stem and labels `(H, W)` of each image of a folder."""
    records = find_images(folder, predictor.config.data)
    _warn_of_seen(predictor, records)
    stream = predict_examples(
        predictor,
        read_examples(records, predictor, with_masks=False),
        batch_size=batch_size,
        on_image=lambda done: on_progress("images", done, len(records)),
    )
    for example, probabilities in stream:
        yield example.record.id, to_labels(probabilities)


def encode_masks(
    folder: Path,
    path: Path,
    *,
    template: Path | None = None,
    classes: ClassesConfig | None = None,
    data: DataConfig | None = None,
) -> list[tuple[str, str]]:
    """Writes the submission of a folder of masks.

    Args:
        folder: Holds the masks, or `test/mask/` or `mask/`.
        path: The CSV file to write.
        template: Sample submission that fixes ids and order.
        classes: Values or colors of the masks.
        data: Names of their files.

    Returns:
        The rows (id, encoding).

    Raises:
        DataError: No or wrong masks, ids that are not the template's, or a file that cannot be
            written.
    """
    classes, data = classes or ClassesConfig(), data or DataConfig()
    return _write(read_masks(folder, classes, data).items(), path, template, classes, data)


def _warn_of_seen(predictor: Predictor, records: Sequence[Record]) -> None:
    for origin in predictor.origins:
        seen = find_seen(records, origin.trained_on)
        if seen:
            warnings.warn(
                f"{origin.path} was trained on {len(seen)} of these {len(records)} images (first "
                f"{seen[0].id}); its masks of them say nothing about new patients",
                AcdcWarning,
                stacklevel=3,
            )


def _write(
    labels: Iterable[tuple[str, np.ndarray]],
    path: Path,
    template: Path | None,
    classes: ClassesConfig,
    data: DataConfig,
) -> list[tuple[str, str]]:
    rows = encode_rows(labels, num_classes=len(classes.names), pattern=data.output_pattern)
    write_rows(path, rows if template is None else apply_template(rows, template))
    return rows
