"""From a folder of images, or of masks, to a submission."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from acdc_seg.config import ClassesConfig
from acdc_seg.data.readers.paired import find_images
from acdc_seg.data.record import ProgressCallback, Record
from acdc_seg.inference.predictors import Predictor
from acdc_seg.inference.stream import predict_examples, read_examples, to_labels
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
    paths = find_images(Path(images), predictor.config.data)
    records = [Record(stem, image, None, "") for stem, image in paths.items()]
    stream = predict_examples(
        predictor,
        read_examples(records, predictor, with_masks=False),
        batch_size=batch_size,
        on_image=lambda done: on_progress("images", done, len(records)),
    )
    shapes: dict[str, Shape] = {}

    def predict() -> Iterator[tuple[str, np.ndarray]]:
        for example, probabilities in stream:
            labels = to_labels(probabilities)
            shapes[example.record.id] = labels.shape[0], labels.shape[1]
            yield example.record.id, labels

    rows = _write(predict(), len(predictor.classes.names), Path(path), template)
    if masks is not None:  # after the CSV, so that a mistake in its ids leaves no masks
        write_masks(masks, decode_rows(rows, shapes))
    return rows


def encode_masks(
    folder: Path, path: Path, *, template: Path | None = None
) -> list[tuple[str, str]]:
    """Writes the submission of a folder of masks.

    Args:
        folder: Holds `<image stem>_mask.png`.
        path: The CSV file to write.
        template: Sample submission that fixes ids and order.

    Returns:
        The rows (id, encoding).

    Raises:
        DataError: No or wrong masks, ids that are not the template's, or a file that cannot be
            written.
    """
    classes = ClassesConfig()
    return _write(read_masks(folder, classes).items(), len(classes.names), path, template)


def _write(
    labels: Iterable[tuple[str, np.ndarray]], num_classes: int, path: Path, template: Path | None
) -> list[tuple[str, str]]:
    rows = encode_rows(labels, num_classes=num_classes)
    write_rows(path, rows if template is None else apply_template(rows, template))
    return rows
