"""Class probabilities of a model on a set of images, kept on disk: computed once, read without
loading, never unpickled.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from acdc_seg.data.images import read_image
from acdc_seg.data.record import Record
from acdc_seg.errors import ConfigError, DataError
from acdc_seg.files import replacing, write_text
from acdc_seg.inference.predictors import TTA, TTA_VIEWS, Predictor, predict_probabilities

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
    offsets: list[int]


class StoredProbabilities(Mapping[str, np.ndarray]):
    """Maps an image's id to its probabilities, float16 `(K, H, W)`, a view into a file that is read
    as needed.
    """

    def __init__(self, index: Index, values: np.ndarray) -> None:
        self.index, self.values_on_disk = index, values

    @property
    def ids(self) -> list[str]:
        return self.index.ids

    @property
    def patients(self) -> list[str]:
        return self.index.patients

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id: row for row, id in enumerate(self.index.ids)}

    def __getitem__(self, id: str) -> np.ndarray:
        row = self._rows[id]
        shape, start = self.index.shapes[row], self.index.offsets[row]
        return self.values_on_disk[start : start + int(np.prod(shape))].reshape(shape)  # (K, H, W)

    def __iter__(self) -> Iterator[str]:
        return iter(self.index.ids)

    def __len__(self) -> int:
        return len(self.index.ids)


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
    """Predicts all images and writes `<tta>.npy` and its index `<tta>.json`; only one batch is in
    memory at a time.

    Args:
        predictor: The model itself; `tta` is wrapped around it here.
        checkpoint: The file that the predictor was loaded from.
        tta: none, flips or dihedral.

    Raises:
        ConfigError: Unknown `tta`.
        DataError: A broken image, two images of one id, or a file that cannot be written.
    """
    ids = [record.id for record in records]
    if repeated := [id for id, count in Counter(ids).items() if count > 1]:
        raise DataError(f"two images are called {repeated[0]}; give each image a name of its own")
    index_path, array_path = _paths(folder, tta)
    augmented = predictor if tta == NO_TTA else TTA(predictor, views=tta)
    with suppress(FileNotFoundError):
        index_path.unlink()  # so that an index never stands beside values that are not its own
    shapes = _write_values(array_path, augmented, records, batch_size, on_image)
    index = Index(
        checkpoint=digest_file(checkpoint),
        images=digest_images(records),
        tta=tta,
        classes=list(predictor.classes.names),
        ids=ids,
        patients=[record.patient for record in records],
        shapes=[list(shape) for shape in shapes],
        offsets=[0, *np.cumsum([np.prod(shape) for shape in shapes]).tolist()][: len(shapes)],
    )
    write_text(index_path, json.dumps(asdict(index), indent=1, ensure_ascii=False) + "\n")
    return load_probabilities(folder, tta=tta)


def load_probabilities(folder: Path, *, tta: str = NO_TTA) -> StoredProbabilities:
    """What `store_probabilities` wrote, memory-mapped.

    Raises:
        DataError: Nothing there, or files that do not belong together.
    """
    index_path, array_path = _paths(folder, tta)
    try:
        index = Index(**json.loads(index_path.read_text(encoding="utf-8")))
        values = np.load(array_path, mmap_mode="r", allow_pickle=False)  # noqa: TID251
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{index_path}: no readable probabilities ({error}); remove the folder, they are "
            "computed again"
        ) from None
    if values.dtype != np.float16 or len(values) != sum(
        int(np.prod(shape)) for shape in index.shapes
    ):
        raise DataError(
            f"{array_path}: holds other values than its index says; remove the folder, they are "
            "computed again"
        )
    return StoredProbabilities(index, values)


def find_probabilities(
    folder: Path, records: Sequence[Record], *, checkpoint: Path, tta: str = NO_TTA
) -> StoredProbabilities | None:
    """Those on disk, or None where they are missing, damaged, or of another checkpoint or other
    images.
    """
    try:
        stored = load_probabilities(folder, tta=tta)
    except DataError:
        return None
    fresh = stored.index.checkpoint == digest_file(
        checkpoint
    ) and stored.index.images == digest_images(records)
    return stored if fresh else None


def digest_file(path: Path) -> str:
    """SHA-256 of a file; raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the file ({error.strerror}); check the path and its permissions"
        ) from None


def digest_images(records: Sequence[Record]) -> str:
    """SHA-256 over names, patients and bytes of the images, in their order."""
    lines = [f"{record.id}/{record.patient}/{digest_file(record.image)}\n" for record in records]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _paths(folder: Path, tta: str) -> tuple[Path, Path]:
    if tta not in (NO_TTA, *TTA_VIEWS):
        raise ConfigError(
            f"test-time augmentation '{tta}' is unknown; choose from: "
            f"{', '.join((NO_TTA, *TTA_VIEWS))}"
        )
    return folder / f"{tta}.json", folder / f"{tta}.npy"


def _write_values(
    path: Path,
    predictor: Predictor,
    records: Sequence[Record],
    batch_size: int,
    on_image: Callable[[int], None],
) -> list[tuple[int, ...]]:
    """Streams the flattened probabilities into one array; NumPy leaves room in the header for the
    length known at the end.
    """
    shapes: list[tuple[int, ...]] = []
    images = (read_image(record.image, channels=predictor.channels) for record in records)
    with replacing(path) as file:
        npy.write_array_header_1_0(file, _header(0))
        start = file.tell()
        for probabilities in predict_probabilities(
            predictor, images, batch_size=batch_size, on_image=on_image
        ):
            array = probabilities.cpu().numpy().astype(np.float16)  # (K, H, W)
            file.write(array.tobytes())
            shapes.append(array.shape)
        file.seek(0)
        npy.write_array_header_1_0(file, _header(sum(int(np.prod(shape)) for shape in shapes)))
        assert file.tell() == start
    return shapes


def _header(length: int) -> dict[str, object]:
    return {
        "descr": npy.dtype_to_descr(np.dtype(np.float16)),
        "fortran_order": False,
        "shape": (length,),
    }
