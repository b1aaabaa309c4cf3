"""Records and a predictor to metric rows."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from acdc_seg.config import ClassesConfig, DataConfig
from acdc_seg.data.images import IGNORE_INDEX
from acdc_seg.data.record import Record
from acdc_seg.data.transforms import load_example
from acdc_seg.errors import DataError
from acdc_seg.inference.predictors import Predictor, predict_labels
from acdc_seg.metrics.scores import ImageScore, score_labels


def score_image(
    labels: np.ndarray, truth: np.ndarray, record: Record, classes: ClassesConfig
) -> ImageScore:
    """The row of one image: class indices `(H, W)` against the mask `(H, W)`."""
    ignore_index = IGNORE_INDEX if classes.ignore_value is not None else None
    names = classes.names
    return score_labels(
        labels,
        truth,
        id=record.id,
        classes=names,
        ignore_index=ignore_index,
        patient=record.patient,
        phase=record.phase,
    )


def evaluate(
    predictor: Predictor,
    records: Sequence[Record],
    *,
    data: DataConfig,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> list[ImageScore]:
    """One row per record, at the size the files have.

    Args:
        data: How files are read; its `channels` give way to the predictor's.

    Raises:
        DataError: A record without mask, or a broken file.
    """
    if missing := [record.id for record in records if record.mask is None]:
        raise DataError(
            f"{len(missing)} images have no mask to compare with, first {', '.join(missing[:3])}; "
            "evaluate a split with masks"
        )
    settings = data.model_copy(update={"channels": predictor.channels})
    truths: deque[np.ndarray] = deque()

    def read_images() -> Iterator[np.ndarray]:
        for record in records:
            image, truth = load_example(record, data=settings, classes=predictor.classes)
            assert truth is not None
            truths.append(truth.numpy())
            yield image.numpy()

    predictions = predict_labels(predictor, read_images(), batch_size=batch_size, on_image=on_image)
    return [
        score_image(labels, truths.popleft(), record, predictor.classes)
        for record, labels in zip(records, predictions, strict=True)
    ]
