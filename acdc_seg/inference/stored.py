"""Stored probabilities: computed once for a set of images, memory-mapped when read, never pickled.

`<tta>.npy` holds the float16 values of all images one after another, `<tta>.json` the index.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy

from acdc_seg.config import ClassesConfig
from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import cached_sha256, replacing, sha256_file, write_text
from acdc_seg.inference.predictors import TTA, TTA_VIEWS, Predictor
from acdc_seg.inference.stream import predict_examples, read_examples

DTYPE = np.float16
"""Type of the values on disk: half the size, at an error that seldom turns a pixel."""
NO_TTA = "none"


@dataclass(frozen=True)
class Index:
    """The JSON beside the array; `checkpoint` and `images` are SHA-256 of what the probabilities
    were computed from.
    """

    checkpoint: str
    images: str
    tta: str
    classes: list[str]
    ids: list[str]
    patients: list[str]
    shapes: list[list[int]]


class StoredProbabilities(Mapping[str, np.ndarray]):
    """Maps an image's id to its probabilities, float16 `(K, H, W)`, a view into a file that is read
    as needed.
    """

    def __init__(self, index: Index, values: np.ndarray) -> None:
        self.index, self.patients, self._values = index, index.patients, values
        starts = accumulate(map(prod, index.shapes), initial=0)
        self._starts = dict(zip(index.ids, starts, strict=False))
        self._shapes = dict(zip(index.ids, index.shapes, strict=True))

    def __getitem__(self, id: str) -> np.ndarray:
        start, shape = self._starts[id], self._shapes[id]
        return self._values[start : start + prod(shape)].reshape(shape)  # (K, H, W)

    def __iter__(self) -> Iterator[str]:
        return iter(self._starts)

    def __len__(self) -> int:
        return len(self._starts)


def storing(
    stream: Iterable[tuple[Example, torch.Tensor]],
    folder: Path,
    *,
    checkpoint: Path,
    classes: ClassesConfig,
    tta: str = NO_TTA,
) -> Iterator[tuple[Example, torch.Tensor]]:
    """Passes a stream of predictions on, and stores it once it is used up.

    Args:
        stream: Examples with probabilities `(K, H, W)`, as of `predict_examples`.
        folder: Where the two files are written.
        checkpoint: The file that the predictor was loaded from.
        classes: The predictor's classes.
        tta: The test-time augmentation that the probabilities were computed with.

    Raises:
        ConfigError: Unknown `tta`.
        DataError: Two images of one id, or a file that cannot be written.
    """
    index_path, array_path = _paths(folder, tta)
    with suppress(OSError):
        index_path.unlink()  # an index must never describe values of another prediction
    records: dict[str, Record] = {}
    shapes: list[tuple[int, ...]] = []
    with replacing(array_path) as file:
        npy.write_array_header_1_0(file, _header(0))  # NumPy leaves room for the final length
        for example, probabilities in stream:
            record = example.record
            if record.id in records:
                raise DataError(f"two images are called {record.id}; give each image its own name")
            array = probabilities.numpy().astype(DTYPE)  # (K, H, W)
            file.write(array.tobytes())
            records[record.id] = record
            shapes.append(array.shape)
            yield example, probabilities
        file.seek(0)
        npy.write_array_header_1_0(file, _header(sum(map(prod, shapes))))
    index = Index(
        checkpoint=sha256_file(checkpoint),
        images=digest_images(list(records.values())),
        tta=tta,
        classes=list(classes.names),
        ids=list(records),
        patients=[record.patient for record in records.values()],
        shapes=[list(shape) for shape in shapes],
    )
    write_text(index_path, json.dumps(asdict(index), indent=1, ensure_ascii=False) + "\n")


def store_probabilities(
    folder: Path,
    predictor: Predictor,
    records: Sequence[Record],
    *,
    checkpoint: Path,
    tta: str = NO_TTA,
    batch_size: int = 16,
    on_image: Callable[[int], None] = lambda done: None,
) -> StoredProbabilities:
    """Predicts all images and stores their probabilities, see `storing`.

    Args:
        folder: Where the two files are written.
        predictor: The model itself; `tta` is applied to it here.
        records: Images; masks are not read.
        checkpoint: The file that the predictor was loaded from.
        tta: none, flips or dihedral.
        batch_size: Most images that are predicted at a time.
        on_image: Called with the number of images done.

    Raises:
        ConfigError: Unknown `tta`.
        DataError: A damaged image, two images of one id, or a file that cannot be written.
    """
    _paths(folder, tta)  # checks the name of `tta` before it is applied
    augmented = predictor if tta == NO_TTA else TTA(predictor, views=tta)
    examples = read_examples(records, predictor, with_masks=False)
    stream = predict_examples(augmented, examples, batch_size=batch_size, on_image=on_image)
    for _ in storing(stream, folder, checkpoint=checkpoint, classes=predictor.classes, tta=tta):
        pass
    return load_probabilities(folder, tta=tta)


def load_probabilities(folder: Path, *, tta: str = NO_TTA) -> StoredProbabilities:
    """Stored probabilities, memory-mapped.

    Raises:
        DataError: Nothing there, or files that do not belong together.
    """
    index_path, array_path = _paths(folder, tta)
    try:
        index = Index(**json.loads(index_path.read_text(encoding="utf-8")))
        values = np.load(array_path, mmap_mode="r", allow_pickle=False)  # noqa: TID251
        if values.dtype != DTYPE or len(values) != sum(map(prod, index.shapes)):
            raise ValueError(f"{array_path.name} does not fit its index")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{index_path}: no readable probabilities ({error}); remove the folder, they are "
            "computed again"
        ) from None
    return StoredProbabilities(index, values)


def find_probabilities(
    folder: Path, records: Sequence[Record], *, checkpoint: Path, tta: str = NO_TTA
) -> StoredProbabilities | None:
    """Stored probabilities, or None where they are missing, damaged, or of another checkpoint or
    other images.
    """
    try:
        stored = load_probabilities(folder, tta=tta)
        sources = sha256_file(checkpoint), digest_images(records)
    except (DataError, OSError):
        return None
    return stored if (stored.index.checkpoint, stored.index.images) == sources else None


def digest_images(records: Sequence[Record]) -> str:
    """SHA-256 over names, patients and bytes of the images, in their order."""
    lines = [f"{record.id}/{record.patient}/{cached_sha256(record.image)}\n" for record in records]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _paths(folder: Path, tta: str) -> tuple[Path, Path]:
    if tta not in (NO_TTA, *TTA_VIEWS):
        raise ConfigError(
            f"test-time augmentation '{tta}' is unknown; choose from: "
            f"{', '.join((NO_TTA, *TTA_VIEWS))}"
        )
    return folder / f"{tta}.json", folder / f"{tta}.npy"


def _header(length: int) -> dict[str, object]:
    descr = npy.dtype_to_descr(np.dtype(DTYPE))
    return {"descr": descr, "fortran_order": False, "shape": (length,)}
