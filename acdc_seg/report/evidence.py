"""Pictures of predictions for the viewer of a page, collected while they stream by.

A case is kept as a small image, and its mask, labels and uncertainty as compressed bytes, in a file
without a name once they outgrow memory.
"""

import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from acdc_seg.data.examples import Example
from acdc_seg.data.record import Record

LONGEST_SIDE = 512
"""Pixels of a case's longer side; larger images are made smaller."""
JPEG_QUALITY = 75
NUM_LEVELS = 16
"""Levels of the uncertainty."""
KEPT_IN_MEMORY = 32_000_000


@dataclass(frozen=True)
class Case:
    """One image of the viewer.

    `image` is a JPEG file; `mask`, `labels` and `uncertainty` are compressed bytes, one for each
    pixel. Labels are stored as their difference (exclusive or) from the mask, and the uncertainty
    as 0..15: the entropy of the probabilities, 15 where all classes are equally probable.
    """

    height: int
    width: int
    image: bytes
    mask: bytes
    labels: bytes
    uncertainty: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, (self.image, self.mask, self.labels, self.uncertainty)))


def make_case(image: np.ndarray, mask: np.ndarray, probabilities: np.ndarray) -> Case:
    """Encodes one prediction.

    Args:
        image: `(C, H, W)` in 0..1, gray or RGB; gray values are stretched over the range they use.
        mask: True class indices `(H, W)`.
        probabilities: `(K, H, W)`.
    """
    size = _small_size(*mask.shape)
    labels = _resize(probabilities.argmax(0).astype(np.uint8), size, cv2.INTER_NEAREST)
    small_mask = _resize(mask.astype(np.uint8), size, cv2.INTER_NEAREST)
    levels = np.rint(_resize(entropy(probabilities), size, cv2.INTER_AREA) * (NUM_LEVELS - 1))
    done, jpeg = cv2.imencode(
        ".jpg",
        _resize(_to_bytes(image), size, cv2.INTER_AREA),
        [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    )
    assert done
    return Case(
        *size,
        image=jpeg.tobytes(),
        mask=_compress(small_mask),
        labels=_compress(labels ^ small_mask),
        uncertainty=_compress(levels),
    )


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy float32 `(H, W)` of probabilities `(K, H, W)`, 1 where all classes are equal."""
    values = np.clip(probabilities.astype(np.float32), 1e-7, 1)
    return -(values * np.log(values)).sum(0) / np.float32(np.log(max(2, len(values))))


class Evidence:
    """Pictures of a stream of predictions, and the records, by the id of their image."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.records: dict[str, Record] = {}
        self._file = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY)  # noqa: SIM115
        self._entries: dict[str, tuple[int, int, int, list[int]]] = {}

    def watch(
        self, stream: Iterator[tuple[Example, torch.Tensor]]
    ) -> Iterator[tuple[Example, torch.Tensor]]:
        """Passes the stream on and collects what goes by.

        An error ends the collecting, not the stream: `error` keeps it.
        """
        for example, probabilities in stream:
            if self.error is None:
                try:
                    self.add(example, probabilities)
                except Exception as error:
                    self.error = error
            yield example, probabilities

    def add(self, example: Example, probabilities: torch.Tensor) -> None:
        """Collects one image with its probabilities `(K, H, W)`."""
        values, mask = probabilities.float().numpy(), np.asarray(example.mask)
        case = make_case(example.image.numpy(), mask, values)
        parts = (case.image, case.mask, case.labels, case.uncertainty)
        start = self._file.seek(0, 2)
        self._file.write(b"".join(parts))
        self.records[example.record.id] = example.record
        self._entries[example.record.id] = (start, case.height, case.width, [*map(len, parts)])

    def __getitem__(self, id: str) -> Case:
        start, height, width, sizes = self._entries[id]
        self._file.seek(start)
        return Case(height, width, *(self._file.read(size) for size in sizes))

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def size(self, id: str) -> int:
        """Bytes of a case."""
        return sum(self._entries[id][3])


def decode(case: Case) -> dict[str, Any]:
    """Arrays of a case: `image` (H, W) or (H, W, 3), `mask` and `labels` (H, W)."""
    image: Any = cv2.imdecode(np.frombuffer(case.image, np.uint8), cv2.IMREAD_UNCHANGED)
    shape = case.height, case.width
    mask, changes = (
        np.frombuffer(zlib.decompress(part), np.uint8).reshape(shape)
        for part in (case.mask, case.labels)
    )
    image = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return {"image": image, "mask": mask, "labels": mask ^ changes}


def _small_size(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _resize(array: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    return (
        array
        if array.shape[:2] == size
        else cv2.resize(array, size[::-1], None, 0, 0, interpolation)
    )


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3) in the order B, G, R that OpenCV writes."""
    if len(image) == 3:
        return np.rint(image.transpose(1, 2, 0)[..., ::-1].clip(0, 1) * 255).astype(np.uint8)
    low, high = np.percentile(image, [0.5, 99.5])
    scaled = (image[0] - low) * (255 / max(high - low, 1e-6))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)


def _compress(array: np.ndarray) -> bytes:
    return zlib.compress(array.astype(np.uint8).tobytes(), 9)
